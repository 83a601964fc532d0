// The tensor track of a training step: sums of edges into atoms, readings of atoms by edges, and contractions of an
// atom, with tangents where the backward pass needs them (training_kernel.hpp).
#pragma once

#include "harmonics.hpp"
#include "kernel/product.hpp"
#include "training_rows.hpp"

namespace allegro_dist {
namespace ALLEGRO_ISA {
namespace {

template <class T, int L>
class TrainingTrack : protected TrainingRows<T> {
 protected:
  using Base = TrainingRows<T>;
  using V = typename Base::V;
  using Base::c_, Base::capacity_, Base::channels_, Base::n, Base::p_, Base::w_;
  static constexpr int D = (L + 1) * (L + 1);

  using Base::Base;

  struct Norm {  // of the spherical harmonics; folds to a constant
    ALLEGRO_INLINE T operator()(int l, int m) const {
      return static_cast<T>(__builtin_sqrt(harmonic_norm_square(l, m)));
    }
  };

  // Row of component lm of an atom in arrays ordered [l][atom][m].
  ALLEGRO_INLINE int row(int atom, int lm) const {
    const int l = order_of[lm];
    return l * l * c_.num_atoms + atom * (2 * l + 1) + (lm - l * l);
  }
  T *adjoint_of(T *const *steps, int t, int step, int atom) const {
    return steps[step] + static_cast<long>(atom) * p_.product[t - step].num_outputs * channels_;
  }
  T norm_of(int atom) const { return p_.norm[c_.types[atom]]; }

  // Calls body<Vectors>(first column) over `width` columns; two vectors at once where registers allow.
  template <int Most, class Body>
  ALLEGRO_INLINE void over_columns(int width, const Body &body) const {
    int u = 0;
    if constexpr (Most == 2 && vector_bytes == 64 && L <= 2)
      for (; u + 2 * n <= width; u += 2 * n) body.template operator()<2>(u);
    for (; u < width; u += n) body.template operator()<1>(u);
  }

  // --- edges -> atom ------------------------------------------------------------------------------------------------

