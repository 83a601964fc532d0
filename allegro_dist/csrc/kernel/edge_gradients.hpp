// The last of the backward pass: dE/dY_lm of every edge; with tables also dE/dr, without them dE/dw.
#pragma once

#include "chunk_view.hpp"

namespace allegro_dist {
namespace ALLEGRO_ISA {
namespace {

// What an atom's edges read of it, in the order in which they do, [component][lane] by [component][lane]: for every
// vector of channels q_0 .. q_t and, with tables, dE/dG_0; then dE/d(sum_j h Y) of the layers that sum h.
template <bool Tables, class T, int L>
void gather_asked(const ChunkView<T, L> &view, int a) {
  constexpr int n = lanes<T>, D = ChunkView<T, L>::D;
  const Plan<T> &plan = view.plan;
  const Workspace<T> &work = view.work;
  int rows[D];
  ALLEGRO_UNROLL for (int i = 0; i < D; ++i) rows[i] = view.row(a, i);
  T *out = work.asked;
  const auto put = [&](const T *from) ALLEGRO_LAMBDA {
    store(out, load(from));
    out += n;
  };
  for (int u = 0; u < view.channels; u += n) {
    for (int t = 0; t < plan.num_layers; ++t)
      for (int i = 0; i < D; ++i) put(view.adjoint(t, t, a) + i * view.channels + u);
    if constexpr (Tables)
      for (int i = 0; i < D; ++i) put(work.environment_gradient[0] + rows[i] * view.channels + u);
  }
  for (int t = 0; t < plan.num_layers; ++t) {
    if (plan.tensor[t].source < 0) continue;
    const int width = plan.dense[plan.tensor[t].source].width;
    for (int c = 0; c < width; c += n)
      for (int i = 0; i < D; ++i) put(work.mixed_gradient[t] + static_cast<long>(rows[i]) * width + c);
  }
}

// `Edges` edges of one atom, e and those that follow it: the orders in as many passes as registers ask for.
template <bool Tables, int Edges, class T, int L>
struct EdgeGradients {
  using V = Vec<T>;
  static constexpr int n = lanes<T>, D = ChunkView<T, L>::D;

  const ChunkView<T, L> &view;
  const T *value[Edges], *slope[Edges], *y[Edges];
  T *gradient[Edges];
  V y_gradient[Edges][D], r_gradient[Edges];

  ALLEGRO_INLINE EdgeGradients(const ChunkView<T, L> &view, int e) : view(view) {
    ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) {
      value[k] = view.values(e + k);
      slope[k] = Tables ? view.slopes(e + k) : nullptr;
      gradient[k] = view.gradients(e + k);
      y[k] = view.harmonics(e + k);
      r_gradient[k] = V{};
    }
  }

  ALLEGRO_INLINE void run(int e) {
    sum_orders<0>();
    if constexpr (Tables) from_pre_activations(view.plan.pre_activations_width);
    ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) {
      y_gradient[k][0] = r_gradient[k];  // Y_00 is constant: its place is free
      sum_lanes<T, D>(y_gradient[k], view.harmonics_gradient(e + k));
    }
  }

 private:
  // Orders First .. Last of dE/dY, and what they say of dE/dr or dE/dw; then the next ones.
  template <int First>
  ALLEGRO_INLINE void sum_orders() {
    constexpr int Last = last_order(First, L);
    const Plan<T> &plan = view.plan;
    Orders<First, Last> orders;
    const T *asked = view.work.asked;
    for (int u = 0; u < view.channels; u += n) {
      from_projections(u, asked, orders);
      if constexpr (Tables) from_first_environment(u, asked, orders);
    }
    for (int t = 0; t < plan.num_layers; ++t)
      if (plan.tensor[t].source >= 0) from_environment(plan.dense[plan.tensor[t].source], asked, orders);
    ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) ALLEGRO_UNROLL for (int i = 0; i < orders.size; ++i)
        y_gradient[k][orders.begin + i] = orders.sums[k][i];
    if constexpr (Last < L) sum_orders<Last + 1>();
  }

  template <int FirstOrder, int LastOrder>
  struct Orders {
    static constexpr int first = FirstOrder, last = LastOrder;
    static constexpr int begin = first * first, end = (last + 1) * (last + 1), size = end - begin;
    V sums[Edges][size];

