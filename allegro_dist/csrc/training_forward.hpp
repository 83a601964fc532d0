// The forward half of a training step on a chunk: energies and edge gradients, and what the backward half needs.
#pragma once

#include "radial.hpp"
#include "training_track.hpp"

namespace allegro_dist {
namespace ALLEGRO_ISA {
namespace {

template <class T, int L>
class TrainingForward : private TrainingTrack<T, L> {
  using Track = TrainingTrack<T, L>;
  using V = typename Track::V;
  using Track::c_, Track::capacity_, Track::channels_, Track::D, Track::n, Track::p_, Track::w_;

 public:
  using Track::Track;

  void run() {
    geometry();
    harmonics();
    this->first_forward();
    for (int k = 1; k < p_.num_two_body; ++k) this->dense_forward(k);
    this->weights_from_layer(c_.values);
    for (int k = p_.num_two_body; k < p_.num_dense; ++k) {
      if (p_.dense[k].projection >= 0) track_forward(p_.dense[k].projection);
      this->dense_forward(k);
    }
    energies();
    for (int t = 0; t < p_.num_layers; ++t)
      clear(c_.environment_gradient[t], static_cast<long>(D) * c_.num_atoms * channels_);
    for (int k = p_.num_dense - 1; k >= p_.num_two_body; --k) {
      layer_backward(k);
      if (p_.dense[k].projection >= 0) track_backward(k);
    }
    weights_and_harmonics_gradient();
    for (int k = p_.num_two_body - 1; k >= 0; --k) layer_backward(k);
    length_gradient();
    write_gradients();
  }

 private:
  void geometry() {
    for (int e = 0; e < c_.num_edges; ++e) {
      const double x = c_.vectors[3 * e], y = c_.vectors[3 * e + 1], z = c_.vectors[3 * e + 2];
      const double r = __builtin_sqrt(x * x + y * y + z * z), inverse = 1.0 / r;
      const double components[4] = {x * inverse, y * inverse, z * inverse, inverse};
      for (int i = 0; i < 4; ++i) c_.direction[i * capacity_ + e] = static_cast<T>(components[i]);
      radial_functions(e, r * p_.inverse_cutoffs[c_.pair[e]]);
    }
    for (int e = c_.num_edges; e < capacity_; ++e)
      for (int i = 0; i < 4; ++i) c_.direction[i * capacity_ + e] = 0;
  }

  void radial_functions(int e, double x) {
    Jet functions[max_basis];
    if (p_.bessel)
      bessel_basis(x, p_.basis_size, p_.basis_parameter, p_.wavenumbers, functions);
    else
      spline_basis(x, p_.basis_size, p_.basis_parameter, functions);
    T *const out = c_.basis + static_cast<long>(e) * 2 * p_.basis_size;
    for (int b = 0; b < p_.basis_size; ++b) {
      out[b] = static_cast<T>(functions[b].value);
      out[p_.basis_size + b] = static_cast<T>(functions[b].first * p_.inverse_cutoffs[c_.pair[e]]);
    }
  }

  __attribute__((noinline)) void harmonics() {
    for (int e = 0; e < c_.num_edges; e += n)
      directions(e).values(typename Track::Norm(),
                           [&](int lm, V y) ALLEGRO_LAMBDA { store(w_.harmonics + lm * capacity_ + e, y); });
  }
  Harmonics<T, V, L> directions(int e) const {
    const T *const x = c_.direction + e;
    return {load(x), load(x + capacity_), load(x + 2 * capacity_), broadcast<T>(1)};
  }

  __attribute__((noinline)) void track_forward(int t) {
    const TrainingDense &source = p_.dense[p_.source[t]];
    this->template sum_over_edges<false>(
        source.width,
        [&](int e, int, int c, V &f, V &) ALLEGRO_LAMBDA { f = load(this->values(e) + source.column + c); },
        [&](int a, int i, int c, V sum) ALLEGRO_LAMBDA {
          store(c_.sums[t] + static_cast<long>(this->row(a, i)) * source.width + c, sum * broadcast(this->norm_of(a)));
        });
    this->mix(p_.mix[t], c_.sums[t], source.width, c_.environment[t], channels_);
    this->contract(t);
    this->template read_adjoint<false>(t, [&](int e, int u, const V *p) ALLEGRO_LAMBDA {
      const T *const weights = this->values(e) + p_.weights_column + u;
      V s = V{};
      ALLEGRO_UNROLL for (int l = 0; l <= L; ++l) s += p[l] * load(weights + l * channels_);
      store(this->values(e) + p_.projection_column[t] + u, s);
    });
  }

