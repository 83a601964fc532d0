/* ----------------------------------------------------------------------
   What differs between the LAMMPS versions that the plugin is built for;
   the newest form is used wherever LAMMPS's headers declare it.

   This file derives from LAMMPS's neighbor requests and communication and
   is distributed under the GNU General Public License, version 2; see
   LICENSE in this directory.
------------------------------------------------------------------------- */
#pragma once

#include "comm.h"
#include "neighbor.h"
#include "pair.h"

#if __has_include("neigh_request.h")  // not among the headers that newer versions install, nor needed there
#include "neigh_request.h"
#endif

// LAMMPS's own REQ_FULL, where there is one, comes before a name that a using-directive brings in.
namespace allegro_dist::before_2022 {
enum { REQ_FULL };
}
namespace LAMMPS_NS::NeighConst {
using namespace allegro_dist::before_2022;
}

namespace allegro_dist {

// A full neighbor list for the pair style, built whenever LAMMPS builds lists (Neighbor::add_request came in 2022).
template <class Neighbor>
void request_full_list(Neighbor &neighbor, LAMMPS_NS::Pair *pair, int instance) {
  if constexpr (requires { neighbor.add_request(pair, LAMMPS_NS::NeighConst::REQ_FULL); }) {
    neighbor.add_request(pair, LAMMPS_NS::NeighConst::REQ_FULL);
  } else {
    const int number = neighbor.request(pair, instance);  // may move the array of requests
    auto *const request = neighbor.requests[number];
    request->half = 0;
    request->full = 1;
  }
}

// Ghost atoms' values to their owners, through pack_reverse_comm (one name for all callers came in 2022).
template <class Comm>
void reverse_comm(Comm &comm, LAMMPS_NS::Pair *pair) {
  if constexpr (requires { comm.reverse_comm(pair); })
    comm.reverse_comm(pair);
  else
    comm.reverse_comm_pair(pair);
}

}  // namespace allegro_dist
