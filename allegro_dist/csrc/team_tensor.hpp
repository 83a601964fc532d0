// The tensor track: environment, contraction, projection, and the way back. Members of TeamEvaluation.
#pragma once

#include "team_evaluation.hpp"

namespace allegro_dist {
namespace {

template <class T, int L, class Team>
ALLEGRO_DEVICE void TeamEvaluation<T, L, Team>::tensor_forward(int t) const {
  environment_forward(t);
  contraction_forward(t);
  project(t);
}

template <class T, int L, class Team>
ALLEGRO_DEVICE void TeamEvaluation<T, L, Team>::environment_forward(int t) const {
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
template <class T, int L, class Team>
template <bool Add, class X, class Y, class Out>
ALLEGRO_DEVICE void TeamEvaluation<T, L, Team>::contract(const Contraction<T> &terms, const T *path_weights, const X &x,
                                                         const Y &y, const Out &out) const {
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

template <class T, int L, class Team>
ALLEGRO_DEVICE void TeamEvaluation<T, L, Team>::contraction_forward(int t) const {
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
template <class T, int L, class Team>
ALLEGRO_DEVICE void TeamEvaluation<T, L, Team>::project(int t) const {
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

template <class T, int L, class Team>
ALLEGRO_DEVICE void TeamEvaluation<T, L, Team>::clear_environment_gradient(int t) const {
  T *const g = w_.environment_gradient[t];
  each_quad(D * c_.num_atoms, channels_, [&](int r, int u) { store_quad(g + r * channels_ + u, zero_quad<T>()); });
}

// From dE/ds_t to dE/dq_t to the dE/dG's; dE/dG_t is then complete, and goes back through its mixing.
template <class T, int L, class Team>
ALLEGRO_DEVICE void TeamEvaluation<T, L, Team>::tensor_backward(const DensePlan<T> &reader) const {
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
template <class T, int L, class Team>
ALLEGRO_DEVICE void TeamEvaluation<T, L, Team>::contraction_backward(int t) const {
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

}  // namespace
}  // namespace allegro_dist
