// Sums over an atom's edges, and the way back: G_t = norm (sum_j h Y) W_t, dE/dh = sum_lm Y dE/d(sum_j h Y).
#pragma once

#include "chunk_view.hpp"
#include "matrix_product.hpp"

namespace allegro_dist {
namespace ALLEGRO_ISA {
namespace {

// write(lm, channel, sum over edges of feature(edge, l, channel) Y_lm), for Vectors vectors of channels at once; from
// order First on.
template <int Vectors, int First = 0, class T, int L, class Feature, class Write>
ALLEGRO_INLINE void sum_over_edges(const ChunkView<T, L> &view, int atom, const Feature &feature, const Write &write) {
  using V = Vec<T>;
  constexpr int n = lanes<T>, Last = last_order(First, L), begin = First * First,
                size = (Last + 1) * (Last + 1) - begin;
  V sums[size][Vectors];
  ALLEGRO_UNROLL for (int i = 0; i < size; ++i) ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) sums[i][v] = V{};
  const int end = view.first_edge(atom + 1);
  for (int e = view.first_edge(atom); e < end; ++e) {
    const T *const y = view.harmonics(e);
    ALLEGRO_UNROLL for (int l = First; l <= Last; ++l) {
      V f[Vectors];
      ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) f[v] = feature(e, l, v * n);
      ALLEGRO_UNROLL for (int i = l * l; i < (l + 1) * (l + 1); ++i) {
        const V component = broadcast(y[i]);
        ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) sums[i - begin][v] += f[v] * component;
      }
    }
  }
  ALLEGRO_UNROLL for (int i = 0; i < size; ++i) ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v)
      write(begin + i, v * n, sums[i][v]);
  if constexpr (Last < L) sum_over_edges<Vectors, Last + 1>(view, atom, feature, write);
}

// out[l][atom][m] = in[l][atom][m] W_l for all l. Rows beyond those of l are scratch of the next l, or padding.
template <class T, int L>
void mix(const ChunkView<T, L> &view, const MatrixProduct<T> *by_order, const T *in, int in_width, T *out,
         int out_width) {
  using V = Vec<T>;
  for (int l = 0; l <= L; ++l) {
    const long first = static_cast<long>(l) * l * view.chunk.num_atoms;
    T *const place = out + first * out_width;
    multiply<T>(
        by_order[l], in + first * in_width, in_width, view.chunk.num_atoms * (2 * l + 1),
        [](int, int) ALLEGRO_LAMBDA { return V{}; },
        [=](int r, int c, V sums) ALLEGRO_LAMBDA { store(place + static_cast<long>(r) * out_width + c, sums); });
  }
}

// G_t, from column e1 of the rows or by way of sum_j h Y and the mixing matrices.
template <class T, int L>
__attribute__((noinline)) void environment_forward(const ChunkView<T, L> &view, int t) {
  using V = Vec<T>;
  const Plan<T> &plan = view.plan;
  const TensorPlan<T> &layer = plan.tensor[t];
  const bool mixed = layer.source >= 0;
  const int width = mixed ? plan.dense[layer.source].width : view.channels;
  const int column = mixed ? plan.dense[layer.source].column : plan.e1_column;
  const int per_order = mixed ? 0 : view.channels;  // h is the same for all l
  T *const out = mixed ? view.work.sums : view.work.environment[t];
  for (int a = 0; a < view.chunk.num_atoms; ++a) {
    const T scale = plan.norm[view.chunk.types[a]];
    view.over_channels(width, [&]<int Vectors>(int u) ALLEGRO_LAMBDA {
      sum_over_edges<Vectors>(
          view, a,
          [&](int e, int l, int c) ALLEGRO_LAMBDA { return load(view.values(e) + column + l * per_order + u + c); },
          [&](int lm, int c, V s)
              ALLEGRO_LAMBDA { store(out + static_cast<long>(view.row(a, lm)) * width + u + c, s * scale); });
    });
  }
  if (mixed) mix(view, layer.mix, out, width, view.work.environment[t], view.channels);
}

// dE/dh of the edges from the environment t that reads h.
template <class T, int L>
__attribute__((noinline)) void expand(const ChunkView<T, L> &view, int t, int width) {
  using V = Vec<T>;
  constexpr int n = lanes<T>, D = ChunkView<T, L>::D;
  const T *const sums = view.work.mixed_gradient[t];
  for (int a = 0; a < view.chunk.num_atoms; ++a)
    view.over_channels(width, [&]<int Vectors>(int u) ALLEGRO_LAMBDA {
      V s[D][Vectors];
      ALLEGRO_UNROLL for (int i = 0; i < D; ++i) ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) s[i][v] =
          load(sums + static_cast<long>(view.row(a, i)) * width + u + v * n);
      const int end = view.first_edge(a + 1);
      for (int e = view.first_edge(a); e < end; ++e) {
        const T *const y = view.harmonics(e);
        V even[Vectors], odd[Vectors];  // two chains of additions
        ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) even[v] = odd[v] = V{};
        ALLEGRO_UNROLL for (int i = 0; i < D; ++i) {
          const V component = broadcast(y[i]);
          ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v)(i % 2 ? odd[v] : even[v]) += s[i][v] * component;
        }
        ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v)
            store(view.work.latent_gradient + static_cast<long>(e) * width + u + v * n, even[v] + odd[v]);
      }
    });
}

}  // namespace
}  // namespace ALLEGRO_ISA
}  // namespace allegro_dist