  // write(atom, lm, column, sum over edges of f Y_lm + g dY_lm) for edge features feature(e, l, column, f, g); without
  // Tangent of f Y_lm alone.
  template <bool Tangent, class Feature, class Write>
  ALLEGRO_INLINE void sum_over_edges(int width, const Feature &feature, const Write &write) const {
    for (int a = 0; a < c_.num_atoms; ++a)
      over_columns<2>(width, [&]<int Vectors>(int u)
                                 ALLEGRO_LAMBDA { sum_over_edges_from<Tangent, 0, Vectors>(a, u, feature, write); });
  }
  template <bool Tangent, int First, int Vectors, class Feature, class Write>
  ALLEGRO_INLINE void sum_over_edges_from(int a, int u, const Feature &feature, const Write &write) const {
    constexpr int Last = last_order(First, L), begin = First * First, size = (Last + 1) * (Last + 1) - begin;
    const T *const y = w_.harmonics, *const dy = w_.harmonics_tangent;
    V sums[size][Vectors];
    ALLEGRO_UNROLL for (int i = 0; i < size; ++i) ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) sums[i][v] = V{};
    for (int e = c_.offsets[a]; e < c_.offsets[a + 1]; ++e) ALLEGRO_UNROLL for (int l = First; l <= Last; ++l) {
        V f[Vectors], g[Vectors];
        ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) feature(e, l, u + v * n, f[v], g[v]);
        ALLEGRO_UNROLL for (int i = l * l; i < (l + 1) * (l + 1); ++i) {
          const V component = broadcast(y[i * capacity_ + e]);
          ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) sums[i - begin][v] += f[v] * component;
          if constexpr (!Tangent) continue;
          const V change = broadcast(dy[i * capacity_ + e]);
          ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) sums[i - begin][v] += g[v] * change;
        }
      }
    ALLEGRO_UNROLL for (int i = 0; i < size; ++i) ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v)
        write(a, begin + i, u + v * n, sums[i][v]);
    if constexpr (Last < L) sum_over_edges_from<Tangent, Last + 1, Vectors>(a, u, feature, write);
  }

  // out[l][atom][m] = in[l][atom][m] W_l. Rows beyond those of l are scratch of the next l, or padding.
  void mix(const MatrixProduct<T> *by_order, const T *in, int in_width, T *out, int out_width) const {
    for (int l = 0; l <= L; ++l) {
      const long first = static_cast<long>(l) * l * c_.num_atoms;
      T *const place = out + first * out_width;
      multiply<T>(by_order[l], in + first * in_width, in_width, c_.num_atoms * (2 * l + 1), Base::zero,
                  [=](int r, int c, V sums)
                      ALLEGRO_LAMBDA { store(place + static_cast<long>(r) * out_width + c, sums); });
    }
  }

  void scale_by_norm(T *rows, int width) const {
    for (int a = 0; a < c_.num_atoms; ++a)
      for (int i = 0; i < D; ++i)
        for (int c = 0; c < width; c += n) {
          T *const place = rows + static_cast<long>(row(a, i)) * width + c;
          store(place, load(place) * broadcast(norm_of(a)));
        }
  }

  // --- atom -> edges ------------------------------------------------------------------------------------------------

  // asked[e] = sum_lm first[lm] Y_lm (+ second[lm] dY_lm): what an environment asks of the layer that it reads.
  template <bool Tangent>
  __attribute__((noinline)) void read_sums(const T *first, const T *second, int width) const {
    for (int a = 0; a < c_.num_atoms; ++a)
      over_columns<Tangent ? 1 : 2>(width, [&]<int Vectors>(int u) ALLEGRO_LAMBDA {
        V s[D][Vectors], d[D][Vectors];
        ALLEGRO_UNROLL for (int i = 0; i < D; ++i) ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) {
          const long place = static_cast<long>(row(a, i)) * width + u + v * n;
          s[i][v] = load(first + place);
          d[i][v] = Tangent ? load(second + place) : V{};
        }
        for (int e = c_.offsets[a]; e < c_.offsets[a + 1]; ++e) {
          V even[Vectors], odd[Vectors];  // two chains of additions
          ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) even[v] = odd[v] = V{};
          ALLEGRO_UNROLL for (int i = 0; i < D; ++i) {
            const V y = broadcast(w_.harmonics[i * capacity_ + e]);
            ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) even[v] += s[i][v] * y;
            if constexpr (!Tangent) continue;
            const V change = broadcast(w_.harmonics_tangent[i * capacity_ + e]);
            ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) odd[v] += d[i][v] * change;
          }
          ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v)
              store(w_.asked + static_cast<long>(e) * width + u + v * n, even[v] + odd[v]);
        }
      });
  }

  // use(e, column, p) with p[l] = sum_m q_t Y_lm, and with Tangent use(e, column, p, its tangent).
  template <bool Tangent, class Use>
  ALLEGRO_INLINE void read_adjoint(int t, const Use &use) const {
    for (int a = 0; a < c_.num_atoms; ++a)
      for (int u = 0; u < channels_; u += n) {
        const T *const q = adjoint_of(c_.adjoint[t], t, t, a) + u;
        const T *const dq = Tangent ? adjoint_of(w_.adjoint_tangent[t], t, t, a) + u : q;
        V q_of[D], dq_of[D];
        ALLEGRO_UNROLL for (int i = 0; i < D; ++i) {
          q_of[i] = load(q + i * channels_);
          dq_of[i] = load(dq + i * channels_);
        }
        for (int e = c_.offsets[a]; e < c_.offsets[a + 1]; ++e) {
          V p[L + 1], dp[L + 1];
          ALLEGRO_UNROLL for (int l = 0; l <= L; ++l) {
            p[l] = dp[l] = V{};
            ALLEGRO_UNROLL for (int i = l * l; i < (l + 1) * (l + 1); ++i) {
              const V y = broadcast(w_.harmonics[i * capacity_ + e]);
              p[l] += q_of[i] * y;
              if constexpr (Tangent)
                dp[l] += dq_of[i] * y + q_of[i] * broadcast(w_.harmonics_tangent[i * capacity_ + e]);
            }
          }
          if constexpr (Tangent)
            use(e, u, p, dp);
          else
            use(e, u, p);
        }
      }
  }

  // --- contractions: q_t from G_t .. G_0 of an atom -----------------------------------------------------------------

  __attribute__((noinline)) void contract(int t) const {
    for (int a = 0; a < c_.num_atoms; ++a) {
      int rows[D];
      for (int i = 0; i < D; ++i) rows[i] = row(a, i) * channels_;
      for (int step = 0; step <= t; ++step) {
        const T *const before = step ? adjoint_of(c_.adjoint[t], t, step - 1, a) : nullptr;
        product_forward(p_.product[t - step], channels_, rows, c_.environment[t - step], before,
                        adjoint_of(c_.adjoint[t], t, step, a));
      }
    }
  }

  // The tangent of q_t from those of the G's.
  __attribute__((noinline)) void contract_tangent(int t) const {
    for (int a = 0; a < c_.num_atoms; ++a)
      for (int step = 0; step <= t; ++step) {
        const ProductPlan<T> &product = p_.product[t - step];
        const T *const g = c_.environment[t - step], *const dg = w_.environment_tangent[t - step];
        T *const dq = adjoint_of(w_.adjoint_tangent[t], t, step, a);
        int rows[D];
        for (int i = 0; i < D; ++i) rows[i] = row(a, i) * channels_;
        const auto write = [&](int i, int u, const V *sums) ALLEGRO_LAMBDA { store(dq + i * channels_ + u, sums[0]); };
        if (step == 0) {
          sum_terms<1>(
              product.start, product.path_weights, channels_,
              [&](const Term<T> &term, int u, V *sums)
                  ALLEGRO_LAMBDA { sums[0] += load(dg + rows[term.b] + u) * term.value; },
              write);
          continue;
        }
        const T *const q = adjoint_of(c_.adjoint[t], t, step - 1, a);
        const T *const dq_before = adjoint_of(w_.adjoint_tangent[t], t, step - 1, a);
        sum_terms<1>(
            product.proceed, product.path_weights, channels_,
            [&](const Term<T> &term, int u, V *sums) ALLEGRO_LAMBDA {
              const int g_place = rows[term.b] + u, q_place = term.c * channels_ + u;
              sums[0] +=
                  (load(dg + g_place) * load(q + q_place) + load(g + g_place) * load(dq_before + q_place)) * term.value;
            },
            write);
      }
  }

  // Adds to dE/dG of all layers that q_t read, from dE/dq_t.
  __attribute__((noinline)) void contract_backward(int t) const {
    for (int a = 0; a < c_.num_atoms; ++a) {
      const T *after = adjoint_gradient(t, a);
      int rows[D];
      for (int i = 0; i < D; ++i) rows[i] = row(a, i) * channels_;
      for (int step = t; step >= 0; --step) {
        T *const before = w_.steps[step % 2];
        product_backward(p_.product[t - step], channels_, rows, c_.environment[t - step],
                         step ? adjoint_of(c_.adjoint[t], t, step - 1, a) : nullptr, after,
                         c_.environment_gradient[t - step], before);
        after = before;
      }
    }
  }

  // Adds to dF/dG and to dF/d(path weights), from dE/dq_t, which is the adjoint of the tangent of q_t, and dF/dq_t
  // (q_adjoint [atom][component][channel]).
  __attribute__((noinline)) void contract_adjoint(int t, const T *q_adjoint) const {
    for (int a = 0; a < c_.num_atoms; ++a) {
      const T *after = adjoint_gradient(t, a), *after_adjoint = q_adjoint + static_cast<long>(a) * D * channels_;
      int rows[D];
      for (int i = 0; i < D; ++i) rows[i] = row(a, i) * channels_;
      for (int step = t; step >= 0; --step) {
        T *const before = w_.steps[step % 2], *const before_adjoint = w_.steps[2 + step % 2];
        if (step)
          proceed_adjoint(t, step, a, rows, after, after_adjoint, before, before_adjoint);
        else
          start_adjoint(t, rows, after, after_adjoint);
        after = before;
        after_adjoint = before_adjoint;
      }
    }
  }

  // dE/dq_t of an atom, after the last step.
  T *adjoint_gradient(int t, int atom) const {
    return c_.adjoint_gradient[t] + static_cast<long>(atom) * D * channels_;
  }

 private:
  // With * for dF/d, ' for dE/d, d for the tangent, C for a term's value.
  // y = w C G:  G* += w C y*,  w* += G (C y*) + dG (C y').
  void start_adjoint(int t, const int *rows, const T *gradient, const T *adjoint) const {
    sum_terms<2>(
        p_.product[t].start_by_environment, p_.product[t].path_weights, channels_,
        [&](const Term<T> &term, int u, V *sums) ALLEGRO_LAMBDA {
          sums[0] += load(adjoint + term.b * channels_ + u) * term.value;
          sums[1] += load(gradient + term.b * channels_ + u) * term.value;
        },
        environment_adjoint(t, rows), path_weights_adjoint(t, rows));
  }

  // y = w C G q:  G* += w C (y* q + y' dq),  w* += G C (y* q + y' dq) + dG C y' q,  q* = w C (y* G + y' dG),
  // q' = w C y' G.
  void proceed_adjoint(int t, int step, int atom, const int *rows, const T *gradient, const T *adjoint, T *q_gradient,
                       T *q_adjoint) const {
    const int k = t - step;
    const T *const q = adjoint_of(c_.adjoint[t], t, step - 1, atom);
    const T *const dq = adjoint_of(w_.adjoint_tangent[t], t, step - 1, atom);
    const T *const g = c_.environment[k], *const dg = w_.environment_tangent[k];
    sum_terms<2>(
        p_.product[k].proceed_by_environment, p_.product[k].path_weights, channels_,
        [&](const Term<T> &term, int u, V *sums) ALLEGRO_LAMBDA {
          const V out = load(gradient + term.b * channels_ + u) * term.value;
          const V before = load(q + term.c * channels_ + u);
          sums[0] += load(adjoint + term.b * channels_ + u) * term.value * before;
          sums[0] += out * load(dq + term.c * channels_ + u);
          sums[1] += out * before;
        },
        environment_adjoint(k, rows), path_weights_adjoint(k, rows));
    sum_terms<2>(
        p_.product[k].proceed_by_adjoint, p_.product[k].path_weights, channels_,
        [&](const Term<T> &term, int u, V *sums) ALLEGRO_LAMBDA {
          const V out = load(gradient + term.b * channels_ + u) * term.value;
          const V environment = load(g + rows[term.c] + u);
          sums[0] += load(adjoint + term.b * channels_ + u) * term.value * environment;
          sums[0] += out * load(dg + rows[term.c] + u);
          sums[1] += out * environment;
        },
        [&](int i, int u, const V *sums) ALLEGRO_LAMBDA {
          store(q_adjoint + i * channels_ + u, sums[0]);
          store(q_gradient + i * channels_ + u, sums[1]);
        });
  }

  // The first of the sums belongs to G*; both, unweighted, to w*.
  auto environment_adjoint(int k, const int *rows) const {
    return [to = w_.environment_adjoint[k], rows](int i, int u, const V *sums) ALLEGRO_LAMBDA {
      T *const place = to + rows[i] + u;
      store(place, load(place) + sums[0]);
    };
  }
  auto path_weights_adjoint(int k, const int *rows) const {
    return [g = c_.environment[k], dg = w_.environment_tangent[k], to = w_.accumulators + p_.path_place[k],
            channels = channels_, rows](int i, int path, int u, const V *sums) ALLEGRO_LAMBDA {
      T *const place = to + static_cast<long>(path) * channels + u;
      store(place, load(place) + load(g + rows[i] + u) * sums[0] + load(dg + rows[i] + u) * sums[1]);
    };
  }
};

}  // namespace
}  // namespace ALLEGRO_ISA
}  // namespace allegro_dist
