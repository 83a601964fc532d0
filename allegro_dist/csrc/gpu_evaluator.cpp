// The evaluator of Allegro models on GPUs. Blocks of threads take chunks of centers, one after another, each with a
// workspace of its own that is small enough for all of them to stay in the L2 cache. Compiled twice: by nvcc through
// gpu_evaluator.cu, and as it is for the host, where it emulates a GPU for tests (gpu_runtime.hpp).
//
// Arithmetic is that of the archive's type: no TF32, no bf16.
#include <algorithm>
#include <type_traits>
#include <utility>

#include "evaluator.hpp"
#include "gpu_runtime.hpp"
#include "team_evaluation.hpp"
#include "zbl.hpp"

namespace allegro_dist {
namespace {

// A chunk's rows take about 4 kB per edge; those of all resident blocks together should fit the L2 cache (50 MB).
constexpr int chunk_edges = 96, chunk_atoms = 32;
constexpr int block_edges = 1 << 20;  // of one upload

// What a launch works on: arrays in device memory.
struct DeviceCenters {
  int num_centers, num_runs;      // centers are cut into runs, each of which is one block's at a time
  const int *first;               // [num_runs + 1]
  const int *types, *offsets;     // [num_centers], [num_centers + 1]
  const double *vectors;          // [edge, 3]
  const int *neighbor_types;      // [edge]
  double *energy, *gradient;      // [num_centers], [edge, 3]
  const double *shift, *charges;  // [num_types]; charges null: no ZBL
  const double *inverse_cutoffs;
  int num_types, zbl_power;
};

template <class T, int L>
struct EvaluateRuns {
  const Plan<T> *plan;
  const Workspace<T> *workspaces;  // one per block
  DeviceCenters in;

  ALLEGRO_DEVICE void operator()(const gpu::Team &team, int block, int num_blocks) const {
    for (int run = block; run < in.num_runs; run += num_blocks) {
      Chunk chunk;
      chunk.num_atoms = in.first[run + 1] - in.first[run];
      chunk.types = in.types + in.first[run];
      chunk.offsets = in.offsets + in.first[run];
      chunk.vectors = in.vectors;
      chunk.neighbor_types = in.neighbor_types;
      chunk.energy = in.energy + in.first[run];
      chunk.gradient = in.gradient;
      TeamEvaluation<T, L, gpu::Team>(*plan, workspaces[block], chunk, team).run();
    }
  }
};

// Shifts, and the ZBL repulsion where the model has it.
struct AddPairTerms {
  DeviceCenters in;

  ALLEGRO_DEVICE void operator()(const gpu::Team &team, int block, int num_blocks) const {
    const int share = (in.num_centers + num_blocks - 1) / num_blocks, first = block * share;
    const int count = in.num_centers - first < share ? in.num_centers - first : share;
    team.each(count, [&](int k) {
      const int i = first + k, type_i = in.types[i];
      in.energy[i] += in.shift[type_i];
      const int begin = in.offsets[i];
      if (in.charges)
        add_zbl(type_i, in.num_types, in.charges, in.inverse_cutoffs, in.zbl_power, in.offsets[i + 1] - begin,
                in.vectors + 3L * begin, in.neighbor_types + begin, in.energy[i], in.gradient + 3L * begin);
    });
  }
};

// Arrays of one kind of memory that grow and never shrink.
template <class T>
class Buffer {
 public:
  explicit Buffer(MemorySource source) : source_(source) {}
  T *sized(std::size_t count) {
    if (count > capacity_) {
      arena_.reset();  // before the new one: both may not fit
      arena_ = std::make_unique<Arena>(source_);
      capacity_ = count + count / 4;
      data_ = arena_->allocate<T>(capacity_);
    }
    return data_;
  }

 private:
  MemorySource source_;
  std::unique_ptr<Arena> arena_;
  std::size_t capacity_ = 0;
  T *data_ = nullptr;
};

// An array on the host, page-locked, and its copy on the device.
template <class T>
struct Mirror {
  Buffer<T> host{gpu::staging_memory()}, device{gpu::device_memory()};

  T *upload(const gpu::Stream &stream, const T *from, std::size_t count) {
    T *const staged = host.sized(count), *const to = device.sized(count);
    if (count) std::memcpy(staged, from, count * sizeof(T));
    stream.copy(to, static_cast<const T *>(staged), count);
    return to;
  }
  void start_download(const gpu::Stream &stream, std::size_t count) {
    T *const to = host.sized(count);
    stream.copy(to, static_cast<const T *>(device.sized(count)), count);
  }
};

template <class T>
Kernel<T> team_kernel() {
  return {gpu::kind, quad, 0, true, nullptr};
}

template <class T>
class GpuEvaluator final : public Evaluator {
 public:
  GpuEvaluator(FusedModel model, int device)
      : model_(std::move(model)),
        device_number_(chosen(device)),
        kernel_(team_kernel<T>()),
        planned_(make_plan<T>(model_, kernel_, gpu::managed_memory())),
        name_(std::string("fused ") + gpu::kind +
              (model_.table_intervals ? ", " + std::to_string(model_.table_intervals) + " intervals" : "")),
        device_(std::string(gpu::kind) + ":" + std::to_string(device)),
        num_blocks_(blocks_of(model_.l_max)) {
    plan_ = constants_.allocate<Plan<T>>(1);
    *plan_ = planned_->plan;
    const auto keep = [&](const std::vector<double> &values) -> const double * {
      double *const out = constants_.allocate<double>(values.size());
      std::copy(values.begin(), values.end(), out);
      return out;
    };
    shift_ = keep(model_.shift);
    charges_ = keep(model_.charges);
    grow(chunk_edges, chunk_atoms);
  }

