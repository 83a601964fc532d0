// The few words of CUDA that the GPU evaluator speaks, and the same words for the host: compiled without nvcc, memory
// is the host's, a launch runs block by block, and one thread plays a whole block. So the evaluator's source can be
// tested where there is no GPU. The player takes the items of a phase in descending order in every second phase: an
// item that waited for another of its phase would be found out.
#pragma once

#include <cstdint>
#include <cstdlib>
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

// Bytes, on the device in use, of which other processes may take some, too.
inline double free_memory() {
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cannot ask for the memory");
  return static_cast<double>(free);
}

inline std::string in_megabytes(std::size_t bytes) {
  return std::to_string((bytes >> 20) + 1) + " MB";
}
[[noreturn]] inline void refuse_allocation(const char *kind, std::size_t bytes, cudaError_t status) {
  cudaGetLastError();  // else the next launch would be blamed
  std::size_t free = 0, total = 0;
  const bool known = cudaMemGetInfo(&free, &total) == cudaSuccess;
  throw std::runtime_error(
      std::string("CUDA: no ") + in_megabytes(bytes) + " of " + kind + " memory (" + cudaGetErrorString(status) +
      (known ? "; the GPU has " + in_megabytes(free) + " of " + in_megabytes(total) + " free" : std::string()) +
      "); use more GPUs, or smaller parts (keyword memory)");
}

inline void *allocate_device(std::size_t bytes) {
  void *block = nullptr;
  const cudaError_t status = cudaMalloc(&block, bytes);
  if (status != cudaSuccess) refuse_allocation("device", bytes, status);
  check(cudaMemset(block, 0, bytes), "cannot clear memory");
  // The memset is on the default stream, for which streams of our kind do not wait.
  check(cudaStreamSynchronize(cudaStreamLegacy), "cannot clear memory");
  return block;
}
inline void *allocate_staging(std::size_t bytes) {
  void *block = nullptr;
  const cudaError_t status = cudaMallocHost(&block, bytes);
  if (status != cudaSuccess) refuse_allocation("page-locked", bytes, status);
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
// Page-locked, so that copies to and from the device need not wait.
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
  // Every byte of an array.
  template <class T>
  void fill(T *array, int byte, std::size_t count) const {
    check(cudaMemsetAsync(array, byte, count * sizeof(T), stream_), "cannot set memory");
  }
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// A place in a stream's queue.
class Event {
 public:
  Event() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cannot make an event"); }
  Event(const Event &) = delete;
  Event &operator=(const Event &) = delete;
  ~Event() { cudaEventDestroy(event_); }
  void record(const Stream &stream) { check(cudaEventRecord(event_, stream.get()), "cannot record an event"); }
  void wait() const { check(cudaEventSynchronize(event_), "a kernel failed"); }

 private:
  cudaEvent_t event_ = nullptr;
};

// Integers: the order of additions does not matter.
__device__ __forceinline__ void add(std::int64_t *sum, std::int64_t term) {
  atomicAdd(reinterpret_cast<unsigned long long *>(sum), static_cast<unsigned long long>(term));
}
__device__ __forceinline__ void lower(int *least, int value) {
  atomicMin(least, value);
}

struct Team {
  template <class Body>
  __device__ __forceinline__ void each(int count, const Body &body) const {
    for (int i = threadIdx.x; i < count; i += blockDim.x) body(i);
    __syncthreads();
  }
};

template <class Work>
__global__ void __launch_bounds__(threads_per_block) run_blocks(const __grid_constant__ Work work) {
  work(Team{}, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
}

// How many blocks run at once on the whole device.
template <class Work>
int resident_blocks(int device) {
  cudaFuncAttributes needs{};
  const cudaError_t status = cudaFuncGetAttributes(&needs, run_blocks<Work>);
  if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorInvalidDeviceFunction) {
    cudaGetLastError();
    throw std::runtime_error("CUDA: this build has no code for GPU " + std::to_string(device) +
                             "; build with CMAKE_CUDA_ARCHITECTURES set to its compute capability");
  }
  check(status, "cannot ask about a kernel");
  int per_processor = 0, processors = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_processor, run_blocks<Work>, threads_per_block, 0),
        "cannot ask for the occupancy");
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device), "cannot ask the device");
  if (per_processor == 0)
    throw std::runtime_error("CUDA: GPU " + std::to_string(device) + " has no room for a block of " +
                             std::to_string(threads_per_block) + " threads with " + std::to_string(needs.numRegs) +
                             " registers each");
  return processors * per_processor;
}

template <class Work>
void launch(const Stream &stream, int blocks, const Work &work) {
  run_blocks<<<blocks, threads_per_block, 0, stream.get()>>>(work);
  check(cudaGetLastError(), "cannot launch a kernel");
}

#else

constexpr const char *kind = "emulated";

inline void use_device(int) {}
// As large as a test says, in bytes.
inline double free_memory() {
  const char *const bytes = std::getenv("ALLEGRO_EMULATED_MEMORY");
  return bytes ? std::atof(bytes) : 0x1p36;
}
inline MemorySource device_memory() {
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
  template <class T>
  void fill(T *array, int byte, std::size_t count) const {
    if (count) std::memset(array, byte, count * sizeof(T));
  }
};

class Event {
 public:
  void record(const Stream &) {}
  void wait() const {}
};

inline void add(std::int64_t *sum, std::int64_t term) {
  *sum += term;
}
inline void lower(int *least, int value) {
  if (value < *least) *least = value;
}

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
