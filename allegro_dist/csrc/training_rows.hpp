// The dense layers of a training step on the rows of a chunk (training_kernel.hpp): forward, tangent, backward,
// adjoint, and the products that give dF/d(weights). Nothing here depends on l_max.
#pragma once

#include "matrix_product.hpp"
#include "simd.hpp"
#include "training_kernel.hpp"

namespace allegro_dist {
namespace ALLEGRO_ISA {
namespace {

// out[k][c] += sum_rows x[row][k] y[row][c] + x2[row][k] y2[row][c], for a tile of Rows k and Vectors of c.
template <class T, int Rows, int Vectors>
ALLEGRO_INLINE void outer_tile(const T *x, const T *x2, int x_stride, const T *y, const T *y2, int y_stride, int rows,
                               T *out, int out_stride) {
  constexpr int n = lanes<T>;
  Vec<T> sums[Rows][Vectors];
  ALLEGRO_UNROLL for (int k = 0; k < Rows; ++k) ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) sums[k][v] =
      load(out + k * out_stride + v * n);
  const auto add = [&](const T *left, const T *right) ALLEGRO_LAMBDA {
    Vec<T> r[Vectors];
    ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) r[v] = load(right + v * n);
    ALLEGRO_UNROLL for (int k = 0; k < Rows; ++k) {
      const Vec<T> l = broadcast(left[k]);
      ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) sums[k][v] += l * r[v];
    }
  };
  for (int row = 0; row < rows; ++row, x += x_stride, x2 += x_stride, y += y_stride, y2 += y_stride) {
    add(x, y);
    add(x2, y2);
  }
  ALLEGRO_UNROLL for (int k = 0; k < Rows; ++k) ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v)
      store(out + k * out_stride + v * n, sums[k][v]);
}

// The same for all k < x_width and c < y_width (whole vectors; also the stride of `out`), by blocks of rows that stay
// in L1.
template <class T>
__attribute__((noinline)) void add_outer(const T *x, const T *x2, int x_stride, int x_width, const T *y, const T *y2,
                                         int y_stride, int y_width, int rows, T *out) {
  constexpr int n = lanes<T>, block = 32, tile_rows = vector_bytes == 64 ? 8 : 6;
  for (int first = 0; first < rows; first += block) {
    const int count = rows - first < block ? rows - first : block;
    const long x_first = static_cast<long>(first) * x_stride, y_first = static_cast<long>(first) * y_stride;
    const auto columns = [&]<int Vectors>(int c) {
      const T *const right = y + y_first + c, *const right2 = y2 + y_first + c;
      int k = 0;
      const auto tiles = [&]<int Rows>() {
        for (; k + Rows <= x_width; k += Rows)
          outer_tile<T, Rows, Vectors>(x + x_first + k, x2 + x_first + k, x_stride, right, right2, y_stride, count,
                                       out + static_cast<long>(k) * y_width + c, y_width);
      };
      tiles.template operator()<tile_rows>();
      tiles.template operator()<4>();
      tiles.template operator()<1>();
    };
    int c = 0;
    for (; c + 2 * n <= y_width; c += 2 * n) columns.template operator()<2>(c);
    if (c < y_width) columns.template operator()<1>(c);
  }
}

template <class T>
class TrainingRows {
 public:
  TrainingRows(const TrainingPlan<T> &plan, const TrainingChunk<T> &chunk, const TrainingScratch<T> &scratch)
      : p_(plan),
        c_(chunk),
        w_(scratch),
        rows_((chunk.num_edges + row_tile - 1) / row_tile * row_tile),
        capacity_(chunk.edge_capacity),
        channels_(plan.num_channels) {}

 protected:
  using V = Vec<T>;
  static constexpr int n = lanes<T>;

