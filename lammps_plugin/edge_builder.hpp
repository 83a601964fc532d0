// LAMMPS neighbor list -> blocks of centers with their edges. Knows neither torch nor the engine's insides.
#pragma once

#include <vector>

#include "engine.hpp"

namespace LAMMPS_NS {
class NeighList;
}

namespace allegro_dist {

// The list's centers in the order in which blocks take them: by type within windows of the list. The edges of a block
// then read the tables of few type pairs, which stay in cache; windows keep neighbors close to one another in memory.
void order_centers(const LAMMPS_NS::NeighList &list, const int *type, int num_types, std::vector<int> &centers);

// Cuts the centers into blocks: block b is centers[starts[b]] .. centers[starts[b + 1] - 1]. A block has at most
// max_edges listed neighbors, and centers, but one center at least. The cuts depend on nothing else, so sums taken
// block by block are the same, bit by bit, for any number of threads.
std::vector<int> block_starts(const std::vector<int> &centers, const int *num_neighbors, int max_edges);

// Gathers the edges of one block at a time: the listed neighbors (with LAMMPS's skin) that are within the cutoff.
class EdgeBuilder {
 public:
  static constexpr double bytes_per_edge = 2 * sizeof(int) + 3 * sizeof(double);  // of each listed neighbor

  void build(const LAMMPS_NS::NeighList &list, const int *begin, const int *end, const double *const *x,
             const int *type, const TypeMap &types);

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
