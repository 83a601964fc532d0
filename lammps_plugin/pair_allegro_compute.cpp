/* ----------------------------------------------------------------------
   Pair style allegro: what is done at every step.

   On CPUs threads gather and evaluate blocks as they come; sums are taken in the blocks' order (in_order.hpp). On GPUs
   the engine takes the atoms with their neighbor list and gives back sums.

   This file derives from LAMMPS's class Pair and is distributed under the
   GNU General Public License, version 2; see LICENSE in this directory.
------------------------------------------------------------------------- */

#include "pair_allegro.h"

#include "agreement.hpp"
#include "atom.h"
#include "comm.h"
#include "error.h"
#include "in_order.hpp"
#include "lammps_versions.hpp"
#include "neigh_list.h"
#include "neighbor.h"
#include "stop_signals.hpp"
#include "timer.h"
#include "update.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <omp.h>

using namespace LAMMPS_NS;

void PairAllegro::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  const bool wants_deviation = committee_.size() > 1 && (eflag_global || deviation_flag_);
  const auto outcome = allegro_dist::agree(evaluate(wants_deviation), allegro_dist::stop_signal_came(), world);
  if (!outcome.failure.empty())
    error->all(FLERR, "pair style allegro, step {}: {}", update->ntimestep, outcome.failure);
  if (wants_deviation) finish_deviation();
  if (outcome.stops) end_run();
}

// On this rank; returns what failed, if anything did.
std::string PairAllegro::evaluate(bool wants_deviation) {
  try {
    if (wants_deviation) deviation_.start(committee_.size(), atom->nlocal, atom->nghost);
    return committee_.builds_edges() ? run_list(wants_deviation) : run_blocks(wants_deviation);
  } catch (const std::exception &exception) {
    return allegro_dist::text_of(exception);
  }
}

// After this step, as timer timeout would.
void PairAllegro::end_run() {
  if (comm->me == 0 && !timer->is_timeout())
    utils::logmesg(lmp, "allegro: stopped by a signal at step {}; later runs are skipped\n", update->ntimestep);
  timer->force_timeout();
}

/* ----------------------------------------------------------------------
   Edges are built here, block by block
------------------------------------------------------------------------- */

std::string PairAllegro::run_blocks(bool wants_deviation) {
  std::string failure;
  allegro_dist::order_centers(*list, atom->type, atom->ntypes, centers_);
  const auto starts = allegro_dist::block_starts(centers_, list->numneigh, static_cast<int>(listed_at_once()));
  allegro_dist::InOrder blocks(static_cast<int>(starts.size()) - 1, static_cast<int>(slots_.size()));
#pragma omp parallel num_threads(committee_.num_workers())
  blocks.run([&](int b, int slot) { evaluate_block(starts[b], starts[b + 1], omp_get_thread_num(), slots_[slot]); },
             [&](int slot) {
               if (failure.empty()) failure = slots_[slot].failure;
               if (!failure.empty()) return;
               add_block(slots_[slot]);
               if (wants_deviation) deviation_.add_block(slots_[slot].edges, slots_[slot].results);
             });
  return failure;
}

void PairAllegro::evaluate_block(int begin, int end, int worker, Slot &slot) const {
  slot.failure.clear();
  try {
    slot.edges.build(*list, centers_.data() + begin, centers_.data() + end, atom->x, atom->type, types_);
    const auto block = slot.edges.block();
    committee_.evaluate(block, worker, slot.results);
    if (committee_.size() > 1 && options_.takes_mean) take_mean(slot.results, block, slot.mean);
  } catch (const allegro_dist::CenterFailure &failure) {
    const auto id = atom->tag[slot.edges.centers()[failure.center]];
    slot.failure = failure.what() + (" (atom ID " + std::to_string(id) + ")");
  } catch (const std::exception &failure) {
    slot.failure = allegro_dist::text_of(failure);
  }
}

/* ----------------------------------------------------------------------
   F_center += g, F_neighbor -= g, virial = -r (x) g with g = dE_center/dr, r = r_neighbor - r_center
------------------------------------------------------------------------- */

