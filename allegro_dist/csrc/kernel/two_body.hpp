// What depends on the type pair and r alone, into the edge rows: from tables, or from the radial basis.
#pragma once

#include "chunk_view.hpp"
#include "hermite.hpp"
#include "radial.hpp"

namespace allegro_dist {
namespace ALLEGRO_ISA {
namespace {

// The edges in the order of the table's knots, which are then read from L1: a radix sort, 8 bits at a time.
template <class T, int L>
const int *edges_by_knot(const ChunkView<T, L> &view) {
  const Workspace<T> &work = view.work;
  const int *const keys = work.knot;
  int *from = work.order, *to = work.order + view.capacity;
  for (int e = 0; e < view.num_edges; ++e) from[e] = e;
  const int num_knots = view.plan.num_types * view.plan.num_types * (view.plan.table_intervals + 1);
  for (int shift = 0; (num_knots - 1) >> shift > 0; shift += 8) {
    int first[257] = {};
    for (int e = 0; e < view.num_edges; ++e) ++first[((keys[e] >> shift) & 255) + 1];
    for (int i = 0; i < 256; ++i) first[i + 1] += first[i];
    for (int i = 0; i < view.num_edges; ++i) to[first[(keys[from[i]] >> shift) & 255]++] = from[i];
    int *const swap = from;
    from = to;
    to = swap;
  }
  return from;
}

// Quintic Hermite between knots: value into the row, derivative with respect to r into the slopes.
template <class T, int L>
__attribute__((noinline)) void read_table(const ChunkView<T, L> &view) {
  constexpr int n = lanes<T>;
  using V = Vec<T>;
  using Weights = Hermite<V, T>;
  const Workspace<T> &work = view.work;
  const int intervals = view.plan.table_intervals, width = view.plan.slopes_stride;
  for (int e = 0; e < view.num_edges; ++e) {
    const TablePlace place = table_place(work.reduced[e], intervals);
    work.knot[e] = work.pair[e] * (intervals + 1) + place.interval;
    work.fraction[e] = static_cast<T>(place.fraction);
    work.per_r[e] = static_cast<T>(intervals * view.plan.inverse_cutoffs[work.pair[e]]);
  }
  for (int e = 0; e < view.num_edges; e += n)
    Weights(load(work.fraction + e), load(work.per_r + e)).write([&](int i, V weight) ALLEGRO_LAMBDA {
      store(work.hermite + (e * Weights::count + i * n), weight);
    });
  const int *const order = edges_by_knot(view);
  for (int i = 0; i < view.num_edges; ++i) {
    const int e = order[i], lane = e % n;
    const T *const weights = work.hermite + ((e - lane) * Weights::count + lane);
    const Weights at([&](int k) ALLEGRO_LAMBDA { return broadcast(weights[k * n]); });
    const T *const left = view.plan.table + work.knot[e] * 3L * width, *const right = left + 3L * width;
    T *const value = view.values(e), *const slope = view.slopes(e);
    for (int c = 0; c < width; c += n) {
      const V f = load(left + c), f1 = load(left + width + c), f2 = load(left + 2 * width + c);
      const V g = load(right + c), g1 = load(right + width + c), g2 = load(right + 2 * width + c);
      store(value + c, at.value(f, f1, f2, g, g1, g2));
      store(slope + c, at.slope(f, f1, f2, g, g1, g2));
    }
  }
}

// Without tables: the pre-activation of dense layer 0 and its derivative with respect to r.
template <class T, int L>
__attribute__((noinline)) void read_basis(const ChunkView<T, L> &view) {
  constexpr int n = lanes<T>;
  using V = Vec<T>;
  const Plan<T> &plan = view.plan;
  const Workspace<T> &work = view.work;
  const DensePlan<T> &layer = plan.dense[0];
  Jet basis[max_basis];
  for (int e = 0; e < view.num_edges; ++e) {
    const double inverse_cutoff = plan.inverse_cutoffs[work.pair[e]];
    if (plan.bessel)
      bessel_basis(work.reduced[e], plan.basis_size, plan.basis_parameter, plan.wavenumbers, basis);
    else
      spline_basis(work.reduced[e], plan.basis_size, plan.basis_parameter, basis);
    const T *const weights = plan.basis_weights + static_cast<long>(work.pair[e]) * plan.basis_size * layer.width;
    T *const value = view.values(e) + layer.column, *const slope =
                                                        work.basis_slope + static_cast<long>(e) * layer.width;
    for (int c = 0; c < layer.width; c += n) {
      V f = V{}, s = V{};
      for (int b = 0; b < plan.basis_size; ++b) {
        const V w = load(weights + static_cast<long>(b) * layer.width + c);
        f += w * static_cast<T>(basis[b].value);
        s += w * static_cast<T>(basis[b].first * inverse_cutoff);
      }
      store(value + c, f);
      store(slope + c, s);
    }
  }
}

}  // namespace
}  // namespace ALLEGRO_ISA
}  // namespace allegro_dist
