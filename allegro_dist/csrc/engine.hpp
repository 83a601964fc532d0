// The inference engine: opens an archive, checks it, and evaluates blocks of centers.
//
// Standard types only, so that a caller (the LAMMPS pair style, a Python binding) needs neither torch's headers nor
// its ABI. Every failure is a std::exception whose text names the thing, what was expected and what came; nothing is
// printed.
#pragma once

#include <cstddef>
#include <memory>
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

struct EngineOptions {
  std::string device = "auto";  // auto | cpu | cuda | cuda:N; auto takes a GPU where there is one
  int local_rank = 0;           // rank on this node: "auto" and "cuda" take GPU local_rank modulo their number
  int num_threads = 1;          // threads of the evaluator's own parallel loops
};

struct SelfCheck {
  double energy_error = 0.0;    // largest deviation of an atomic energy, eV
  double gradient_error = 0.0;  // largest deviation of an edge gradient component, eV/Angstrom
};

class Engine {
 public:
  // Reads the archive, and evaluates the structures it carries on the device that will be used.
  // Throws std::runtime_error: unreadable, newer format, failed self-check; std::invalid_argument: bad option.
  Engine(const std::string &path, const EngineOptions &options);
  ~Engine();
  Engine(Engine &&) noexcept;
  Engine &operator=(Engine &&) noexcept;

  const std::vector<std::string> &type_names() const;
  double r_max() const;                                         // Angstrom
  double cutoff(int center_type, int neighbor_type) const;      // Angstrom, of the ordered pair
  double interaction_range() const;                             // Angstrom
  const std::string &dtype() const;                             // "float32" | "float64"
  const std::string &device() const;                            // "cpu" | "cuda:N"
  const std::string &evaluator() const;                         // which evaluator is in use
  int preferred_block_edges() const;                            // edges per block that this evaluator runs best with
  const SelfCheck &self_check() const;

  // Writes atomic_energy [num_centers] (eV) and edge_gradient [num_edges, 3] = dE/d(edge_vectors) (eV/Angstrom).
  // Throws std::runtime_error when a result is not finite, naming the center.
  void evaluate(const EdgeBlock &block, double *atomic_energy, double *edge_gradient);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace allegro_dist
