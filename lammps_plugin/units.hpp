// LAMMPS's unit styles in the model's units, eV and Angstrom. From the definitions of the SI (2019) and CODATA 2018;
// LAMMPS's own conversion factors carry fewer digits.
#pragma once

#include <optional>
#include <string>

namespace allegro_dist {

struct Units {
  double length = 1.0;  // Angstrom
  double energy = 1.0;  // eV
};

constexpr double elementary_charge = 1.602176634e-19;  // J per eV
constexpr double avogadro = 6.02214076e23;

// Nothing for styles without absolute units (lj) and unknown ones.
inline std::optional<Units> units_of(const std::string &style) {
  if (style == "metal") return Units{};
  if (style == "real") return Units{1.0, 4184.0 / (avogadro * elementary_charge)};  // kcal/mol
  if (style == "electron") return Units{0.529177210903, 27.211386245988};           // Bohr, Hartree
  if (style == "si") return Units{1e10, 1.0 / elementary_charge};                   // m, J
  if (style == "cgs") return Units{1e8, 1e-7 / elementary_charge};                  // cm, erg
  if (style == "micro") return Units{1e4, 1e-15 / elementary_charge};               // um, pg um^2/us^2
  if (style == "nano") return Units{1e1, 1e-21 / elementary_charge};                // nm, ag nm^2/ns^2
  return std::nullopt;
}

}  // namespace allegro_dist