void PairAllegro::add_block(const Slot &slot) {
  const auto block = slot.edges.block();
  const auto &result = committee_.size() > 1 && options_.takes_mean ? slot.mean : slot.results[0];
  const double per_energy = 1.0 / units_.energy, per_force = units_.length / units_.energy;
  double **f = atom->f;
  for (int c = 0; c < block.num_centers; ++c) {
    const int i = slot.edges.centers()[c];
    if (atom->mask[i] & absent_mask_) continue;  // which has no edges either
    const double energy = result.energy[c] * per_energy;
    if (eflag_global) eng_vdwl += energy;
    if (eflag_atom) eatom[i] += energy;
    for (int e = block.edge_offsets[c]; e < block.edge_offsets[c + 1]; ++e) {
      const int j = slot.edges.neighbors()[e];
      const double *const g = result.gradient.data() + 3L * e;
      for (int k = 0; k < 3; ++k) {
        f[i][k] += g[k] * per_force;
        f[j][k] -= g[k] * per_force;
      }
      if (vflag_either) add_virial(i, j, block.edge_vectors + 3L * e, g);
    }
  }
}

/* ----------------------------------------------------------------------
   r in Angstrom, g in eV/Angstrom. Ghosts' shares of per-atom virials go home by LAMMPS's reverse communication.
   stress/atom halves an edge between its atoms. centroid/stress/atom gives all of it to the neighbor, whose velocity
   moves the center's energy: with it compute heat/flux is the exact current of these atomic energies.
------------------------------------------------------------------------- */

void PairAllegro::add_virial(int center, int neighbor, const double *r, const double *g) {
  const double unit = -1.0 / units_.energy;
  const double v[9] = {unit * r[0] * g[0], unit * r[1] * g[1], unit * r[2] * g[2],
                       unit * r[0] * g[1], unit * r[0] * g[2], unit * r[1] * g[2],
                       unit * r[1] * g[0], unit * r[2] * g[0], unit * r[2] * g[1]};
  if (cvflag_atom)
    for (int k = 0; k < 9; ++k) cvatom[neighbor][k] += v[k];
  for (int k = 0; k < 6; ++k) {
    const double symmetric = k < 3 ? v[k] : 0.5 * (v[k] + v[k + 3]);
    if (vflag_global) virial[k] += symmetric;
    if (!vflag_atom) continue;
    vatom[center][k] += 0.5 * symmetric;
    vatom[neighbor][k] += 0.5 * symmetric;
  }
}

/* ----------------------------------------------------------------------
   Edges are built by the engine, on the GPU: it keeps the list until LAMMPS builds another
------------------------------------------------------------------------- */

std::string PairAllegro::run_list(bool wants_deviation) {
  const auto atoms = listed_atoms();
  try {
    const auto results = committee_.evaluate(atoms, {eflag_atom != 0, vflag_atom != 0, cvflag_atom != 0});
    list_build_ = neighbor->ncalls;
    const int num_used = options_.takes_mean ? committee_.size() : 1;
    for (int k = 0; k < num_used; ++k) add_results(atoms, results[k], 1.0 / num_used);
    for (int k = 0; wants_deviation && k < committee_.size(); ++k) deviation_.set_forces(k, results[k].forces);
  } catch (const allegro_dist::CenterFailure &failure) {
    return failure.what() + (" (atom ID " + std::to_string(atom->tag[atoms.centers[failure.center]]) + ")");
  }
  return "";
}