  T *values(int e) const { return c_.values + static_cast<long>(e) * p_.stride; }
  T *gradients(int e) const { return c_.gradients + static_cast<long>(e) * p_.stride; }
  T *slopes(int e) const { return c_.slopes + static_cast<long>(e) * p_.dense_stride; }
  T *curvatures(int e) const { return c_.curvatures + static_cast<long>(e) * p_.dense_stride; }
  T *tangents(int e) const { return w_.tangents + static_cast<long>(e) * p_.stride; }
  T *adjoints(int e) const { return w_.adjoints + static_cast<long>(e) * p_.stride; }

  // --- radial functions and dense layer 0, which reads them by weights of the edge's type pair ----------------------

  const T *basis(int e) const { return c_.basis + static_cast<long>(e) * 2 * p_.basis_size; }
  const T *basis_weights(int e) const {
    return p_.basis_weights + static_cast<long>(c_.pair[e]) * p_.basis_size * p_.dense[0].width;
  }
  // n columns of sum_b functions[b] W[b].
  ALLEGRO_INLINE V from_basis(const T *functions, const T *weights) const {
    V sum = V{};
    for (int b = 0; b < p_.basis_size; ++b)
      sum += load(weights + static_cast<long>(b) * p_.dense[0].width) * broadcast(functions[b]);
    return sum;
  }

  // h = silu(a), with what the backward passes need of it.
  ALLEGRO_INLINE void activate(int e, int c, V a) const {
    V h, first, second;
    silu<T>(a, h, first, second);
    store(values(e) + c, h);
    store(slopes(e) + c, first);
    store(curvatures(e) + c, second);
  }
  // From the tangent of a to that of h.
  ALLEGRO_INLINE void activate_tangent(int e, int c, V a) const {
    T *const curvature = curvatures(e) + c;
    store(tangents(e) + c, a * load(slopes(e) + c));
    store(curvature, load(curvature) * a);
  }

  __attribute__((noinline)) void first_forward() {
    const TrainingDense &layer = p_.dense[0];
    for (int e = 0; e < c_.num_edges; ++e)
      for (int c = 0; c < layer.width; c += n) {
        const V a = from_basis(basis(e), basis_weights(e) + c);
        if (layer.silu)
          activate(e, layer.column + c, a);
        else
          store(values(e) + layer.column + c, a);
      }
  }

  __attribute__((noinline)) void first_tangent() {
    const TrainingDense &layer = p_.dense[0];
    for (int e = 0; e < c_.num_edges; ++e)
      for (int c = 0; c < layer.width; c += n) {
        const V a = from_basis(basis(e) + p_.basis_size, basis_weights(e) + c) * broadcast(w_.length_tangent[e]);
        if (layer.silu)
          activate_tangent(e, layer.column + c, a);
        else
          store(tangents(e) + layer.column + c, a);
      }
  }

  // --- other dense layers: the same products on values, tangents, gradients and adjoints ----------------------------

  void dense_forward(int k) {
    const TrainingDense &layer = p_.dense[k];
    const int first = layer.column;
    if (layer.silu)
      multiply<T>(p_.forward[k], c_.values, p_.stride, rows_, zero,
                  [=, this](int r, int c, V a) ALLEGRO_LAMBDA { activate(r, first + c, a); });
    else
      multiply<T>(p_.forward[k], c_.values, p_.stride, rows_, zero, keep(c_.values + first));
  }

  void dense_tangent(int k) {
    const TrainingDense &layer = p_.dense[k];
    const int first = layer.column;
    if (layer.silu)
      multiply<T>(p_.forward[k], w_.tangents, p_.stride, rows_, zero,
                  [=, this](int r, int c, V a) ALLEGRO_LAMBDA { activate_tangent(r, first + c, a); });
    else
      multiply<T>(p_.forward[k], w_.tangents, p_.stride, rows_, zero, keep(w_.tangents + first));
  }

