// The ranks of a run that are on one node, and what they share there.
#pragma once

#include <mpi.h>

#include <cstdlib>
#include <string>

namespace allegro_dist {

inline MPI_Comm ranks_on_node(MPI_Comm world) {
  MPI_Comm node;
  MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  return node;
}

inline int rank_on_node(MPI_Comm world) {
  MPI_Comm node = ranks_on_node(world);
  int rank;
  MPI_Comm_rank(node, &rank);
  MPI_Comm_free(&node);
  return rank;
}

// What each rank may take of its device, "cuda:N": the least that one of those who use it found free, by their number.
// Called by all ranks; those without such a device ("cpu") get what they gave.
inline double share_of_device(double free_bytes, const std::string &device, MPI_Comm world) {
  const std::size_t colon = device.find(':');
  const int number = colon == std::string::npos ? MPI_UNDEFINED : std::atoi(device.c_str() + colon + 1);
  MPI_Comm node = ranks_on_node(world), sharing;
  MPI_Comm_split(node, number, 0, &sharing);
  MPI_Comm_free(&node);
  if (sharing == MPI_COMM_NULL) return free_bytes;
  int num_sharing;
  double least;
  MPI_Comm_size(sharing, &num_sharing);
  MPI_Allreduce(&free_bytes, &least, 1, MPI_DOUBLE, MPI_MIN, sharing);
  MPI_Comm_free(&sharing);
  return least / num_sharing;
}

}  // namespace allegro_dist
