// The few words of CUDA that the GPU evaluator speaks, and the same words for the host: compiled without nvcc, memory
// is the host's, a launch runs block by block, and one thread plays a whole block. So the evaluator's source can be
// tested where there is no GPU. The player takes the items of a phase in descending order in every second phase: an
// item that waited for another of its phase would be found out.
#pragma once

#include <cstring>
#include <stdexcept>
#include <string>

#include "fused_planner.hpp"
#include "portable.hpp"

#ifdef __CUDACC__
#include <cuda_runtime.h>
#endif

namespace allegro_dist {
namespace {
namespace gpu {

#ifdef __CUDACC__

constexpr const char *kind = "cuda";
constexpr int threads_per_block = 256;

inline void check(cudaError_t status, const char *what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(status));
}

inline int device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}
inline void use_device(int device) {
  check(cudaSetDevice(device), "cannot use the device");
}

inline void *allocate_device(std::size_t bytes) {
  void *block = nullptr;
  check(cudaMalloc(&block, bytes), "out of device memory");
  check(cudaMemset(block, 0, bytes), "cannot clear memory");
  return block;
}
inline void *allocate_managed(std::size_t bytes) {
  void *block = nullptr;
  check(cudaMallocManaged(&block, bytes), "out of managed memory");
  std::memset(block, 0, bytes);
  return block;
}
inline void *allocate_staging(std::size_t bytes) {
  void *block = nullptr;
  check(cudaMallocHost(&block, bytes), "out of page-locked memory");
  return block;
}
inline void release_device(void *block) {
  cudaFree(block);
}
inline void release_staging(void *block) {
  cudaFreeHost(block);
}

inline MemorySource device_memory() {
  return {allocate_device, release_device};
}
// Written by the host once, read by the device ever after.
inline MemorySource managed_memory() {
  return {allocate_managed, release_device};
}
// Page-locked, so that copies to the device need not wait.
inline MemorySource staging_memory() {
  return {allocate_staging, release_staging};
}

class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cannot make a stream"); }
  Stream(const Stream &) = delete;
  Stream &operator=(const Stream &) = delete;
  ~Stream() { cudaStreamDestroy(stream_); }
  void wait() const { check(cudaStreamSynchronize(stream_), "a kernel failed"); }
  template <class T>
  void copy(T *to, const T *from, std::size_t count) const {
    check(cudaMemcpyAsync(to, from, count * sizeof(T), cudaMemcpyDefault, stream_), "cannot copy");
  }
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

struct Team {
  template <class Body>
  __device__ __forceinline__ void each(int count, const Body &body) const {
    for (int i = threadIdx.x; i < count; i += blockDim.x) body(i);
    __syncthreads();
  }
};

template <class Work>
__global__ void __launch_bounds__(threads_per_block) run_blocks(const Work work) {
  work(Team{}, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
}

template <class Work>
int resident_blocks(int device) {
  int per_processor = 0, processors = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_processor, run_blocks<Work>, threads_per_block, 0),
        "cannot ask for the occupancy");
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device), "cannot ask the device");
  return processors * (per_processor > 0 ? per_processor : 1);
}

template <class Work>
void launch(const Stream &stream, int blocks, const Work &work) {
  run_blocks<<<blocks, threads_per_block, 0, stream.get()>>>(work);
  check(cudaGetLastError(), "cannot launch a kernel");
}

#else

constexpr const char *kind = "emulated";

inline void use_device(int) {}
inline MemorySource device_memory() {
  return host_memory();
}
inline MemorySource managed_memory() {
  return host_memory();
}
inline MemorySource staging_memory() {
  return host_memory();
}

class Stream {
 public:
  void wait() const {}
  template <class T>
  void copy(T *to, const T *from, std::size_t count) const {
    if (count) std::memcpy(to, from, count * sizeof(T));
  }
};

struct Team {
  template <class Body>
  void each(int count, const Body &body) const {
    descending = !descending;
    for (int i = 0; i < count; ++i) body(descending ? count - 1 - i : i);
  }
  mutable bool descending = false;
};

template <class Work>
int resident_blocks(int) {
  return 3;  // more than one, so that blocks share the work
}
template <class Work>
void launch(const Stream &, int blocks, const Work &work) {
  for (int block = 0; block < blocks; ++block) work(Team{}, block, blocks);
}

#endif

}  // namespace gpu
}  // namespace
}  // namespace allegro_dist