  // dE/da_k from all that read h_k; if an environment does, `asked` holds its part.
  void dense_backward(int k) {
    const TrainingDense &layer = p_.dense[k];
    const int first = layer.column;
    if (layer.silu)
      backward_product(k, c_.gradients, [=, this](int r, int c, V g) ALLEGRO_LAMBDA {
        T *const curvature = curvatures(r) + first + c;
        store(gradients(r) + first + c, g * load(slopes(r) + first + c));
        store(curvature, g * load(curvature));
      });
    else
      backward_product(k, c_.gradients, keep(c_.gradients + first));
  }

  // dF/da_k, in the same way.
  void dense_adjoint(int k) {
    const TrainingDense &layer = p_.dense[k];
    const int first = layer.column;
    if (layer.silu)
      backward_product(k, w_.adjoints, [=, this](int r, int c, V g) ALLEGRO_LAMBDA {
        store(adjoints(r) + first + c, g * load(slopes(r) + first + c) + load(curvatures(r) + first + c));
      });
    else
      backward_product(k, w_.adjoints, keep(w_.adjoints + first));
  }

  // `of` rows: [ .. a_k .. s_t .. ], columns of s_t from those of the layer k that reads it.
  void to_projection(int k, T *of) {
    multiply<T>(p_.to_projection[k], of, p_.stride, rows_, zero,
                keep(of + p_.projection_column[p_.dense[k].projection]));
  }
  void weights_from_layer(T *of) {
    multiply<T>(p_.to_weights, of, p_.stride, rows_, zero, keep(of + p_.weights_column));
  }

  // --- products that give dF/d(weights) -----------------------------------------------------------------------------

  void add_weight_products() {
    for (int i = 0; i < p_.num_weight_products; ++i) {
      const WeightProduct &m = p_.weight_products[i];
      add_outer<T>(c_.values + m.left, w_.tangents + m.left, p_.stride, m.left_width, w_.adjoints + m.right,
                   c_.gradients + m.right, p_.stride, m.right_width, c_.num_edges, w_.accumulators + m.place);
    }
  }

  __attribute__((noinline)) void add_basis_weights() {
    const TrainingDense &layer = p_.dense[0];
    const int size = p_.basis_size;
    for (int e = 0; e < c_.num_edges; ++e) {
      const T *const functions = basis(e);
      T *const out = w_.accumulators + p_.basis_place + static_cast<long>(c_.pair[e]) * size * layer.width;
      const V along = broadcast(w_.length_tangent[e]);
      for (int c = 0; c < layer.width; c += n) {
        const V adjoint = load(adjoints(e) + layer.column + c),
                gradient = load(gradients(e) + layer.column + c) * along;
        for (int b = 0; b < size; ++b) {
          T *const place = out + static_cast<long>(b) * layer.width + c;
          store(place, load(place) + adjoint * broadcast(functions[b]) + gradient * broadcast(functions[size + b]));
        }
      }
    }
  }

  static constexpr auto zero = [](int, int) ALLEGRO_LAMBDA { return V{}; };

  // Stores rows of products at `place`.
  auto keep(T *place) const {
    const int stride = p_.stride;
    return [=](int r, int c, V sums) ALLEGRO_LAMBDA { store(place + static_cast<long>(r) * stride + c, sums); };
  }

  const TrainingPlan<T> &p_;
  const TrainingChunk<T> &c_;
  const TrainingScratch<T> &w_;
  const int rows_, capacity_, channels_;

 private:
  template <class Finish>
  void backward_product(int k, const T *of, Finish finish) {
    if (p_.dense[k].environment < 0) {
      multiply<T>(p_.backward[k], of, p_.stride, rows_, zero, finish);
      return;
    }
    const T *const asked = w_.asked;
    const int width = p_.dense[k].width;
    multiply<T>(
        p_.backward[k], of, p_.stride, rows_,
        [=](int r, int c) ALLEGRO_LAMBDA { return load(asked + static_cast<long>(r) * width + c); }, finish);
  }
};

}  // namespace
}  // namespace ALLEGRO_ISA
}  // namespace allegro_dist