  // E_i = sum_j readout . h_last; and the gradient of the last layer.
  void energies() {
    const TrainingDense &layer = p_.dense[p_.num_dense - 1];
    for (int a = 0; a < c_.num_atoms; ++a) {
      V total = V{};
      for (int e = c_.offsets[a]; e < c_.offsets[a + 1]; ++e)
        for (int c = 0; c < layer.width; c += n) {
          const V weight = load(p_.readout + c);
          T *const gradient = this->gradients(e) + layer.column + c;
          total += load(this->values(e) + layer.column + c) * weight;
          store(gradient, weight);
          if (!layer.silu) continue;
          T *const curvature = this->curvatures(e) + layer.column + c;
          store(gradient, weight * load(this->slopes(e) + layer.column + c));
          store(curvature, weight * load(curvature));
        }
      c_.energy[a] = 0.0;
      for (int i = 0; i < n; ++i) c_.energy[a] += total[i];
    }
  }

  void layer_backward(int k) {
    if (k == p_.num_dense - 1) return;  // done with the energies
    const int t = p_.dense[k].environment;
    if (t >= 0) this->template read_sums<false>(c_.sums_gradient[t], nullptr, p_.dense[k].width);
    this->dense_backward(k);
  }

  // From layer k, which read s_t, to dE/dq_t to the dE/dG's; dE/dG_t is then complete, and goes back to the sums.
  __attribute__((noinline)) void track_backward(int k) {
    const int t = p_.dense[k].projection, column = p_.projection_column[t];
    this->to_projection(k, c_.gradients);
    this->template sum_over_edges<false>(
        channels_,
        [&](int e, int l, int u, V &f, V &) ALLEGRO_LAMBDA {
          f = load(this->values(e) + p_.weights_column + l * channels_ + u) * load(this->gradients(e) + column + u);
        },
        [&](int a, int i, int u, V sum)
            ALLEGRO_LAMBDA { store(this->adjoint_gradient(t, a) + i * channels_ + u, sum); });
    this->contract_backward(t);
    const int width = p_.dense[p_.source[t]].width;
    this->mix(p_.mix_back[t], c_.environment_gradient[t], channels_, c_.sums_gradient[t], width);
    this->scale_by_norm(c_.sums_gradient[t], width);
  }

  // dE/dw and dE/dY of every edge.
  __attribute__((noinline)) void weights_and_harmonics_gradient() {
    for (int a = 0; a < c_.num_atoms; ++a)
      for (int e = c_.offsets[a]; e < c_.offsets[a + 1]; ++e) {
        V y_gradient[D];
        gradients_of_orders<0>(a, e, y_gradient);
        write_sums(e, y_gradient);
      }
  }

  // The same of an edge's orders, from First on; those of dE/dY as vectors whose lanes are still to be added.
  template <int First>
  ALLEGRO_INLINE void gradients_of_orders(int a, int e, V *y_gradient) {
    constexpr int Last = last_order(First, L), begin = First * First, size = (Last + 1) * (Last + 1) - begin;
    V sums[size];
    ALLEGRO_UNROLL for (int i = 0; i < size; ++i) sums[i] = V{};
    for (int u = 0; u < channels_; u += n) from_projections<First, Last>(a, e, u, sums);
    for (int t = 0; t < p_.num_layers; ++t) {
      const TrainingDense &source = p_.dense[p_.source[t]];
      for (int c = 0; c < source.width; c += n) {
        const V h = load(this->values(e) + source.column + c);
        ALLEGRO_UNROLL for (int i = First ? 0 : 1; i < size; ++i) sums[i] +=
            h * load(c_.sums_gradient[t] + static_cast<long>(this->row(a, begin + i)) * source.width + c);
      }
    }
    ALLEGRO_UNROLL for (int i = 0; i < size; ++i) y_gradient[begin + i] = sums[i];
    if constexpr (Last < L) gradients_of_orders<Last + 1>(a, e, y_gradient);
  }

