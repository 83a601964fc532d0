// Four neighboring numbers of a row, which one thread of a team loads, computes and stores at once. Rows and columns
// are laid out so that every quad is aligned to its size.
#pragma once

#include "portable.hpp"

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

}  // namespace
}  // namespace allegro_dist
