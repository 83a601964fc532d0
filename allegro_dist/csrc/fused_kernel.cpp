// Energies and edge gradients of a chunk of centers: the whole Allegro model, forward and backward, in cache.
// Compiled once per instruction set (ALLEGRO_ISA names the namespace). phases.hpp has the order of the phases, and
// docs/architecture.md has the formulas.
#include "fused_kernel.hpp"

#include "harmonics.hpp"
#include "hermite.hpp"
#include "matrix_product.hpp"
#include "phases.hpp"
#include "radial.hpp"
#include "simd.hpp"

namespace allegro_dist {
namespace ALLEGRO_ISA {
namespace {

// --- a chunk --------------------------------------------------------------------------------------------------------

constexpr int order_of(int lm) {
  int l = 0;
  while ((l + 1) * (l + 1) <= lm) ++l;
  return l;
}

template <class T, int L>
class Evaluation {
  using V = Vec<T>;
  static constexpr int n = lanes<T>, D = (L + 1) * (L + 1);

 public:
  Evaluation(const Plan<T> &plan, const Workspace<T> &work, const Chunk &chunk)
      : p_(plan),
        w_(work),
        c_(chunk),
        num_edges_(chunk.offsets[chunk.num_atoms] - chunk.offsets[0]),
        rows_((num_edges_ + row_tile - 1) / row_tile * row_tile),
        capacity_(work.edge_capacity),
        channels_(plan.num_channels) {}

  void run() { Phases::run(*this, p_); }

 private:
  friend Phases;

  // Row of component lm of an atom in arrays ordered [l][atom][m].
  ALLEGRO_INLINE int row(int atom, int lm) const {
    const int l = order_of(lm);
    return l * l * c_.num_atoms + atom * (2 * l + 1) + (lm - l * l);
  }
  int first_edge(int atom) const { return c_.offsets[atom] - c_.offsets[0]; }
  T *values(int edge) const { return w_.values + static_cast<long>(edge) * p_.values_stride; }
  T *gradients(int edge) const { return w_.gradients + static_cast<long>(edge) * p_.gradients_stride; }
  T *slopes(int edge) const { return w_.slopes + static_cast<long>(edge) * p_.slopes_stride; }

  void tensor_forward(int t) {
    environment_forward(t);
    contraction_forward(t);
    project(t);
  }

  void geometry() {
    const double *const vectors = c_.vectors + 3L * c_.offsets[0];
    T *const nx = w_.direction, *const ny = nx + capacity_, *const nz = ny + capacity_;
    for (int e = 0; e < num_edges_; ++e) {
      const double x = vectors[3 * e], y = vectors[3 * e + 1], z = vectors[3 * e + 2];
      const double r = __builtin_sqrt(x * x + y * y + z * z), inverse = 1.0 / r;
      w_.length[e] = r;
      nx[e] = static_cast<T>(x * inverse);
      ny[e] = static_cast<T>(y * inverse);
      nz[e] = static_cast<T>(z * inverse);
    }
    for (int a = 0; a < c_.num_atoms; ++a)
      for (int e = first_edge(a); e < first_edge(a + 1); ++e) {
        w_.pair[e] = c_.types[a] * p_.num_types + c_.neighbor_types[c_.offsets[0] + e];
        w_.reduced[e] = w_.length[e] * p_.inverse_cutoffs[w_.pair[e]];
      }
    const int padded = (num_edges_ + n - 1) / n * n;
    for (int e = num_edges_; e < padded; ++e) nx[e] = ny[e] = nz[e] = 0;
    harmonics();
  }

  struct Norm {  // of the spherical harmonics; folds to a constant
    ALLEGRO_INLINE T operator()(int l, int m) const {
      return static_cast<T>(__builtin_sqrt(harmonic_norm_square(l, m)));
    }
  };
  using Directions = Harmonics<T, V, L>;

  __attribute__((noinline)) void harmonics() {
    const T *const nx = w_.direction, *const ny = nx + capacity_, *const nz = ny + capacity_;
    T *const out = w_.harmonics;
    for (int e = 0; e < num_edges_; e += n) {
      const Directions f(load(nx + e), load(ny + e), load(nz + e), broadcast<T>(1));
      f.values(Norm(), [&](int lm, V y) ALLEGRO_LAMBDA { store(out + lm * capacity_ + e, y); });
    }
  }

