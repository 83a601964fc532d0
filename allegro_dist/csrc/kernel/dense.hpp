// Dense layers of the edges, forward and backward, and the readout.
#pragma once

#include "chunk_view.hpp"
#include "environment.hpp"
#include "matrix_product.hpp"

namespace allegro_dist {
namespace ALLEGRO_ISA {
namespace {

// h and silu' of dense layer k from its pre-activation, in place.
template <class T, int L>
void activate(const ChunkView<T, L> &view, int k) {
  const DensePlan<T> &layer = view.plan.dense[k];
  if (!layer.silu) return;
  for (int e = 0; e < view.num_edges; ++e) {
    T *const value = view.values(e) + layer.column, *const slope = view.gradients(e) + layer.gradient_column;
    for (int c = 0; c < layer.width; c += lanes<T>) {
      Vec<T> h, d;
      silu<T>(load(value + c), h, d);
      store(value + c, h);
      store(slope + c, d);
    }
  }
}

template <class T, int L>
void dense_forward(const ChunkView<T, L> &view, int k) {
  using V = Vec<T>;
  const DensePlan<T> &layer = view.plan.dense[k];
  const int stride = view.plan.values_stride, gradient_stride = view.plan.gradients_stride, rows = view.num_rows;
  T *const values = view.work.values, *const value = values + layer.column;
  T *const slope = view.work.gradients + layer.gradient_column;
  const auto row_start = [=](int r, int c) ALLEGRO_LAMBDA { return load(value + static_cast<long>(r) * stride + c); };
  const auto zero = [](int, int) ALLEGRO_LAMBDA { return V{}; };
  const auto keep = [=](int r, int c, V a) ALLEGRO_LAMBDA { store(value + static_cast<long>(r) * stride + c, a); };
  const auto activated = [=](int r, int c, V a) ALLEGRO_LAMBDA {
    V h, d;
    silu<T>(a, h, d);
    store(value + static_cast<long>(r) * stride + c, h);
    store(slope + static_cast<long>(r) * gradient_stride + c, d);
  };
  if (layer.silu && layer.from_table)
    multiply<T>(layer.forward, values, stride, rows, row_start, activated);
  else if (layer.silu)
    multiply<T>(layer.forward, values, stride, rows, zero, activated);
  else if (layer.from_table)
    multiply<T>(layer.forward, values, stride, rows, row_start, keep);
  else
    multiply<T>(layer.forward, values, stride, rows, zero, keep);
}

// E_i = sum_j readout . h_last; and dE/da of the last layer.
template <class T, int L>
void energies(const ChunkView<T, L> &view) {
  constexpr int n = lanes<T>;
  using V = Vec<T>;
  const DensePlan<T> &layer = view.plan.dense[view.plan.num_dense - 1];
  for (int a = 0; a < view.chunk.num_atoms; ++a) {
    V total = V{};
    for (int e = view.first_edge(a); e < view.first_edge(a + 1); ++e) {
      const T *const h = view.values(e) + layer.column;
      T *const g = view.gradients(e) + layer.gradient_column;
      for (int c = 0; c < layer.width; c += n) {
        const V weight = load(view.plan.readout + c);
        total += load(h + c) * weight;
        store(g + c, layer.silu ? load(g + c) * weight : weight);
      }
    }
    double energy = 0.0;
    for (int i = 0; i < n; ++i) energy += total[i];
    view.chunk.energy[a] = energy * view.plan.energy_factor[view.chunk.types[a]];
  }
}

// dE/da_k = dE/dh_k silu'(a_k); dE/dh_k from the layers that read it, and from the environment that does.
template <class T, int L>
void dense_backward(const ChunkView<T, L> &view, int k) {
  using V = Vec<T>;
  const DensePlan<T> &layer = view.plan.dense[k];
  if (k == view.plan.num_dense - 1) return;  // done with the energies
  if (layer.environment >= 0) expand(view, layer.environment, layer.width);
  const int stride = view.plan.gradients_stride, width = layer.width, rows = view.num_rows;
  T *const gradients = view.work.gradients, *const gradient = gradients + layer.gradient_column;
  const T *const asked = view.work.latent_gradient;
  const auto zero = [](int, int) ALLEGRO_LAMBDA { return V{}; };
  const auto from_environment = [=](int r, int c)
                                    ALLEGRO_LAMBDA { return load(asked + static_cast<long>(r) * width + c); };
  const auto keep = [=](int r, int c, V g) ALLEGRO_LAMBDA { store(gradient + static_cast<long>(r) * stride + c, g); };
  const auto times_slope = [=](int r, int c, V g) ALLEGRO_LAMBDA {
    T *const place = gradient + static_cast<long>(r) * stride + c;
    store(place, g * load(place));
  };
  if (layer.silu && layer.environment >= 0)
    multiply<T>(layer.backward, gradients, stride, rows, from_environment, times_slope);
  else if (layer.silu)
    multiply<T>(layer.backward, gradients, stride, rows, zero, times_slope);
  else if (layer.environment >= 0)
    multiply<T>(layer.backward, gradients, stride, rows, from_environment, keep);
  else
    multiply<T>(layer.backward, gradients, stride, rows, zero, keep);
}

// Rows of the product of `in` rows, written at `out`; nothing is added.
template <class T, class View>
void product_of_rows(const View &view, const MatrixProduct<T> &m, const T *in, int stride, T *out) {
  using V = Vec<T>;
  multiply<T>(
      m, in, stride, view.num_rows, [](int, int) ALLEGRO_LAMBDA { return V{}; },
      [=](int r, int c, V sums) ALLEGRO_LAMBDA { store(out + static_cast<long>(r) * stride + c, sums); });
}

// Without tables: the two-body layers, forward from layer 0's pre-activation, and w.
template <class T, int L>
void two_body_layers_forward(const ChunkView<T, L> &view) {
  const Plan<T> &plan = view.plan;
  activate(view, 0);
  for (int k = 1; k < plan.num_two_body; ++k) dense_forward(view, k);
  product_of_rows(view, plan.two_body_weights, view.work.values, plan.values_stride,
                  view.work.values + plan.weights_column);
}

// And backward, to dE/dr.
template <class T, int L>
void two_body_layers_backward(const ChunkView<T, L> &view) {
  constexpr int n = lanes<T>;
  for (int k = view.plan.num_two_body - 1; k >= 0; --k) dense_backward(view, k);
  const DensePlan<T> &layer = view.plan.dense[0];
  for (int e = 0; e < view.num_edges; ++e) {
    const T *const g = view.gradients(e) + layer.gradient_column;
    const T *const s = view.work.basis_slope + static_cast<long>(e) * layer.width;
    Vec<T> total = Vec<T>{};
    for (int c = 0; c < layer.width; c += n) total += load(g + c) * load(s + c);
    *view.harmonics_gradient(e) = sum<T>(total);
  }
}

}  // namespace
}  // namespace ALLEGRO_ISA
}  // namespace allegro_dist
