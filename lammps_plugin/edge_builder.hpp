// LAMMPS neighbor list -> blocks of centers with their edges. Knows neither torch nor the engine's insides.
#pragma once

#include <vector>

#include "engine.hpp"

namespace LAMMPS_NS {
class NeighList;
}

namespace allegro_dist {

// Cuts a full neighbor list into blocks: block b is the list's positions starts[b] .. starts[b + 1] - 1. A block has at
// most max_edges listed neighbors, and centers, but one center at least. The cuts depend on nothing else, so sums taken
// block by block are the same, bit by bit, for any number of threads.
std::vector<int> block_starts(const LAMMPS_NS::NeighList &list, int max_edges);

// Gathers the edges of one block at a time: the listed neighbors (with LAMMPS's skin) that are within the cutoff.
class EdgeBuilder {
 public:
  static constexpr double bytes_per_edge = 2 * sizeof(int) + 3 * sizeof(double);  // of each listed neighbor

  void build(const LAMMPS_NS::NeighList &list, int begin, int end, const double *const *x, const int *type,
             const TypeMap &types);

  EdgeBlock block() const;
  const std::vector<int> &centers() const { return centers_; }      // local index of each center
  const std::vector<int> &neighbors() const { return neighbors_; }  // local or ghost index of each edge's neighbor
  double memory_usage() const;

 private:
  void grow(std::size_t num_neighbors);

  std::vector<int> centers_, center_types_, offsets_;
  std::vector<int> neighbors_, neighbor_types_;  // as long as the longest block's list so far; offsets_ tell the edges
  std::vector<double> vectors_;
};

}  // namespace allegro_dist
