// The backward half of a training step on a chunk: dF/d(weights) of
//
//     F = sum_i c_i E_i + sum_e v_e . dE/dr_e        c = dL/dE_i, v = dL/d(edge gradient): numbers here
//
// by one tangent pass along v (dx = change of x when edge vectors change by v) and one reverse pass. The adjoint of a
// tangent dx is the gradient dE/dx that the forward half kept, so only the values' adjoints dF/dx are new; a map y = W
// x then gives dF/dW = x (dF/dy)^T + dx (dE/dy)^T, and dF/dx = W^T dF/dy.
#pragma once

#include "radial.hpp"
#include "training_track.hpp"

namespace allegro_dist {
namespace ALLEGRO_ISA {
namespace {

// A value and its change along v.
template <class V>
struct Dual {
  V value, change;
};
template <class V>
ALLEGRO_INLINE Dual<V> operator+(Dual<V> a, Dual<V> b) {
  return {a.value + b.value, a.change + b.change};
}
template <class V>
ALLEGRO_INLINE Dual<V> operator-(Dual<V> a, Dual<V> b) {
  return {a.value - b.value, a.change - b.change};
}
template <class V>
ALLEGRO_INLINE Dual<V> operator*(Dual<V> a, Dual<V> b) {
  return {a.value * b.value, a.value * b.change + a.change * b.value};
}
template <class V, class T>
ALLEGRO_INLINE Dual<V> operator*(Dual<V> a, T factor) {
  return {a.value * factor, a.change * factor};
}

template <class T, int L>
class TrainingBackward : private TrainingTrack<T, L> {
  using Track = TrainingTrack<T, L>;
  using V = typename Track::V;
  using Track::c_, Track::capacity_, Track::channels_, Track::D, Track::n, Track::p_, Track::w_;

 public:
  TrainingBackward(const TrainingPlan<T> &plan, const TrainingChunk<T> &chunk, const LossGradient<T> &loss,
                   const TrainingScratch<T> &scratch)
      : Track(plan, chunk, scratch), loss_(loss) {}

  void run() {
    directions();
    harmonics();
    this->first_tangent();
    for (int k = 1; k < p_.num_two_body; ++k) this->dense_tangent(k);
    this->weights_from_layer(w_.tangents);
    for (int k = p_.num_two_body; k < p_.num_dense; ++k) {
      if (p_.dense[k].projection >= 0) track_tangent(p_.dense[k].projection);
      this->dense_tangent(k);
    }
    readout();
    for (int t = 0; t < p_.num_layers; ++t)
      clear(w_.environment_adjoint[t], static_cast<long>(D) * c_.num_atoms * channels_);
    for (int k = p_.num_dense - 1; k >= p_.num_two_body; --k) {
      layer_adjoint(k);
      if (p_.dense[k].projection >= 0) track_adjoint(k);
    }
    weights_adjoint();
    for (int k = p_.num_two_body - 1; k >= 0; --k) layer_adjoint(k);
    this->add_weight_products();
    this->add_basis_weights();
    if (p_.train_wavenumbers) add_wavenumbers();
  }

 private:
  // dr = n . v, and the change of n: (v - n dr) / r.
  void directions() {
    T *const change = w_.asked;  // [3][capacity], until the harmonics are done
    for (int e = 0; e < c_.num_edges; ++e) {
      const T *const v = loss_.edges + 3L * e, *const direction = c_.direction + e;
      T along = 0;
      for (int i = 0; i < 3; ++i) along += direction[i * capacity_] * v[i];
      w_.length_tangent[e] = along;
      for (int i = 0; i < 3; ++i)
        change[i * capacity_ + e] = (v[i] - direction[i * capacity_] * along) * direction[3 * capacity_];
    }
  }

  __attribute__((noinline)) void harmonics() {
    const T *const change = w_.asked;
    for (int e = 0; e < c_.num_edges; e += n) {
      Dual<V> x[3];
      ALLEGRO_UNROLL for (int i = 0; i < 3; ++i)
          x[i] = {load(c_.direction + i * capacity_ + e), load(change + i * capacity_ + e)};
      const Harmonics<T, Dual<V>, L> f(x[0], x[1], x[2], Dual<V>{broadcast<T>(1), V{}});
      f.values(typename Track::Norm(), [&](int lm, Dual<V> y) ALLEGRO_LAMBDA {
        store(w_.harmonics + lm * capacity_ + e, y.value);
        store(w_.harmonics_tangent + lm * capacity_ + e, y.change);
      });
    }
  }

  __attribute__((noinline)) void track_tangent(int t) {
    const TrainingDense &source = p_.dense[p_.source[t]];
    this->template sum_over_edges<true>(
        source.width,
        [&](int e, int, int c, V &f, V &g) ALLEGRO_LAMBDA {
          f = load(this->tangents(e) + source.column + c);
          g = load(this->values(e) + source.column + c);
        },
        [&](int a, int i, int c, V sum) ALLEGRO_LAMBDA {
          store(w_.sums_tangent[t] + static_cast<long>(this->row(a, i)) * source.width + c,
                sum * broadcast(this->norm_of(a)));
        });
    this->mix(p_.mix[t], w_.sums_tangent[t], source.width, w_.environment_tangent[t], channels_);
    this->contract_tangent(t);
    this->template read_adjoint<true>(t, [&](int e, int u, const V *p, const V *dp) ALLEGRO_LAMBDA {
      const T *const weights = this->values(e) + p_.weights_column + u;
      const T *const changes = this->tangents(e) + p_.weights_column + u;
      V s = V{};
      ALLEGRO_UNROLL for (int l = 0; l <= L; ++l) s +=
          dp[l] * load(weights + l * channels_) + p[l] * load(changes + l * channels_);
      store(this->tangents(e) + p_.projection_column[t] + u, s);
    });
  }

