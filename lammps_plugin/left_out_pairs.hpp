// LAMMPS can leave pairs out of the neighbor list, silently; the model needs every neighbor.
#pragma once

#include <mpi.h>

#include <string>

#include "edge_builder.hpp"

namespace LAMMPS_NS {
class Atom;
class Group;
class Neighbor;
}  // namespace LAMMPS_NS

namespace allegro_dist {

// What leaves out pairs that the model needs, with the remedy; empty if nothing does. Called by all ranks once the
// lists' settings are final, and the same on all.
std::string left_out_pairs(const LAMMPS_NS::Atom &atom, const LAMMPS_NS::Neighbor &neighbor,
                           const LAMMPS_NS::Group &group, const TypeMap &types, MPI_Comm world);

// Group bits of atoms that are there for LAMMPS's bookkeeping alone: fix gcmc and fix widom try deletions by excluding
// an atom from all pairs. It has no energy then, not even that of an isolated atom.
int absent_atoms_mask(const LAMMPS_NS::Neighbor &neighbor, const LAMMPS_NS::Group &group);

}  // namespace allegro_dist
