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

}  // namespace
}  // namespace allegro_dist
