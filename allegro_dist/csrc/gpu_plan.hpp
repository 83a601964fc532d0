// A plan with its weights on the device: planned on the host, copied, and its pointers turned to the copies.
#pragma once

#include <cstring>
#include <stdexcept>

#include "gpu_memory.hpp"

namespace allegro_dist {
namespace {

// Every pointer of a plan. One that is forgotten here points to memory that DevicePlan clears: tests would see it.
template <class T, class Visit>
void visit_pointers(Plan<T> &plan, const Visit &visit) {
  const auto visit_contraction = [&](Contraction<T> &terms) {
    visit(terms.first_group);
    visit(terms.groups);
    visit(terms.terms);
  };
  visit(plan.inverse_cutoffs);
  visit(plan.norm);
  visit(plan.energy_factor);
  visit(plan.readout);
  visit(plan.table);
  visit(plan.wavenumbers);
  visit(plan.basis_weights);
  visit(plan.two_body_weights.weights);
  for (DensePlan<T> &layer : plan.dense) {
    visit(layer.forward.weights);
    visit(layer.backward.weights);
    visit(layer.to_projection.weights);
  }
  for (TensorPlan<T> &layer : plan.tensor) {
    for (MatrixProduct<T> &mix : layer.mix) visit(mix.weights);
    for (MatrixProduct<T> &mix : layer.mix_back) visit(mix.weights);
    visit(layer.path_weights);
    for (Contraction<T> *terms : {&layer.start, &layer.proceed, &layer.start_by_environment,
                                  &layer.proceed_by_environment, &layer.proceed_by_adjoint})
      visit_contraction(*terms);
  }
}

template <class T>
class DevicePlan {
 public:
  DevicePlan(std::unique_ptr<PlannedModel<T>> planned, Stager &stager, const gpu::Stream &stream) {
    struct Moved {
      const char *from;
      char *to;
      std::size_t bytes;
    };
    std::vector<Moved> moved;
    planned->memory.each_block([&](void *block, std::size_t bytes) {
      moved.push_back({static_cast<const char *>(block), memory_.allocate<char>(bytes), bytes});
      stager.upload(stream, moved.back().to, moved.back().from, bytes);
      std::memset(block, 0, bytes);
    });
    host_ = planned->plan;
    visit_pointers(host_, [&](auto &pointer) {
      using Pointed = std::remove_reference_t<decltype(*pointer)>;
      const char *const old = reinterpret_cast<const char *>(pointer);
      if (!old) return;
      for (const Moved &block : moved)
        if (old >= block.from && old < block.from + block.bytes) {
          pointer = reinterpret_cast<Pointed *>(block.to + (old - block.from));
          return;
        }
      throw std::logic_error("a pointer of the plan is not of its memory");
    });
    device_ = memory_.allocate<Plan<T>>(1);
    stager.upload(stream, device_, &host_, 1);
  }

  const Plan<T> &sizes() const { return host_; }  // its pointers are the device's
  const Plan<T> *on_device() const { return device_; }

 private:
  Arena memory_{gpu::device_memory(), device_block};
  Plan<T> host_, *device_ = nullptr;
};

}  // namespace
}  // namespace allegro_dist
