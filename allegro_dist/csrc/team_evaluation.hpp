// Energies and edge gradients of a chunk of centers, computed by a team of threads that share memory: a CUDA block, or
// one host thread that plays all of them (gpu_runtime.hpp has both). The plan, the rows and the phases are those of
// fused_kernel.cpp; the difference is how a phase is cut: into items that no other item of the phase waits for, most of
// them four neighboring channels ("quads") of one edge or one atom, so that threads beside each other read beside each
// other. `team.each(count, body)` runs a phase and ends with a barrier. Sums run in a fixed order: results are the
// same in every run.
#pragma once

#include "fused_kernel.hpp"
#include "harmonics.hpp"
#include "hermite.hpp"
#include "phases.hpp"
#include "radial.hpp"

namespace allegro_dist {
namespace {

constexpr int quad = 4;

template <class T>
struct alignas(quad * sizeof(T)) Quad {
  T v[quad];
  ALLEGRO_SHARED T sum() const { return (v[0] + v[1]) + (v[2] + v[3]); }
};
template <class T>
ALLEGRO_DEVICE Quad<T> zero_quad() {
  return {{0, 0, 0, 0}};
}
template <class T>
ALLEGRO_DEVICE Quad<T> load_quad(const T *p) {
  return *reinterpret_cast<const Quad<T> *>(p);
}
template <class T>
ALLEGRO_DEVICE void store_quad(T *p, const Quad<T> &q) {
  *reinterpret_cast<Quad<T> *>(p) = q;
}
template <class T>
ALLEGRO_DEVICE Quad<T> operator+(Quad<T> a, const Quad<T> &b) {
  ALLEGRO_UNROLL for (int i = 0; i < quad; ++i) a.v[i] += b.v[i];
  return a;
}
template <class T>
ALLEGRO_DEVICE Quad<T> operator-(Quad<T> a, const Quad<T> &b) {
  ALLEGRO_UNROLL for (int i = 0; i < quad; ++i) a.v[i] -= b.v[i];
  return a;
}
template <class T>
ALLEGRO_DEVICE Quad<T> operator*(Quad<T> a, const Quad<T> &b) {
  ALLEGRO_UNROLL for (int i = 0; i < quad; ++i) a.v[i] *= b.v[i];
  return a;
}
template <class T>
ALLEGRO_DEVICE Quad<T> operator*(Quad<T> a, T b) {
  ALLEGRO_UNROLL for (int i = 0; i < quad; ++i) a.v[i] *= b;
  return a;
}
// sum += a * b
template <class T>
ALLEGRO_DEVICE void add_product(Quad<T> &sum, const Quad<T> &a, T b) {
  ALLEGRO_UNROLL for (int i = 0; i < quad; ++i) sum.v[i] += a.v[i] * b;
}
template <class T>
ALLEGRO_DEVICE void add_product(Quad<T> &sum, const Quad<T> &a, const Quad<T> &b) {
  ALLEGRO_UNROLL for (int i = 0; i < quad; ++i) sum.v[i] += a.v[i] * b.v[i];
}

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

  // --- geometry and two-body functions ------------------------------------------------------------------------------

  struct Norm {  // of the spherical harmonics
    const T *values;
    ALLEGRO_SHARED T operator()(int l, int m) const { return values[l * l + l + m]; }
  };
  using Direction = Harmonics<T, T, L>;