  // The sums over lanes, as the gradient of Y_lm; that of Y_00 is not used.
  ALLEGRO_INLINE void write_sums(int e, V *y_gradient) {
    constexpr int at_once = D < n ? D : n;
    alignas(64) T sums[n];
    sum_each<T, at_once>(y_gradient, sums);
    ALLEGRO_UNROLL for (int i = 0; i < at_once; ++i) w_.harmonics_gradient[i * capacity_ + e] = sums[i];
    ALLEGRO_UNROLL for (int i = at_once; i < D; ++i) w_.harmonics_gradient[i * capacity_ + e] = sum<T>(y_gradient[i]);
  }

  // Through s_t[u] = sum_l w[l, u] sum_m q_t[lm, u] Y_lm.
  template <int First, int Last>
  ALLEGRO_INLINE void from_projections(int a, int e, int u, V *sums) {
    const T *const weights = this->values(e) + p_.weights_column + u;
    V w_gradient[L + 1];
    ALLEGRO_UNROLL for (int l = First; l <= Last; ++l) w_gradient[l] = V{};
    for (int t = 0; t < p_.num_layers; ++t) {
      const T *const q = this->adjoint_of(c_.adjoint[t], t, t, a) + u;
      const V s_gradient = load(this->gradients(e) + p_.projection_column[t] + u);
      ALLEGRO_UNROLL for (int l = First; l <= Last; ++l) {
        const V weighted = s_gradient * load(weights + l * channels_);
        V inner = V{};
        ALLEGRO_UNROLL for (int i = l * l; i < (l + 1) * (l + 1); ++i) {
          const V component = load(q + i * channels_);
          sums[i - First * First] += weighted * component;
          inner += component * broadcast(w_.harmonics[i * capacity_ + e]);
        }
        w_gradient[l] += s_gradient * inner;
      }
    }
    ALLEGRO_UNROLL for (int l = First; l <= Last; ++l)
        store(this->gradients(e) + p_.weights_column + l * channels_ + u, w_gradient[l]);
  }

  // dE/dr through dense layer 0, into row 0 of the harmonics' gradient: Y_00 is constant.
  __attribute__((noinline)) void length_gradient() {
    const TrainingDense &layer = p_.dense[0];
    for (int e = 0; e < c_.num_edges; ++e) {
      V total = V{};
      for (int c = 0; c < layer.width; c += n)
        total += load(this->gradients(e) + layer.column + c) *
                 this->from_basis(this->basis(e) + p_.basis_size, this->basis_weights(e) + c);
      alignas(64) T along[n];
      sum_each<T, 1>(&total, along);
      w_.harmonics_gradient[e] = along[0];
    }
  }

  // dE/dvector = dE/dr n + (1 - n n^T) / r sum_lm dE/dY_lm dY_lm/dn.
  __attribute__((noinline)) void write_gradients() {
    const T *const g = w_.harmonics_gradient;
    for (int e = 0; e < c_.num_edges; e += n) {
      const T *const place = c_.direction + e;
      const V x = load(place), y = load(place + capacity_), z = load(place + 2 * capacity_);
      const V inverse = load(place + 3 * capacity_);
      V gx, gy, gz;
      directions(e).gradient(
          typename Track::Norm(), [&](int lm) ALLEGRO_LAMBDA { return load(g + lm * capacity_ + e); }, gx, gy, gz);
      const V along = load(g + e) - (gx * x + gy * y + gz * z) * inverse;
      const V out[3] = {gx * inverse + along * x, gy * inverse + along * y, gz * inverse + along * z};
      const int count = c_.num_edges - e < n ? c_.num_edges - e : n;
      for (int i = 0; i < count; ++i)
        for (int j = 0; j < 3; ++j) c_.edge_gradient[3 * (e + i) + j] = out[j][i];
    }
  }
};

}  // namespace
}  // namespace ALLEGRO_ISA
}  // namespace allegro_dist
