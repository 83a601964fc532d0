// From the merged model to what a kernel runs on: packed weights, columns of the edge rows, tables, workspaces.
#pragma once

#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "fused_kernel.hpp"
#include "fused_model.hpp"

namespace allegro_dist {

constexpr int memory_alignment = 64;  // bytes: the widest vector and the cache line

// Where an arena's memory comes from: zeroed blocks, at least as aligned as memory_alignment.
struct MemorySource {
  void *(*allocate)(std::size_t bytes);
  void (*release)(void *);
};
inline void *allocate_host(std::size_t bytes) {
  void *const block = ::operator new(bytes, std::align_val_t(memory_alignment));
  std::memset(block, 0, bytes);
  return block;
}
inline void release_host(void *block) {
  ::operator delete(block, std::align_val_t(memory_alignment));
}
inline MemorySource host_memory() {
  return {allocate_host, release_host};
}

// Values from one row to the next, for rows of `width`: an odd number of cache lines, so that a column of many rows
// spreads over the cache's sets.
template <class T>
int row_stride(int width) {
  constexpr int line = memory_alignment / static_cast<int>(sizeof(T));
  const int lines = (width + line - 1) / line;
  return (lines + 1 - lines % 2) * line;
}

// Zeroed, aligned arrays that live as long as their owner. Small ones share blocks of `least_block` bytes.
class Arena {
 public:
  explicit Arena(MemorySource source = host_memory(), std::size_t least_block = 0)
      : source_(source), least_block_(least_block) {}
  Arena(const Arena &) = delete;
  Arena &operator=(const Arena &) = delete;
  ~Arena() {
    for (const Block &block : blocks_) source_.release(block.memory);
  }

  template <class T>
  T *allocate(std::size_t count) {
    const std::size_t bytes = (count * sizeof(T) + memory_alignment - 1) / memory_alignment * memory_alignment;
    if (bytes == 0) return nullptr;
    if (blocks_.empty() || used_ + bytes > blocks_.back().bytes) {
      const std::size_t size = bytes > least_block_ ? bytes : least_block_;
      blocks_.push_back({nullptr, 0});
      blocks_.back() = {static_cast<char *>(source_.allocate(size)), size};
      used_ = 0;
    }
    char *const array = blocks_.back().memory + used_;
    used_ += bytes;
    return reinterpret_cast<T *>(array);
  }

  // visit(memory, bytes)
  template <class Visit>
  void each_block(const Visit &visit) const {
    for (const Block &block : blocks_) visit(block.memory, block.bytes);
  }

 private:
  struct Block {
    char *memory;
    std::size_t bytes;
  };
  MemorySource source_;
  std::size_t least_block_, used_ = 0;  // of the last block
  std::vector<Block> blocks_;
};

template <class T>
struct PlannedModel {
  explicit PlannedModel(MemorySource source) : memory(source) {}

  Plan<T> plan;
  Arena memory;
};

template <class T>
std::unique_ptr<PlannedModel<T>> make_plan(const FusedModel &model, const Kernel<T> &kernel,
                                           MemorySource source = host_memory());

// The end of the chunk that starts at center `begin`: as many centers as the bounds allow, and one at least.
inline int end_of_chunk(const int *offsets, int begin, int end, int max_edges, int max_atoms) {
  int next = begin + 1;
  while (next < end && next - begin < max_atoms && offsets[next + 1] - offsets[begin] <= max_edges) ++next;
  return next;
}

// Room for chunks of up to `edges` edges and `atoms` centers.
template <class T>
Workspace<T> make_workspace(const Plan<T> &plan, const Kernel<T> &kernel, int edges, int atoms, Arena &memory);

}  // namespace allegro_dist
