// From the merged model's structure to what the training kernels run on. The weights change at every step: where each
// has to go, and where its derivative comes from, is planned once.
//
// The weights of a step are one flat array, row-major each:
//   radial weights [pair][basis][width of dense layer 0]; the matrices of the dense layers' sources, in order;
//   projection; environments; path weights of the products; readout; the wavenumbers, if they are trained
#pragma once

#include <memory>
#include <vector>

#include "fused_model.hpp"
#include "fused_planner.hpp"
#include "training_kernel.hpp"

namespace allegro_dist {

template <class T>
struct PlannedTraining {
  TrainingPlan<T> plan;
  std::vector<double> energy_factor;  // [num_types] norm / sqrt(2)
  std::size_t num_weights = 0, num_accumulators = 0;

  void pack(const T *weights);                                   // takes in the weights of a step
  void unpack(const T *accumulators, T *weight_gradient) const;  // [num_weights] from [num_accumulators]

  std::vector<int> origin;       // of each packed weight in the flat array; -1: padding
  std::vector<int> destination;  // of each flat weight in the accumulators
  T *packed = nullptr;
  double *wavenumbers = nullptr;  // if they are trained
  Arena memory;
};

// `model` gives the structure; its weights do not matter. Throws std::runtime_error for one that is too large.
template <class T>
std::unique_ptr<PlannedTraining<T>> plan_training(const FusedModel &model, const TrainingKernel<T> &kernel,
                                                  bool train_wavenumbers);

}  // namespace allegro_dist
