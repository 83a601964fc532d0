// A training step of an Allegro model: energies and edge gradients, and the derivatives with respect to the weights of
// any function of them. Standard types only; real numbers are float or double, as the step was made for.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "fused_model.hpp"

namespace allegro_dist {

struct TrainingGraph {
  int num_atoms = 0, num_edges = 0;
  const std::int64_t *types = nullptr;                          // [atom]
  int num_present = 0;                                          // types that atoms may have, increasing:
  const std::int64_t *present = nullptr;                        // [num_present]
  const std::int64_t *centers = nullptr, *neighbors = nullptr;  // [edge] atoms, sorted by center
  const void *vectors = nullptr;                                // [edge, 3] r_neighbor - r_center, Angstrom
};

struct TrainingOptions {
  std::string dtype = "float32";         // float32 | float64
  std::string instruction_set = "auto";  // auto | avx512 | avx2 | baseline
  int num_threads = 1;                   // sums over threads are taken in their order: the same on every run
  bool train_wavenumbers = false;
};

// What a forward pass leaves for a backward pass.
class TrainingTape {
 public:
  virtual ~TrainingTape() = default;
};

class TrainingStep {
 public:
  virtual ~TrainingStep() = default;

  // In the order of training_planner.hpp, for so many types present.
  virtual std::size_t num_weights(int num_present) const = 0;

  // energy [atom], the model's, neither scaled nor shifted; edge_gradient [edge, 3] of the sum of these energies. The
  // tape belongs to the step until it is given back. Throws std::invalid_argument for a graph that cannot be.
  virtual TrainingTape *forward(const void *weights, const TrainingGraph &graph, double *energy,
                                void *edge_gradient) = 0;

  // weight_gradient [num_weights] of sum_i energy_factors[i] energy_i + sum_e edge_factors[e] . edge_gradient_e, with
  // the weights of the tape's forward pass. At most once for a tape.
  virtual void backward(TrainingTape *tape, const void *weights, const double *energy_factors, const void *edge_factors,
                        void *weight_gradient) = 0;

  virtual void give_back(TrainingTape *tape) = 0;
};

// Throws std::invalid_argument for an option that cannot be met, std::runtime_error for a model that is too large.
std::unique_ptr<TrainingStep> make_training_step(const FusedModel &model, const TrainingOptions &options);

}  // namespace allegro_dist
