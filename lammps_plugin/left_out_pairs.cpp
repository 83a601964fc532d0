#include "left_out_pairs.hpp"

#include "atom.h"
#include "group.h"
#include "neighbor.h"

#include <cstring>

using LAMMPS_NS::Atom;
using LAMMPS_NS::Group;
using LAMMPS_NS::Neighbor;

namespace allegro_dist {
namespace {

// Whether some atom has neighbors over `bonds` bonds: LAMMPS counts them cumulatively, by atom.
bool has_special(const Atom &atom, int bonds, MPI_Comm world) {
  // Templates keep their bonds elsewhere: taken for bonded.
  int mine = atom.molecular == Atom::TEMPLATE && atom.nlocal > 0, any = 0;
  if (atom.molecular == Atom::MOLECULAR)
    for (int i = 0; i < atom.nlocal; ++i)
      mine |= atom.nspecial[i][bonds - 1] > (bonds > 1 ? atom.nspecial[i][bonds - 2] : 0);
  MPI_Allreduce(&mine, &any, 1, MPI_INT, MPI_MAX, world);
  return any;
}

// FixGCMC:gcmc_exclusion_group:ID, FixWidom:widom_exclusion_group:ID, FixChargeRegulation:exclusion_group:ID.
bool is_absent(const Group &group, int number) {
  return strstr(group.names[number], "exclusion_group:") != nullptr;
}

bool excludes_ours(const Neighbor &neighbor, const Group &group, const TypeMap &types) {
  bool excludes = neighbor.nex_mol > 0;
  for (int k = 0; k < neighbor.nex_group; ++k) excludes |= !is_absent(group, neighbor.ex1_group[k]);
  for (int k = 0; k < neighbor.nex_type; ++k)
    excludes |= types.model_type[neighbor.ex1_type[k]] >= 0 && types.model_type[neighbor.ex2_type[k]] >= 0;
  return excludes;
}

}  // namespace

int absent_atoms_mask(const Neighbor &neighbor, const Group &group) {
  int mask = 0;
  for (int k = 0; k < neighbor.nex_group; ++k)
    if (is_absent(group, neighbor.ex1_group[k])) mask |= neighbor.ex1_bit[k];
  return mask;
}

std::string left_out_pairs(const Atom &atom, const Neighbor &neighbor, const Group &group, const TypeMap &types,
                           MPI_Comm world) {
  const char *const names[4] = {"", "1-2 (bonded)", "1-3 (over two bonds)", "1-4 (over three bonds)"};
  if (atom.molecular != Atom::ATOMIC)
    for (int bonds = 1; bonds <= 3; ++bonds)
      if (neighbor.special_flag[bonds] == 0 && has_special(atom, bonds, world))
        return std::string("special_bonds leaves out ") + names[bonds] +
               " neighbors (weights 0); use special_bonds lj/coul 1 1 1";
  if (excludes_ours(neighbor, group, types))
    return "neigh_modify exclude leaves some out; remove it (neigh_modify exclude none), or leave whole types to "
           "another style (NULL with pair_style hybrid)";
  return "";
}

}  // namespace allegro_dist
