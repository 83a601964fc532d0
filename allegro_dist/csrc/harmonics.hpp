// Real spherical harmonics and their gradient, of one direction or of a vector of them. No standard library template
// and internal linkage, since kernels of several instruction sets include it (see simd.hpp).
#pragma once

#include "portable.hpp"

namespace allegro_dist {
namespace {

// l of component lm, up to l = 4: a table, which compilers fold where a loop that counts would stay in the inner loops.
constexpr int order_of[25] = {0, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4};

// N^2 of Y_lm, m >= 0, in "component" norm; folds where l and m are known.
constexpr double harmonic_norm_square(int l, int m) {
  double value = 2 * l + 1;
  for (int k = l - m + 1; k <= l + m; ++k) value /= k;
  return m ? 2 * value : value;
}

// e3nn's order and "component" norm, polar axis y. With A_m + i B_m = (z + i x)^m and Q_l^m the m-th derivative of the
// Legendre polynomial P_l(y):  Y_{l,m} = N A_m Q_l^m,  Y_{l,-m} = N B_m Q_l^m. `norm(l, m)` gives N as a T.
template <class T, class V, int L>
struct Harmonics {
  V a[L + 2], b[L + 2], q[L + 2][L + 2];

  ALLEGRO_SHARED Harmonics(V x, V y, V z, V one) {
    a[0] = one;
    b[0] = V{};
    ALLEGRO_UNROLL for (int m = 1; m <= L; ++m) {
      a[m] = z * a[m - 1] - x * b[m - 1];
      b[m] = z * b[m - 1] + x * a[m - 1];
    }
    ALLEGRO_UNROLL for (int m = 0; m <= L + 1; ++m) ALLEGRO_UNROLL for (int l = 0; l <= L; ++l) {
      if (l < m) {
        q[l][m] = V{};
      } else if (l == m) {
        T odd = 1;
        ALLEGRO_UNROLL for (int k = 1; k < 2 * m; k += 2) odd *= k;
        q[l][m] = one * odd;
      } else {
        const V before = l >= 2 ? q[l - 2 < 0 ? 0 : l - 2][m] : V{};
        q[l][m] = (y * q[l - 1][m] * static_cast<T>(2 * l - 1) - before * static_cast<T>(l + m - 1)) *
                  static_cast<T>(1.0 / (l - m));
      }
    }
  }

  // write(lm, Y_lm)
  template <class Norm, class Write>
  ALLEGRO_SHARED void values(const Norm &norm, const Write &write) const {
    ALLEGRO_UNROLL for (int l = 0; l <= L; ++l) ALLEGRO_UNROLL for (int m = 0; m <= l; ++m) {
      const V scaled = q[l][m] * norm(l, m);
      write(l * l + l + m, scaled * a[m]);
      if (m > 0) write(l * l + l - m, scaled * b[m]);
    }
  }

  // sum_lm read(lm) dY_lm/d(x, y, z), of the polynomials as they stand: project it on the sphere's tangent.
  template <class Norm, class Read>
  ALLEGRO_SHARED void gradient(const Norm &norm, const Read &read, V &gx, V &gy, V &gz) const {
    gx = gy = gz = V{};
    ALLEGRO_UNROLL for (int l = 1; l <= L; ++l) ALLEGRO_UNROLL for (int m = 0; m <= l; ++m) {
      const V cosine = read(l * l + l + m) * norm(l, m);
      const V sine = m ? read(l * l + l - m) * norm(l, m) : V{};
      gy += q[l][m + 1] * (cosine * a[m] + sine * b[m]);
      if (m == 0) continue;
      const V scaled = q[l][m] * static_cast<T>(m);
      const int before = m ? m - 1 : 0;
      gx += scaled * (sine * a[before] - cosine * b[before]);
      gz += scaled * (cosine * a[before] + sine * b[before]);
    }
  }
};

}  // namespace
}  // namespace allegro_dist
