// From the merged model's structure to what the training kernels run on. The weights change at every step: where each
// has to go, and where its derivative comes from, is planned once.
//
// The weights of a step are one flat array, row-major each:
//   the matrices of the dense layers' sources, in order; projection; environments; path weights of the products;
//   readout; the wavenumbers, if they are trained;
//   radial weights [pair][basis][width of dense layer 0], of the ordered pairs of the types that are present
// A model of many types has many more pairs than a batch needs: what no atom reads is not there.
#pragma once

#include <memory>
#include <vector>

#include "fused_model.hpp"
#include "fused_planner.hpp"
#include "training_kernel.hpp"

namespace allegro_dist {

// Zeroed memory that only grows; what it held is lost when it does.
template <class T>
class Block {
 public:
  T *at_least(std::size_t count) {
    if (count > size_) {
      size_ = count + count / 8;
      memory_ = std::make_unique<Arena>();
      data_ = memory_->allocate<T>(size_);
    }
    return data_;
  }

 private:
  std::unique_ptr<Arena> memory_;
  T *data_ = nullptr;
  std::size_t size_ = 0;
};

template <class T>
struct PlannedTraining {
  TrainingPlan<T> plan;
  std::vector<double> energy_factor;  // [num_types] norm / sqrt(2)
  std::size_t num_common = 0;         // weights before the radial ones
  std::size_t num_accumulators = 0;   // before those of the radial weights, which come last

  std::size_t num_radial(int num_pairs) const;  // weights of so many pairs, and
  std::size_t num_radial_accumulators(int num_pairs) const;

  // Takes in the weights of a step, with those of the pairs of `types`.
  void pack(const T *weights, const std::vector<int> &types);
  // The derivatives with respect to all weights, of which num_pairs pairs.
  void unpack(const T *accumulators, int num_pairs, T *weight_gradient) const;

  std::vector<int> origin;       // of each packed weight in the flat array; -1: padding
  std::vector<int> destination;  // of each flat weight in the accumulators
  std::vector<double> cutoffs;   // [num_types^2]
  int basis_columns = 0;         // of a row of radial weights, before padding
  T *packed = nullptr;
  Block<T> basis_weights;
  std::vector<double> inverse_cutoffs;
  double *wavenumbers = nullptr;  // if they are trained
  Arena memory;
};

// `model` gives the structure; its weights do not matter. Throws std::runtime_error for one that is too large.
template <class T>
std::unique_ptr<PlannedTraining<T>> plan_training(const FusedModel &model, const TrainingKernel<T> &kernel,
                                                  bool train_wavenumbers);

}  // namespace allegro_dist
