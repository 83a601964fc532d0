// A caller's neighbor list on the device: the atoms listed, one after another, without the caller's bits. Uploaded when
// it is new; where it is to be kept smaller than it is, in parts that replace one another at every call.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "engine.hpp"
#include "gpu_edges.hpp"
#include "gpu_memory.hpp"

namespace allegro_dist {
namespace {

class DeviceNeighborList {
 public:
  // Cuts a new list into parts.
  void cut(const ListedAtoms &atoms) {
    starts_.assign(1, 0);
    on_device_ = -1;
    most_neighbors_ = 0;
    std::vector<int> appearances(atoms.num_atoms, 0);
    long listed = 0;
    for (int c = 0; c < atoms.num_centers; ++c) {
      const int i = atoms.centers[c], count = atoms.num_neighbors[i];
      most_neighbors_ = std::max(most_neighbors_, count);
      for (int k = 0; k < count; ++k) ++appearances[atoms.neighbors[i][k] & atoms.index_mask];
      if (atoms.most_listed && listed + count > atoms.most_listed && c > starts_.back()) {
        starts_.push_back(c);
        listed = 0;
      }
      listed += count;
    }
    starts_.push_back(atoms.num_centers);
    const int most_appearances = appearances.empty() ? 0 : *std::max_element(appearances.begin(), appearances.end());
    edges_of_an_atom_ = most_neighbors_ + most_appearances;
  }

  int num_parts() const { return static_cast<int>(starts_.size()) - 1; }
  int num_centers() const { return starts_.empty() ? 0 : starts_.back(); }
  int start(int part) const { return starts_[part]; }
  int most_neighbors() const { return most_neighbors_; }      // of a center
  int edges_of_an_atom() const { return edges_of_an_atom_; }  // that it may be in, on either side, at most

  // Puts a part on the device, if it is not there, and tells where.
  void place(int part, const ListedAtoms &atoms, Stager &stager, const gpu::Stream &stream, DeviceCenters &in) {
    if (part != on_device_) upload(part, atoms, stager, stream);
    in.num_centers = starts_[part + 1] - starts_[part];
    in.centers = centers_.get();
    in.offsets = offsets_.get();
    in.neighbors = neighbors_.get();
  }

 private:
  void upload(int part, const ListedAtoms &atoms, Stager &stager, const gpu::Stream &stream) {
    const int first = starts_[part], num_centers = starts_[part + 1] - first;
    const int *const centers = atoms.centers + first;
    on_device_ = -1;
    std::vector<std::int64_t> offsets(num_centers + 1, 0);
    for (int c = 0; c < num_centers; ++c) offsets[c + 1] = offsets[c] + atoms.num_neighbors[centers[c]];
    // Arrays grow by freeing the old one, which the device may still read.
    stream.wait();
    stager.upload(stream, centers_.sized(num_centers), centers, num_centers);
    stager.upload(stream, offsets_.sized(num_centers + 1), offsets.data(), num_centers + 1);
    int c = 0;
    stager.upload(stream, neighbors_.sized(offsets.back()), offsets.back(),
                  [&](int *to, std::size_t begin, std::size_t count) {
                    const auto end = static_cast<std::int64_t>(begin + count);
                    for (auto k = static_cast<std::int64_t>(begin); k < end;) {
                      while (offsets[c + 1] <= k) ++c;
                      const int *const listed = atoms.neighbors[centers[c]] - offsets[c];
                      for (const std::int64_t stop = std::min(end, offsets[c + 1]); k < stop; ++k)
                        *to++ = listed[k] & atoms.index_mask;
                    }
                  });
    on_device_ = part;
  }

  std::vector<int> starts_;  // of the parts, among the centers
  int on_device_ = -1;       // the part that is there
  int most_neighbors_ = 0, edges_of_an_atom_ = 0;
  GrowingArray<int> centers_, neighbors_;
  GrowingArray<std::int64_t> offsets_;
};

}  // namespace
}  // namespace allegro_dist