  // Quintic Hermite between knots: value into the row, derivative with respect to r into the slopes.
  __attribute__((noinline)) void read_table() {
    const int intervals = p_.table_intervals, width = p_.slopes_stride;
    const long knot = 3L * width, pair_size = knot * (intervals + 1);
    for (int e = 0; e < num_edges_; ++e) {
      const Hermite<T> at(w_.reduced[e], intervals, p_.inverse_cutoffs[w_.pair[e]]);
      const T *const left = p_.table + w_.pair[e] * pair_size + at.interval * knot, *const right = left + knot;
      T *const value = values(e), *const slope = slopes(e);
      for (int c = 0; c < width; c += n) {
        const V f = load(left + c), f1 = load(left + width + c), f2 = load(left + 2 * width + c);
        const V g = load(right + c), g1 = load(right + width + c), g2 = load(right + 2 * width + c);
        store(value + c, at.value(f, f1, f2, g, g1, g2));
        store(slope + c, at.slope(f, f1, f2, g, g1, g2));
      }
    }
  }

  // --- dense layers -------------------------------------------------------------------------------------------------

  void two_body_forward() {
    read_basis();
    activate(0);
    for (int k = 1; k < p_.num_two_body; ++k) dense_forward(k);
    T *const out = w_.values + p_.weights_column;
    const int stride = p_.values_stride;
    multiply<T>(
        p_.two_body_weights, w_.values, stride, rows_, [](int, int) ALLEGRO_LAMBDA { return V{}; },
        [=](int r, int c, V sums) ALLEGRO_LAMBDA { store(out + static_cast<long>(r) * stride + c, sums); });
  }

  // Pre-activation of dense layer 0 and its derivative with respect to r.
  __attribute__((noinline)) void read_basis() {
    const DensePlan<T> &layer = p_.dense[0];
    Jet basis[max_basis];
    for (int e = 0; e < num_edges_; ++e) {
      const double inverse_cutoff = p_.inverse_cutoffs[w_.pair[e]];
      if (p_.bessel)
        bessel_basis(w_.reduced[e], p_.basis_size, p_.basis_parameter, p_.wavenumbers, basis);
      else
        spline_basis(w_.reduced[e], p_.basis_size, p_.basis_parameter, basis);
      const T *const weights = p_.basis_weights + static_cast<long>(w_.pair[e]) * p_.basis_size * layer.width;
      T *const value = values(e) + layer.column, *const slope = w_.basis_slope + static_cast<long>(e) * layer.width;
      for (int c = 0; c < layer.width; c += n) {
        V f = V{}, s = V{};
        for (int b = 0; b < p_.basis_size; ++b) {
          const V w = load(weights + static_cast<long>(b) * layer.width + c);
          f += w * static_cast<T>(basis[b].value);
          s += w * static_cast<T>(basis[b].first * inverse_cutoff);
        }
        store(value + c, f);
        store(slope + c, s);
      }
    }
  }

  void activate(int k) {
    const DensePlan<T> &layer = p_.dense[k];
    if (!layer.silu) return;
    for (int e = 0; e < num_edges_; ++e) {
      T *const value = values(e) + layer.column, *const slope = gradients(e) + layer.gradient_column;
      for (int c = 0; c < layer.width; c += n) {
        V h, d;
        silu<T>(load(value + c), h, d);
        store(value + c, h);
        store(slope + c, d);
      }
    }
  }

  void dense_forward(int k) {
    const DensePlan<T> &layer = p_.dense[k];
    const int stride = p_.values_stride, gradient_stride = p_.gradients_stride;
    T *const value = w_.values + layer.column, *const slope = w_.gradients + layer.gradient_column;
    const auto row_start = [=](int r, int c) ALLEGRO_LAMBDA { return load(value + static_cast<long>(r) * stride + c); };
    const auto zero = [](int, int) ALLEGRO_LAMBDA { return V{}; };
    const auto keep = [=](int r, int c, V a) ALLEGRO_LAMBDA { store(value + static_cast<long>(r) * stride + c, a); };
    const auto activated = [=](int r, int c, V a) ALLEGRO_LAMBDA {
      V h, d;
      silu<T>(a, h, d);
      store(value + static_cast<long>(r) * stride + c, h);
      store(slope + static_cast<long>(r) * gradient_stride + c, d);
    };
    if (layer.silu && layer.from_table)
      multiply<T>(layer.forward, w_.values, stride, rows_, row_start, activated);
    else if (layer.silu)
      multiply<T>(layer.forward, w_.values, stride, rows_, zero, activated);
    else if (layer.from_table)
      multiply<T>(layer.forward, w_.values, stride, rows_, row_start, keep);
    else
      multiply<T>(layer.forward, w_.values, stride, rows_, zero, keep);
  }

