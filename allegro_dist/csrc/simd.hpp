// Vectors of the instruction set this file is compiled for, by GCC's and Clang's vector extension: one source for
// AVX-512, AVX2 and everything else (SSE2, NEON). Only kernels include it, inside their per-instruction-set namespace;
// it uses no standard library template, since the linker would merge copies compiled for different machines.
#pragma once

#ifdef __AVX2__
#include <immintrin.h>
#endif
#include <stdint.h>

#include "portable.hpp"

#define ALLEGRO_INLINE inline __attribute__((always_inline))
#define ALLEGRO_LAMBDA __attribute__((always_inline))

namespace allegro_dist {
namespace ALLEGRO_ISA {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64, panel_vectors = 4;  // register tiles: 6 rows x 4 vectors, 12 x 2, 12 x 1
#elif defined(__AVX2__)
constexpr int vector_bytes = 32, panel_vectors = 2;  // 6 x 2, 12 x 1
#else
constexpr int vector_bytes = 16, panel_vectors = 2;
#endif

// Sums over components l m of all orders l up to l_max: the last order, from `first` on, up to which registers hold
// them at once.
constexpr int last_order(int first, int l_max) {
  constexpr int most = vector_bytes == 64 ? 25 : 9;  // of 32 and of 16 registers
  int last = first;
  while (last < l_max && (last + 2) * (last + 2) - first * first <= most) ++last;
  return last;
}

template <class T>
struct Simd {
  typedef T type __attribute__((vector_size(vector_bytes)));
};
template <>
struct Simd<int32_t> {
  typedef int32_t type __attribute__((vector_size(vector_bytes)));
};
template <class T>
using Vec = typename Simd<T>::type;
template <class T>
constexpr int lanes = vector_bytes / sizeof(T);

template <class T>
ALLEGRO_INLINE Vec<T> load(const T *p) {
  return *reinterpret_cast<const Vec<T> *>(p);
}

template <class T>
ALLEGRO_INLINE void store(T *p, Vec<T> v) {
  *reinterpret_cast<Vec<T> *>(p) = v;
}

template <class T>
ALLEGRO_INLINE void clear(T *values, long count) {  // rounded up to whole vectors
  for (long i = 0; i < count; i += lanes<T>) store(values + i, Vec<T>{});
}

template <int... I>
struct Indices {};
template <int N, int... I>
struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};
template <int... I>
struct MakeIndices<0, I...> {
  using type = Indices<I...>;
};

template <class T, int... I>
ALLEGRO_INLINE Vec<T> broadcast(T x, Indices<I...>) {
  return Vec<T>{((void)I, x)...};  // compiles to one broadcast, where x + vector{} costs an addition
}
template <class T>
ALLEGRO_INLINE Vec<T> broadcast(T x) {
  return broadcast<T>(x, typename MakeIndices<lanes<T>>::type{});
}

template <class T>
ALLEGRO_INLINE T sum(Vec<T> v) {
  T total = 0;
  ALLEGRO_UNROLL for (int i = 0; i < lanes<T>; ++i) total += v[i];
  return total;
}

// One vector whose lanes 2i, 2i+1 of a, then of b, are added.
template <class V, int... I>
ALLEGRO_INLINE V add_neighbors(V a, V b, Indices<I...>) {
  return __builtin_shufflevector(a, b, (2 * I)...) + __builtin_shufflevector(a, b, (2 * I + 1)...);
}

// sums[i] = sum of the lanes of v[i], i < Count <= lanes: a tree of pairwise additions. `sums` holds `lanes` values.
template <class T, int Count>
ALLEGRO_INLINE void sum_each(Vec<T> *v, T *sums) {
  using Index = typename MakeIndices<lanes<T>>::type;
  int n = Count;
  ALLEGRO_UNROLL for (int width = 1; width < lanes<T>; width *= 2) {
    ALLEGRO_UNROLL for (int i = 0; i < (n + 1) / 2; ++i) v[i] =
        add_neighbors(v[2 * i], 2 * i + 1 < n ? v[2 * i + 1] : Vec<T>{}, Index{});
    n = (n + 1) / 2;
  }
  store(sums, v[0]);
}

// The same for any Count; `sums` holds Count values, rounded up to whole vectors.
template <class T, int Count>
ALLEGRO_INLINE void sum_lanes(Vec<T> *v, T *sums) {
  constexpr int n = lanes<T>;
  if constexpr (Count <= n) {
    sum_each<T, Count>(v, sums);
  } else {
    sum_each<T, n>(v, sums);
    sum_lanes<T, Count - n>(v + n, sums + n);
  }
}

// 2^y: y = n + f, polynomial in f, n added to the exponent. For y from -100 to 100 (float) or -700 to 700 (double),
// beyond which it stays where it is; silu needs no more.
ALLEGRO_INLINE Vec<float> exp2_of_fraction(Vec<float> f) {
  Vec<float> p = f * 1.54653426e-4f + 1.33953101e-3f;  // Chebyshev fit on [-1/2, 1/2], relative error 6e-9
  p = p * f + 9.61803986e-3f;
  p = p * f + 5.55034061e-2f;
  p = p * f + 2.40226511e-1f;
  p = p * f + 6.93147200e-1f;
  return p * f + 1.0f;
}

template <class T>
ALLEGRO_INLINE Vec<T> clamp(Vec<T> y, T most) {
#if defined(__AVX2__) && !defined(__AVX512F__)  // an instruction where GCC makes two of a comparison and its choice
  if constexpr (sizeof(T) == 4) {
    const __m256 limit = _mm256_set1_ps(most);
    return reinterpret_cast<Vec<T>>(
        _mm256_max_ps(_mm256_min_ps(reinterpret_cast<__m256>(y), limit), _mm256_set1_ps(-most)));
  } else {
    return reinterpret_cast<Vec<T>>(
        _mm256_max_pd(_mm256_min_pd(reinterpret_cast<__m256d>(y), _mm256_set1_pd(most)), _mm256_set1_pd(-most)));
  }
#else
  const Vec<T> limit = broadcast(most);
  y = y > limit ? limit : y;
  return y < -limit ? -limit : y;
#endif
}

ALLEGRO_INLINE Vec<float> exp2(Vec<float> y) {
#ifdef __AVX512F__
  // 2^y vanishes by itself where y is far below; far above, it must stay finite for reciprocal()
  const __m512 below = _mm512_min_ps(_mm512_set1_ps(100.f), reinterpret_cast<__m512>(y));
  const __m512 whole = _mm512_roundscale_ps(below, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const Vec<float> f = reinterpret_cast<Vec<float>>(_mm512_sub_ps(below, whole));
  return reinterpret_cast<Vec<float>>(_mm512_scalef_ps(reinterpret_cast<__m512>(exp2_of_fraction(f)), whole));
#else
  y = clamp(y, 100.f);
  const Vec<float> shifted = y + 12582912.f;  // 1.5 * 2^23: the integer part moves into the lowest bits
  const Vec<float> p = exp2_of_fraction(y - (shifted - 12582912.f));
  return reinterpret_cast<Vec<float>>(reinterpret_cast<Vec<int32_t>>(p) +
                                      (reinterpret_cast<Vec<int32_t>>(shifted) << 23));
#endif
}

ALLEGRO_INLINE Vec<double> exp2(Vec<double> y) {
  typedef int64_t Int __attribute__((vector_size(vector_bytes)));
  y = clamp(y, 700.0);
  const Vec<double> shifted = y + 6755399441055744.0;  // 1.5 * 2^52
  const Vec<double> f = (y - (shifted - 6755399441055744.0)) * 0.693147180559945309417;
  Vec<double> p = f * (1.0 / 6227020800.0) + 1.0 / 479001600.0;  // exp(f) to 13th order, |f| <= ln(2)/2: 1e-17
  p = p * f + 1.0 / 39916800.0;
  p = p * f + 1.0 / 3628800.0;
  p = p * f + 1.0 / 362880.0;
  p = p * f + 1.0 / 40320.0;
  p = p * f + 1.0 / 5040.0;
  p = p * f + 1.0 / 720.0;
  p = p * f + 1.0 / 120.0;
  p = p * f + 1.0 / 24.0;
  p = p * f + 1.0 / 6.0;
  p = p * f + 0.5;
  p = p * f + 1.0;
  p = p * f + 1.0;
  return reinterpret_cast<Vec<double>>(reinterpret_cast<Int>(p) + (reinterpret_cast<Int>(shifted) << 52));
}

ALLEGRO_INLINE Vec<double> reciprocal(Vec<double> x) {
  return 1.0 / x;
}
ALLEGRO_INLINE Vec<float> reciprocal(Vec<float> x) {
#ifdef __AVX512F__
  const __m512 r = _mm512_rcp14_ps(reinterpret_cast<__m512>(x));  // 14 bits, doubled by one Newton step
  const __m512 rest = _mm512_fnmadd_ps(reinterpret_cast<__m512>(x), r, _mm512_set1_ps(1.f));
  return reinterpret_cast<Vec<float>>(_mm512_fmadd_ps(rest, r, r));
#elif defined(__AVX2__)
  const __m256 r = _mm256_rcp_ps(reinterpret_cast<__m256>(x));  // 12 bits, likewise
  const __m256 rest = _mm256_fnmadd_ps(reinterpret_cast<__m256>(x), r, _mm256_set1_ps(1.f));
  return reinterpret_cast<Vec<float>>(_mm256_fmadd_ps(rest, r, r));
#else
  return 1.f / x;
#endif
}

// h = silu(a) = a / (1 + exp(-a)) and its derivative.
template <class T>
ALLEGRO_INLINE void silu(Vec<T> a, Vec<T> &h, Vec<T> &derivative) {
  const Vec<T> s = reciprocal(exp2(a * static_cast<T>(-1.44269504088896340736)) + static_cast<T>(1));
  h = a * s;
  derivative = s + h * (static_cast<T>(1) - s);
}

// The same with the second derivative.
template <class T>
ALLEGRO_INLINE void silu(Vec<T> a, Vec<T> &h, Vec<T> &first, Vec<T> &second) {
  const T one = 1, two = 2;
  const Vec<T> s = reciprocal(exp2(a * static_cast<T>(-1.44269504088896340736)) + one);
  h = a * s;
  first = s + h * (one - s);
  second = (one - s) * (two * s + h * (one - two * s));
}

}  // namespace ALLEGRO_ISA
}  // namespace allegro_dist
