// Sums over the Clebsch-Gordan terms of a tensor product, of one atom: one step of its contraction, the product of an
// environment G with the q of the step before, and its way back. Shared by inference and training.
#pragma once

#include "fused_kernel.hpp"
#include "simd.hpp"

namespace allegro_dist {
namespace ALLEGRO_ISA {
namespace {

struct NoGroup {
  template <class V>
  ALLEGRO_INLINE void operator()(int, int, int, const V *) const {}
};

template <int Vectors, int Sums, class T, class Add, class Write, class Group>
ALLEGRO_INLINE void sum_terms_of_channels(const Contraction<T> &terms, const T *path_weights, int channels, int u,
                                          const Add &add, const Write &write, const Group &each_group) {
  constexpr int n = lanes<T>;
  using V = Vec<T>;
  for (int i = 0; i < terms.num_outputs; ++i) {
    V totals[Vectors][Sums];
    ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) ALLEGRO_UNROLL for (int s = 0; s < Sums; ++s) totals[v][s] = V{};
    for (int k = terms.first_group[i]; k < terms.first_group[i + 1]; ++k) {
      const TermGroup group = terms.groups[k];
      V sums[Vectors][Sums];
      ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) ALLEGRO_UNROLL for (int s = 0; s < Sums; ++s) sums[v][s] = V{};
      for (int j = group.begin; j < group.end; ++j)
        ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) add(terms.terms[j], u + v * n, sums[v]);
      ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) {
        const V weight = load(path_weights + group.path * channels + u + v * n);
        ALLEGRO_UNROLL for (int s = 0; s < Sums; ++s) totals[v][s] += sums[v][s] * weight;
        each_group(i, group.path, u + v * n, sums[v]);
      }
    }
    ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) write(i, u + v * n, totals[v]);
  }
}

template <int Vectors, int Sums, class T, class Add, class Write, class Group>
ALLEGRO_INLINE void sum_terms_from(const Contraction<T> &terms, const T *path_weights, int channels, int u,
                                   const Add &add, const Write &write, const Group &each_group) {
  constexpr int step = Vectors * lanes<T>;
  for (; u + step <= channels; u += step)
    sum_terms_of_channels<Vectors, Sums>(terms, path_weights, channels, u, add, write, each_group);
  if constexpr (Vectors > 1)
    sum_terms_from<Vectors / 2, Sums>(terms, path_weights, channels, u, add, write, each_group);
}

// write(output, channel, sums over the output's groups of path weight * sum over their terms), a vector of channels
// each. add(term, channel, sums) adds a term to the `Sums` sums of its group; each_group(output, path, channel, sums)
// sees them before they are weighted.
template <int Sums, class T, class Add, class Write, class Group = NoGroup>
ALLEGRO_INLINE void sum_terms(const Contraction<T> &terms, const T *path_weights, int channels, const Add &add,
                              const Write &write, const Group &each_group = Group()) {
  sum_terms_from<(Sums == 1 ? 4 : 2), Sums>(terms, path_weights, channels, 0, add, write, each_group);
}

// q = product of G with `before`, of the first step (null) with nothing; path by path, all [component][channel].
// Component b of the environment is in its row rows[b], counted in values.
template <class T>
ALLEGRO_INLINE void product_forward(const ProductPlan<T> &product, int channels, const int *rows, const T *g,
                                    const T *before, T *q) {
  using V = Vec<T>;
  const auto write = [&](int i, int u, const V *sums) ALLEGRO_LAMBDA { store(q + i * channels + u, sums[0]); };
  if (before)
    sum_terms<1>(
        product.proceed, product.path_weights, channels,
        [&](const Term<T> &term, int u, V *sums) ALLEGRO_LAMBDA {
          sums[0] += load(g + rows[term.b] + u) * term.value * load(before + term.c * channels + u);
        },
        write);
  else
    sum_terms<1>(
        product.start, product.path_weights, channels,
        [&](const Term<T> &term, int u, V *sums) ALLEGRO_LAMBDA { sums[0] += load(g + rows[term.b] + u) * term.value; },
        write);
}

// Adds what dE/dq says of dE/dG, and writes dE/d(before) unless there is none.
template <class T>
ALLEGRO_INLINE void product_backward(const ProductPlan<T> &product, int channels, const int *rows, const T *g,
                                     const T *before, const T *q_gradient, T *g_gradient, T *before_gradient) {
  using V = Vec<T>;
  const auto asked = [&](const Term<T> &term, int u)
                         ALLEGRO_LAMBDA { return load(q_gradient + term.b * channels + u) * term.value; };
  const auto to_environment = [&](int i, int u, const V *sums) ALLEGRO_LAMBDA {
    T *const place = g_gradient + rows[i] + u;
    store(place, load(place) + sums[0]);
  };
  if (!before) {
    sum_terms<1>(
        product.start_by_environment, product.path_weights, channels,
        [&](const Term<T> &term, int u, V *sums) ALLEGRO_LAMBDA { sums[0] += asked(term, u); }, to_environment);
    return;
  }
  sum_terms<1>(
      product.proceed_by_environment, product.path_weights, channels,
      [&](const Term<T> &term, int u, V *sums)
          ALLEGRO_LAMBDA { sums[0] += asked(term, u) * load(before + term.c * channels + u); },
      to_environment);
  sum_terms<1>(
      product.proceed_by_adjoint, product.path_weights, channels,
      [&](const Term<T> &term, int u, V *sums)
          ALLEGRO_LAMBDA { sums[0] += asked(term, u) * load(g + rows[term.c] + u); },
      [&](int i, int u, const V *sums) ALLEGRO_LAMBDA { store(before_gradient + i * channels + u, sums[0]); });
}

}  // namespace
}  // namespace ALLEGRO_ISA
}  // namespace allegro_dist
