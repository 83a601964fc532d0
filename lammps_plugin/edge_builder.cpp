#include "edge_builder.hpp"

#include "neigh_list.h"

namespace allegro_dist {

std::vector<int> block_starts(const LAMMPS_NS::NeighList &list, int max_edges) {
  std::vector<int> starts;
  long num_neighbors = 0;
  for (int position = 0; position < list.inum; ++position) {
    num_neighbors += list.numneigh[list.ilist[position]];
    // Centers without neighbors cost energy terms only; they are bounded by the same number.
    const bool fits = !starts.empty() && num_neighbors <= max_edges && position - starts.back() < max_edges;
    if (fits) continue;
    starts.push_back(position);
    num_neighbors = list.numneigh[list.ilist[position]];
  }
  starts.push_back(list.inum);
  return starts;
}

void EdgeBuilder::grow(std::size_t num_neighbors) {
  if (num_neighbors <= neighbors_.size()) return;
  neighbors_.resize(num_neighbors);
  neighbor_types_.resize(num_neighbors);
  vectors_.resize(3 * num_neighbors);
}

void EdgeBuilder::build(const LAMMPS_NS::NeighList &list, int begin, int end, const double *const *x, const int *type,
                        const TypeMap &types) {
  centers_.clear();
  center_types_.clear();
  offsets_.assign(1, 0);
  const double unit = types.length_unit;
  int num_edges = 0;
  for (int position = begin; position < end; ++position) {
    const int center = list.ilist[position], num_neighbors = list.numneigh[center];
    const int center_type = types.model_type[type[center]];
    if (center_type < 0) continue;
    grow(static_cast<std::size_t>(num_edges) + num_neighbors);
    const int *const listed = list.firstneigh[center];
    const double *const cutoff_square = &types.cutoff_square[type[center] * (types.num_types + 1)];
    const double *const origin = x[center];
    // Every neighbor is written, those within the cutoff stay: cheaper than a branch that nobody can predict.
    for (int k = 0; k < num_neighbors; ++k) {
      const int neighbor = listed[k] & NEIGHMASK;
      const double dx = x[neighbor][0] - origin[0];
      const double dy = x[neighbor][1] - origin[1];
      const double dz = x[neighbor][2] - origin[2];
      double *const vector = vectors_.data() + 3L * num_edges;
      vector[0] = dx * unit;
      vector[1] = dy * unit;
      vector[2] = dz * unit;
      neighbors_[num_edges] = neighbor;
      neighbor_types_[num_edges] = types.model_type[type[neighbor]];
      num_edges += dx * dx + dy * dy + dz * dz < cutoff_square[type[neighbor]];
    }
    centers_.push_back(center);
    center_types_.push_back(center_type);
    offsets_.push_back(num_edges);
  }
}

EdgeBlock EdgeBuilder::block() const {
  return {static_cast<int>(centers_.size()), center_types_.data(), offsets_.data(), vectors_.data(),
          neighbor_types_.data()};
}

double EdgeBuilder::memory_usage() const {
  const auto integers = centers_.capacity() + center_types_.capacity() + offsets_.capacity() + neighbors_.capacity() +
                        neighbor_types_.capacity();
  return static_cast<double>(sizeof(int) * integers + sizeof(double) * vectors_.capacity());
}

}  // namespace allegro_dist
