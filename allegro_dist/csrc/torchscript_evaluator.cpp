// The only C++ file that calls torch::jit: reads an archive and evaluates its scripted module.
//
//   forward(edge_vectors [E, 3], edge_index [2, E], atom_types [N]) -> (atomic_energy [N], edge_gradient [E, 3])
//
// A block's neighbors need no atoms of their own: one dummy atom per type stands behind the centers,
//   atom_types = [center types ..., 0, 1, ..., num_types - 1],  neighbor index = num_centers + neighbor type,
// and the dummies' energies are dropped.
#include <caffe2/serialize/inline_container.h>
#include <malloc.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/script.h>
#include <torch/torch.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "evaluator.hpp"
#include "program_reader.hpp"

namespace allegro_dist {
namespace {

constexpr int supported_format_version = 1;
constexpr int cpu_block_edges = 2048;
constexpr int cuda_block_edges = 131072;

std::string first_line(const c10::Error &error) {
  const std::string text = error.what_without_backtrace();
  return text.substr(0, text.find('\n'));
}

// Runs what reads the file; torch's errors (with their backtraces) become one line that says what to do.
template <typename Function>
auto reading(const std::string &path, Function function) {
  try {
    return function();
  } catch (const c10::Error &error) {
    throw std::runtime_error("archive '" + path +
                             "' cannot be read: it is truncated, corrupt or no model.pth written by "
                             "`allegro-dist deploy`; copy or deploy it again (" +
                             first_line(error) + ")");
  }
}

// The version is read before anything else of the archive, so that a newer layout cannot be misread.
void require_supported_format(const std::string &path) {
  if (!std::filesystem::is_regular_file(path) || !std::ifstream(path))
    throw std::runtime_error("archive '" + path + "' does not exist or is not readable");
  const std::string text = reading(path, [&] {
    caffe2::serialize::PyTorchStreamReader reader(path);
    if (!reader.hasRecord("extra/format_version"))
      throw std::runtime_error("archive '" + path +
                               "' has no format_version: it was not written by `allegro-dist deploy`");
    const auto [data, size] = reader.getRecord("extra/format_version");
    return std::string(static_cast<const char *>(data.get()), size);
  });
  int version = 0;
  if (!(std::istringstream(text) >> version) || version < 1)
    throw std::runtime_error("archive '" + path + "' has format version '" + text + "', expected a positive number");
  if (version > supported_format_version)
    throw std::runtime_error("archive '" + path + "' has format version " + std::to_string(version) +
                             ", this allegro_dist reads up to version " + std::to_string(supported_format_version) +
                             "; install a newer allegro_dist or deploy the model with this one");
}

torch::Device torch_device(const EngineOptions &options) {
  const int num_gpus = torch::cuda::is_available() ? static_cast<int>(torch::cuda::device_count()) : 0;
  const DeviceChoice chosen = choose_device(options, num_gpus);
  if (chosen.kind == DeviceChoice::emulated)
    throw std::invalid_argument("device 'emulated' is of the fused evaluator, not of torchscript");
  if (chosen.kind == DeviceChoice::cpu) return torch::kCPU;
  return torch::Device(torch::kCUDA, static_cast<c10::DeviceIndex>(chosen.index));
}

template <typename T>
std::vector<T> to_vector(const torch::Tensor &tensor) {
  const torch::Tensor flat = tensor.to(torch::kCPU, torch::CppTypeToScalarType<T>()).contiguous();
  return std::vector<T>(flat.data_ptr<T>(), flat.data_ptr<T>() + flat.numel());
}

CheckData read_check(const torch::jit::Module &module) {
  CheckData check;
  const auto tensor = [&](const char *name) { return module.attr(name).toTensor(); };
  const torch::Tensor edge_index = tensor("check_edge_index").to(torch::kCPU),
                      types = tensor("check_atom_types").to(torch::kCPU);
  check.center_types = to_vector<int>(types);
  check.neighbor_types = to_vector<int>(types.index_select(0, edge_index[1]));
  check.edge_vectors = to_vector<double>(tensor("check_edge_vectors"));
  check.atomic_energy = to_vector<double>(tensor("check_atomic_energy"));
  check.edge_gradient = to_vector<double>(tensor("check_edge_gradient"));
  check.energy_tolerance = module.attr("check_energy_tolerance").toDouble();
  check.gradient_tolerance = module.attr("check_gradient_tolerance").toDouble();
  check.edge_offsets.assign(check.center_types.size() + 1, 0);
  for (const int center : to_vector<int>(edge_index[0])) ++check.edge_offsets.at(center + 1);
  for (std::size_t i = 1; i < check.edge_offsets.size(); ++i) check.edge_offsets[i] += check.edge_offsets[i - 1];
  return check;
}

ArchiveInfo read_info(const torch::jit::Module &module) {
  ArchiveInfo info;
  for (const torch::IValue &name : module.attr("type_names").toListRef()) info.type_names.push_back(name.toStringRef());
  info.r_max = module.attr("r_max").toDouble();
  info.interaction_range = module.attr("interaction_range").toDouble();
  info.dtype = module.attr("model_dtype").toStringRef();
  info.cutoffs = module.attr("cutoffs").toDoubleVector();
  info.check = read_check(module);
  if (module.hasattr("fused")) {
    info.fused = read_program(module.attr("fused").toGenericDict());
    if (info.fused) info.fused->table_intervals = static_cast<int>(module.attr("table_intervals").toInt());
    if (module.hasattr("table_tolerance")) info.table_tolerance = module.attr("table_tolerance").toDouble();
  }
  return info;
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

class TorchScriptEvaluator final : public Evaluator {
 public:
  TorchScriptEvaluator(torch::jit::Module module, torch::Device device, int num_types, int num_threads)
      : module_(std::move(module)),
        device_(device),
        device_name_(device.str()),
        num_types_(num_types),
        num_threads_(num_threads) {}

  const std::string &name() const override { return name_; }
  const std::string &device() const override { return device_name_; }
  int preferred_block_edges() const override { return device_.is_cuda() ? cuda_block_edges : cpu_block_edges; }

  void evaluate(const EdgeBlock &block, double *atomic_energy, double *edge_gradient) override {
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
  int num_types_, num_threads_;
};

}  // namespace

OpenedArchive open_torchscript(const std::string &path, const EngineOptions &options) {
  require_supported_format(path);
  const torch::Device device = torch_device(options);
  keep_freed_memory();
  at::set_num_threads(options.num_threads);
  torch::jit::Module module = reading(path, [&] { return torch::jit::load(path, device); });
  module.eval();
  OpenedArchive opened;
  opened.info = reading(path, [&] { return read_info(module); });
  const int num_types = static_cast<int>(opened.info.type_names.size());
  opened.evaluator = std::make_unique<TorchScriptEvaluator>(std::move(module), device, num_types, options.num_threads);
  return opened;
}

}  // namespace allegro_dist
