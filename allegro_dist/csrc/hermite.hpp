// Quintic Hermite interpolation between the knots of a two-body table. Internal linkage, as in harmonics.hpp.
#pragma once

#include "portable.hpp"

namespace allegro_dist {
namespace {

// Weights of the values and the first and second derivatives at both knots (in units of the interval), and of their
// change with r.
template <class T>
struct Hermite {
  int interval;
  T left0, left1, left2, right0, right1, right2;
  T slope0, slope1, slope2, slope3, slope4;  // of right - left values, left1, left2, right1, right2

  // reduced = r / cutoff
  ALLEGRO_SHARED Hermite(double reduced, int intervals, double inverse_cutoff) {
    const double place = reduced * intervals;
    const int i = place < intervals ? static_cast<int>(place) : intervals - 1;  // any length, and NaN, stays inside
    double fraction = place - i;
    if (fraction > 1.0) fraction = 1.0;  // beyond the cutoff: the last knot, which is zero
    interval = i;
    const T x = static_cast<T>(fraction), x2 = x * x, x3 = x2 * x, x4 = x3 * x, x5 = x4 * x;
    const T per_r = static_cast<T>(intervals * inverse_cutoff), half = static_cast<T>(0.5);
    right0 = 10 * x3 - 15 * x4 + 6 * x5;
    left0 = 1 - right0;
    left1 = x - 6 * x3 + 8 * x4 - 3 * x5;
    right1 = -4 * x3 + 7 * x4 - 3 * x5;
    left2 = half * (x2 - 3 * x3 + 3 * x4 - x5);
    right2 = half * (x3 - 2 * x4 + x5);
    slope0 = (30 * x2 - 60 * x3 + 30 * x4) * per_r;
    slope1 = (1 - 18 * x2 + 32 * x3 - 15 * x4) * per_r;
    slope3 = (-12 * x2 + 28 * x3 - 15 * x4) * per_r;
    slope2 = half * (2 * x - 9 * x2 + 12 * x3 - 5 * x4) * per_r;
    slope4 = half * (3 * x2 - 8 * x3 + 5 * x4) * per_r;
  }

  template <class V>
  ALLEGRO_SHARED V value(V f, V f1, V f2, V g, V g1, V g2) const {
    return (f * left0 + f1 * left1 + f2 * left2) + (g * right0 + g1 * right1 + g2 * right2);
  }
  template <class V>
  ALLEGRO_SHARED V slope(V f, V f1, V f2, V g, V g1, V g2) const {
    return ((g - f) * slope0 + f1 * slope1 + f2 * slope2) + (g1 * slope3 + g2 * slope4);
  }
};

}  // namespace
}  // namespace allegro_dist
