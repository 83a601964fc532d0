/* ----------------------------------------------------------------------
   Pair style allegro: runs an allegro_dist archive in LAMMPS. Here: its
   commands, and what is set up before a run.

   This file derives from LAMMPS's class Pair and is distributed under the
   GNU General Public License, version 2; see LICENSE in this directory.
------------------------------------------------------------------------- */

#include "pair_allegro.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "first_failure.hpp"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <limits>
#include <stdexcept>
#include <utility>

using namespace LAMMPS_NS;

namespace {

// One block takes a core about a millisecond, a turn of another process several.
constexpr int slots_per_thread = 8;

constexpr int most_block_edges = 500000000;  // 3 numbers of each are counted in 32 bits

int rank_on_node(MPI_Comm world) {
  MPI_Comm node;
  int rank;
  MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  MPI_Comm_rank(node, &rank);
  MPI_Comm_free(&node);
  return rank;
}

// "2G" and the like; NaN where it is none.
double bytes_of(const std::string &text) {
  std::size_t end = 0;
  try {
    const double number = std::stod(text, &end);
    const std::string unit = text.substr(end);
    for (const auto &[name, factor] : {std::pair("", 1.0), {"K", 0x1p10}, {"M", 0x1p20}, {"G", 0x1p30}})
      if (unit == name) return number * factor;
  } catch (const std::logic_error &) {  // not a number, or too large for one
  }
  return std::numeric_limits<double>::quiet_NaN();
}

std::string joined(const std::vector<std::string> &names) {
  std::string text;
  for (const auto &name : names) text += (text.empty() ? "" : " ") + name;
  return text;
}

}  // namespace

PairAllegro::PairAllegro(LAMMPS *lmp) : Pair(lmp) {
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  no_virial_fdotr_compute = 1;  // summed edge by edge, so that it equals the sum of the per-atom virials
  centroidstressflag = CENTROID_AVAIL;
  nextra = 2;
  pvector = largest_and_mean_deviation_;
  comm_reverse = 3;
}

