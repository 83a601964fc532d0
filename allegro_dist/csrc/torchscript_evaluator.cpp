// The only C++ file that includes torch: loads an archive's scripted module and evaluates it. A library of its own,
// which the engine loads when this evaluator is asked for.
//
//   forward(edge_vectors [E, 3], edge_index [2, E], atom_types [N]) -> (atomic_energy [N], edge_gradient [E, 3])
//
// A block's neighbors need no atoms of their own: one dummy atom per type stands behind the centers,
//   atom_types = [center types ..., 0, 1, ..., num_types - 1],  neighbor index = num_centers + neighbor type,
// and the dummies' energies are dropped.
#include <malloc.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/script.h>
#include <torch/torch.h>
#include <torch/version.h>

#include <stdexcept>
#include <string>
#include <utility>

#include "evaluator.hpp"

namespace allegro_dist {
namespace {

constexpr int cpu_block_edges = 2048;
constexpr int cuda_block_edges = 131072;

std::string first_line(const c10::Error &error) {
  const std::string text = error.what_without_backtrace();
  return text.substr(0, text.find('\n'));
}

torch::Device torch_device(const EngineOptions &options) {
  const int num_gpus = torch::cuda::is_available() ? static_cast<int>(torch::cuda::device_count()) : 0;
  const DeviceChoice chosen = choose_device(options, num_gpus);
  if (chosen.kind == DeviceChoice::emulated)
    throw std::invalid_argument("device 'emulated' is of the fused evaluator, not of torchscript");
  if (chosen.kind == DeviceChoice::cpu) return torch::kCPU;
  return torch::Device(torch::kCUDA, static_cast<c10::DeviceIndex>(chosen.index));
}

// Temporaries of a block are a few MB. glibc would map and unmap each of them, and a page fault per 4 KB costs more
// than the arithmetic (2 to 3 times); with these thresholds freed memory stays in the heap and is used again.
void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 16 << 20);
#endif
}

// A first call by several threads at once may compute with 1e-4 of error: see allegro_dist/nn/vector_math.py.
void settle_vector_math() {
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    const torch::Tensor one = torch::ones({1}, dtype);
    for (const auto function : {at::sin, at::cos, at::exp, at::log, at::sqrt, at::tanh, at::erf}) function(one);
  }
}

class TorchScriptEvaluator final : public Evaluator {
 public:
  TorchScriptEvaluator(torch::jit::Module module, torch::Device device, int num_types, double bytes_per_edge,
                       int num_threads)
      : module_(std::move(module)),
        device_(device),
        device_name_(device.str()),
        num_types_(num_types),
        bytes_per_edge_(bytes_per_edge),
        num_threads_(num_threads) {}

  const std::string &name() const override { return name_; }
  const std::string &device() const override { return device_name_; }
  double bytes_per_edge() const override { return bytes_per_edge_; }
  int preferred_block_edges() const override { return device_.is_cuda() ? cuda_block_edges : cpu_block_edges; }

  void evaluate(const EdgeBlock &block, int /*worker*/, double *atomic_energy, double *edge_gradient) override {
    // Set each time: a caller in the same process (Python) may have changed it, and it is cheap when it has not.
    if (at::get_num_threads() != num_threads_) at::set_num_threads(num_threads_);
    try {
      run(block, atomic_energy, edge_gradient);
    } catch (const c10::Error &error) {
      throw std::runtime_error("evaluating " + std::to_string(block.num_centers) + " centers with " +
                               std::to_string(block.num_edges()) + " edges on " + device_name_ +
                               " failed: " + first_line(error));
    }
  }

 private:
  void run(const EdgeBlock &block, double *atomic_energy, double *edge_gradient) {
    const int64_t num_centers = block.num_centers, num_edges = block.num_edges();
    torch::Tensor types = torch::empty({num_centers + num_types_}, torch::kInt64);
    torch::Tensor index = torch::empty({2, num_edges}, torch::kInt64);
    int64_t *const type = types.data_ptr<int64_t>(), *const center = index.data_ptr<int64_t>();
    int64_t *const neighbor = center + num_edges;
    for (int64_t i = 0; i < num_centers; ++i) {
      type[i] = block.center_types[i];
      for (int e = block.edge_offsets[i]; e < block.edge_offsets[i + 1]; ++e) center[e] = i;
    }
    for (int t = 0; t < num_types_; ++t) type[num_centers + t] = t;
    for (int64_t e = 0; e < num_edges; ++e) neighbor[e] = num_centers + block.neighbor_types[e];
    const torch::Tensor vectors =
        torch::from_blob(const_cast<double *>(block.edge_vectors), {num_edges, 3}, torch::kFloat64);

    // Plain interpretation: the profiling executor compiles anew for new shapes, and every block has another one.
    const torch::jit::GraphOptimizerEnabledGuard interpret(false);
    const auto output = module_.forward({vectors.to(device_), index.to(device_), types.to(device_)}).toTuple();
    const auto write = [](const torch::IValue &value, int64_t count, double *destination) {
      const torch::Tensor flat = value.toTensor().detach().to(torch::kCPU, torch::kFloat64).reshape({-1});
      const torch::Tensor target = torch::from_blob(destination, {count}, torch::kFloat64);
      target.copy_(flat.slice(0, 0, count));
    };
    write(output->elements()[0], num_centers, atomic_energy);
    write(output->elements()[1], 3 * num_edges, edge_gradient);
  }

  torch::jit::Module module_;
  torch::Device device_;
  std::string device_name_, name_ = "TorchScript";
  int num_types_;
  double bytes_per_edge_;
  int num_threads_;
};

}  // namespace
}  // namespace allegro_dist

// For torchscript_library.cpp; the caller owns the result, and has read the archive: it is whole.
extern "C" __attribute__((visibility("default"))) allegro_dist::Evaluator *allegro_dist_make_torchscript_evaluator(
    const char *path, const allegro_dist::EngineOptions *options, int num_types, double bytes_per_edge) {
  using namespace allegro_dist;
  const torch::Device device = torch_device(*options);
  keep_freed_memory();
  at::set_num_threads(options->num_threads);
  settle_vector_math();
  try {
    torch::jit::Module module = torch::jit::load(path, device);
    module.eval();
    return new TorchScriptEvaluator(std::move(module), device, num_types, bytes_per_edge, options->num_threads);
  } catch (const c10::Error &error) {
    throw std::runtime_error("archive '" + std::string(path) + "' cannot be loaded by torch " TORCH_VERSION ": " +
                             first_line(error));
  }
}
