// What depends on one edge and the types of its atoms alone: geometry, spherical harmonics, two-body functions, from
// tables or through their layers. Members of TeamEvaluation.
#pragma once

#include "harmonics.hpp"
#include "hermite.hpp"
#include "radial.hpp"
#include "team_evaluation.hpp"

namespace allegro_dist {
namespace {

template <class T, int L, class Team>
ALLEGRO_DEVICE void TeamEvaluation<T, L, Team>::geometry() const {
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

template <class T, int L, class Team>
ALLEGRO_DEVICE void TeamEvaluation<T, L, Team>::read_table() const {
  const int intervals = p_.table_intervals, width = p_.slopes_stride;
  const long knot = 3L * width, pair_size = knot * (intervals + 1);
  team_.each(num_edges_ * team_helpers, [&](int item) {
    const int e = item / team_helpers;
    const TablePlace place = table_place(w_.reduced[e], intervals);
    const Hermite<T, T> at(static_cast<T>(place.fraction), static_cast<T>(intervals * p_.inverse_cutoffs[w_.pair[e]]));
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

// Function b of the radial basis alone: a basis of one, for which a thread needs no array.
template <class T, int L, class Team>
ALLEGRO_DEVICE Jet TeamEvaluation<T, L, Team>::basis_function(int b, double x) const {
  Jet f;
  if (p_.bessel) {
    const double wavenumber = p_.wavenumbers ? p_.wavenumbers[b] : b + 1.0;
    bessel_basis(x, 1, p_.basis_parameter, &wavenumber, &f);
  } else {  // bump b of `size` is the first one of a single one in a scaled and shifted distance
    spline_basis(x * p_.basis_size - b, 1, p_.basis_parameter, &f);
    f.first *= p_.basis_size;
  }
  return f;
}

// Pre-activation of dense layer 0 and its derivative with respect to r, then the two-body layers and w.
template <class T, int L, class Team>
ALLEGRO_DEVICE void TeamEvaluation<T, L, Team>::two_body_forward() const {
  const int size = p_.basis_size;
  team_.each(num_edges_ * size, [&](int item) {
    const int e = item / size, b = item % size;
    const Jet f = basis_function(b, w_.reduced[e]);
    T *const basis = w_.basis + static_cast<long>(e) * 2 * size;
    basis[b] = static_cast<T>(f.value);
    basis[size + b] = static_cast<T>(f.first * p_.inverse_cutoffs[w_.pair[e]]);
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

template <class T, int L, class Team>
ALLEGRO_DEVICE void TeamEvaluation<T, L, Team>::two_body_backward() const {
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

}  // namespace
}  // namespace allegro_dist
