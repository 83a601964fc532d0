// What all phases of the CPU kernel see of a chunk: its plan, its memory, and where things stand in it. Everything in
// this folder is included by fused_kernel.cpp, product.hpp by training_kernel.cpp, too, once per instruction set, and
// uses no standard library template.
#pragma once

#include "fused_kernel.hpp"
#include "harmonics.hpp"
#include "simd.hpp"

namespace allegro_dist {
namespace ALLEGRO_ISA {
namespace {

template <class T, int L>
struct ChunkView {
  using V = Vec<T>;
  static constexpr int n = lanes<T>, D = (L + 1) * (L + 1);
  static constexpr int wide_D = (D + n - 1) / n * n;  // of a row of dE/dY

  ChunkView(const Plan<T> &plan, const Workspace<T> &work, const Chunk &chunk)
      : plan(plan),
        work(work),
        chunk(chunk),
        num_edges(chunk.offsets[chunk.num_atoms] - chunk.offsets[0]),
        num_rows((num_edges + row_tile - 1) / row_tile * row_tile),
        capacity(work.edge_capacity),
        channels(plan.num_channels) {}

  const Plan<T> &plan;
  const Workspace<T> &work;
  const Chunk &chunk;
  const int num_edges, num_rows, capacity, channels;

  bool tables() const { return plan.table_intervals > 0; }
  int first_edge(int atom) const { return chunk.offsets[atom] - chunk.offsets[0]; }

  T *values(int edge) const { return work.values + static_cast<long>(edge) * plan.values_stride; }
  T *gradients(int edge) const { return work.gradients + static_cast<long>(edge) * plan.gradients_stride; }
  T *slopes(int edge) const { return work.slopes + static_cast<long>(edge) * plan.slopes_stride; }
  T *harmonics(int edge) const { return work.harmonics + static_cast<long>(edge) * D; }
  T *harmonics_gradient(int edge) const { return work.harmonics_gradient + static_cast<long>(edge) * wide_D; }

  // Row of component lm of an atom in arrays ordered [l][atom][m].
  ALLEGRO_INLINE int row(int atom, int lm) const {
    const int l = order_of[lm];
    return l * l * chunk.num_atoms + atom * (2 * l + 1) + (lm - l * l);
  }

  // q of layer t after a step: [component][channel].
  T *adjoint(int t, int step, int atom) const {
    return work.adjoint[t][step] + static_cast<long>(atom) * plan.tensor[t - step].num_outputs * channels;
  }

  // Calls body<2>(channel), then body<1>, over `width` channels; two vectors at once where registers allow.
  template <class Body>
  ALLEGRO_INLINE static void over_channels(int width, const Body &body) {
    int u = 0;
    if constexpr (vector_bytes == 64 && L <= 2)
      for (; u + 2 * n <= width; u += 2 * n) body.template operator()<2>(u);
    for (; u < width; u += n) body.template operator()<1>(u);
  }
};

}  // namespace
}  // namespace ALLEGRO_ISA
}  // namespace allegro_dist