  const std::string &name() const override { return name_; }
  const std::string &device() const override { return device_; }
  int preferred_block_edges() const override { return block_edges; }
  double bytes_per_edge() const override { return 2 * (6 * sizeof(double) + sizeof(int)); }  // staged and on the device

  void evaluate(const EdgeBlock &block, int /*worker*/, double *atomic_energy, double *edge_gradient) override {
    gpu::use_device(device_number_);
    const std::size_t centers = block.num_centers, edges = block.num_edges();
    cut(block);
    DeviceCenters in{};
    in.num_centers = block.num_centers;
    in.num_runs = static_cast<int>(first_.size()) - 1;
    in.first = first_mirror_.upload(stream_, first_.data(), first_.size());
    in.types = types_.upload(stream_, block.center_types, centers);
    in.offsets = offsets_.upload(stream_, block.edge_offsets, centers + 1);
    in.vectors = vectors_.upload(stream_, block.edge_vectors, 3 * edges);
    in.neighbor_types = neighbor_types_.upload(stream_, block.neighbor_types, edges);
    in.energy = energy_.device.sized(centers);
    in.gradient = gradient_.device.sized(3 * edges);
    in.shift = shift_;
    in.charges = charges_;
    in.inverse_cutoffs = plan_->inverse_cutoffs;
    in.num_types = model_.num_types;
    in.zbl_power = model_.zbl_envelope_power;
    launch(in);
    energy_.start_download(stream_, centers);
    gradient_.start_download(stream_, 3 * edges);
    stream_.wait();
    std::copy_n(energy_.host.sized(centers), centers, atomic_energy);
    std::copy_n(gradient_.host.sized(3 * edges), 3 * edges, edge_gradient);
  }

 private:
  static int chosen(int device) {
    gpu::use_device(device);
    return device;
  }

  // Calls body with l_max as a compile-time number.
  template <class Body>
  static auto by_order(int l_max, const Body &body) {
    switch (l_max) {
      case 0:
        return body(std::integral_constant<int, 0>());
      case 1:
        return body(std::integral_constant<int, 1>());
      case 2:
        return body(std::integral_constant<int, 2>());
      case 3:
        return body(std::integral_constant<int, 3>());
      default:
        return body(std::integral_constant<int, 4>());
    }
  }

  int blocks_of(int l_max) const {
    return by_order(l_max, [&](auto l) { return gpu::resident_blocks<EvaluateRuns<T, l.value>>(device_number_); });
  }

  void launch(const DeviceCenters &in) const {
    by_order(model_.l_max, [&](auto l) {
      gpu::launch(stream_, std::min(num_blocks_, in.num_runs), EvaluateRuns<T, l.value>{plan_, workspaces_, in});
    });
    gpu::launch(stream_, num_blocks_, AddPairTerms{in});
  }

  // Runs of centers that fit a workspace; one center with more edges than that makes all workspaces grow.
  void cut(const EdgeBlock &block) {
    const int *const offsets = block.edge_offsets;
    first_.assign(1, 0);
    int most_edges = chunk_edges;
    for (int a = 0, next; a < block.num_centers; a = next) {
      next = end_of_chunk(offsets, a, block.num_centers, chunk_edges, chunk_atoms);
      most_edges = std::max(most_edges, offsets[next] - offsets[a]);
      first_.push_back(next);
    }
    grow(most_edges, chunk_atoms);
  }

  void grow(int edges, int atoms) {
    if (edges <= workspace_edges_) return;
    stream_.wait();
    workspace_edges_ = edges + edges / 4;
    workspace_memory_.reset();
    workspace_memory_ = std::make_unique<Arena>(gpu::device_memory());
    if (!workspaces_) workspaces_ = constants_.allocate<Workspace<T>>(num_blocks_);
    for (int b = 0; b < num_blocks_; ++b)
      workspaces_[b] = make_workspace<T>(planned_->plan, kernel_, workspace_edges_, atoms, *workspace_memory_);
  }

  FusedModel model_;
  int device_number_;
  Kernel<T> kernel_;
  std::unique_ptr<PlannedModel<T>> planned_;
  std::string name_, device_;
  int num_blocks_;
  Arena constants_{gpu::managed_memory()};
  Plan<T> *plan_ = nullptr;
  const double *shift_ = nullptr, *charges_ = nullptr;
  int workspace_edges_ = 0;
  std::unique_ptr<Arena> workspace_memory_;
  Workspace<T> *workspaces_ = nullptr;
  gpu::Stream stream_;
  std::vector<int> first_;
  Mirror<int> first_mirror_, types_, offsets_, neighbor_types_;
  Mirror<double> vectors_, energy_, gradient_;
};

std::unique_ptr<Evaluator> make(FusedModel model, const std::string &dtype, int device) {
  if (dtype == "float32") return std::make_unique<GpuEvaluator<float>>(std::move(model), device);
  if (dtype == "float64") return std::make_unique<GpuEvaluator<double>>(std::move(model), device);
  throw std::runtime_error("the fused evaluator knows float32 and float64, not '" + dtype + "'");
}

}  // namespace

#ifdef __CUDACC__
int cuda_device_count() {
  return gpu::device_count();
}
std::unique_ptr<Evaluator> make_cuda_evaluator(FusedModel model, const std::string &dtype, int device) {
  return make(std::move(model), dtype, device);
}
#else
std::unique_ptr<Evaluator> make_emulated_evaluator(FusedModel model, const std::string &dtype) {
  return make(std::move(model), dtype, 0);
}
#endif

}  // namespace allegro_dist
