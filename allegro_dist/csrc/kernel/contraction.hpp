// Clebsch-Gordan products, once per atom: q_t from the environments G_t .. G_0, and back.
#pragma once

#include "chunk_view.hpp"

namespace allegro_dist {
namespace ALLEGRO_ISA {
namespace {

// q_t: the start by product t, then steps through products t-1 .. 0.
template <class T, int L>
__attribute__((noinline)) void contraction_forward(const ChunkView<T, L> &view, int t) {
  using V = Vec<T>;
  constexpr int n = lanes<T>, D = ChunkView<T, L>::D;
  const int channels = view.channels;
  for (int a = 0; a < view.chunk.num_atoms; ++a) {
    int rows[D];
    ALLEGRO_UNROLL for (int i = 0; i < D; ++i) rows[i] = view.row(a, i) * channels;
    for (int step = 0; step <= t; ++step) {
      const TensorPlan<T> &product = view.plan.tensor[t - step];
      const Contraction<T> &terms = step ? product.proceed : product.start;
      const T *const g = view.work.environment[t - step];
      const T *const before = step ? view.adjoint(t, step - 1, a) : nullptr;
      T *const q = view.adjoint(t, step, a);
      for (int i = 0; i < product.num_outputs * channels; i += n) store(q + i, V{});
      for (int i = 0; i < terms.num_groups; ++i) {
        const TermGroup group = terms.groups[i];
        const T *const weights = product.path_weights + group.path * channels;
        for (int u = 0; u < channels; u += n) {
          V total = V{};
          for (int k = group.begin; k < group.end; ++k) {
            const Term<T> &term = terms.terms[k];
            V x = load(g + rows[term.b] + u) * term.value;
            if (before) x *= load(before + term.c * channels + u);
            total += x;
          }
          T *const place = q + group.a * channels + u;
          store(place, load(place) + total * load(weights + u));
        }
      }
    }
  }
}

// dE/dG of all layers that q_t read, from dE/dq_t in adjoint_gradient[0], of one atom.
template <class T, int L>
void contraction_backward(const ChunkView<T, L> &view, int t, int a) {
  using V = Vec<T>;
  constexpr int n = lanes<T>, D = ChunkView<T, L>::D;
  const int channels = view.channels;
  T *after = view.work.adjoint_gradient[0], *before = view.work.adjoint_gradient[1];  // dE/dq, both sides of a step
  int rows[D];
  ALLEGRO_UNROLL for (int i = 0; i < D; ++i) rows[i] = view.row(a, i) * channels;
  for (int step = t; step >= 0; --step) {
    const TensorPlan<T> &product = view.plan.tensor[t - step];
    const Contraction<T> &terms = step ? product.proceed : product.start;
    const T *const g = view.work.environment[t - step];
    T *const g_gradient = view.work.environment_gradient[t - step];
    const T *const q = step ? view.adjoint(t, step - 1, a) : nullptr;
    if (step)
      for (int i = 0; i < view.plan.tensor[t - step + 1].num_outputs * channels; i += n) store(before + i, V{});
    for (int i = 0; i < terms.num_groups; ++i) {
      const TermGroup group = terms.groups[i];
      const T *const weights = product.path_weights + group.path * channels;
      for (int u = 0; u < channels; u += n) {
        const V out = load(after + group.a * channels + u) * load(weights + u);
        for (int k = group.begin; k < group.end; ++k) {
          const Term<T> &term = terms.terms[k];
          const V scaled = out * term.value;
          T *const to_g = g_gradient + rows[term.b] + u;
          if (!step) {
            store(to_g, load(to_g) + scaled);
            continue;
          }
          T *const to_q = before + term.c * channels + u;
          const V g_value = load(g + rows[term.b] + u), q_value = load(q + term.c * channels + u);
          store(to_g, load(to_g) + scaled * q_value);
          store(to_q, load(to_q) + scaled * g_value);
        }
      }
    }
    T *const swap = after;
    after = before;
    before = swap;
  }
}

}  // namespace
}  // namespace ALLEGRO_ISA
}  // namespace allegro_dist
