// LAMMPS can leave pairs out of the neighbor list, silently; the model needs every neighbor.
#pragma once

#include <mpi.h>

#include <string>

#include "edge_builder.hpp"

namespace LAMMPS_NS {
class Atom;
class Neighbor;
}  // namespace LAMMPS_NS

namespace allegro_dist {

// What leaves out pairs that the model needs, with the remedy; empty if nothing does. Called by all ranks once the
// lists' settings are final, and the same on all.
std::string left_out_pairs(const LAMMPS_NS::Atom &atom, const LAMMPS_NS::Neighbor &neighbor, const TypeMap &types,
                           MPI_Comm world);

}  // namespace allegro_dist
