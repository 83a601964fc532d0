// s_t[u] = sum_l w[l, u] sum_m q_t[lm, u] Y_lm on every edge, and the way back to the environments.
#pragma once

#include "chunk_view.hpp"
#include "contraction.hpp"
#include "dense.hpp"
#include "environment.hpp"

namespace allegro_dist {
namespace ALLEGRO_ISA {
namespace {

// s_t, and with tables also its change by dw/dr.
template <class T, int L>
__attribute__((noinline)) void project(const ChunkView<T, L> &view, int t) {
  using V = Vec<T>;
  constexpr int n = lanes<T>, D = ChunkView<T, L>::D;
  const TensorPlan<T> &layer = view.plan.tensor[t];
  const bool tables = view.tables();
  const int channels = view.channels, weights_column = view.plan.weights_column;
  for (int a = 0; a < view.chunk.num_atoms; ++a) {
    const T *const q = view.adjoint(t, t, a);
    view.over_channels(channels, [&]<int Vectors>(int u) ALLEGRO_LAMBDA {
      V q_of[D][Vectors];
      ALLEGRO_UNROLL for (int i = 0; i < D; ++i) ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) q_of[i][v] =
          load(q + i * channels + u + v * n);
      const int end = view.first_edge(a + 1);
      for (int e = view.first_edge(a); e < end; ++e) {
        T *const value = view.values(e);
        const T *const y = view.harmonics(e);
        const T *const weights = value + weights_column + u;
        const T *const weight_slopes = tables ? view.slopes(e) + weights_column + u : weights;
        V s[Vectors], slope[Vectors];
        ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) s[v] = slope[v] = V{};
        ALLEGRO_UNROLL for (int l = 0; l <= L; ++l) {
          V inner[Vectors];
          ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) inner[v] = V{};
          ALLEGRO_UNROLL for (int i = l * l; i < (l + 1) * (l + 1); ++i) {
            const V component = broadcast(y[i]);
            ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) inner[v] += q_of[i][v] * component;
          }
          ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) {
            s[v] += inner[v] * load(weights + l * channels + v * n);
            slope[v] += inner[v] * load(weight_slopes + l * channels + v * n);
          }
        }
        ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) {
          store(value + layer.projection_column + u + v * n, s[v]);
          if (tables) store(value + layer.projection_slope_column + u + v * n, slope[v]);
        }
      }
    });
  }
}

// From dE/da of the layer that read s_t to dE/ds_t, dE/dq_t and the dE/dG's; dE/dG_t is then complete, and goes back
// through its mixing.
template <class T, int L>
__attribute__((noinline)) void tensor_backward(const ChunkView<T, L> &view, const DensePlan<T> &reader) {
  using V = Vec<T>;
  constexpr int n = lanes<T>, D = ChunkView<T, L>::D;
  const Plan<T> &plan = view.plan;
  const Workspace<T> &work = view.work;
  const int t = reader.projection, channels = view.channels;
  const TensorPlan<T> &layer = plan.tensor[t];
  product_of_rows(view, reader.to_projection, work.gradients, plan.gradients_stride,
                  work.gradients + layer.projection_gradient_column);
  T *const q_gradient = work.adjoint_gradient[0], *const g = work.environment_gradient[t];
  for (int a = 0; a < view.chunk.num_atoms; ++a) {
    view.over_channels(channels, [&]<int Vectors>(int u) ALLEGRO_LAMBDA {
      sum_over_edges<Vectors>(
          view, a,
          [&](int e, int l, int c) ALLEGRO_LAMBDA {
            return load(view.values(e) + plan.weights_column + l * channels + u + c) *
                   load(view.gradients(e) + layer.projection_gradient_column + u + c);
          },
          [&](int lm, int c, V s) ALLEGRO_LAMBDA { store(q_gradient + lm * channels + u + c, s); });
    });
    contraction_backward(view, t, a);
    const T scale = plan.norm[view.chunk.types[a]];
    ALLEGRO_UNROLL for (int i = 0; i < D; ++i) {
      T *const place = g + view.row(a, i) * channels;
      for (int u = 0; u < channels; u += n) store(place + u, load(place + u) * scale);
    }
  }
  if (layer.source >= 0) mix(view, layer.mix_back, g, channels, work.mixed_gradient[t], plan.dense[layer.source].width);
}

}  // namespace
}  // namespace ALLEGRO_ISA
}  // namespace allegro_dist
