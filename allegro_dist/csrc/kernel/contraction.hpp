// Clebsch-Gordan products, once per atom: q_t from the environments G_t .. G_0, and back.
#pragma once

#include "chunk_view.hpp"
#include "product.hpp"

namespace allegro_dist {
namespace ALLEGRO_ISA {
namespace {

// q_t: the start by product t, then steps through products t-1 .. 0.
template <class T, int L>
__attribute__((noinline)) void contraction_forward(const ChunkView<T, L> &view, int t) {
  constexpr int D = ChunkView<T, L>::D;
  const int channels = view.channels;
  for (int a = 0; a < view.chunk.num_atoms; ++a) {
    int rows[D];
    ALLEGRO_UNROLL for (int i = 0; i < D; ++i) rows[i] = view.row(a, i) * channels;
    for (int step = 0; step <= t; ++step) {
      const TensorPlan<T> &product = view.plan.tensor[t - step];
      const T *const before = step ? view.adjoint(t, step - 1, a) : nullptr;
      product_forward(product, channels, rows, view.work.environment[t - step], before, view.adjoint(t, step, a));
    }
  }
}

// dE/dG of all layers that q_t read, from dE/dq_t in adjoint_gradient[0], of one atom.
template <class T, int L>
void contraction_backward(const ChunkView<T, L> &view, int t, int a) {
  constexpr int D = ChunkView<T, L>::D;
  const int channels = view.channels;
  T *after = view.work.adjoint_gradient[0], *before = view.work.adjoint_gradient[1];  // dE/dq, both sides of a step
  int rows[D];
  ALLEGRO_UNROLL for (int i = 0; i < D; ++i) rows[i] = view.row(a, i) * channels;
  for (int step = t; step >= 0; --step) {
    const TensorPlan<T> &product = view.plan.tensor[t - step];
    product_backward(product, channels, rows, view.work.environment[t - step],
                     step ? view.adjoint(t, step - 1, a) : nullptr, after, view.work.environment_gradient[t - step],
                     before);
    T *const swap = after;
    after = before;
    before = swap;
  }
}

}  // namespace
}  // namespace ALLEGRO_ISA
}  // namespace allegro_dist