  // Through E_i = sum_j readout . h_last.
  void readout() {
    const TrainingDense &layer = p_.dense[p_.num_dense - 1];
    T *const out = w_.accumulators + p_.readout_place;
    for (int a = 0; a < c_.num_atoms; ++a) {
      const V factor = broadcast(loss_.energy[a]);
      for (int e = c_.offsets[a]; e < c_.offsets[a + 1]; ++e)
        for (int c = 0; c < layer.width; c += n) {
          const int place = layer.column + c;
          store(out + c, load(out + c) + factor * load(this->values(e) + place) + load(this->tangents(e) + place));
          V adjoint = factor * load(p_.readout + c);
          if (layer.silu) adjoint = adjoint * load(this->slopes(e) + place) + load(this->curvatures(e) + place);
          store(this->adjoints(e) + place, adjoint);
        }
    }
  }

  void layer_adjoint(int k) {
    if (k == p_.num_dense - 1) return;  // done with the readout
    const int t = p_.dense[k].environment;
    if (t >= 0) this->template read_sums<true>(w_.sums_adjoint[t], c_.sums_gradient[t], p_.dense[k].width);
    this->dense_adjoint(k);
  }

  // From layer k, which read s_t, to dF/dq_t to the dF/dG's; dF/dG_t is then complete, and goes back to the sums.
  __attribute__((noinline)) void track_adjoint(int k) {
    const int t = p_.dense[k].projection, column = p_.projection_column[t];
    this->to_projection(k, w_.adjoints);
    T *const q_adjoint = w_.adjoint_adjoint;
    this->template sum_over_edges<true>(
        channels_,
        [&](int e, int l, int u, V &f, V &g) ALLEGRO_LAMBDA {
          const int place = p_.weights_column + l * channels_ + u;
          const V s_gradient = load(this->gradients(e) + column + u), w = load(this->values(e) + place);
          f = load(this->adjoints(e) + column + u) * w + s_gradient * load(this->tangents(e) + place);
          g = s_gradient * w;
        },
        [&](int a, int i, int u, V sum)
            ALLEGRO_LAMBDA { store(q_adjoint + (static_cast<long>(a) * D + i) * channels_ + u, sum); });
    this->contract_adjoint(t, q_adjoint);
    const int width = p_.dense[p_.source[t]].width;
    for (int l = 0; l <= L; ++l) {
      const long first = static_cast<long>(l) * l * c_.num_atoms;
      add_outer<T>(c_.sums[t] + first * width, w_.sums_tangent[t] + first * width, width, width,
                   w_.environment_adjoint[t] + first * channels_, c_.environment_gradient[t] + first * channels_,
                   channels_, channels_, c_.num_atoms * (2 * l + 1), w_.accumulators + p_.mix_place[t][l]);
    }
    this->mix(p_.mix_back[t], w_.environment_adjoint[t], channels_, w_.sums_adjoint[t], width);
    this->scale_by_norm(w_.sums_adjoint[t], width);
  }

  // dF/dw of every edge.
  __attribute__((noinline)) void weights_adjoint() {
    for (int t = 0; t < p_.num_layers; ++t)
      this->template read_adjoint<true>(t, [&](int e, int u, const V *p, const V *dp) ALLEGRO_LAMBDA {
        const V s_adjoint = load(this->adjoints(e) + p_.projection_column[t] + u);
        const V s_gradient = load(this->gradients(e) + p_.projection_column[t] + u);
        ALLEGRO_UNROLL for (int l = 0; l <= L; ++l) {
          T *const place = this->adjoints(e) + p_.weights_column + l * channels_ + u;
          const V sum = s_adjoint * p[l] + s_gradient * dp[l];
          store(place, t ? load(place) + sum : sum);
        }
      });
  }

  // Of basis[n] = sin(w_n pi x) / (pi x) u(x): d/dw_n is cos(w_n pi x) u(x).
  void add_wavenumbers() {
    const TrainingDense &layer = p_.dense[0];
    for (int e = 0; e < c_.num_edges; ++e) {
      const double inverse_cutoff = p_.inverse_cutoffs[c_.pair[e]];
      const double x = inverse_cutoff / static_cast<double>(c_.direction[3 * capacity_ + e]);
      const Jet u = envelope(x, p_.basis_parameter);
      for (int b = 0; b < p_.basis_size; ++b) {
        V adjoint = V{}, gradient = V{};
        for (int c = 0; c < layer.width; c += n) {
          const V weight = load(this->basis_weights(e) + static_cast<long>(b) * layer.width + c);
          adjoint += weight * load(this->adjoints(e) + layer.column + c);
          gradient += weight * load(this->gradients(e) + layer.column + c);
        }
        const double k = (p_.wavenumbers ? p_.wavenumbers[b] : b + 1.0) * pi;
        const Jet change = Jet{cos(k * x), -k * sin(k * x), 0.0} * u;
        w_.accumulators[p_.wavenumbers_place + b] +=
            sum<T>(adjoint) * static_cast<T>(change.value) +
            sum<T>(gradient) * w_.length_tangent[e] * static_cast<T>(change.first * inverse_cutoff);
      }
    }
  }

  const LossGradient<T> &loss_;
};

}  // namespace
}  // namespace ALLEGRO_ISA
}  // namespace allegro_dist
