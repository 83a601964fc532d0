// What the ranks of a run agree on: whether to go on, and what is said when something failed on some of them.
#pragma once

#include <mpi.h>

#include <exception>
#include <new>
#include <string>

namespace allegro_dist {

struct Agreement {
  std::string failure;  // of the lowest rank that failed; empty when none did
  bool stops = false;   // some rank wants to end the run
};

// Joins the ranks' outcomes; called by all of them, and the same on all. Without it one rank's error (a file missing on
// its node) would leave the others waiting.
inline Agreement agree(const std::string &failure, bool stops, MPI_Comm world) {
  int rank, num_ranks, length = static_cast<int>(failure.size());
  MPI_Comm_rank(world, &rank);
  MPI_Comm_size(world, &num_ranks);
  const int mine[2] = {failure.empty() ? num_ranks : rank, stops ? 0 : 1};
  int least[2];
  MPI_Allreduce(mine, least, 2, MPI_INT, MPI_MIN, world);
  Agreement agreement{failure, least[1] == 0};
  if (least[0] == num_ranks) return agreement;
  MPI_Bcast(&length, 1, MPI_INT, least[0], world);
  agreement.failure.resize(length);
  MPI_Bcast(agreement.failure.data(), length, MPI_CHAR, least[0], world);
  return agreement;
}

// What an exception says to the user.
inline std::string text_of(const std::exception &exception) {
  if (dynamic_cast<const std::bad_alloc *>(&exception))
    return "out of memory; use more ranks, or smaller blocks (keywords block and memory)";
  return exception.what();
}

}  // namespace allegro_dist