PairAllegro::~PairAllegro() {
  if (!allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
}

void PairAllegro::allocate() {
  if (allocated) return;
  allocated = 1;
  memory->create(setflag, atom->ntypes + 1, atom->ntypes + 1, "pair:setflag");
  memory->create(cutsq, atom->ntypes + 1, atom->ntypes + 1, "pair:cutsq");
}

/* ---------------------------------------------------------------------- */

void PairAllegro::settings(int narg, char **arg) {
  device_ = evaluator_ = "auto";
  block_edges_ = 0;
  memory_.clear();
  takes_mean_ = true;
  for (int iarg = 0; iarg < narg; iarg += 2) {
    const std::string keyword = arg[iarg];
    if (keyword != "device" && keyword != "evaluator" && keyword != "block" && keyword != "memory" &&
        keyword != "committee")
      error->all(FLERR,
                 "pair_style allegro: unknown keyword '{}'; known are device, evaluator, block, memory and committee",
                 keyword);
    if (iarg + 1 >= narg) error->all(FLERR, "pair_style allegro: keyword '{}' needs a value", keyword);
    const std::string value = arg[iarg + 1];
    if (keyword == "device") device_ = value;
    if (keyword == "evaluator") evaluator_ = value;
    if (keyword == "block") {
      block_edges_ = utils::inumeric(FLERR, value, false, lmp);
      if (block_edges_ < 1 || block_edges_ > most_block_edges)
        error->all(FLERR, "pair_style allegro: block must be a number of edges from 1 to {}, got {}", most_block_edges,
                   value);
    }
    if (keyword == "memory") {
      if (!(bytes_of(value) >= 1.0))
        error->all(FLERR, "pair_style allegro: memory must be a number of bytes, or of K, M or G, such as 500M, got {}",
                   value);
      memory_ = value;
    }
    if (keyword == "committee") {
      if (value != "mean" && value != "first")
        error->all(FLERR, "pair_style allegro: committee must be mean or first, got {}", value);
      takes_mean_ = value == "mean";
    }
  }
}

void PairAllegro::coeff(int narg, char **arg) {
  allocate();
  const auto units = allegro_dist::units_of(update->unit_style);
  if (!units)
    error->all(
        FLERR,
        "pair style allegro requires units metal, real, electron, si, cgs, micro or nano, found units {}: a model "
        "has absolute energies and lengths",
        update->unit_style);
  units_ = *units;
  if (narg < 3 || strcmp(arg[0], "*") != 0 || strcmp(arg[1], "*") != 0)
    error->all(FLERR, "pair_coeff: pair style allegro expects * * archive ... element ...");
  const int num_archives = narg - 2 - atom->ntypes;
  if (num_archives < 1)
    error->all(FLERR, "pair_coeff: pair style allegro expects one element for each of the {} LAMMPS types, got {}",
               atom->ntypes, narg - 3);
  open_archives({arg + 2, arg + 2 + num_archives});
  map_types(atom->ntypes, arg + 2 + num_archives);
  for (int k = 0; k < num_archives; ++k) report(k);
  if (!memory_.empty() && comm->me == 0)
    utils::logmesg(lmp, "allegro: memory {}: blocks of at most {} listed neighbors\n", memory_, block_edges());
}

void PairAllegro::open_archives(const std::vector<std::string> &paths) {
  std::string failure;
  const int local_rank = rank_on_node(world);
  try {
    committee_.open(paths, {device_, local_rank, comm->nthreads, evaluator_});
    const int num_workers = committee_.num_workers();
    slots_.assign(num_workers == 1 ? 1 : slots_per_thread * num_workers, {});
  } catch (const std::exception &exception) {
    failure = exception.what();
    if (paths.size() > 1)
      failure += "; the last " + std::to_string(atom->ntypes) +
                 " arguments are taken for elements, one for each LAMMPS type, those before for archives";
  }
  failure = allegro_dist::first_failure(failure, world);
  if (!failure.empty()) error->all(FLERR, "pair style allegro: " + failure);
}

void PairAllegro::map_types(int num_elements, char **names) {
  const auto &model = committee_.member(0);
  const auto &known = model.type_names();
  types_.num_lammps_types = num_elements;
  types_.model_type.assign(num_elements + 1, -1);
  for (int i = 1; i <= num_elements; ++i) {
    const std::string name = names[i - 1];
    if (name == "NULL") continue;  // left to another style of a hybrid
    const auto found = std::find(known.begin(), known.end(), name);
    if (found == known.end())
      error->all(FLERR, "pair_coeff: element '{}' of LAMMPS type {} is not in archive '{}', whose types are: {}", name,
                 i, committee_.path(0), joined(known));
    types_.model_type[i] = static_cast<int>(found - known.begin());
  }
  types_.length_unit = units_.length;
  types_.cutoff_square.assign((num_elements + 1) * (num_elements + 1), 0.0);
  for (int i = 1; i <= num_elements; ++i)
    for (int j = 1; j <= num_elements; ++j) {
      const bool both = types_.model_type[i] >= 0 && types_.model_type[j] >= 0;
      setflag[i][j] = both && j >= i;
      if (!both) continue;
      const double cutoff = model.cutoff(types_.model_type[i], types_.model_type[j]) / units_.length;
      types_.cutoff_square[i * (num_elements + 1) + j] = cutoff * cutoff;
    }
}

void PairAllegro::report(int member) const {
  if (comm->me) return;
  const auto &engine = committee_.member(member);
  const auto &check = engine.self_check();
  utils::logmesg(lmp, "allegro: {} (types {}; r_max {:g} A; {}; {} on {}; self-check passed: {:.1e} eV, {:.1e} eV/A)\n",
                 committee_.path(member), joined(engine.type_names()), engine.r_max(), engine.dtype(),
                 engine.evaluator(), engine.device(), check.energy_error, check.gradient_error);
}

void PairAllegro::init_style() {
  if (!force->newton_pair) error->all(FLERR, "pair style allegro requires newton pair on, found newton pair off");
  neighbor->add_request(this, NeighConst::REQ_FULL);
}

/* ----------------------------------------------------------------------
   LAMMPS can leave pairs out of the neighbor list, silently; the model needs every neighbor. Called once the lists'
   settings are final.
------------------------------------------------------------------------- */

void PairAllegro::setup() {
  require_special_neighbors();
  const auto is_ours = [&](int lammps_type) { return types_.model_type[lammps_type] >= 0; };
  bool excludes = neighbor->nex_group > 0 || neighbor->nex_mol > 0;
  for (int k = 0; k < neighbor->nex_type; ++k)
    excludes |= is_ours(neighbor->ex1_type[k]) && is_ours(neighbor->ex2_type[k]);
  if (excludes)
    error->all(FLERR,
               "pair style allegro needs every pair of its atoms, but neigh_modify exclude leaves some out; remove it "
               "(neigh_modify exclude none), or leave whole types to another style (NULL with pair_style hybrid)");
}

void PairAllegro::require_special_neighbors() {
  if (atom->molecular == Atom::ATOMIC) return;
  const char *const names[4] = {"", "1-2 (bonded)", "1-3 (over two bonds)", "1-4 (over three bonds)"};
  for (int k = 1; k <= 3; ++k) {
    if (neighbor->special_flag[k] != 0) continue;
    // Templates keep their bonds elsewhere: taken for bonded.
    int mine = atom->molecular == Atom::TEMPLATE && atom->nlocal > 0, any = 0;
    if (atom->molecular == Atom::MOLECULAR)
      for (int i = 0; i < atom->nlocal; ++i) mine |= atom->nspecial[i][k - 1] > (k > 1 ? atom->nspecial[i][k - 2] : 0);
    MPI_Allreduce(&mine, &any, 1, MPI_INT, MPI_MAX, world);
    if (any)
      error->all(FLERR,
                 "pair style allegro needs every neighbor, but special_bonds leaves out {} neighbors (weights 0); use "
                 "special_bonds lj/coul 1 1 1",
                 names[k]);
  }
}

double PairAllegro::init_one(int i, int j) {
  if (!setflag[std::min(i, j)][std::max(i, j)])
    error->all(FLERR, "pair style allegro: pair of LAMMPS types {} {} has no elements; NULL is for hybrid styles", i,
               j);
  const int a = types_.model_type[i], b = types_.model_type[j];
  const auto &model = committee_.member(0);
  return std::max(model.cutoff(a, b), model.cutoff(b, a)) / units_.length;  // LAMMPS's own pair cutoff is symmetric
}

// Of a block: as the user says, else what the evaluator runs best with, or as many as the memory allows.
int PairAllegro::block_edges() const {
  if (block_edges_ > 0) return block_edges_;
  const int preferred = committee_.preferred_block_edges();
  if (memory_.empty()) return preferred;
  const int num_results = committee_.size() > 1 ? committee_.size() + 1 : 1;
  const double own = allegro_dist::EdgeBuilder::bytes_per_edge + num_results * 3.0 * sizeof(double);
  const double bytes =
      static_cast<double>(slots_.size()) * own + committee_.num_workers() * committee_.bytes_per_edge();
  return static_cast<int>(std::clamp(bytes_of(memory_) / bytes, 1.0, static_cast<double>(preferred)));
}

double PairAllegro::memory_usage() {
  double bytes = Pair::memory_usage() + deviation_.memory_usage();
  for (const Slot &slot : slots_) {
    bytes += slot.edges.memory_usage() + slot.mean.memory_usage();
    for (const auto &result : slot.results) bytes += result.memory_usage();
  }
  return bytes;
}
