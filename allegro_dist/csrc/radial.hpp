// The radial basis functions with their derivatives, as nn/radial.py defines them. Header for the table builder and the
// kernels; internal linkage, so that each file keeps its own compiled copy.
#pragma once

#include <math.h>

#include "portable.hpp"

namespace allegro_dist {
namespace {

// Value and first two derivatives with respect to x. What is not used costs nothing after inlining.
struct Jet {
  double value = 0.0, first = 0.0, second = 0.0;
};

ALLEGRO_SHARED Jet operator+(Jet a, Jet b) {
  return {a.value + b.value, a.first + b.first, a.second + b.second};
}
ALLEGRO_SHARED Jet operator*(Jet a, Jet b) {
  return {a.value * b.value, a.first * b.value + a.value * b.first,
          a.second * b.value + 2.0 * a.first * b.first + a.value * b.second};
}

constexpr double pi = 3.14159265358979323846;

// (1 - x)^3 sum_{k<p} (k+1)(k+2)/2 x^k for x < 1, else 0: see envelope() in nn/radial.py.
ALLEGRO_SHARED Jet envelope(double x, int power) {
  if (x >= 1.0) return {};
  const Jet variable{x, 1.0, 0.0}, gap{1.0 - x, -1.0, 0.0};
  Jet series{0.5 * power * (power + 1)};
  for (int k = power - 2; k >= 0; --k) series = series * variable + Jet{0.5 * (k + 1) * (k + 2)};
  return gap * gap * gap * series;
}

// basis[n] = sin(w_n pi x) / (pi x) u(x); wavenumbers null: 1 .. size.
ALLEGRO_SHARED void bessel_basis(double x, int size, int power, const double *wavenumbers, Jet *basis) {
  const double inverse = 1.0 / x;
  const Jet prefactor =
      Jet{inverse / pi, -inverse * inverse / pi, 2.0 * inverse * inverse * inverse / pi} * envelope(x, power);
  const double sin_1 = sin(pi * x), cos_1 = cos(pi * x);
  double sine = sin_1, cosine = cos_1;  // of n pi x, by rotation
  for (int n = 0; n < size; ++n) {
    double w = n + 1.0;
    if (wavenumbers) {
      w = wavenumbers[n];
      sine = sin(w * pi * x);
      cosine = cos(w * pi * x);
    }
    basis[n] = Jet{sine, w * pi * cosine, -w * w * pi * pi * sine} * prefactor;
    const double rotated = sine * cos_1 + cosine * sin_1;
    cosine = cosine * cos_1 - sine * sin_1;
    sine = rotated;
  }
}

// Bumps ((1 - cos t) / 2)^2 on supports of width (span + 1) / size: see spline_basis() in nn/radial.py.
ALLEGRO_SHARED void spline_basis(double x, int size, int span, Jet *basis) {
  const double width = (span + 1.0) / size, frequency = 2.0 * pi / width;
  for (int n = 0; n < size; ++n) {
    const double inside = x - (n - span) / static_cast<double>(size);
    basis[n] = Jet{};
    if (inside <= 0.0 || inside >= width) continue;
    const double sine = sin(frequency * inside), cosine = cos(frequency * inside);
    const Jet bump{0.5 - 0.5 * cosine, 0.5 * frequency * sine, 0.5 * frequency * frequency * cosine};
    basis[n] = bump * bump;
  }
}

}  // namespace
}  // namespace allegro_dist
