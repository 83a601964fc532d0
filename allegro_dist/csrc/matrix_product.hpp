// Dense matrix products of rows in cache by packed weights: the inner loops of all kernels. Internal linkage, and no
// standard library template, as in simd.hpp.
#pragma once

#include "fused_kernel.hpp"
#include "simd.hpp"

namespace allegro_dist {
namespace ALLEGRO_ISA {
namespace {

// rows x (Vectors of columns): accumulators start from start(row, column) and end in finish(row, column, sums).
template <class T, int Rows, int Vectors, class Start, class Finish>
ALLEGRO_INLINE void tile(const MatrixProduct<T> &m, const T *x, int stride, const T *weights, int row, int column,
                         const Start &start, const Finish &finish) {
  constexpr int n = lanes<T>;
  Vec<T> sums[Rows][Vectors];
  ALLEGRO_UNROLL for (int r = 0; r < Rows; ++r) ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) sums[r][v] =
      start(row + r, column + v * n);
  for (int o = 0; o < m.num_operands; ++o) {
    const T *in = x + static_cast<long>(row) * stride + m.column[o];
    const int depth = m.depth[o];
#pragma GCC unroll 2
    for (int k = 0; k < depth; ++k, weights += Vectors * n) {
      Vec<T> w[Vectors];
      ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) w[v] = load(weights + v * n);
      ALLEGRO_UNROLL for (int r = 0; r < Rows; ++r) {
        const Vec<T> b = broadcast(in[static_cast<long>(r) * stride + k]);
        ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) sums[r][v] += b * w[v];
      }
    }
  }
  ALLEGRO_UNROLL for (int r = 0; r < Rows; ++r) ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v)
      finish(row + r, column + v * n, sums[r][v]);
}

// `rows` is rounded up to whole tiles: inputs are padded, and outputs beyond are scratch.
template <class T, class Start, class Finish>
__attribute__((noinline)) void multiply(const MatrixProduct<T> &m, const T *x, int stride, int rows, Start start,
                                        Finish finish) {
  constexpr int n = lanes<T>;
  int depth = 0, column = 0;
  for (int o = 0; o < m.num_operands; ++o) depth += m.depth[o];
  const T *weights = m.weights;
  const auto panel = [&]<int Rows, int Vectors>() {
    for (int row = 0; row < rows; row += Rows)
      tile<T, Rows, Vectors>(m, x, stride, weights, row, column, start, finish);
    weights += static_cast<long>(depth) * Vectors * n;
    column += Vectors * n;
  };
  if constexpr (panel_vectors == 4)
    while (m.width - column >= 4 * n) panel.template operator()<6, 4>();
  while (m.width - column >= 2 * n) panel.template operator()<(panel_vectors == 4 ? 12 : 6), 2>();
  while (m.width - column > 0) panel.template operator()<12, 1>();
}

}  // namespace
}  // namespace ALLEGRO_ISA
}  // namespace allegro_dist