  // E_i = sum_j readout . h_last; and dE/da of the last layer.
  void energies() {
    const DensePlan<T> &layer = p_.dense[p_.num_dense - 1];
    for (int a = 0; a < c_.num_atoms; ++a) {
      V total = V{};
      for (int e = first_edge(a); e < first_edge(a + 1); ++e) {
        const T *const h = values(e) + layer.column;
        T *const g = gradients(e) + layer.gradient_column;
        for (int c = 0; c < layer.width; c += n) {
          const V weight = load(p_.readout + c);
          total += load(h + c) * weight;
          store(g + c, layer.silu ? load(g + c) * weight : weight);
        }
      }
      double energy = 0.0;
      for (int i = 0; i < n; ++i) energy += total[i];
      c_.energy[a] = energy * p_.energy_factor[c_.types[a]];
    }
  }

  // dE/da_k = dE/dh_k silu'(a_k); dE/dh_k from the layers that read it, and from the environment that does.
  void dense_backward(int k) {
    const DensePlan<T> &layer = p_.dense[k];
    if (k == p_.num_dense - 1) return;  // done with the energies
    if (layer.environment >= 0) expand(layer.environment, layer.width);
    const int stride = p_.gradients_stride, width = layer.width;
    T *const gradient = w_.gradients + layer.gradient_column;
    const T *const asked = w_.latent_gradient;
    const auto zero = [](int, int) ALLEGRO_LAMBDA { return V{}; };
    const auto from_environment = [=](int r, int c)
                                      ALLEGRO_LAMBDA { return load(asked + static_cast<long>(r) * width + c); };
    const auto keep = [=](int r, int c, V g) ALLEGRO_LAMBDA { store(gradient + static_cast<long>(r) * stride + c, g); };
    const auto times_slope = [=](int r, int c, V g) ALLEGRO_LAMBDA {
      T *const place = gradient + static_cast<long>(r) * stride + c;
      store(place, g * load(place));
    };
    if (layer.silu && layer.environment >= 0)
      multiply<T>(layer.backward, w_.gradients, stride, rows_, from_environment, times_slope);
    else if (layer.silu)
      multiply<T>(layer.backward, w_.gradients, stride, rows_, zero, times_slope);
    else if (layer.environment >= 0)
      multiply<T>(layer.backward, w_.gradients, stride, rows_, from_environment, keep);
    else
      multiply<T>(layer.backward, w_.gradients, stride, rows_, zero, keep);
  }

  void two_body_backward() {
    for (int k = p_.num_two_body - 1; k >= 0; --k) dense_backward(k);
    const DensePlan<T> &layer = p_.dense[0];
    for (int e = 0; e < num_edges_; ++e) {
      const T *const g = gradients(e) + layer.gradient_column, *const s =
                                                                   w_.basis_slope + static_cast<long>(e) * layer.width;
      V total = V{};
      for (int c = 0; c < layer.width; c += n) total += load(g + c) * load(s + c);
      w_.harmonics_gradient[e] = sum<T>(total);
    }
  }

  // --- the tensor track ---------------------------------------------------------------------------------------------

