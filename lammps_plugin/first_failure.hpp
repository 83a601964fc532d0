// What the ranks of a run agree on when something failed on some of them.
#pragma once

#include <mpi.h>

#include <string>

namespace allegro_dist {

// Joins the ranks' outcomes: the text of the lowest rank that failed, the same on all; empty when none did.
// Called by all ranks. Without it one rank's error (a file missing on its node) would leave the others waiting.
inline std::string first_failure(const std::string &mine, MPI_Comm world) {
  int rank, num_ranks, failing, length = static_cast<int>(mine.size());
  MPI_Comm_rank(world, &rank);
  MPI_Comm_size(world, &num_ranks);
  const int candidate = mine.empty() ? num_ranks : rank;
  MPI_Allreduce(&candidate, &failing, 1, MPI_INT, MPI_MIN, world);
  if (failing == num_ranks) return "";
  MPI_Bcast(&length, 1, MPI_INT, failing, world);
  std::string text = mine;
  text.resize(length);
  MPI_Bcast(text.data(), length, MPI_CHAR, failing, world);
  return text;
}

}  // namespace allegro_dist
