// First and last: from edge vectors to Y_lm, and from dE/dr and dE/dY_lm to dE/d(edge vector).
#pragma once

#include "chunk_view.hpp"
#include "harmonics.hpp"

namespace allegro_dist {
namespace ALLEGRO_ISA {
namespace {

template <class T>
struct HarmonicNorm {  // folds to a constant
  ALLEGRO_INLINE T operator()(int l, int m) const { return static_cast<T>(__builtin_sqrt(harmonic_norm_square(l, m))); }
};

// Y_lm of n edges at a time, turned into rows of edges.
template <class T, int L>
__attribute__((noinline)) void write_harmonics(const ChunkView<T, L> &view) {
  using View = ChunkView<T, L>;
  using V = Vec<T>;
  constexpr int n = View::n, D = View::D;
  const T *const nx = view.work.direction, *const ny = nx + view.capacity, *const nz = ny + view.capacity;
  alignas(vector_bytes) T columns[D][n];
  for (int e = 0; e < view.num_edges; e += n) {
    const Harmonics<T, V, L> f(load(nx + e), load(ny + e), load(nz + e), broadcast<T>(1));
    f.values(HarmonicNorm<T>(), [&](int lm, V y) ALLEGRO_LAMBDA { store(columns[lm], y); });
    T *const rows = view.harmonics(e);
    for (int k = 0; k < n; ++k)
      for (int i = 0; i < D; ++i) rows[k * D + i] = columns[i][k];
  }
}

template <class T, int L>
void geometry(const ChunkView<T, L> &view) {
  const Workspace<T> &work = view.work;
  const Chunk &chunk = view.chunk;
  const double *const vectors = chunk.vectors + 3L * chunk.offsets[0];
  T *const nx = work.direction, *const ny = nx + view.capacity, *const nz = ny + view.capacity;
  for (int e = 0; e < view.num_edges; ++e) {
    const double x = vectors[3 * e], y = vectors[3 * e + 1], z = vectors[3 * e + 2];
    const double r = __builtin_sqrt(x * x + y * y + z * z), inverse = 1.0 / r;
    work.length[e] = r;
    nx[e] = static_cast<T>(x * inverse);
    ny[e] = static_cast<T>(y * inverse);
    nz[e] = static_cast<T>(z * inverse);
  }
  for (int a = 0; a < chunk.num_atoms; ++a)
    for (int e = view.first_edge(a); e < view.first_edge(a + 1); ++e) {
      work.pair[e] = chunk.types[a] * view.plan.num_types + chunk.neighbor_types[chunk.offsets[0] + e];
      work.reduced[e] = work.length[e] * view.plan.inverse_cutoffs[work.pair[e]];
    }
  constexpr int n = lanes<T>;
  const int padded = (view.num_edges + n - 1) / n * n;
  for (int e = view.num_edges; e < padded; ++e) nx[e] = ny[e] = nz[e] = 0;
  write_harmonics(view);
}

// dE/dvector = dE/dr n + (1 - n n^T) / r sum_lm dE/dY_lm dY_lm/dn, times the center's energy factor.
template <class T, int L>
__attribute__((noinline)) void write_gradients(const ChunkView<T, L> &view) {
  using View = ChunkView<T, L>;
  using V = Vec<T>;
  constexpr int n = View::n, D = View::D;
  const Workspace<T> &work = view.work;
  const Chunk &chunk = view.chunk;
  T *const nx = work.direction, *const ny = nx + view.capacity, *const nz = ny + view.capacity;
  alignas(vector_bytes) T columns[D][n];
  for (int e = 0; e < view.num_edges; e += n) {
    const T *const rows = view.harmonics_gradient(e);
    for (int k = 0; k < n; ++k)
      for (int i = 0; i < D; ++i) columns[i][k] = rows[k * View::wide_D + i];
    const V x = load(nx + e), y = load(ny + e), z = load(nz + e);
    V gx, gy, gz;
    Harmonics<T, V, L>(x, y, z, broadcast<T>(1))
        .gradient(HarmonicNorm<T>(), [&](int lm) ALLEGRO_LAMBDA { return load(columns[lm]); }, gx, gy, gz);
    const V radial = gx * x + gy * y + gz * z;
    // in place of the direction: the tangential part, still to be divided by r
    store(nx + e, gx - radial * x);
    store(ny + e, gy - radial * y);
    store(nz + e, gz - radial * z);
  }
  for (int a = 0; a < chunk.num_atoms; ++a) {
    const double factor = view.plan.energy_factor[chunk.types[a]];
    for (int e = view.first_edge(a); e < view.first_edge(a + 1); ++e) {
      const double *const vector = chunk.vectors + 3L * (chunk.offsets[0] + e);
      double *const out = chunk.gradient + 3L * (chunk.offsets[0] + e);
      const double scale = factor / work.length[e], along = static_cast<double>(*view.harmonics_gradient(e));
      out[0] = scale * (along * vector[0] + nx[e]);
      out[1] = scale * (along * vector[1] + ny[e]);
      out[2] = scale * (along * vector[2] + nz[e]);
    }
  }
}

}  // namespace
}  // namespace ALLEGRO_ISA
}  // namespace allegro_dist
