// Ziegler-Biersack-Littmark repulsion as LAMMPS's pair_style zbl has it: see nn/zbl.py. Internal linkage.
#pragma once

#include "radial.hpp"

namespace allegro_dist {
namespace {

// Half of the energy of a pair times the envelope, and its derivative with respect to r: eV, eV/Angstrom.
ALLEGRO_SHARED Jet zbl_half(double r, double charge_i, double charge_j, double inverse_cutoff, int power) {
  constexpr double coulomb = 14.399645;  // LAMMPS's qqr2e in metal units, eV Angstrom
  constexpr double weights[4] = {0.02817, 0.28022, 0.50986, 0.18175}, rates[4] = {0.20162, 0.40290, 0.94229, 3.19980};
  const double inverse_length = (pow(charge_i, 0.23) + pow(charge_j, 0.23)) / 0.46850;
  Jet screening;
  ALLEGRO_UNROLL for (int k = 0; k < 4; ++k) {
    const double rate = rates[k] * inverse_length, value = weights[k] * exp(-rate * r);
    screening = screening + Jet{value, -rate * value};
  }
  Jet cutoff = envelope(r * inverse_cutoff, power);
  cutoff.first *= inverse_cutoff;
  return Jet{0.5 * coulomb * charge_i * charge_j} * Jet{1.0 / r, -1.0 / (r * r)} * screening * cutoff;
}

// Adds the repulsion of one center to its energy and to the gradients of its edges; charges and cutoffs by model type.
ALLEGRO_SHARED void add_zbl(int center_type, int num_types, const double *charges, const double *inverse_cutoffs,
                            int power, int num_edges, const double *vectors, const int *neighbor_types, double &energy,
                            double *gradient) {
  for (int e = 0; e < num_edges; ++e) {
    const double *const v = vectors + 3L * e;
    const double r = sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
    const Jet pair = zbl_half(r, charges[center_type], charges[neighbor_types[e]],
                              inverse_cutoffs[center_type * num_types + neighbor_types[e]], power);
    energy += pair.value;
    for (int k = 0; k < 3; ++k) gradient[3L * e + k] += pair.first * v[k] / r;
  }
}

}  // namespace
}  // namespace allegro_dist
