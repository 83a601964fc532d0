// From the gradients of everything that an edge computes to dE/d(edge vector). Members of TeamEvaluation.
#pragma once

#include "harmonics.hpp"
#include "team_evaluation.hpp"

namespace allegro_dist {
namespace {

// dE/dY of every edge, and in the place of Y_00, which is constant, dE/dr with tables. Without them dE/dw. The sums
// over a row are shared among helpers and added up afterwards.
template <class T, int L, class Team>
template <bool Tables>
ALLEGRO_DEVICE void TeamEvaluation<T, L, Team>::edge_gradients() const {
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

template <class T, int L, class Team>
template <bool Tables>
ALLEGRO_DEVICE void TeamEvaluation<T, L, Team>::from_projections(int a, int e, int u, T *sums) const {
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
template <class T, int L, class Team>
ALLEGRO_DEVICE void TeamEvaluation<T, L, Team>::write_gradients() const {
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

}  // namespace
}  // namespace allegro_dist
