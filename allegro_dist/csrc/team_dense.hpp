// Dense layers forward and backward, and the energies that the last one gives. Members of TeamEvaluation.
#pragma once

#include "team_evaluation.hpp"

namespace allegro_dist {
namespace {

template <class T, int L, class Team>
ALLEGRO_DEVICE void TeamEvaluation<T, L, Team>::keep_activated(const DensePlan<T> &layer, int e, int c,
                                                               const Q &a) const {
  if (!layer.silu) {
    store_quad(values(e) + layer.column + c, a);
    return;
  }
  Q h, d;
  ALLEGRO_UNROLL for (int i = 0; i < quad; ++i) silu_scalar(a.v[i], h.v[i], d.v[i]);
  store_quad(values(e) + layer.column + c, h);
  store_quad(gradients(e) + layer.gradient_column + c, d);
}

template <class T, int L, class Team>
ALLEGRO_DEVICE void TeamEvaluation<T, L, Team>::dense_forward(int k) const {
  const DensePlan<T> &layer = p_.dense[k];
  multiply(
      layer.forward, w_.values, p_.values_stride,
      [&](int e, int c) { return layer.from_table ? load_quad(values(e) + layer.column + c) : zero_quad<T>(); },
      [&](int e, int c, const Q &a) { keep_activated(layer, e, c, a); });
}

// E_i = sum_j readout . h_last; and dE/da of the last layer.
template <class T, int L, class Team>
ALLEGRO_DEVICE void TeamEvaluation<T, L, Team>::energies() const {
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

template <class T, int L, class Team>
ALLEGRO_DEVICE void TeamEvaluation<T, L, Team>::dense_backward(int k) const {
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

}  // namespace
}  // namespace allegro_dist