  // sums[lm] = sum over edges of f(edge, l) Y_lm, for Vectors vectors of channels at once.
  template <int Vectors, class Feature, class Write>
  ALLEGRO_INLINE void sum_over_edges(int begin, int end, const Feature &feature, const Write &write) {
    V sums[D][Vectors];
    ALLEGRO_UNROLL for (int i = 0; i < D; ++i) ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) sums[i][v] = V{};
    const T *const y = w_.harmonics;
    for (int e = begin; e < end; ++e) ALLEGRO_UNROLL for (int l = 0; l <= L; ++l) {
        V f[Vectors];
        ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) f[v] = feature(e, l, v * n);
        ALLEGRO_UNROLL for (int i = l * l; i < (l + 1) * (l + 1); ++i) {
          const V component = broadcast(y[i * capacity_ + e]);
          ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) sums[i][v] += f[v] * component;
        }
      }
    ALLEGRO_UNROLL for (int i = 0; i < D; ++i) ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v)
        write(i, v * n, sums[i][v]);
  }

  // Calls body<2>(channel), then body<1>, over `width` channels; two vectors at once where registers allow.
  template <class Body>
  ALLEGRO_INLINE void over_channels(int width, const Body &body) const {
    int u = 0;
    if constexpr (vector_bytes == 64 && L <= 2)
      for (; u + 2 * n <= width; u += 2 * n) body.template operator()<2>(u);
    for (; u < width; u += n) body.template operator()<1>(u);
  }

  // G_t, from column e1 of the rows or by way of sum_j h Y and the mixing matrices.
  __attribute__((noinline)) void environment_forward(int t) {
    const TensorPlan<T> &layer = p_.tensor[t];
    T *const g = w_.environment[t];
    if (layer.source < 0) {
      for (int a = 0; a < c_.num_atoms; ++a) {
        const T *const e1 = w_.values + p_.e1_column;
        const T scale = p_.norm[c_.types[a]];
        over_channels(channels_, [&]<int Vectors>(int u) ALLEGRO_LAMBDA {
          sum_over_edges<Vectors>(
              first_edge(a), first_edge(a + 1),
              [&](int e, int l, int c)
                  ALLEGRO_LAMBDA { return load(e1 + static_cast<long>(e) * p_.values_stride + l * channels_ + u + c); },
              [&](int lm, int c, V s) ALLEGRO_LAMBDA { store(g + row(a, lm) * channels_ + u + c, s * scale); });
        });
      }
      return;
    }
    const DensePlan<T> &source = p_.dense[layer.source];
    const int width = source.width;
    for (int a = 0; a < c_.num_atoms; ++a) {
      const T *const h = w_.values + source.column;
      const T scale = p_.norm[c_.types[a]];
      over_channels(width, [&]<int Vectors>(int u) ALLEGRO_LAMBDA {
        sum_over_edges<Vectors>(
            first_edge(a), first_edge(a + 1),
            [&](int e, int, int c) ALLEGRO_LAMBDA { return load(h + static_cast<long>(e) * p_.values_stride + u + c); },
            [&](int lm, int c, V s)
                ALLEGRO_LAMBDA { store(w_.sums + static_cast<long>(row(a, lm)) * width + u + c, s * scale); });
      });
    }
    for (int l = 0; l <= L; ++l) mix(layer.mix[l], l, w_.sums, width, g, channels_);
  }

  // out[l][atom][m] = in[l][atom][m] W_l. Rows beyond those of l are scratch of the next l, or padding.
  void mix(const MatrixProduct<T> &m, int l, const T *in, int in_width, T *out, int out_width) {
    const long first = static_cast<long>(l) * l * c_.num_atoms;
    T *const place = out + first * out_width;
    multiply<T>(
        m, in + first * in_width, in_width, c_.num_atoms * (2 * l + 1), [](int, int) ALLEGRO_LAMBDA { return V{}; },
        [=](int r, int c, V sums) ALLEGRO_LAMBDA { store(place + static_cast<long>(r) * out_width + c, sums); });
  }

  T *adjoint(int t, int step, int atom) const {
    return w_.adjoint[t][step] + static_cast<long>(atom) * p_.tensor[t - step].num_outputs * channels_;
  }

  // q_t: the start by product t, then steps through products t-1 .. 0.
  __attribute__((noinline)) void contraction_forward(int t) {
    for (int a = 0; a < c_.num_atoms; ++a)
      for (int step = 0; step <= t; ++step) {
        const TensorPlan<T> &product = p_.tensor[t - step];
        const Contraction<T> &terms = step ? product.proceed : product.start;
        const T *const g = w_.environment[t - step];
        const T *const before = step ? adjoint(t, step - 1, a) : nullptr;
        T *const q = adjoint(t, step, a);
        int rows[D];
        for (int i = 0; i < D; ++i) rows[i] = row(a, i) * channels_;
        for (int i = 0; i < product.num_outputs * channels_; i += n) store(q + i, V{});
        for (int i = 0; i < terms.num_groups; ++i) {
          const TermGroup group = terms.groups[i];
          const T *const weights = product.path_weights + group.path * channels_;
          for (int u = 0; u < channels_; u += n) {
            V total = V{};
            for (int k = group.begin; k < group.end; ++k) {
              const Term<T> &term = terms.terms[k];
              V x = load(g + rows[term.b] + u) * term.value;
              if (before) x *= load(before + term.c * channels_ + u);
              total += x;
            }
            T *const place = q + group.a * channels_ + u;
            store(place, load(place) + total * load(weights + u));
          }
        }
      }
  }

  // dE/dG of all layers that q_t read, from dE/dq_t in adjoint_gradient[0].
  void contraction_backward(int t, int a, T *const *gradient) {
    T *after = gradient[0], *before = gradient[1];  // dE/dq after and before the step
    int rows[D];
    for (int i = 0; i < D; ++i) rows[i] = row(a, i) * channels_;
    for (int step = t; step >= 0; --step) {
      const TensorPlan<T> &product = p_.tensor[t - step];
      const Contraction<T> &terms = step ? product.proceed : product.start;
      const T *const g = w_.environment[t - step];
      T *const g_gradient = w_.environment_gradient[t - step];
      const T *const q = step ? adjoint(t, step - 1, a) : nullptr;
      if (step)
        for (int i = 0; i < p_.tensor[t - step + 1].num_outputs * channels_; i += n) store(before + i, V{});
      for (int i = 0; i < terms.num_groups; ++i) {
        const TermGroup group = terms.groups[i];
        const T *const weights = product.path_weights + group.path * channels_;
        for (int u = 0; u < channels_; u += n) {
          const V out = load(after + group.a * channels_ + u) * load(weights + u);
          for (int k = group.begin; k < group.end; ++k) {
            const Term<T> &term = terms.terms[k];
            const V scaled = out * term.value;
            T *const to_g = g_gradient + rows[term.b] + u;
            if (!step) {
              store(to_g, load(to_g) + scaled);
              continue;
            }
            T *const to_q = before + term.c * channels_ + u;
            const V g_value = load(g + rows[term.b] + u), q_value = load(q + term.c * channels_ + u);
            store(to_g, load(to_g) + scaled * q_value);
            store(to_q, load(to_q) + scaled * g_value);
          }
        }
      }
      T *const swap = after;
      after = before;
      before = swap;
    }
  }

  // s_t[u] = sum_l w[l, u] sum_m q_t[lm, u] Y_lm, and with tables also its change by dw/dr.
  __attribute__((noinline)) void project(int t) {
    const TensorPlan<T> &layer = p_.tensor[t];
    const bool tables = p_.table_intervals > 0;
    for (int a = 0; a < c_.num_atoms; ++a) {
      const T *const q = adjoint(t, t, a);
      over_channels(channels_, [&]<int Vectors>(int u) ALLEGRO_LAMBDA {
        V q_of[D][Vectors];
        ALLEGRO_UNROLL for (int i = 0; i < D; ++i) ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) q_of[i][v] =
            load(q + i * channels_ + u + v * n);
        for (int e = first_edge(a); e < first_edge(a + 1); ++e) {
          T *const value = values(e);
          const T *const weights = value + p_.weights_column + u;
          const T *const weight_slopes = tables ? slopes(e) + p_.weights_column + u : weights;
          V s[Vectors], slope[Vectors];
          ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) s[v] = slope[v] = V{};
          ALLEGRO_UNROLL for (int l = 0; l <= L; ++l) {
            V inner[Vectors];
            ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) inner[v] = V{};
            ALLEGRO_UNROLL for (int i = l * l; i < (l + 1) * (l + 1); ++i) {
              const V y = broadcast(w_.harmonics[i * capacity_ + e]);
              ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) inner[v] += q_of[i][v] * y;
            }
            ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) {
              s[v] += inner[v] * load(weights + l * channels_ + v * n);
              slope[v] += inner[v] * load(weight_slopes + l * channels_ + v * n);
            }
          }
          ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) {
            store(value + layer.projection_column + u + v * n, s[v]);
            if (tables) store(value + layer.projection_slope_column + u + v * n, slope[v]);
          }
        }
      });
    }
  }

  void clear_environment_gradient(int t) {
    T *const g = w_.environment_gradient[t];
    for (int i = 0; i < D * c_.num_atoms * channels_; i += n) store(g + i, V{});
  }

  // From dE/ds_t to dE/dq_t to the dE/dG's; dE/dG_t is then complete, and goes back through its mixing.
  __attribute__((noinline)) void tensor_backward(const DensePlan<T> &reader) {
    const int t = reader.projection, stride = p_.gradients_stride;
    const TensorPlan<T> &layer = p_.tensor[t];
    T *const s_gradient = w_.gradients + layer.projection_gradient_column;
    multiply<T>(
        reader.to_projection, w_.gradients, stride, rows_, [](int, int) ALLEGRO_LAMBDA { return V{}; },
        [=](int r, int c, V g) ALLEGRO_LAMBDA { store(s_gradient + static_cast<long>(r) * stride + c, g); });
    for (int a = 0; a < c_.num_atoms; ++a) {
      T *const q_gradient = w_.adjoint_gradient[0];
      over_channels(channels_, [&]<int Vectors>(int u) ALLEGRO_LAMBDA {
        sum_over_edges<Vectors>(
            first_edge(a), first_edge(a + 1),
            [&](int e, int l, int c) ALLEGRO_LAMBDA {
              return load(values(e) + p_.weights_column + l * channels_ + u + c) *
                     load(s_gradient + static_cast<long>(e) * stride + u + c);
            },
            [&](int lm, int c, V s) ALLEGRO_LAMBDA { store(q_gradient + lm * channels_ + u + c, s); });
      });
      contraction_backward(t, a, w_.adjoint_gradient);
    }
    T *const g = w_.environment_gradient[t];
    for (int a = 0; a < c_.num_atoms; ++a) {
      const T scale = p_.norm[c_.types[a]];
      for (int i = 0; i < D; ++i)
        for (int u = 0; u < channels_; u += n) {
          T *const place = g + row(a, i) * channels_ + u;
          store(place, load(place) * scale);
        }
    }
    if (layer.source < 0) return;
    const int width = p_.dense[layer.source].width;
    for (int l = 0; l <= L; ++l) mix(layer.mix_back[l], l, g, channels_, w_.mixed_gradient[t], width);
  }

  // dE/dh of the edges from the environment t that reads h: sum_lm Y_lm dE/d(sum_j h Y)[lm].
  __attribute__((noinline)) void expand(int t, int width) {
    const T *const sums = w_.mixed_gradient[t];
    for (int a = 0; a < c_.num_atoms; ++a)
      over_channels(width, [&]<int Vectors>(int u) ALLEGRO_LAMBDA {
        V s[D][Vectors];
        ALLEGRO_UNROLL for (int i = 0; i < D; ++i) ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) s[i][v] =
            load(sums + static_cast<long>(row(a, i)) * width + u + v * n);
        for (int e = first_edge(a); e < first_edge(a + 1); ++e) {
          V even[Vectors], odd[Vectors];  // two chains of additions
          ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v) even[v] = odd[v] = V{};
          ALLEGRO_UNROLL for (int i = 0; i < D; ++i) {
            const V y = broadcast(w_.harmonics[i * capacity_ + e]);
            ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v)(i % 2 ? odd[v] : even[v]) += s[i][v] * y;
          }
          ALLEGRO_UNROLL for (int v = 0; v < Vectors; ++v)
              store(w_.latent_gradient + static_cast<long>(e) * width + u + v * n, even[v] + odd[v]);
        }
      });
  }

  // dE/dY of every edge; with tables also dE/dr, without them dE/dw.
  template <bool Tables>
  __attribute__((noinline)) void edge_gradients() {
    constexpr int at_once = vector_bytes == 64 && L <= 2 ? 2 : 1;  // as many edges as registers hold the sums of
    for (int a = 0; a < c_.num_atoms; ++a) {
      const int end = first_edge(a + 1);
      int e = first_edge(a);
      for (; e + at_once <= end; e += at_once) gradients_of_edges<Tables, at_once>(a, e);
      for (; e < end; ++e) gradients_of_edges<Tables, 1>(a, e);
    }
  }

  // The same for edges e .. e + Edges - 1 of an atom, which share what is read of the atom.
  template <bool Tables, int Edges>
  ALLEGRO_INLINE void gradients_of_edges(int a, int e) {
    V y_gradient[Edges][D], r_gradient[Edges];
    ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) {
      r_gradient[k] = V{};
      ALLEGRO_UNROLL for (int i = 0; i < D; ++i) y_gradient[k][i] = V{};
    }
    for (int u = 0; u < channels_; u += n) {
      from_projections<Tables, Edges>(a, e, u, y_gradient, r_gradient);
      if constexpr (Tables) from_first_environment<Edges>(a, e, u, y_gradient, r_gradient);
    }
    for (int t = 0; t < p_.num_layers; ++t) {
      if (p_.tensor[t].source < 0) continue;
      const DensePlan<T> &source = p_.dense[p_.tensor[t].source];
      for (int c = 0; c < source.width; c += n) {
        V feature[Edges];
        ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) feature[k] = load(values(e + k) + source.column + c);
        ALLEGRO_UNROLL for (int i = 0; i < D; ++i) {
          const V asked = load(w_.mixed_gradient[t] + static_cast<long>(row(a, i)) * source.width + c);
          ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) y_gradient[k][i] += feature[k] * asked;
        }
      }
    }
    ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) {
      if constexpr (Tables) r_gradient[k] += from_pre_activations(e + k);
      y_gradient[k][0] = r_gradient[k];  // Y_00 is constant: its place is free
      write_sums(e + k, y_gradient[k]);
    }
  }

  // Through s_t[u] = sum_l w[l, u] sum_m q_t[lm, u] Y_lm.
  template <bool Tables, int Edges>
  ALLEGRO_INLINE void from_projections(int a, int e, int u, V (*y_gradient)[D], V *r_gradient) {
    V w_gradient[Edges][L + 1];
    ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) ALLEGRO_UNROLL for (int l = 0; l <= L; ++l) w_gradient[k][l] = V{};
    for (int t = 0; t < p_.num_layers; ++t) {
      const T *const q = adjoint(t, t, a) + u;
      V s_gradient[Edges];
      ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) {
        s_gradient[k] = load(gradients(e + k) + p_.tensor[t].projection_gradient_column + u);
        if constexpr (Tables)
          r_gradient[k] += s_gradient[k] * load(values(e + k) + p_.tensor[t].projection_slope_column + u);
      }
      ALLEGRO_UNROLL for (int l = 0; l <= L; ++l) {
        V weighted[Edges], inner[Edges];
        ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) {
          weighted[k] = s_gradient[k] * load(values(e + k) + p_.weights_column + l * channels_ + u);
          inner[k] = V{};
        }
        ALLEGRO_UNROLL for (int i = l * l; i < (l + 1) * (l + 1); ++i) {
          const V component = load(q + i * channels_);
          ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) {
            y_gradient[k][i] += weighted[k] * component;
            if constexpr (!Tables) inner[k] += component * broadcast(w_.harmonics[i * capacity_ + e + k]);
          }
        }
        ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) w_gradient[k][l] += s_gradient[k] * inner[k];
      }
    }
    if constexpr (!Tables)
      ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) ALLEGRO_UNROLL for (int l = 0; l <= L; ++l)
          store(gradients(e + k) + p_.weights_gradient_column + l * channels_ + u, w_gradient[k][l]);
  }

  // Through G_1 = sum_j e1 Y, with e1 from the table.
  template <int Edges>
  ALLEGRO_INLINE void from_first_environment(int a, int e, int u, V (*y_gradient)[D], V *r_gradient) {
    ALLEGRO_UNROLL for (int l = 0; l <= L; ++l) {
      const int column = p_.e1_column + l * channels_ + u;
      V e1[Edges], inner[Edges];
      ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) {
        e1[k] = load(values(e + k) + column);
        inner[k] = V{};
      }
      ALLEGRO_UNROLL for (int i = l * l; i < (l + 1) * (l + 1); ++i) {
        const V asked = load(w_.environment_gradient[0] + row(a, i) * channels_ + u);
        ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) {
          y_gradient[k][i] += e1[k] * asked;
          inner[k] += asked * broadcast(w_.harmonics[i * capacity_ + e + k]);
        }
      }
      ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) r_gradient[k] += inner[k] * load(slopes(e + k) + column);
    }
  }

  // Through the table's part of the pre-activations, in two chains of additions.
  ALLEGRO_INLINE V from_pre_activations(int e) const {
    const T *const gradient = gradients(e), *const slope = slopes(e);
    V even = V{}, odd = V{};
    int c = 0;
    for (; c + 2 * n <= p_.pre_activations_width; c += 2 * n) {
      even += load(gradient + c) * load(slope + c);
      odd += load(gradient + c + n) * load(slope + c + n);
    }
    for (; c < p_.pre_activations_width; c += n) even += load(gradient + c) * load(slope + c);
    return even + odd;
  }

  ALLEGRO_INLINE void write_sums(int e, V *y_gradient) {
    constexpr int first = D < n ? D : n;
    alignas(64) T sums[n];
    sum_each<T, first>(y_gradient, sums);
    ALLEGRO_UNROLL for (int i = 0; i < first; ++i) w_.harmonics_gradient[i * capacity_ + e] = sums[i];
    ALLEGRO_UNROLL for (int i = first; i < D; ++i) w_.harmonics_gradient[i * capacity_ + e] = sum<T>(y_gradient[i]);
  }

  // dE/dvector = dE/dr n + (1 - n n^T) / r sum_lm dE/dY_lm dY_lm/dn, times the center's energy factor.
  __attribute__((noinline)) void write_gradients() {
    T *const nx = w_.direction, *const ny = nx + capacity_, *const nz = ny + capacity_;
    const T *const g = w_.harmonics_gradient;
    for (int e = 0; e < num_edges_; e += n) {
      const V x = load(nx + e), y = load(ny + e), z = load(nz + e);
      V gx, gy, gz;
      Directions(x, y, z, broadcast<T>(1))
          .gradient(
              Norm(), [&](int lm) ALLEGRO_LAMBDA { return load(g + lm * capacity_ + e); }, gx, gy, gz);
      const V radial = gx * x + gy * y + gz * z;
      // in place of the direction: the tangential part, still to be divided by r
      store(nx + e, gx - radial * x);
      store(ny + e, gy - radial * y);
      store(nz + e, gz - radial * z);
    }
    for (int a = 0; a < c_.num_atoms; ++a) {
      const double factor = p_.energy_factor[c_.types[a]];
      for (int e = first_edge(a); e < first_edge(a + 1); ++e) {
        const double *const vector = c_.vectors + 3L * (c_.offsets[0] + e);
        double *const out = c_.gradient + 3L * (c_.offsets[0] + e);
        const double scale = factor / w_.length[e], along = static_cast<double>(g[e]);
        out[0] = scale * (along * vector[0] + nx[e]);
        out[1] = scale * (along * vector[1] + ny[e]);
        out[2] = scale * (along * vector[2] + nz[e]);
      }
    }
  }

  const Plan<T> &p_;
  const Workspace<T> &w_;
  const Chunk &c_;
  const int num_edges_, rows_, capacity_, channels_;
};

template <class T>
void evaluate(const Plan<T> &plan, const Workspace<T> &work, const Chunk &chunk) {
  switch (plan.l_max) {
    case 0:
      return Evaluation<T, 0>(plan, work, chunk).run();
    case 1:
      return Evaluation<T, 1>(plan, work, chunk).run();
    case 2:
      return Evaluation<T, 2>(plan, work, chunk).run();
    case 3:
      return Evaluation<T, 3>(plan, work, chunk).run();
    default:
      return Evaluation<T, 4>(plan, work, chunk).run();
  }
}

#define ALLEGRO_STRING(x) #x
#define ALLEGRO_NAME(x) ALLEGRO_STRING(x)

}  // namespace

Kernel<float> kernel_float() {
  return {ALLEGRO_NAME(ALLEGRO_ISA), lanes<float>, panel_vectors, false, evaluate<float>};
}
Kernel<double> kernel_double() {
  return {ALLEGRO_NAME(ALLEGRO_ISA), lanes<double>, panel_vectors, false, evaluate<double>};
}

}  // namespace ALLEGRO_ISA
}  // namespace allegro_dist
