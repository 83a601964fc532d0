// Between the fused evaluator (which plans, packs and owns memory) and its kernels (which compute, once per instruction
// set and precision). Plain data only: the kernels' files share no inline code with files of other instruction sets.
//
// Edge rows. Everything of an edge lies in one row of `values` and one of `gradients`, a layer at a column of its own:
//   values     [ pre-activations that start from the table, later h | w | e1 | other dense layers | s_t | ds_t/dr ]
//   slopes     [ d/dr of the table's part of the row ]                                          (with tables only)
//   gradients  [ silu', later dE/da, of the dense layers, at the same columns where tabulated | dE/dw | dE/ds_t ]
// Atom arrays that take part in matrix products are ordered [l][atom][m][channel].
#pragma once

namespace allegro_dist {

constexpr int max_operands = 24;
constexpr int max_dense = 40;
constexpr int max_harmonics = 25;
constexpr int max_basis = 64;
constexpr int max_tensor_layers = 6;
constexpr int team_helpers = 8;      // threads that share the sums over an edge's row, where teams work
constexpr int hermite_weights = 11;  // see hermite.hpp
constexpr int row_tile = 12;         // rows of products are padded to a multiple of this

// y = sum over operands of x[column .. column + depth) times the packed weights.
template <class T>
struct MatrixProduct {
  int num_operands = 0;
  int column[max_operands] = {}, depth[max_operands] = {};
  int width = 0;               // padded to whole vectors
  const T *weights = nullptr;  // packed by panels of vectors: [panel][row][vectors of the panel]
};

template <class T>
struct DensePlan {
  int column = 0, gradient_column = 0, width = 0;
  bool silu = true, from_table = false;
  int environment = -1;            // tensor layer whose environment reads this layer
  int projection = -1;             // tensor layer whose projection this layer reads
  MatrixProduct<T> forward;        // from values
  MatrixProduct<T> backward;       // from gradients: dE/dh; no operands for the last layer
  MatrixProduct<T> to_projection;  // from gradients: dE/ds_t
};

template <class T>
struct Term {
  int b, c;
  T value;
};

struct TermGroup {
  int a, path, begin, end;
};

template <class T>
struct Contraction {
  int num_groups = 0, num_outputs = 0;
  const int *first_group = nullptr;  // [num_outputs + 1] groups are sorted by output
  const TermGroup *groups = nullptr;
  const Term<T> *terms = nullptr;
};

template <class T>
struct ProductPlan {
  int num_outputs = 0;              // components of q after this product
  const T *path_weights = nullptr;  // [path][channel]
  Contraction<T> start, proceed;    // q[a] from G[b] alone; from G[b] and the q[c] before
  // The same terms for the way back: output is the component of G or of q that a term reads, `b` the component a that
  // it gave, `c` the other factor's.
  Contraction<T> start_by_environment, proceed_by_environment, proceed_by_adjoint;
};

template <class T>
struct TensorPlan : ProductPlan<T> {
  int source = -1;                       // dense layer that the environment reads; -1: column e1
  MatrixProduct<T> mix[5], mix_back[5];  // per l: h -> channels, and its transpose
  int projection_column = 0, projection_slope_column = 0, projection_gradient_column = 0;
};

template <class T>
struct Plan {
  int num_types = 0, l_max = 0, num_channels = 0, num_layers = 0, num_dense = 0, num_two_body = 0;
  int values_stride = 0, gradients_stride = 0, slopes_stride = 0;
  int weights_column = 0, weights_gradient_column = 0, e1_column = 0;  // w and e1, each [l][channel]
  int pre_activations_width = 0;                                       // of the table: columns 0 .. this
  const double *inverse_cutoffs = nullptr;                             // [num_types^2]
  const T *norm = nullptr;                                             // [num_types]
  const double *energy_factor = nullptr;                               // [num_types] scale norm / sqrt(2), eV
  T harmonic_norms[max_harmonics] = {};                                // of Y_lm, m >= 0, at l^2 + l + m
  DensePlan<T> dense[max_dense];
  TensorPlan<T> tensor[max_tensor_layers];
  const T *readout = nullptr;  // [width of the last dense layer]
  // with tables: knots [pair][interval + 1][value, first, second derivative in units of the interval][slopes_stride]
  int table_intervals = 0;
  const T *table = nullptr;
  // without: the radial basis, and the weights by which dense layer 0 reads it
  bool bessel = true;
  int basis_size = 0, basis_parameter = 0;
  const double *wavenumbers = nullptr;  // null: 1 .. basis_size
  const T *basis_weights = nullptr;     // [pair][basis][width of dense layer 0]
  MatrixProduct<T> two_body_weights;    // h_two -> w
};

template <class T>
struct Workspace {
  int edge_capacity = 0, atom_capacity = 0;  // multiples of row_tile and of the vector length
  T *values = nullptr, *gradients = nullptr, *slopes = nullptr;
  T *basis_slope = nullptr;         // without tables: d(pre-activation of dense layer 0)/dr [edge][width]
  T *latent_gradient = nullptr;     // dE/dh from the environment [edge][widest dense layer]
  T *harmonics = nullptr;           // [edge][D]; teams: [D][edge]
  T *harmonics_gradient = nullptr;  // dE/dY, and dE/dr in place of component 0: [edge][D, rounded up]; teams: [D][edge]
  T *direction = nullptr;           // unit vector [3][edge]
  double *length = nullptr, *reduced = nullptr;           // [edge] r; r / cutoff
  int *pair = nullptr;                                    // [edge]
  T *sums = nullptr;                                      // [atom rows][widest]: sum_j h Y of one layer
  T *environment[max_tensor_layers] = {};                 // G_t [l][atom][m][channel]
  T *environment_gradient[max_tensor_layers] = {};        // dE/dG_t
  T *mixed_gradient[max_tensor_layers] = {};              // dE/d(sum_j h Y) of layer t [l][atom][m][width of h]
  T *adjoint[max_tensor_layers][max_tensor_layers] = {};  // q of layer t after step s [atom][component][channel]
  T *adjoint_gradient[2] = {};       // dE/dq, before and after a step, of one atom; of teams: of all
  long adjoint_gradient_stride = 0;  // from atom to atom
  // CPU kernels only
  T *asked = nullptr;  // of one atom: see gather_asked()
  // CPU kernels with tables only
  int *knot = nullptr, *order = nullptr;    // [edge] left of it in the table; [2, edge] for sorting by that
  T *fraction = nullptr, *per_r = nullptr;  // [edge] place in the interval, and its change with r
  T *hermite = nullptr;                     // [edge / lanes][weight of Hermite][lane]
  // teams only
  int *center = nullptr;      // [edge] its atom
  T *basis = nullptr;         // without tables: radial functions, then their derivatives [edge][2 basis_size]
  T *partial_sums = nullptr;  // [edge][helper][D]
};

struct Chunk {
  int num_atoms = 0;
  const int *types = nullptr;           // [num_atoms]
  const int *offsets = nullptr;         // [num_atoms + 1], into the edge arrays below
  const double *vectors = nullptr;      // [edge, 3]
  const int *neighbor_types = nullptr;  // [edge]
  double *energy = nullptr;             // [num_atoms] without shift
  double *gradient = nullptr;           // [edge, 3]
};

// What a kernel needs of its planner, and the kernel.
template <class T>
struct Kernel {
  const char *name = nullptr;
  int lanes = 0;
  int panel_vectors = 0;  // 0: weights are packed row by row
  bool team = false;      // a team of threads works on a chunk: see team_evaluation.hpp
  void (*evaluate)(const Plan<T> &, const Workspace<T> &, const Chunk &) = nullptr;
};

#define ALLEGRO_DECLARE_KERNELS(isa) \
  namespace isa {                    \
  Kernel<float> kernel_float();      \
  Kernel<double> kernel_double();    \
  }
ALLEGRO_DECLARE_KERNELS(baseline)
#ifdef ALLEGRO_X86_KERNELS
ALLEGRO_DECLARE_KERNELS(avx2)
ALLEGRO_DECLARE_KERNELS(avx512)
#endif
#undef ALLEGRO_DECLARE_KERNELS

}  // namespace allegro_dist
