#include "force_deviation.hpp"

#include <cmath>

namespace allegro_dist {

void ForceDeviation::start(int num_members, int num_local, int num_ghosts) {
  num_members_ = num_members;
  num_atoms_ = static_cast<std::size_t>(num_local) + num_ghosts;
  forces_.assign(3 * num_atoms_ * num_members, 0.0);
  per_atom_.assign(num_local + 1, 0.0);
}

void ForceDeviation::add_block(const EdgeBuilder &edges, const std::vector<Evaluation> &results) {
  const auto block = edges.block();
  for (int member = 0; member < num_members_; ++member)
    for (int c = 0; c < block.num_centers; ++c)
      for (int e = block.edge_offsets[c]; e < block.edge_offsets[c + 1]; ++e) {
        double *const on_center = force(member, edges.centers()[c]);
        double *const on_neighbor = force(member, edges.neighbors()[e]);
        for (int d = 0; d < 3; ++d) {
          const double g = results[member].gradient[3L * e + d];
          on_center[d] += g;
          on_neighbor[d] -= g;
        }
      }
}

void ForceDeviation::finish(int num_local, double unit) {
  for (int i = 0; i < num_local; ++i) {
    double mean[3] = {}, square = 0.0;
    for (int member = 0; member < num_members_; ++member)
      for (int d = 0; d < 3; ++d) mean[d] += force(member, i)[d] / num_members_;
    for (int member = 0; member < num_members_; ++member)
      for (int d = 0; d < 3; ++d) square += std::pow(force(member, i)[d] - mean[d], 2);
    per_atom_[i] = std::sqrt(square / num_members_) / unit;
  }
}

}  // namespace allegro_dist
