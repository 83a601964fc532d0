#include "edge_builder.hpp"

#include "neigh_list.h"

#include <algorithm>
#include <numeric>

namespace allegro_dist {
namespace {

constexpr int window = 4096;  // centers: enough for a type's to outweigh that its tables are fetched

}  // namespace

void order_centers(const LAMMPS_NS::NeighList &list, const int *type, int num_types, std::vector<int> &centers) {
  centers.resize(list.inum);
  std::vector<int> next(num_types + 2);  // place of the next center of each type, one type further
  for (int begin = 0; begin < list.inum; begin += window) {
    const int end = std::min(begin + window, list.inum);
    std::fill(next.begin(), next.end(), 0);
    for (int position = begin; position < end; ++position) ++next[type[list.ilist[position]] + 1];
    next[0] = begin;
    std::partial_sum(next.begin(), next.end(), next.begin());
    for (int position = begin; position < end; ++position) {
      const int center = list.ilist[position];
      centers[next[type[center]]++] = center;
    }
  }
}

std::vector<int> block_starts(const std::vector<int> &centers, const int *num_neighbors, int max_edges) {
  std::vector<int> starts;
  const int num_centers = static_cast<int>(centers.size());
  long num_edges = 0;
  for (int place = 0; place < num_centers; ++place) {
    num_edges += num_neighbors[centers[place]];
    // Centers without neighbors cost energy terms only; they are bounded by the same number.
    const bool fits = !starts.empty() && num_edges <= max_edges && place - starts.back() < max_edges;
    if (fits) continue;
    starts.push_back(place);
    num_edges = num_neighbors[centers[place]];
  }
  starts.push_back(num_centers);
  return starts;
}

void EdgeBuilder::grow(std::size_t num_neighbors) {
  if (num_neighbors <= neighbors_.size()) return;
  neighbors_.resize(num_neighbors);
  neighbor_types_.resize(num_neighbors);
  vectors_.resize(3 * num_neighbors);
}

void EdgeBuilder::build(const LAMMPS_NS::NeighList &list, const int *begin, const int *end, const double *const *x,
                        const int *type, const TypeMap &types) {
  centers_.clear();
  center_types_.clear();
  offsets_.assign(1, 0);
  const double unit = types.length_unit;
  int num_edges = 0;
  for (const int *c = begin; c < end; ++c) {
    const int center = *c, num_neighbors = list.numneigh[center];
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
