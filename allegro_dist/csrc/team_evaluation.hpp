// Energies and edge gradients of a chunk of centers, computed by a team of threads that share memory: a CUDA block, or
// one host thread that plays all of them (gpu_runtime.hpp has both). The plan, the rows and the phases are those of
// fused_kernel.cpp; the difference is how a phase is cut: into items that no other item of the phase waits for, most of
// them four neighboring channels ("quads") of one edge or one atom, so that threads beside each other read beside each
// other. `team.each(count, body)` runs a phase and ends with a barrier. Sums run in a fixed order: results are the
// same in every run.
#pragma once

#include "fused_kernel.hpp"
#include "harmonics.hpp"
#include "phases.hpp"
#include "quad.hpp"
#include "radial.hpp"

namespace allegro_dist {
namespace {

template <class T>
ALLEGRO_DEVICE void silu_scalar(T a, T &h, T &derivative) {
  const T s = static_cast<T>(1) / (static_cast<T>(1) + static_cast<T>(exp(-a)));
  h = a * s;
  derivative = s + h * (static_cast<T>(1) - s);
}

ALLEGRO_DEVICE int order_of_component(int lm) {
  return lm < 1 ? 0 : lm < 4 ? 1 : lm < 9 ? 2 : lm < 16 ? 3 : 4;
}

template <class T, int L, class Team>
class TeamEvaluation {
  static constexpr int D = (L + 1) * (L + 1);
  using Q = Quad<T>;

 public:
  ALLEGRO_DEVICE TeamEvaluation(const Plan<T> &plan, const Workspace<T> &work, const Chunk &chunk, const Team &team)
      : p_(plan),
        w_(work),
        c_(chunk),
        team_(team),
        first_(chunk.offsets[0]),
        num_edges_(chunk.offsets[chunk.num_atoms] - chunk.offsets[0]),
        capacity_(work.edge_capacity),
        channels_(plan.num_channels) {}

  ALLEGRO_DEVICE void run() { Phases::run(*this, p_); }

 private:
  friend Phases;

  ALLEGRO_DEVICE T *values(int e) const { return w_.values + static_cast<long>(e) * p_.values_stride; }
  ALLEGRO_DEVICE T *gradients(int e) const { return w_.gradients + static_cast<long>(e) * p_.gradients_stride; }
  ALLEGRO_DEVICE T *slopes(int e) const { return w_.slopes + static_cast<long>(e) * p_.slopes_stride; }
  ALLEGRO_DEVICE T harmonic(int lm, int e) const { return w_.harmonics[lm * capacity_ + e]; }
  ALLEGRO_DEVICE int first_edge(int atom) const { return c_.offsets[atom] - first_; }
  // Row of component lm of an atom in arrays ordered [l][atom][m].
  ALLEGRO_DEVICE int row(int atom, int lm) const {
    const int l = order_of_component(lm);
    return l * l * c_.num_atoms + atom * (2 * l + 1) + (lm - l * l);
  }
  ALLEGRO_DEVICE T *adjoint(int t, int step, int atom) const {
    return w_.adjoint[t][step] + static_cast<long>(atom) * p_.tensor[t - step].num_outputs * channels_;
  }
  ALLEGRO_DEVICE T *adjoint_gradient(int which, int atom) const {
    return w_.adjoint_gradient[which] + static_cast<long>(atom) * w_.adjoint_gradient_stride;
  }

  // body(row, column) for every quad of columns of `rows` rows.
  template <class Body>
  ALLEGRO_DEVICE void each_quad(int rows, int width, const Body &body) const {
    const int quads = width / quad;
    team_.each(rows * quads, [&](int item) { body(item / quads, item % quads * quad); });
  }

  // --- matrix products ----------------------------------------------------------------------------------------------

