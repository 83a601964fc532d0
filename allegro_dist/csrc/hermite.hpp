// Quintic Hermite interpolation between the knots of a two-body table. Internal linkage, as in harmonics.hpp.
#pragma once

#include "fused_kernel.hpp"
#include "portable.hpp"

namespace allegro_dist {
namespace {

// Where x = r / cutoff lies in a table.
struct TablePlace {
  int interval;
  double fraction;  // of the interval
};

ALLEGRO_SHARED TablePlace table_place(double reduced, int intervals) {
  const double place = reduced * intervals;
  const int interval =
      place < intervals ? static_cast<int>(place) : intervals - 1;  // any length, and NaN, stays inside
  const double fraction = place - interval;
  return {interval, fraction > 1.0 ? 1.0 : fraction};  // beyond the cutoff: the last knot, which is zero
}

// Weights of the values and the first and second derivatives at both knots (in units of the interval), and of their
// change with r; of one edge (W a number of type T) or of a vector of edges.
template <class W, class T>
struct Hermite {
  static constexpr int count = hermite_weights;
  W left0, left1, left2, right0, right1, right2;
  W slope0, slope1, slope2, slope3, slope4;  // of right - left values, left1, left2, right1, right2

  // x: fraction of the interval; per_r: its change with r
  ALLEGRO_SHARED Hermite(W x, W per_r) {
    const T half = static_cast<T>(0.5);
    const W x2 = x * x, x3 = x2 * x, x4 = x3 * x, x5 = x4 * x;
    right0 = number(10) * x3 - number(15) * x4 + number(6) * x5;
    left0 = number(1) - right0;
    left1 = x - number(6) * x3 + number(8) * x4 - number(3) * x5;
    right1 = number(-4) * x3 + number(7) * x4 - number(3) * x5;
    left2 = half * (x2 - number(3) * x3 + number(3) * x4 - x5);
    right2 = half * (x3 - number(2) * x4 + x5);
    slope0 = (number(30) * x2 - number(60) * x3 + number(30) * x4) * per_r;
    slope1 = (number(1) - number(18) * x2 + number(32) * x3 - number(15) * x4) * per_r;
    slope3 = (number(-12) * x2 + number(28) * x3 - number(15) * x4) * per_r;
    slope2 = half * (number(2) * x - number(9) * x2 + number(12) * x3 - number(5) * x4) * per_r;
    slope4 = half * (number(3) * x2 - number(8) * x3 + number(5) * x4) * per_r;
  }

  // As written by write().
  template <class Read>
  ALLEGRO_SHARED explicit Hermite(const Read &read)
      : left0(read(0)),
        left1(read(1)),
        left2(read(2)),
        right0(read(3)),
        right1(read(4)),
        right2(read(5)),
        slope0(read(6)),
        slope1(read(7)),
        slope2(read(8)),
        slope3(read(9)),
        slope4(read(10)) {}

  template <class Write>
  ALLEGRO_SHARED void write(const Write &out) const {
    const W all[count] = {left0, left1, left2, right0, right1, right2, slope0, slope1, slope2, slope3, slope4};
    ALLEGRO_UNROLL for (int i = 0; i < count; ++i) out(i, all[i]);
  }

  template <class V>
  ALLEGRO_SHARED V value(V f, V f1, V f2, V g, V g1, V g2) const {
    return (f * left0 + f1 * left1 + f2 * left2) + (g * right0 + g1 * right1 + g2 * right2);
  }
  template <class V>
  ALLEGRO_SHARED V slope(V f, V f1, V f2, V g, V g1, V g2) const {
    return ((g - f) * slope0 + f1 * slope1 + f2 * slope2) + (g1 * slope3 + g2 * slope4);
  }

 private:
  ALLEGRO_SHARED static T number(int value) { return static_cast<T>(value); }
};

}  // namespace
}  // namespace allegro_dist