  ALLEGRO_DEVICE void geometry() const {
    team_.each(c_.num_atoms, [&](int a) {
      for (int e = first_edge(a); e < first_edge(a + 1); ++e) w_.center[e] = a;
    });
    T *const nx = w_.direction, *const ny = nx + capacity_, *const nz = ny + capacity_;
    team_.each(num_edges_, [&](int e) {
      const double *const v = c_.vectors + 3L * (first_ + e);
      const double r = sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]), inverse = 1.0 / r;
      const int pair = c_.types[w_.center[e]] * p_.num_types + c_.neighbor_types[first_ + e];
      w_.length[e] = r;
      w_.pair[e] = pair;
      w_.reduced[e] = r * p_.inverse_cutoffs[pair];
      nx[e] = static_cast<T>(v[0] * inverse);
      ny[e] = static_cast<T>(v[1] * inverse);
      nz[e] = static_cast<T>(v[2] * inverse);
      Direction(nx[e], ny[e], nz[e], T(1)).values(Norm{p_.harmonic_norms}, [&](int lm, T y) {
        w_.harmonics[lm * capacity_ + e] = y;
      });
    });
  }

  ALLEGRO_DEVICE void read_table() const {
    const int intervals = p_.table_intervals, width = p_.slopes_stride;
    const long knot = 3L * width, pair_size = knot * (intervals + 1);
    team_.each(num_edges_ * team_helpers, [&](int item) {
      const int e = item / team_helpers;
      const TablePlace place = table_place(w_.reduced[e], intervals);
      const Hermite<T, T> at(static_cast<T>(place.fraction),
                             static_cast<T>(intervals * p_.inverse_cutoffs[w_.pair[e]]));
      const T *const left = p_.table + w_.pair[e] * pair_size + place.interval * knot, *const right = left + knot;
      T *const value = values(e), *const slope = slopes(e);
      for (int c = item % team_helpers * quad; c < width; c += team_helpers * quad) {
        const Q f = load_quad(left + c), f1 = load_quad(left + width + c), f2 = load_quad(left + 2 * width + c);
        const Q g = load_quad(right + c), g1 = load_quad(right + width + c), g2 = load_quad(right + 2 * width + c);
        store_quad(value + c, at.value(f, f1, f2, g, g1, g2));
        store_quad(slope + c, at.slope(f, f1, f2, g, g1, g2));
      }
    });
  }

  // Pre-activation of dense layer 0 and its derivative with respect to r, then the two-body layers and w.
  ALLEGRO_DEVICE void two_body_forward() const {
    const int size = p_.basis_size;
    team_.each(num_edges_, [&](int e) {
      const double inverse_cutoff = p_.inverse_cutoffs[w_.pair[e]];
      T *const basis = w_.basis + static_cast<long>(e) * 2 * size;
      Jet jets[max_basis];
      if (p_.bessel)
        bessel_basis(w_.reduced[e], size, p_.basis_parameter, p_.wavenumbers, jets);
      else
        spline_basis(w_.reduced[e], size, p_.basis_parameter, jets);
      for (int b = 0; b < size; ++b) {
        basis[b] = static_cast<T>(jets[b].value);
        basis[size + b] = static_cast<T>(jets[b].first * inverse_cutoff);
      }
    });
    const DensePlan<T> &layer = p_.dense[0];
    each_quad(num_edges_, layer.width, [&](int e, int c) {
      const T *const basis = w_.basis + static_cast<long>(e) * 2 * size;
      const T *const weights = p_.basis_weights + static_cast<long>(w_.pair[e]) * size * layer.width + c;
      Q f = zero_quad<T>(), s = zero_quad<T>();
      for (int b = 0; b < size; ++b) {
        const Q w = load_quad(weights + static_cast<long>(b) * layer.width);
        add_product(f, w, basis[b]);
        add_product(s, w, basis[size + b]);
      }
      store_quad(w_.basis_slope + static_cast<long>(e) * layer.width + c, s);
      keep_activated(layer, e, c, f);
    });
    for (int k = 1; k < p_.num_two_body; ++k) dense_forward(k);
    multiply(
        p_.two_body_weights, w_.values, p_.values_stride, [](int, int) { return zero_quad<T>(); },
        [&](int e, int c, const Q &sums) { store_quad(values(e) + p_.weights_column + c, sums); });
  }

  ALLEGRO_DEVICE void two_body_backward() const {
    for (int k = p_.num_two_body - 1; k >= 0; --k) dense_backward(k);
    const DensePlan<T> &layer = p_.dense[0];
    team_.each(num_edges_, [&](int e) {
      const T *const g = gradients(e) + layer.gradient_column;
      const T *const s = w_.basis_slope + static_cast<long>(e) * layer.width;
      Q total = zero_quad<T>();
      for (int c = 0; c < layer.width; c += quad) add_product(total, load_quad(g + c), load_quad(s + c));
      w_.harmonics_gradient[e] = total.sum();
    });
  }

  // --- dense layers -------------------------------------------------------------------------------------------------

  ALLEGRO_DEVICE void keep_activated(const DensePlan<T> &layer, int e, int c, const Q &a) const {
    if (!layer.silu) {
      store_quad(values(e) + layer.column + c, a);
      return;
    }
    Q h, d;
    ALLEGRO_UNROLL for (int i = 0; i < quad; ++i) silu_scalar(a.v[i], h.v[i], d.v[i]);
    store_quad(values(e) + layer.column + c, h);
    store_quad(gradients(e) + layer.gradient_column + c, d);
  }

  ALLEGRO_DEVICE void dense_forward(int k) const {
    const DensePlan<T> &layer = p_.dense[k];
    multiply(
        layer.forward, w_.values, p_.values_stride,
        [&](int e, int c) { return layer.from_table ? load_quad(values(e) + layer.column + c) : zero_quad<T>(); },
        [&](int e, int c, const Q &a) { keep_activated(layer, e, c, a); });
  }

  // E_i = sum_j readout . h_last; and dE/da of the last layer.
  ALLEGRO_DEVICE void energies() const {
    const DensePlan<T> &layer = p_.dense[p_.num_dense - 1];
    T *const edge_energy = w_.harmonics_gradient;  // still free
    team_.each(num_edges_, [&](int e) {
      const T *const h = values(e) + layer.column;
      T *const g = gradients(e) + layer.gradient_column;
      Q total = zero_quad<T>();
      for (int c = 0; c < layer.width; c += quad) {
        const Q weight = load_quad(p_.readout + c);
        add_product(total, load_quad(h + c), weight);
        store_quad(g + c, layer.silu ? load_quad(g + c) * weight : weight);
      }
      edge_energy[e] = total.sum();
    });
    team_.each(c_.num_atoms, [&](int a) {
      double energy = 0.0;
      for (int e = first_edge(a); e < first_edge(a + 1); ++e) energy += edge_energy[e];
      c_.energy[a] = energy * p_.energy_factor[c_.types[a]];
    });
  }

  ALLEGRO_DEVICE void dense_backward(int k) const {
    const DensePlan<T> &layer = p_.dense[k];
    if (k == p_.num_dense - 1) return;  // done with the energies
    const T *asked = nullptr;           // dE/dh from the environment that reads h: sum_lm Y_lm dE/d(sum_j h Y)[lm]
    if (layer.environment >= 0) asked = w_.mixed_gradient[layer.environment];
    multiply(
        layer.backward, w_.gradients, p_.gradients_stride,
        [&](int e, int c) {
          Q sums = zero_quad<T>();
          if (!asked || e >= num_edges_) return sums;
          ALLEGRO_UNROLL for (int i = 0; i < D; ++i) add_product(
              sums, load_quad(asked + static_cast<long>(row(w_.center[e], i)) * layer.width + c), harmonic(i, e));
          return sums;
        },
        [&](int e, int c, const Q &g) {
          T *const place = gradients(e) + layer.gradient_column + c;
          store_quad(place, layer.silu ? g * load_quad(place) : g);
        });
  }

  // --- the tensor track ---------------------------------------------------------------------------------------------

  ALLEGRO_DEVICE void tensor_forward(int t) const {
    environment_forward(t);
    contraction_forward(t);
    project(t);
  }

  ALLEGRO_DEVICE void environment_forward(int t) const {
    const TensorPlan<T> &layer = p_.tensor[t];
    const bool direct = layer.source < 0;  // from column e1 of the rows, which holds the orders one after another
    const int width = direct ? channels_ : p_.dense[layer.source].width;
    const int column = direct ? p_.e1_column : p_.dense[layer.source].column;
    T *const out = direct ? w_.environment[t] : w_.sums;
    team_.each(c_.num_atoms * D * (width / quad), [&](int item) {
      const int u = item % (width / quad) * quad, lm = item / (width / quad) % D, a = item / (width / quad) / D;
      const int place = column + u + (direct ? order_of_component(lm) * channels_ : 0);
      Q sums = zero_quad<T>();
      for (int e = first_edge(a); e < first_edge(a + 1); ++e)
        add_product(sums, load_quad(values(e) + place), harmonic(lm, e));
      store_quad(out + static_cast<long>(row(a, lm)) * width + u, sums * p_.norm[c_.types[a]]);
    });
    if (!direct) mix(layer.mix, w_.sums, width, w_.environment[t], channels_);
  }

  // out(component) = (or +=) sum over the groups of terms that give it: path weight * sum of value x[b] (y[c]).
  template <bool Add, class X, class Y, class Out>
  ALLEGRO_DEVICE void contract(const Contraction<T> &terms, const T *path_weights, const X &x, const Y &y,
                               const Out &out) const {
    team_.each(c_.num_atoms * terms.num_outputs * (channels_ / quad), [&](int item) {
      const int u = item % (channels_ / quad) * quad, i = item / (channels_ / quad) % terms.num_outputs;
      const int a = item / (channels_ / quad) / terms.num_outputs;
      Q total = zero_quad<T>();
      for (int g = terms.first_group[i]; g < terms.first_group[i + 1]; ++g) {
        const TermGroup group = terms.groups[g];
        Q sums = zero_quad<T>();
        for (int k = group.begin; k < group.end; ++k) {
          const Term<T> &term = terms.terms[k];
          add_product(sums, x(a, term.b, u) * y(a, term.c, u), term.value);
        }
        add_product(total, sums, load_quad(path_weights + group.path * channels_ + u));
      }
      T *const place = out(a, i, u);
      store_quad(place, Add ? load_quad(place) + total : total);
    });
  }

  struct One {
    ALLEGRO_SHARED T operator()(int, int, int) const { return 1; }
  };

  ALLEGRO_DEVICE void contraction_forward(int t) const {
    for (int step = 0; step <= t; ++step) {
      const TensorPlan<T> &product = p_.tensor[t - step];
      const T *const g = w_.environment[t - step];
      const auto environment = [&](int a, int b, int u) { return load_quad(g + row(a, b) * channels_ + u); };
      const auto out = [&](int a, int i, int u) { return adjoint(t, step, a) + i * channels_ + u; };
      if (step == 0)
        contract<false>(product.start, product.path_weights, environment, One(), out);
      else
        contract<false>(
            product.proceed, product.path_weights, environment,
            [&](int a, int c, int u) { return load_quad(adjoint(t, step - 1, a) + c * channels_ + u); }, out);
    }
  }

  // s_t[u] = sum_l w[l, u] sum_m q_t[lm, u] Y_lm, and with tables also its change by dw/dr.
  ALLEGRO_DEVICE void project(int t) const {
    const TensorPlan<T> &layer = p_.tensor[t];
    const bool tables = p_.table_intervals > 0;
    each_quad(num_edges_, channels_, [&](int e, int u) {
      const T *const q = adjoint(t, t, w_.center[e]) + u;
      const T *const weights = values(e) + p_.weights_column + u;
      const T *const weight_slopes = tables ? slopes(e) + p_.weights_column + u : weights;
      Q s = zero_quad<T>(), slope = zero_quad<T>();
      ALLEGRO_UNROLL for (int l = 0; l <= L; ++l) {
        Q inner = zero_quad<T>();
        ALLEGRO_UNROLL for (int i = l * l; i < (l + 1) * (l + 1); ++i)
            add_product(inner, load_quad(q + i * channels_), harmonic(i, e));
        add_product(s, inner, load_quad(weights + l * channels_));
        add_product(slope, inner, load_quad(weight_slopes + l * channels_));
      }
      store_quad(values(e) + layer.projection_column + u, s);
      if (tables) store_quad(values(e) + layer.projection_slope_column + u, slope);
    });
  }

  ALLEGRO_DEVICE void clear_environment_gradient(int t) const {
    T *const g = w_.environment_gradient[t];
    each_quad(D * c_.num_atoms, channels_, [&](int r, int u) { store_quad(g + r * channels_ + u, zero_quad<T>()); });
  }

  // From dE/ds_t to dE/dq_t to the dE/dG's; dE/dG_t is then complete, and goes back through its mixing.
  ALLEGRO_DEVICE void tensor_backward(const DensePlan<T> &reader) const {
    const int t = reader.projection;
    const TensorPlan<T> &layer = p_.tensor[t];
    multiply(
        reader.to_projection, w_.gradients, p_.gradients_stride, [](int, int) { return zero_quad<T>(); },
        [&](int e, int c, const Q &g) { store_quad(gradients(e) + layer.projection_gradient_column + c, g); });
    team_.each(c_.num_atoms * D * (channels_ / quad), [&](int item) {
      const int u = item % (channels_ / quad) * quad, lm = item / (channels_ / quad) % D;
      const int a = item / (channels_ / quad) / D, l = order_of_component(lm);
      Q sums = zero_quad<T>();
      for (int e = first_edge(a); e < first_edge(a + 1); ++e)
        add_product(sums,
                    load_quad(values(e) + p_.weights_column + l * channels_ + u) *
                        load_quad(gradients(e) + layer.projection_gradient_column + u),
                    harmonic(lm, e));
      store_quad(adjoint_gradient(0, a) + lm * channels_ + u, sums);
    });
    contraction_backward(t);
    T *const g = w_.environment_gradient[t];
    team_.each(c_.num_atoms * D * (channels_ / quad), [&](int item) {
      const int u = item % (channels_ / quad) * quad, lm = item / (channels_ / quad) % D;
      const int a = item / (channels_ / quad) / D;
      T *const place = g + row(a, lm) * channels_ + u;
      store_quad(place, load_quad(place) * p_.norm[c_.types[a]]);
    });
    if (layer.source >= 0) mix(layer.mix_back, g, channels_, w_.mixed_gradient[t], p_.dense[layer.source].width);
  }

  // dE/dG of all layers that q_t read, from dE/dq_t in adjoint_gradient[0].
  ALLEGRO_DEVICE void contraction_backward(int t) const {
    for (int step = t, after = 0; step >= 0; --step, after = 1 - after) {
      const TensorPlan<T> &product = p_.tensor[t - step];
      const T *const g = w_.environment[t - step];
      T *const g_gradient = w_.environment_gradient[t - step];
      const auto asked = [&](int a, int i, int u) { return load_quad(adjoint_gradient(after, a) + i * channels_ + u); };
      const auto to_environment = [&](int a, int b, int u) { return g_gradient + row(a, b) * channels_ + u; };
      if (step == 0) {
        contract<true>(product.start_by_environment, product.path_weights, asked, One(), to_environment);
        continue;
      }
      contract<true>(
          product.proceed_by_environment, product.path_weights, asked,
          [&](int a, int c, int u) { return load_quad(adjoint(t, step - 1, a) + c * channels_ + u); }, to_environment);
      contract<false>(
          product.proceed_by_adjoint, product.path_weights, asked,
          [&](int a, int b, int u) { return load_quad(g + row(a, b) * channels_ + u); },
          [&](int a, int c, int u) { return adjoint_gradient(1 - after, a) + c * channels_ + u; });
    }
  }

  // --- gradients of the edges ---------------------------------------------------------------------------------------

  // dE/dY of every edge, and in the place of Y_00, which is constant, dE/dr with tables. Without them dE/dw. The sums
  // over a row are shared among helpers and added up afterwards.
  template <bool Tables>
  ALLEGRO_DEVICE void edge_gradients() const {
    team_.each(num_edges_ * team_helpers, [&](int item) {
      const int e = item / team_helpers, helper = item % team_helpers, a = w_.center[e];
      T sums[D];
      ALLEGRO_UNROLL for (int i = 0; i < D; ++i) sums[i] = 0;
      for (int u = helper * quad; u < channels_; u += team_helpers * quad) from_projections<Tables>(a, e, u, sums);
      const T *const value = values(e);
      for (int t = 0; t < p_.num_layers; ++t) {
        if (p_.tensor[t].source < 0) continue;
        const DensePlan<T> &source = p_.dense[p_.tensor[t].source];
        for (int c = helper * quad; c < source.width; c += team_helpers * quad) {
          const Q h = load_quad(value + source.column + c);
          ALLEGRO_UNROLL for (int i = 1; i < D; ++i) sums[i] +=
              (h * load_quad(w_.mixed_gradient[t] + static_cast<long>(row(a, i)) * source.width + c)).sum();
        }
      }
      if constexpr (Tables)
        for (int c = helper * quad; c < p_.pre_activations_width; c += team_helpers * quad)
          sums[0] += (load_quad(gradients(e) + c) * load_quad(slopes(e) + c)).sum();
      ALLEGRO_UNROLL for (int i = 0; i < D; ++i) w_.partial_sums[static_cast<long>(item) * D + i] = sums[i];
    });
    team_.each(num_edges_ * D, [&](int item) {
      const int e = item / D, i = item % D;
      const T *const parts = w_.partial_sums + static_cast<long>(e) * team_helpers * D + i;
      T total = 0;
      ALLEGRO_UNROLL for (int h = 0; h < team_helpers; ++h) total += parts[h * D];
      w_.harmonics_gradient[i * capacity_ + e] = total;
    });
  }

  template <bool Tables>
  ALLEGRO_DEVICE void from_projections(int a, int e, int u, T *sums) const {
    const T *const value = values(e);
    T *const gradient = gradients(e);
    ALLEGRO_UNROLL for (int l = 0; l <= L; ++l) {
      const Q weight = load_quad(value + p_.weights_column + l * channels_ + u);
      Q e1 = zero_quad<T>(), w_gradient = zero_quad<T>(), e1_gradient = zero_quad<T>();
      if constexpr (Tables) e1 = load_quad(value + p_.e1_column + l * channels_ + u);
      ALLEGRO_UNROLL for (int i = l * l; i < (l + 1) * (l + 1); ++i) {
        Q from_q = zero_quad<T>();
        for (int t = 0; t < p_.num_layers; ++t)
          add_product(from_q, load_quad(gradient + p_.tensor[t].projection_gradient_column + u),
                      load_quad(adjoint(t, t, a) + i * channels_ + u));
        Q sum = weight * from_q;
        if constexpr (Tables) {
          const Q g = load_quad(w_.environment_gradient[0] + row(a, i) * channels_ + u);
          add_product(sum, e1, g);
          add_product(e1_gradient, g, harmonic(i, e));
        } else {
          add_product(w_gradient, from_q, harmonic(i, e));
        }
        if (i > 0) sums[i] += sum.sum();
      }
      if constexpr (Tables)
        sums[0] += (e1_gradient * load_quad(slopes(e) + p_.e1_column + l * channels_ + u)).sum();
      else
        store_quad(gradient + p_.weights_gradient_column + l * channels_ + u, w_gradient);
    }
    if constexpr (Tables)
      for (int t = 0; t < p_.num_layers; ++t)
        sums[0] += (load_quad(gradient + p_.tensor[t].projection_gradient_column + u) *
                    load_quad(value + p_.tensor[t].projection_slope_column + u))
                       .sum();
  }

  // dE/dvector = dE/dr n + (1 - n n^T) / r sum_lm dE/dY_lm dY_lm/dn, times the center's energy factor.
  ALLEGRO_DEVICE void write_gradients() const {
    const T *const g = w_.harmonics_gradient;
    team_.each(num_edges_, [&](int e) {
      const T x = w_.direction[e], y = w_.direction[capacity_ + e], z = w_.direction[2 * capacity_ + e];
      T gx, gy, gz;
      Direction(x, y, z, T(1))
          .gradient(Norm{p_.harmonic_norms}, [&](int lm) { return g[lm * capacity_ + e]; }, gx, gy, gz);
      const T radial = gx * x + gy * y + gz * z;
      const double scale = p_.energy_factor[c_.types[w_.center[e]]] / w_.length[e], along = g[e];
      const double *const vector = c_.vectors + 3L * (first_ + e);
      double *const out = c_.gradient + 3L * (first_ + e);
      out[0] = scale * (along * vector[0] + (gx - radial * x));
      out[1] = scale * (along * vector[1] + (gy - radial * y));
      out[2] = scale * (along * vector[2] + (gz - radial * z));
    });
  }

  const Plan<T> &p_;
  const Workspace<T> &w_;
  const Chunk &c_;
  const Team &team_;
  const int first_, num_edges_, capacity_, channels_;
};

}  // namespace
}  // namespace allegro_dist
