// From the merged model to what a kernel runs on: packed weights, columns of the edge rows, tables, workspaces.
#pragma once

#include <algorithm>
#include <deque>
#include <memory>
#include <new>
#include <vector>

#include "fused_kernel.hpp"
#include "fused_model.hpp"

namespace allegro_dist {

constexpr int memory_alignment = 64;  // bytes: the widest vector and the cache line

// Zeroed, aligned arrays that live as long as their owner.
class Arena {
 public:
  template <class T>
  T *allocate(std::size_t count) {
    const std::size_t bytes = (count * sizeof(T) + memory_alignment - 1) / memory_alignment * memory_alignment;
    blocks_.emplace_back(static_cast<char *>(::operator new(bytes, std::align_val_t(memory_alignment))));
    std::fill_n(blocks_.back().get(), bytes, char(0));
    return reinterpret_cast<T *>(blocks_.back().get());
  }

 private:
  struct Free {
    void operator()(char *p) const { ::operator delete(p, std::align_val_t(memory_alignment)); }
  };
  std::deque<std::unique_ptr<char, Free>> blocks_;
};

template <class T>
struct PlannedModel {
  Plan<T> plan;
  Arena memory;
};

template <class T>
std::unique_ptr<PlannedModel<T>> make_plan(const FusedModel &model, const Kernel<T> &kernel);

// Room for chunks of up to `edges` edges and `atoms` centers.
template <class T>
Workspace<T> make_workspace(const Plan<T> &plan, const Kernel<T> &kernel, int edges, int atoms, Arena &memory);

}  // namespace allegro_dist
