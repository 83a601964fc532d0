// The Allegro model as the fused evaluator wants it: all linear maps merged (allegro_dist/fused_program.py does that in
// float64), standard types only.
//
//   basis B(x)            radial functions of x = r / cutoff of the ordered type pair, envelope included
//   dense layer k         a_k = sum over sources X W,  h_k = silu(a_k) or a_k;  a source is an earlier dense layer's h
//   or
//                         the projection s_t of tensor layer t.  Layer 0 reads B by weights of its own per type pair.
//                         The first num_two_body layers depend on (types, r) alone; h_two is the last one of them.
//   tensor layer t        G_t = norm sum_j (h_src Env_t)[l,u] Y_lm;  q_t from G_0..G_t by the products;
//                         s_t[u] = sum_l w[l,u] sum_m q_t[lm,u] Y_lm,  w = h_two W_projection
//   energy                E_i = scale norm / sqrt(2) sum_j readout . h_last + shift (+ ZBL)
#pragma once

#include <vector>

namespace allegro_dist {

struct DenseMatrix {
  int rows = 0, columns = 0;
  std::vector<double> values;  // row-major

  double operator()(int row, int column) const { return values[static_cast<std::size_t>(row) * columns + column]; }
};

struct RadialBasis {
  enum Kind { bessel, spline } kind = bessel;
  int size = 0;
  int parameter = 0;                 // envelope power (bessel) or number of overlapping splines (spline)
  std::vector<double> wavenumbers;   // [size], bessel only
  std::vector<DenseMatrix> weights;  // [num_types^2] of [size, width of dense layer 0]
};

struct DenseSource {
  enum Kind { dense, projection } kind = dense;
  int index = 0;
  DenseMatrix weights;  // [width of the source, width of the layer]
};

struct DenseLayer {
  int width = 0;
  bool silu = true;
  std::vector<DenseSource> sources;
};

struct Environment {
  int source = 0;       // dense layer
  DenseMatrix weights;  // [its width, (l_max + 1) * channels], columns ordered (l, u)
};

// Nonzero terms of a tensor product: out[a] += value * weights[path, u] * G[b] (* q[c]).
struct ProductTerm {
  int a = 0, b = 0, c = 0, path = 0;
  double value = 0.0;
};

struct TensorProduct {
  int num_outputs = 0;                      // components of V^k, seen from the output: of q after this step
  DenseMatrix weights;                      // [num_paths, channels]
  std::vector<ProductTerm> start, proceed;  // start: q[a] from G_t alone (c unused); proceed: q[a] from G_k and q[c]
};

constexpr int max_table_intervals = 1 << 14;

struct FusedModel {
  int num_types = 0, l_max = 0, num_channels = 0, num_two_body = 0;
  std::vector<double> cutoffs;             // [num_types^2], row = center, Angstrom
  std::vector<double> norm, scale, shift;  // [num_types]; 1 / sqrt(avg_num_neighbors); eV
  std::vector<double> charges;             // [num_types] nuclear charges, or empty: no ZBL
  int zbl_envelope_power = 0;
  RadialBasis radial;
  std::vector<DenseLayer> dense;
  std::vector<double> readout;            // [width of the last dense layer]
  DenseMatrix projection;                 // [width of h_two, (l_max + 1) * channels]
  std::vector<Environment> environments;  // [num_layers]
  std::vector<TensorProduct> products;    // [num_layers]
  int table_intervals = 0;                // of the two-body tables; 0: none, the two-body layers are evaluated
};

}  // namespace allegro_dist