allegro_dist::ListedAtoms PairAllegro::listed_atoms() {
  allegro_dist::ListedAtoms atoms;
  atoms.num_atoms = atom->nlocal + atom->nghost;
  atoms.positions = atoms.num_atoms ? atom->x[0] : nullptr;
  atoms.types = atom->type;
  atoms.type_map = &types_;
  present_centers_.clear();
  for (int c = 0; absent_mask_ && c < list->inum; ++c)
    if (!(atom->mask[list->ilist[c]] & absent_mask_)) present_centers_.push_back(list->ilist[c]);
  atoms.num_centers = absent_mask_ ? static_cast<int>(present_centers_.size()) : list->inum;
  atoms.centers = absent_mask_ ? present_centers_.data() : list->ilist;
  atoms.num_neighbors = list->numneigh;
  atoms.neighbors = list->firstneigh;
  atoms.index_mask = NEIGHMASK;
  // ncalls counts builds, and begins anew only with init(), as does list_build_. A list of this very step is always
  // taken: whoever changed it in between, it costs one upload. So are those of atoms that come and go by their group.
  atoms.list_is_new = absent_mask_ || neighbor->ago == 0 || neighbor->ncalls != list_build_;
  atoms.most_listed = listed_at_once();
  return atoms;
}

void PairAllegro::add_results(const allegro_dist::ListedAtoms &atoms, const allegro_dist::AtomResults &results,
                              double weight) {
  const int num_atoms = atoms.num_atoms;
  if (num_atoms == 0) return;
  const double per_energy = weight / units_.energy, per_force = per_energy * units_.length;
  const auto add = [](double *sums, const double *terms, long count, double unit) {
    for (long k = 0; k < count; ++k) sums[k] += terms[k] * unit;
  };
  add(atom->f[0], results.forces, 3L * num_atoms, per_force);
  if (eflag_global) eng_vdwl += results.energy * per_energy;
  if (vflag_global) add(virial, results.virial, 6, per_energy);
  if (eflag_atom)
    for (int c = 0; c < atoms.num_centers; ++c) eatom[atoms.centers[c]] += results.energies[c] * per_energy;
  if (vflag_atom) add(vatom[0], results.virials, 6L * num_atoms, per_energy);
  if (cvflag_atom) add(cvatom[0], results.centroid_virials, 9L * num_atoms, per_energy);
}

/* ----------------------------------------------------------------------
   The committee's deviation: for compute pair (largest and mean) and fix pair (per atom)
------------------------------------------------------------------------- */

void PairAllegro::finish_deviation() {
  for (sending_member_ = 0; sending_member_ < committee_.size(); ++sending_member_)
    allegro_dist::reverse_comm(*comm, this);
  deviation_.finish(atom->nlocal, units_.energy / units_.length);
  double largest = 0.0, mine[2] = {}, sum_and_count[2];
  for (int i = 0; i < atom->nlocal; ++i) {
    if (types_.model_type[atom->type[i]] < 0) continue;
    largest = std::max(largest, deviation_.per_atom()[i]);
    mine[0] += deviation_.per_atom()[i];
    mine[1] += 1.0;
  }
  MPI_Allreduce(&largest, &largest_and_mean_deviation_[0], 1, MPI_DOUBLE, MPI_MAX, world);
  MPI_Allreduce(mine, sum_and_count, 2, MPI_DOUBLE, MPI_SUM, world);
  largest_and_mean_deviation_[1] = sum_and_count[0] / std::max(1.0, sum_and_count[1]);
  if (comm->me) largest_and_mean_deviation_[0] = largest_and_mean_deviation_[1] = 0.0;
}

int PairAllegro::pack_reverse_comm(int n, int first, double *buf) {
  std::copy_n(deviation_.force(sending_member_, first), 3 * n, buf);
  return 3 * n;
}

void PairAllegro::unpack_reverse_comm(int n, int *list, double *buf) {
  for (int k = 0; k < n; ++k)
    for (int d = 0; d < 3; ++d) deviation_.force(sending_member_, list[k])[d] += buf[3 * k + d];
}

void *PairAllegro::extract(const char *name, int &dim) {
  dim = 0;
  return strcmp(name, "deviation_flag") == 0 ? &deviation_flag_ : nullptr;
}

void *PairAllegro::extract_peratom(const char *name, int &num_columns) {
  num_columns = 0;
  if (strcmp(name, "deviation") != 0) return nullptr;
  if (committee_.size() == 1)
    error->all(FLERR, "pair style allegro: a deviation is that of several archives' forces, but pair_coeff names one");
  return deviation_.per_atom();
}
