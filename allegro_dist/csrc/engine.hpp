// The inference engine: opens an archive, checks it, and evaluates blocks of centers.
//
// Standard types only, so that a caller (the LAMMPS pair style, a Python binding) needs neither torch's headers nor
// its ABI. Every failure is a std::exception whose text names the thing, what was expected and what came; nothing is
// printed.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace allegro_dist {

// Centers with their edges, in compressed rows: the edges of center i are edge_offsets[i] .. edge_offsets[i+1] - 1.
// Strict locality makes any set of centers a valid block; a neighbor matters only through its type and its vector.
struct EdgeBlock {
  int num_centers = 0;
  const int *center_types = nullptr;     // [num_centers] model types, 0-based
  const int *edge_offsets = nullptr;     // [num_centers + 1], edge_offsets[0] = 0
  const double *edge_vectors = nullptr;  // [num_edges, 3] r_neighbor - r_center, Angstrom
  const int *neighbor_types = nullptr;   // [num_edges] model types

  int num_edges() const { return num_centers ? edge_offsets[num_centers] : 0; }
};

// The model's view of a caller's types: which model type each one is, and how far an ordered pair sees.
struct TypeMap {
  int num_types = 0;                  // the caller's are 1 .. num_types
  std::vector<int> model_type;        // [num_types + 1]; -1: neither center nor neighbor
  std::vector<double> cutoff_square;  // [(num_types + 1)^2], row = center, in the caller's units; 0 where a type is -1
  double length_unit = 1.0;           // the caller's, in Angstrom
};

// A rank's atoms, owned ones and ghosts, and the full neighbor list of its centers: for evaluators that build the edges
// themselves. Memory is the caller's, during the call.
struct ListedAtoms {
  int num_atoms = 0;
  const double *positions = nullptr;  // [num_atoms, 3], in the caller's units
  const int *types = nullptr;         // [num_atoms], the caller's
  const TypeMap *type_map = nullptr;
  int num_centers = 0;
  const int *centers = nullptr;           // [num_centers] atoms
  const int *num_neighbors = nullptr;     // [atom] of centers
  const int *const *neighbors = nullptr;  // [atom][neighbor] atoms, in the bits of index_mask; of centers
  int index_mask = ~0;
  bool list_is_new = true;  // else centers and their neighbors are those of the call before
  long most_listed = 0;     // listed neighbors that may be on the device at once; 0: no limit
};

struct AtomSums {  // what is asked for, beyond forces, energy and virial
  bool energies = false, virials = false, centroid_virials = false;
};

// Sums of edges over atoms. The arrays are the engine's, until its next call; null where not asked for.
struct AtomResults {
  double energy = 0.0;                       // of all centers, eV
  double virial[6] = {};                     // xx yy zz xy xz yz of - sum r (x) g, eV
  const double *forces = nullptr;            // [num_atoms, 3] eV/Angstrom; ghosts' are for their owners
  const double *energies = nullptr;          // [num_centers] eV
  const double *virials = nullptr;           // [num_atoms, 6], half of an edge's for each of its atoms
  const double *centroid_virials = nullptr;  // [num_atoms, 9] xx yy zz xy xz yz yx zx zy, all of it for the neighbor
};

struct EngineOptions {
  // auto | cpu | cuda | cuda:N; auto takes a GPU where there is one. emulated: the GPU's code on the host, for tests; 4
  // of them
  std::string device = "auto";
  int local_rank = 0;                    // rank on this node: "auto" and "cuda" take GPU local_rank modulo their number
  int num_threads = 1;                   // callers' threads (see num_workers), or torch's own
  std::string evaluator = "auto";        // auto | fused | torchscript; auto: fused for Allegro models
  std::string instruction_set = "auto";  // auto | avx512 | avx2 | baseline; of the fused evaluator
  std::string dtype = "auto";            // auto | float32 | float64; of the fused evaluator; auto: the archive's
  int table_intervals = -1;              // of the fused evaluator; -1: the archive's, 0: no tables
};

struct SelfCheck {
  double energy_error = 0.0;    // largest deviation of an atomic energy, eV
  double gradient_error = 0.0;  // largest deviation of an edge gradient component, eV/Angstrom
};

// Thrown where energy or gradients of a center are not finite, or too large. Visible: other libraries catch it.
struct __attribute__((visibility("default"))) CenterFailure : std::runtime_error {
  CenterFailure(const std::string &message, int center) : std::runtime_error(message), center(center) {}
  int center;  // of the block, or of the list
};

class Engine {
 public:
  virtual ~Engine() = default;

  virtual const std::vector<std::string> &type_names() const = 0;
  virtual double r_max() const = 0;                                     // Angstrom
  virtual double cutoff(int center_type, int neighbor_type) const = 0;  // Angstrom, of the ordered pair
  virtual double interaction_range() const = 0;                         // Angstrom
  virtual const std::string &dtype() const = 0;                         // "float32" | "float64"
  virtual const std::string &device() const = 0;                        // "cpu" | "cuda:N" | "emulated:N"
  virtual const std::string &evaluator() const = 0;                     // which evaluator is in use
  virtual int preferred_block_edges() const = 0;                        // edges per block that it runs best with
  virtual double bytes_per_edge() const = 0;                            // that a block's evaluation takes, roughly
  virtual int num_workers() const = 0;                                  // blocks that may be evaluated at once
  virtual const SelfCheck &self_check() const = 0;

  // Writes atomic_energy [num_centers] (eV) and edge_gradient [num_edges, 3] = dE/d(edge_vectors) (eV/Angstrom).
  // Threads may call at once, each as another worker, 0 .. num_workers() - 1: workers have memory of their own.
  // An atom's results depend neither on the worker nor on the rest of the block.
  // Throws CenterFailure, std::runtime_error.
  virtual void evaluate(const EdgeBlock &block, int worker, double *atomic_energy, double *edge_gradient) = 0;

  // Whether it would rather have the atoms with their neighbor list: where edges are built on a GPU. One caller at a
  // time. Results are the same in every run. Throws as above.
  virtual bool builds_edges() const = 0;
  virtual double free_memory() const = 0;  // bytes that are free now on that GPU; 0 where there is none
  virtual AtomResults evaluate(const ListedAtoms &atoms, const AtomSums &asked) = 0;
};

// Reads the archive, and evaluates the structures it carries on the device that will be used.
// Throws std::runtime_error: unreadable, newer format, failed self-check; std::invalid_argument: bad option.
std::unique_ptr<Engine> open_engine(const std::string &path, const EngineOptions &options);

}  // namespace allegro_dist

// open_engine for those who load the library at run time (dlsym); throws as it does. The caller owns the result.
extern "C" allegro_dist::Engine *allegro_dist_open_engine(const char *path, const allegro_dist::EngineOptions *options);