    ALLEGRO_INLINE Orders() {
      ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) ALLEGRO_UNROLL for (int i = 0; i < size; ++i) sums[k][i] = V{};
    }
  };

  // Through s_t[u] = sum_l w[l, u] sum_m q_t[lm, u] Y_lm.
  template <class Of>
  ALLEGRO_INLINE void from_projections(int u, const T *&asked, Of &orders) {
    const Plan<T> &plan = view.plan;
    V w_gradient[Edges][L + 1];
    ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) ALLEGRO_UNROLL for (int l = Of::first; l <= Of::last; ++l)
        w_gradient[k][l] = V{};
    for (int t = 0; t < plan.num_layers; ++t, asked += D * n) {
      V s_gradient[Edges];
      ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) {
        s_gradient[k] = load(gradient[k] + plan.tensor[t].projection_gradient_column + u);
        if constexpr (Tables && Of::first == 0)
          r_gradient[k] += s_gradient[k] * load(value[k] + plan.tensor[t].projection_slope_column + u);
      }
      ALLEGRO_UNROLL for (int l = Of::first; l <= Of::last; ++l) {
        V weighted[Edges], inner[Edges];
        ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) {
          weighted[k] = s_gradient[k] * load(value[k] + plan.weights_column + l * view.channels + u);
          inner[k] = V{};
        }
        ALLEGRO_UNROLL for (int i = l * l; i < (l + 1) * (l + 1); ++i) {
          const V component = load(asked + i * n);
          ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) {
            orders.sums[k][i - Of::begin] += weighted[k] * component;
            if constexpr (!Tables) inner[k] += component * broadcast(y[k][i]);
          }
        }
        if constexpr (!Tables)
          ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) w_gradient[k][l] += s_gradient[k] * inner[k];
      }
    }
    if constexpr (!Tables)
      ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) ALLEGRO_UNROLL for (int l = Of::first; l <= Of::last; ++l)
          store(gradient[k] + plan.weights_gradient_column + l * view.channels + u, w_gradient[k][l]);
  }

  // Through G_0 = sum_j e1 Y, with e1 from the table.
  template <class Of>
  ALLEGRO_INLINE void from_first_environment(int u, const T *&asked, Of &orders) {
    ALLEGRO_UNROLL for (int l = Of::first; l <= Of::last; ++l) {
      const int column = view.plan.e1_column + l * view.channels + u;
      V e1[Edges], inner[Edges];
      ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) {
        e1[k] = load(value[k] + column);
        inner[k] = V{};
      }
      ALLEGRO_UNROLL for (int i = l * l; i < (l + 1) * (l + 1); ++i) {
        const V component = load(asked + i * n);
        ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) {
          orders.sums[k][i - Of::begin] += e1[k] * component;
          inner[k] += component * broadcast(y[k][i]);
        }
      }
      ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) r_gradient[k] += inner[k] * load(slope[k] + column);
    }
    asked += D * n;
  }

  // Through H = sum_j h Y.
  template <class Of>
  ALLEGRO_INLINE void from_environment(const DensePlan<T> &source, const T *&asked, Of &orders) {
    for (int c = source.column; c < source.column + source.width; c += n, asked += D * n) {
      V feature[Edges];
      ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) feature[k] = load(value[k] + c);
      ALLEGRO_UNROLL for (int i = Of::begin; i < Of::end; ++i) {
        const V component = load(asked + i * n);
        ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) orders.sums[k][i - Of::begin] += feature[k] * component;
      }
    }
  }

  // Through the table's part of the pre-activations, in two chains of additions.
  ALLEGRO_INLINE void from_pre_activations(int width) {
    ALLEGRO_UNROLL for (int k = 0; k < Edges; ++k) {
      V even = r_gradient[k], odd = V{};
      int c = 0;
      for (; c + 2 * n <= width; c += 2 * n) {
        even += load(gradient[k] + c) * load(slope[k] + c);
        odd += load(gradient[k] + c + n) * load(slope[k] + c + n);
      }
      for (; c < width; c += n) even += load(gradient[k] + c) * load(slope[k] + c);
      r_gradient[k] = even + odd;
    }
  }
};

template <bool Tables, class T, int L>
__attribute__((noinline)) void edge_gradients(const ChunkView<T, L> &view) {
  constexpr int at_once = vector_bytes == 64 && L <= 2 ? 2 : 1;  // as many edges as registers hold the sums of
  for (int a = 0; a < view.chunk.num_atoms; ++a) {
    gather_asked<Tables>(view, a);
    const int end = view.first_edge(a + 1);
    int e = view.first_edge(a);
    for (; e + at_once <= end; e += at_once) EdgeGradients<Tables, at_once, T, L>(view, e).run(e);
    if constexpr (at_once > 1)
      for (; e < end; ++e) EdgeGradients<Tables, 1, T, L>(view, e).run(e);
  }
}

}  // namespace
}  // namespace ALLEGRO_ISA
}  // namespace allegro_dist
