/* ----------------------------------------------------------------------
   Pair style allegro: what is done at every step.

   Threads gather and evaluate blocks as they come; sums are taken in the blocks' order (in_order.hpp).

   This file derives from LAMMPS's class Pair and is distributed under the
   GNU General Public License, version 2; see LICENSE in this directory.
------------------------------------------------------------------------- */

#include "pair_allegro.h"

#include "atom.h"
#include "error.h"
#include "first_failure.hpp"
#include "in_order.hpp"
#include "update.h"

#include <cmath>
#include <exception>
#include <omp.h>

using namespace LAMMPS_NS;

void PairAllegro::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  const int block_edges = block_edges_ > 0 ? block_edges_ : engine_->preferred_block_edges();
  const std::vector<int> starts = allegro_dist::block_starts(*list, block_edges);
  allegro_dist::InOrder blocks(static_cast<int>(starts.size()) - 1, static_cast<int>(slots_.size()));
  std::string failure;
#pragma omp parallel num_threads(engine_->num_workers())
  blocks.run([&](int b, int slot) { evaluate_block(starts[b], starts[b + 1], omp_get_thread_num(), slots_[slot]); },
             [&](int slot) {
               if (failure.empty()) failure = slots_[slot].failure;
               if (failure.empty()) add_block(slots_[slot]);
             });
  failure = allegro_dist::first_failure(failure, world);
  if (!failure.empty()) error->all(FLERR, "pair style allegro, step {}: {}", update->ntimestep, failure);
}

void PairAllegro::evaluate_block(int begin, int end, int worker, Slot &slot) const {
  slot.failure.clear();
  try {
    slot.edges.build(*list, begin, end, atom->x, atom->type, types_);
    const auto block = slot.edges.block();
    const auto num_components = 3 * static_cast<std::size_t>(block.num_edges());
    slot.energy.assign(block.num_centers, 0.0);
    if (slot.gradient.size() < num_components) slot.gradient.resize(num_components);
    engine_->evaluate(block, worker, slot.energy.data(), slot.gradient.data());
  } catch (const std::exception &exception) {
    slot.failure = exception.what() + first_atom_not_finite(slot);
  }
}

// " (atom ID n)" of the block's first center whose energy or gradients are not finite; empty if there is none.
std::string PairAllegro::first_atom_not_finite(const Slot &slot) const {
  const auto block = slot.edges.block();
  if (slot.energy.size() != static_cast<std::size_t>(block.num_centers)) return "";
  for (int c = 0; c < block.num_centers; ++c) {
    double sum = slot.energy[c];
    for (int k = 3 * block.edge_offsets[c]; k < 3 * block.edge_offsets[c + 1]; ++k) sum += slot.gradient[k];
    if (!std::isfinite(sum)) return " (atom ID " + std::to_string(atom->tag[slot.edges.centers()[c]]) + ")";
  }
  return "";
}

/* ----------------------------------------------------------------------
   F_center += g, F_neighbor -= g, virial = -r (x) g with g = dE_center/dr, r = r_neighbor - r_center
------------------------------------------------------------------------- */

void PairAllegro::add_block(const Slot &slot) {
  const auto block = slot.edges.block();
  const double per_energy = 1.0 / units_.energy, per_force = units_.length / units_.energy;
  double **f = atom->f;
  for (int c = 0; c < block.num_centers; ++c) {
    const int i = slot.edges.centers()[c];
    const double energy = slot.energy[c] * per_energy;
    if (eflag_global) eng_vdwl += energy;
    if (eflag_atom) eatom[i] += energy;
    for (int e = block.edge_offsets[c]; e < block.edge_offsets[c + 1]; ++e) {
      const int j = slot.edges.neighbors()[e];
      const double *const g = slot.gradient.data() + 3L * e;
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
