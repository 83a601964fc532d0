// Between the training step (which plans, packs and owns memory) and its kernels (which compute, once per instruction
// set and precision). Plain data only, as in fused_kernel.hpp, whose packed products and contractions are used here.
//
// Rows. Everything of an edge lies at the same columns of several arrays of rows:
//
//     columns  [ dense layers, one after another | w [l][channel] | s_0 | s_1 | .. ]
//
//   kept from the forward to the backward pass (dense: of the dense layers' columns only)
//     values      h_k, w, s_t
//     gradients   g = dE/d(values), of dense layers dE/da_k; E here is the center's sum over edges, without its factor
//     slopes      silu'(a_k)                                                                        (dense)
//     curvatures  silu''(a_k) dE/dh_k; in the backward pass times the tangent of a_k                (dense)
//   of the backward pass alone
//     tangents    d(values) along the direction v
//     adjoints    dF/d(values), of dense layers dF/da_k;  F = sum_i c_i E_i + dE along v
//
// Atom arrays that take part in matrix products are ordered [l][atom][m][channel].
#pragma once

#include "fused_kernel.hpp"

namespace allegro_dist {

struct TrainingDense {
  int column = 0, width = 0;
  bool silu = true;
  int environment = -1;  // tensor layer whose environment reads this layer
  int projection = -1;   // tensor layer whose projection this layer reads
};

// dF/dW of a matrix by which `right` columns read `left` ones.
struct WeightProduct {
  int left = 0, left_width = 0, right = 0, right_width = 0;
  long place = 0;  // in the accumulators: [left_width][right_width]
};

template <class T>
struct TrainingPlan {
  int num_types = 0, l_max = 0, num_channels = 0, num_layers = 0, num_dense = 0, num_two_body = 0;
  int stride = 0, dense_stride = 0, weights_column = 0;
  const double *inverse_cutoffs = nullptr;  // [pair]
  const T *norm = nullptr;                  // [num_types] 1 / sqrt(avg_num_neighbors)

  TrainingDense dense[max_dense];
  MatrixProduct<T> forward[max_dense];        // a_k from values, its tangent from tangents
  MatrixProduct<T> backward[max_dense];       // dE/dh_k from gradients, dF/dh_k from adjoints
  MatrixProduct<T> to_projection[max_dense];  // the same of s_t, for the layer that reads it
  MatrixProduct<T> to_weights;                // w from the last two-body layer
  const WeightProduct *weight_products = nullptr;
  int num_weight_products = 0;
  const T *readout = nullptr;  // [width of the last dense layer]
  long readout_place = 0;

  int source[max_tensor_layers] = {};  // dense layer that the environment reads
  MatrixProduct<T> mix[max_tensor_layers][5], mix_back[max_tensor_layers][5];
  long mix_place[max_tensor_layers][5] = {};  // [width of the source][channel]
  int projection_column[max_tensor_layers] = {};
  ProductPlan<T> product[max_tensor_layers];
  long path_place[max_tensor_layers] = {};

  bool bessel = true, train_wavenumbers = false;
  int basis_size = 0, basis_parameter = 0;
  const double *wavenumbers = nullptr;  // null: 1 .. basis_size
  const T *basis_weights = nullptr;     // [pair][basis][width of dense layer 0]
  long basis_place = 0, wavenumbers_place = 0;
};

// A chunk of centers, and what the forward pass leaves of it for the backward pass.
template <class T>
struct TrainingChunk {
  int num_atoms = 0, num_edges = 0;
  int edge_capacity = 0;         // num_edges in whole row tiles and vectors
  const int *types = nullptr;    // [atom]
  const int *offsets = nullptr;  // [atom + 1], from 0
  const int *pair = nullptr;     // [edge] among the pairs of the types that are present
  const T *vectors = nullptr;    // [edge, 3]
  double *energy = nullptr;      // [atom] without norm / sqrt(2)
  T *edge_gradient = nullptr;    // [edge, 3] of that energy

  T *values = nullptr, *gradients = nullptr, *slopes = nullptr, *curvatures = nullptr;
  T *direction = nullptr;                                 // [3][edge_capacity] unit vectors, then 1 / r: [4]
  T *basis = nullptr;                                     // [edge][2 basis_size]: functions, then d/dr
  T *sums[max_tensor_layers] = {};                        // H_t = norm sum_j h Y
  T *environment[max_tensor_layers] = {};                 // G_t = H_t W
  T *environment_gradient[max_tensor_layers] = {};        // dE/dG_t
  T *sums_gradient[max_tensor_layers] = {};               // norm dE/dH_t
  T *adjoint[max_tensor_layers][max_tensor_layers] = {};  // q of layer t after step s [atom][component][channel]
  T *adjoint_gradient[max_tensor_layers] = {};            // dE/dq_t, after the last step
};

// The scalars that the loss hands back: dL/dE_i and dL/dg_ij, times the center's factor norm / sqrt(2).
template <class T>
struct LossGradient {
  const T *energy = nullptr;  // [atom]
  const T *edges = nullptr;   // [edge, 3]
};

// Of one thread, room for the largest chunk.
template <class T>
struct TrainingScratch {
  T *harmonics = nullptr, *harmonics_tangent = nullptr;  // Y_lm [D][edge_capacity]
  T *harmonics_gradient = nullptr;                       // dE/dY [D][edge_capacity]; row 0: dE/dr
  T *asked = nullptr;                                    // dE/dh or dF/dh from an environment [edge][widest layer]
  T *tangents = nullptr, *adjoints = nullptr;            // rows
  T *length_tangent = nullptr;                           // [edge]
  T *sums_tangent[max_tensor_layers] = {}, *environment_tangent[max_tensor_layers] = {};
  T *environment_adjoint[max_tensor_layers] = {}, *sums_adjoint[max_tensor_layers] = {};
  T *adjoint_tangent[max_tensor_layers][max_tensor_layers] = {};
  T *adjoint_adjoint = nullptr;  // dF/dq_t [atom][D][channel]
  T *steps[4] = {};              // dE/dq (0, 1) and dF/dq (2, 3) between steps, of one atom
  T *accumulators = nullptr;     // dF/d(weights), see the places of the plan
};

template <class T>
struct TrainingKernel {
  const char *name = nullptr;
  int lanes = 0, panel_vectors = 0;
  void (*forward)(const TrainingPlan<T> &, const TrainingChunk<T> &, const TrainingScratch<T> &) = nullptr;
  void (*backward)(const TrainingPlan<T> &, const TrainingChunk<T> &, const LossGradient<T> &,
                   const TrainingScratch<T> &) = nullptr;
};

#define ALLEGRO_DECLARE_TRAINING(isa)              \
  namespace isa {                                  \
  TrainingKernel<float> training_kernel_float();   \
  TrainingKernel<double> training_kernel_double(); \
  }
ALLEGRO_DECLARE_TRAINING(baseline)
#ifdef ALLEGRO_X86_KERNELS
ALLEGRO_DECLARE_TRAINING(avx2)
ALLEGRO_DECLARE_TRAINING(avx512)
#endif
#undef ALLEGRO_DECLARE_TRAINING

}  // namespace allegro_dist