  // rows x quads of columns, six rows of a quad per item; start(row, column) and finish(row, column, sums).
  template <class Start, class Finish>
  ALLEGRO_DEVICE void multiply(const MatrixProduct<T> &m, const T *x, int stride, const Start &start,
                               const Finish &finish) const {
    constexpr int tile = 6;
    const int num_edges = num_edges_;
    each_quad((num_edges + tile - 1) / tile, m.width, [&](int tile_row, int column) {
      const int first = tile_row * tile;
      Q sums[tile];
      ALLEGRO_UNROLL for (int r = 0; r < tile; ++r) sums[r] = start(first + r, column);  // rows are padded
      const T *weights = m.weights + column;
      for (int o = 0; o < m.num_operands; ++o) {
        const T *const in = x + static_cast<long>(first) * stride + m.column[o];
        for (int k = 0; k < m.depth[o]; k += quad, weights += quad * m.width) {
          Q b[tile];
          ALLEGRO_UNROLL for (int r = 0; r < tile; ++r) b[r] = load_quad(in + static_cast<long>(r) * stride + k);
          ALLEGRO_UNROLL for (int i = 0; i < quad; ++i) {
            const Q w = load_quad(weights + i * m.width);
            ALLEGRO_UNROLL for (int r = 0; r < tile; ++r) add_product(sums[r], w, b[r].v[i]);
          }
        }
      }
      ALLEGRO_UNROLL for (int r = 0; r < tile; ++r) if (first + r < num_edges) finish(first + r, column, sums[r]);
    });
  }

  // out[l][atom][m] = in[l][atom][m] W_l
  ALLEGRO_DEVICE void mix(const MatrixProduct<T> *by_order, const T *in, int in_width, T *out, int out_width) const {
    each_quad(D * c_.num_atoms, out_width, [&](int r, int column) {
      int l = 0;
      while ((l + 1) * (l + 1) * c_.num_atoms <= r) ++l;
      const T *const weights = by_order[l].weights + column, *const x = in + static_cast<long>(r) * in_width;
      Q sums = zero_quad<T>();
      for (int k = 0; k < in_width; ++k) add_product(sums, load_quad(weights + k * out_width), x[k]);
      store_quad(out + static_cast<long>(r) * out_width + column, sums);
    });
  }

  // team_two_body.hpp: geometry and two-body functions
  struct Norm {  // of the spherical harmonics
    const T *values;
    ALLEGRO_SHARED T operator()(int l, int m) const { return values[l * l + l + m]; }
  };
  using Direction = Harmonics<T, T, L>;
  ALLEGRO_DEVICE void geometry() const;
  ALLEGRO_DEVICE void read_table() const;
  ALLEGRO_DEVICE Jet basis_function(int b, double x) const;
  ALLEGRO_DEVICE void two_body_forward() const;
  ALLEGRO_DEVICE void two_body_backward() const;

  // team_dense.hpp: dense layers
  ALLEGRO_DEVICE void keep_activated(const DensePlan<T> &layer, int e, int c, const Q &a) const;
  ALLEGRO_DEVICE void dense_forward(int k) const;
  ALLEGRO_DEVICE void energies() const;
  ALLEGRO_DEVICE void dense_backward(int k) const;

  // team_tensor.hpp: the tensor track
  ALLEGRO_DEVICE void tensor_forward(int t) const;
  ALLEGRO_DEVICE void environment_forward(int t) const;
  template <bool Add, class X, class Y, class Out>
  ALLEGRO_DEVICE void contract(const Contraction<T> &terms, const T *path_weights, const X &x, const Y &y,
                               const Out &out) const;
  struct One {
    ALLEGRO_SHARED T operator()(int, int, int) const { return 1; }
  };
  ALLEGRO_DEVICE void contraction_forward(int t) const;
  ALLEGRO_DEVICE void project(int t) const;
  ALLEGRO_DEVICE void clear_environment_gradient(int t) const;
  ALLEGRO_DEVICE void tensor_backward(const DensePlan<T> &reader) const;
  ALLEGRO_DEVICE void contraction_backward(int t) const;

  // team_gradients.hpp: gradients of the edges
  template <bool Tables>
  ALLEGRO_DEVICE void edge_gradients() const;
  template <bool Tables>
  ALLEGRO_DEVICE void from_projections(int a, int e, int u, T *sums) const;
  ALLEGRO_DEVICE void write_gradients() const;

  const Plan<T> &p_;
  const Workspace<T> &w_;
  const Chunk &c_;
  const Team &team_;
  const int first_, num_edges_, capacity_, channels_;
};

}  // namespace
}  // namespace allegro_dist

#include "team_dense.hpp"
#include "team_gradients.hpp"
#include "team_tensor.hpp"
#include "team_two_body.hpp"
