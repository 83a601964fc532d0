// What differs between the LAMMPS versions that the plugin is built for, and nothing else: 6 Jan 2022 (Debian 12) to
// 22 Jul 2025, all tried by scripts/lammps_versions.py.
#pragma once

#include "comm.h"
#include "neighbor.h"
#include "pair.h"

#if __has_include("neigh_request.h")  // in LAMMPS's source folder; installed headers lack it
#include "neigh_request.h"
#endif

namespace allegro_dist {

// neighbor->add_request and NeighConst came in 2022; before, a request was made by setting fields of neigh_request.h.
template <class Neighbor>
void request_full_list(Neighbor *neighbor, LAMMPS_NS::Pair *pair) {
  if constexpr (requires { neighbor->add_request(pair, 0); }) {
    constexpr int full = 1 << 0;  // NeighConst::REQ_FULL
    neighbor->add_request(pair, full);
  } else {
    auto *const request = neighbor->requests[neighbor->request(pair)];
    request->half = 0;
    request->full = 1;
  }
}

// comm->reverse_comm(pair) was reverse_comm_pair(pair) until 2022.
template <class Comm>
void reverse_comm(Comm *comm, LAMMPS_NS::Pair *pair) {
  if constexpr (requires { comm->reverse_comm(pair); })
    comm->reverse_comm(pair);
  else
    comm->reverse_comm_pair(pair);
}

}  // namespace allegro_dist
