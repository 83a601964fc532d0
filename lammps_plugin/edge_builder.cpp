#include "edge_builder.hpp"

#include "neigh_list.h"

namespace allegro_dist {

void EdgeBuilder::start(const LAMMPS_NS::NeighList &list, const double *const *x, const int *type) {
  list_ = &list;
  x_ = x;
  type_ = type;
  position_ = 0;
}

bool EdgeBuilder::next() {
  centers_.clear();
  center_types_.clear();
  neighbors_.clear();
  neighbor_types_.clear();
  vectors_.clear();
  offsets_.assign(1, 0);
  // The list holds more neighbors (skin) than edges, so what it promises bounds what the block will hold. Centers
  // without neighbors cost energy terms only; they are bounded by the same number.
  const auto fits = [&] {
    return offsets_.back() + list_->numneigh[list_->ilist[position_]] <= max_edges_ &&
           static_cast<int>(centers_.size()) < max_edges_;
  };
  while (position_ < list_->inum && (centers_.empty() || fits())) append_center(list_->ilist[position_++]);
  return !centers_.empty();
}

void EdgeBuilder::append_center(int center) {
  const int center_type = type_[center];
  if (types_.model_type[center_type] < 0) return;
  const double *const cutoff_square = &types_.cutoff_square[center_type * (types_.num_lammps_types + 1)];
  const double *const origin = x_[center];
  const double unit = types_.length_unit;
  for (int k = 0; k < list_->numneigh[center]; ++k) {
    const int neighbor = list_->firstneigh[center][k] & NEIGHMASK;
    const double dx = x_[neighbor][0] - origin[0];
    const double dy = x_[neighbor][1] - origin[1];
    const double dz = x_[neighbor][2] - origin[2];
    if (dx * dx + dy * dy + dz * dz >= cutoff_square[type_[neighbor]]) continue;
    vectors_.insert(vectors_.end(), {dx * unit, dy * unit, dz * unit});
    neighbors_.push_back(neighbor);
    neighbor_types_.push_back(types_.model_type[type_[neighbor]]);
  }
  centers_.push_back(center);
  center_types_.push_back(types_.model_type[center_type]);
  offsets_.push_back(static_cast<int>(neighbors_.size()));
}

EdgeBlock EdgeBuilder::block() const {
  return {static_cast<int>(centers_.size()), center_types_.data(), offsets_.data(), vectors_.data(),
          neighbor_types_.data()};
}

}  // namespace allegro_dist
