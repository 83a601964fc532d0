/* ----------------------------------------------------------------------
   Pair style allegro: runs an allegro_dist archive in LAMMPS. Here: its
   commands, and what is set up before a run.

   This file derives from LAMMPS's class Pair and is distributed under the
   GNU General Public License, version 2; see LICENSE in this directory.
------------------------------------------------------------------------- */

#include "pair_allegro.h"

#include "agreement.hpp"
#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "group.h"
#include "lammps_versions.hpp"
#include "left_out_pairs.hpp"
#include "memory.h"
#include "neighbor.h"
#include "node_ranks.hpp"
#include "stop_signals.hpp"
#include "universe.h"
#include "update.h"

#include <algorithm>
#include <cstring>
#include <exception>

using namespace LAMMPS_NS;

namespace {

// One block takes a core about a millisecond, a turn of another process several.
constexpr int slots_per_thread = 8;

// Of a GPU's free memory that neighbor lists may take by themselves: an atom's list, with its skin, takes 4 bytes for
// each of some 100 neighbors; its position, forces and sums, with those of ghosts, at most as much.
constexpr double share_of_lists = 0.5;

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
  deallocate();
}

void PairAllegro::allocate() {
  allocated = 1;
  memory->create(setflag, atom->ntypes + 1, atom->ntypes + 1, "pair:setflag");
  memory->create(cutsq, atom->ntypes + 1, atom->ntypes + 1, "pair:cutsq");
}

void PairAllegro::deallocate() {
  if (!allocated) return;
  allocated = 0;
  memory->destroy(setflag);
  memory->destroy(cutsq);
}

/* ---------------------------------------------------------------------- */

void PairAllegro::settings(int narg, char **arg) {
  try {
    options_ = allegro_dist::read_pair_options({arg, arg + narg});
  } catch (const std::exception &exception) {
    error->all(FLERR, "pair_style allegro: {}", exception.what());
  }
  deallocate();  // archives are opened as the settings say: LAMMPS asks for another pair_coeff
}

void PairAllegro::coeff(int narg, char **arg) {
  deallocate();  // who goes on after an error here has no coefficients
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
  bound_memory();
}

// What the user says; else, where lists are on a GPU, what is free there for this rank's. Partitions may share it.
void PairAllegro::bound_memory() {
  const double share = allegro_dist::share_of_device(committee_.free_memory(), committee_.member(0).device(), world);
  const bool is_default = options_.memory == 0.0;
  memory_ = is_default ? share_of_lists * share / universe->nworlds : options_.memory;
  if (memory_ > 0 && comm->me == 0)
    utils::logmesg(lmp, "allegro: memory {:g} MB{}: blocks of at most {} listed neighbors\n", memory_ / 0x1p20,
                   is_default ? " (of a rank's share of " + committee_.member(0).device() + ")" : "", listed_at_once());
}

void PairAllegro::open_archives(const std::vector<std::string> &paths) {
  std::string failure;
  // Partitions of a run lie one after another: their ranks take GPUs in turn, too.
  const int local_rank = universe->root_proc[universe->iworld] + allegro_dist::rank_on_node(world);
  try {
    committee_.open(paths, {options_.device, local_rank, comm->nthreads, options_.evaluator});
    const int num_workers = committee_.num_workers();
    slots_.assign(num_workers == 1 ? 1 : slots_per_thread * num_workers, {});
  } catch (const std::exception &exception) {
    failure = allegro_dist::text_of(exception);
    if (paths.size() > 1)
      failure += "; the last " + std::to_string(atom->ntypes) +
                 " arguments are taken for elements, one for each LAMMPS type, those before for archives";
  }
  failure = allegro_dist::agree(failure, false, world).failure;
  if (!failure.empty()) error->all(FLERR, "pair style allegro: {}", failure);
}

void PairAllegro::map_types(int num_elements, char **names) {
  const auto &model = committee_.member(0);
  const auto &known = model.type_names();
  types_.num_types = num_elements;
  types_.model_type.assign(num_elements + 1, -1);
  for (int i = 1; i <= num_elements; ++i) {
    const std::string name = names[i - 1];
    if (name == "NULL") continue;  // left to another style
    const auto found = std::find(known.begin(), known.end(), name);
    if (found == known.end())
      error->all(FLERR, "pair_coeff: element '{}' of LAMMPS type {} is not in archive '{}', whose types are: {}", name,
                 i, committee_.path(0), joined(known));
    types_.model_type[i] = static_cast<int>(found - known.begin());
  }
  const auto is_ours = [](int type) { return type >= 0; };
  if (std::none_of(types_.model_type.begin(), types_.model_type.end(), is_ours))
    error->all(FLERR, "pair_coeff: pair style allegro needs an element for one LAMMPS type at least, got NULL for all");
  if (force->pair == this && !std::all_of(types_.model_type.begin() + 1, types_.model_type.end(), is_ours))
    error->all(FLERR,
               "pair_coeff: NULL leaves a LAMMPS type to another style of pair_style hybrid, but pair style "
               "allegro is alone; expected an element for each of the {} LAMMPS types",
               num_elements);
  types_.length_unit = units_.length;
  allocate();
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
  allegro_dist::request_full_list(*neighbor, this, instance_me);
  list_build_ = -1;
}

// Once the neighbor lists' settings are final.
void PairAllegro::setup() {
  const std::string left_out = allegro_dist::left_out_pairs(*atom, *neighbor, *group, types_, world);
  if (!left_out.empty()) error->all(FLERR, "pair style allegro needs every pair of its atoms, but {}", left_out);
  absent_mask_ = allegro_dist::absent_atoms_mask(*neighbor, *group);
  allegro_dist::catch_stop_signals();
}

double PairAllegro::init_one(int i, int j) {
  const int a = types_.model_type[i], b = types_.model_type[j];
  const auto &model = committee_.member(0);
  return std::max(model.cutoff(a, b), model.cutoff(b, a)) / units_.length;  // LAMMPS's own pair cutoff is symmetric
}

// Neighbors of one block: as the user says, else what the evaluator runs best with, or as many as the memory allows.
// Where the engine builds the edges: of the whole list, of which so much is on the GPU at once; 0: no limit.
long PairAllegro::listed_at_once() const {
  if (options_.block_edges > 0) return options_.block_edges;
  const long preferred = committee_.builds_edges() ? 0 : committee_.preferred_block_edges();
  if (memory_ == 0.0) return preferred;
  const int num_results = committee_.size() > 1 ? committee_.size() + 1 : 1;
  const double own = allegro_dist::EdgeBuilder::bytes_per_edge + num_results * 3.0 * sizeof(double);
  const double bytes = committee_.num_workers() * committee_.bytes_per_edge() +
                       (preferred ? static_cast<double>(slots_.size()) * own : 0.0);
  const long fitting = std::max(1L, static_cast<long>(memory_ / bytes));
  return preferred ? std::min(preferred, fitting) : fitting;
}

double PairAllegro::memory_usage() {
  double bytes =
      Pair::memory_usage() + deviation_.memory_usage() + sizeof(int) * static_cast<double>(centers_.capacity());
  for (const Slot &slot : slots_) {
    bytes += slot.edges.memory_usage() + slot.mean.memory_usage();
    for (const auto &result : slot.results) bytes += result.memory_usage();
  }
  return bytes;
}
