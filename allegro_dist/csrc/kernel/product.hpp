// One step of an atom's contraction, the product of an environment G with the q of the step before, and its way back:
// shared by inference and training.
#pragma once

#include "fused_kernel.hpp"
#include "simd.hpp"

namespace allegro_dist {
namespace ALLEGRO_ISA {
namespace {

template <class T>
ALLEGRO_INLINE void clear(T *values, long count) {
  for (long i = 0; i < count; i += lanes<T>) store(values + i, Vec<T>{});
}

// q = product of G with `before`, of the first step (null) with nothing; path by path, all [component][channel].
// Component b of the environment is in its row rows[b], counted in values.
template <class T>
ALLEGRO_INLINE void product_forward(const Contraction<T> &terms, const T *path_weights, int num_outputs, int channels,
                                    const int *rows, const T *g, const T *before, T *q) {
  using V = Vec<T>;
  clear(q, num_outputs * channels);
  for (int i = 0; i < terms.num_groups; ++i) {
    const TermGroup group = terms.groups[i];
    const T *const weights = path_weights + group.path * channels;
    for (int u = 0; u < channels; u += lanes<T>) {
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

// Adds what dE/dq says of dE/dG, and of dE/d(before) unless there is none.
template <class T>
ALLEGRO_INLINE void product_backward(const Contraction<T> &terms, const T *path_weights, int channels, const int *rows,
                                     const T *g, const T *before, const T *q_gradient, T *g_gradient,
                                     T *before_gradient) {
  using V = Vec<T>;
  for (int i = 0; i < terms.num_groups; ++i) {
    const TermGroup group = terms.groups[i];
    const T *const weights = path_weights + group.path * channels;
    for (int u = 0; u < channels; u += lanes<T>) {
      const V out = load(q_gradient + group.a * channels + u) * load(weights + u);
      for (int k = group.begin; k < group.end; ++k) {
        const Term<T> &term = terms.terms[k];
        const V scaled = out * term.value;
        T *const to_g = g_gradient + rows[term.b] + u;
        if (!before) {
          store(to_g, load(to_g) + scaled);
          continue;
        }
        T *const to_before = before_gradient + term.c * channels + u;
        const V g_value = load(g + rows[term.b] + u), before_value = load(before + term.c * channels + u);
        store(to_g, load(to_g) + scaled * before_value);
        store(to_before, load(to_before) + scaled * g_value);
      }
    }
  }
}

}  // namespace
}  // namespace ALLEGRO_ISA
}  // namespace allegro_dist
