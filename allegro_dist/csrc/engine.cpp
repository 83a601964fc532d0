#include "engine.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "archive.hpp"
#include "evaluator.hpp"

namespace allegro_dist {
namespace {

// Largest |a - b|; infinite when a value is not a number, which every comparison would let pass.
double largest_deviation(const std::vector<double> &a, const std::vector<double> &b) {
  double largest = 0.0;
  for (std::size_t k = 0; k < a.size(); ++k) {
    const double deviation = std::abs(a[k] - b[k]);
    largest = std::isfinite(deviation) ? std::max(largest, deviation) : std::numeric_limits<double>::infinity();
  }
  return largest;
}

std::vector<double> sized(std::size_t size) {
  return std::vector<double>(size);
}

SelfCheck run_self_check(const std::string &path, const ArchiveInfo &info, Evaluator &evaluator) {
  const CheckData &check = info.check;
  std::vector<double> energy = sized(check.atomic_energy.size()), gradient = sized(check.edge_gradient.size());
  evaluator.evaluate(check.block(), 0, energy.data(), gradient.data());
  const SelfCheck found{largest_deviation(energy, check.atomic_energy),
                        largest_deviation(gradient, check.edge_gradient)};
  if (found.energy_error <= check.energy_tolerance && found.gradient_error <= check.gradient_tolerance) return found;
  std::ostringstream message;
  message << "self-check of archive '" << path << "' failed on " << evaluator.device() << " (" << evaluator.name()
          << "): energies deviate by " << found.energy_error << " eV (tolerance " << check.energy_tolerance
          << "), edge gradients by " << found.gradient_error << " eV/A (tolerance " << check.gradient_tolerance
          << "); the archive is damaged, or this machine computes wrongly";
  throw std::runtime_error(message.str());
}

struct OpenedArchive {
  ArchiveInfo info;
  std::unique_ptr<Evaluator> evaluator;
};

#ifdef ALLEGRO_CUDA
constexpr bool has_cuda_kernels = true;
#else
constexpr bool has_cuda_kernels = false;
int cuda_device_count() {
  return 0;
}
#endif

std::unique_ptr<Evaluator> make_evaluator(FusedModel model, const std::string &dtype, const DeviceChoice &device,
                                          const EngineOptions &options) {
#ifdef ALLEGRO_CUDA
  if (device.kind == DeviceChoice::cuda) return make_cuda_evaluator(std::move(model), dtype, device.index);
#endif
  if (device.kind == DeviceChoice::emulated) return make_emulated_evaluator(std::move(model), dtype, device.index);
  return make_fused_evaluator(std::move(model), dtype, options);
}

// The archive with the evaluator that was asked for; tolerances as the evaluator deserves.
OpenedArchive open_archive(const std::string &path, const EngineOptions &options) {
  const std::string &wanted = options.evaluator;
  if (wanted != "auto" && wanted != "fused" && wanted != "torchscript")
    throw std::invalid_argument("evaluator '" + wanted + "': expected auto, fused or torchscript");
  if (options.dtype != "auto" && options.dtype != "float32" && options.dtype != "float64")
    throw std::invalid_argument("dtype '" + options.dtype + "': expected auto, float32 or float64");
  if (options.table_intervals > max_table_intervals)
    throw std::invalid_argument("table_intervals " + std::to_string(options.table_intervals) + ": expected up to " +
                                std::to_string(max_table_intervals));
  OpenedArchive opened{read_archive(path), nullptr};
  ArchiveInfo &info = opened.info;
  // An engine without kernels for GPUs leaves those that are asked for by name to TorchScript.
  const bool foreign_gpu = !has_cuda_kernels && options.device.rfind("cuda", 0) == 0;
  if (wanted == "torchscript" || (wanted == "auto" && (!info.fused || foreign_gpu))) {
    if (options.dtype != "auto" && options.dtype != info.dtype)
      throw std::invalid_argument("dtype '" + options.dtype +
                                  "' asked for, but evaluator torchscript runs in the archive's, " + info.dtype);
    opened.evaluator = load_torchscript_evaluator(path, options, static_cast<int>(info.type_names.size()),
                                                  info.torchscript_bytes_per_edge);
    return opened;
  }
  if (!info.fused)
    throw std::invalid_argument("evaluator fused asked for, but archive '" + path + "' holds no program for it");
  const bool on_host = options.device == "cpu" || options.device == "emulated";  // leaves CUDA alone
  const DeviceChoice device = choose_device(options, on_host ? 0 : cuda_device_count());
  const bool narrowed = options.dtype == "float32" && info.dtype == "float64";
  if (options.dtype != "auto") info.dtype = options.dtype;
  if (options.table_intervals >= 0) info.fused->table_intervals = options.table_intervals;
  opened.evaluator = make_evaluator(std::move(*info.fused), info.dtype, device, options);
  info.fused.reset();
  CheckData &check = info.check;
  if (narrowed) {
    check.energy_tolerance = check.float32_energy_tolerance;
    check.gradient_tolerance = check.float32_gradient_tolerance;
  }
  // Tables other than the archive's own are for measurements: the caller judges them.
  const double tables = options.table_intervals > 0 ? std::numeric_limits<double>::max() : info.table_tolerance;
  check.energy_tolerance += tables * 1.0;  // Angstrom
  check.gradient_tolerance += tables;
  return opened;
}

class ArchiveEngine final : public Engine {
 public:
  ArchiveEngine(const std::string &path, const EngineOptions &options)
      : path_(path),
        archive_(open_archive(path, options)),
        self_check_(run_self_check(path, archive_.info, *archive_.evaluator)) {}

  const std::vector<std::string> &type_names() const override { return archive_.info.type_names; }
  double r_max() const override { return archive_.info.r_max; }
  double interaction_range() const override { return archive_.info.interaction_range; }
  const std::string &dtype() const override { return archive_.info.dtype; }
  const std::string &device() const override { return archive_.evaluator->device(); }
  const std::string &evaluator() const override { return archive_.evaluator->name(); }
  int preferred_block_edges() const override { return archive_.evaluator->preferred_block_edges(); }
  double bytes_per_edge() const override { return archive_.evaluator->bytes_per_edge(); }
  int num_workers() const override { return archive_.evaluator->num_workers(); }
  const SelfCheck &self_check() const override { return self_check_; }

  double cutoff(int center_type, int neighbor_type) const override {
    return archive_.info.cutoffs.at(center_type * type_names().size() + neighbor_type);
  }

  void evaluate(const EdgeBlock &block, int worker, double *atomic_energy, double *edge_gradient) override {
    if (block.num_centers == 0) return;
    archive_.evaluator->evaluate(block, worker, atomic_energy, edge_gradient);
    for (int i = 0; i < block.num_centers; ++i) require_finite(block, i, atomic_energy[i], edge_gradient);
  }

  bool builds_edges() const override { return archive_.evaluator->builds_edges(); }
  double free_memory() const override { return archive_.evaluator->free_memory(); }

  AtomResults evaluate(const ListedAtoms &atoms, const AtomSums &asked) override {
    const ListEvaluation found = archive_.evaluator->evaluate(atoms, asked);
    if (found.failed_center < 0) return found.results;
    std::string what = "energy or gradient is not finite";
    if (found.largest_gradient > 0.0) {
      std::ostringstream text;
      text << "an edge gradient is above " << found.largest_gradient << " eV/A, which is too large,";
      what = text.str();
    }
    const int type = atoms.type_map->model_type[atoms.types[atoms.centers[found.failed_center]]];
    fail(what, found.failed_center, type, found.num_edges, found.energy);
  }

 private:
  void require_finite(const EdgeBlock &block, int i, double energy, const double *edge_gradient) const {
    // A sum is finite only if all its terms are (or it overflowed, which is as wrong).
    double sum = energy;
    for (int k = 3 * block.edge_offsets[i]; k < 3 * block.edge_offsets[i + 1]; ++k) sum += edge_gradient[k];
    if (!std::isfinite(sum))
      fail("energy or gradient is not finite", i, block.center_types[i],
           block.edge_offsets[i + 1] - block.edge_offsets[i], energy);
  }

  [[noreturn]] void fail(const std::string &what, int center, int type, int num_neighbors, double energy) const {
    std::ostringstream message;
    message << "archive '" << path_ << "': " << what << " for a center of type " << type_names()[type] << " with "
            << num_neighbors << " neighbors (energy " << energy
            << " eV); atoms may have come too close, or the model left its training range";
    throw CenterFailure(message.str(), center);
  }

  std::string path_;
  OpenedArchive archive_;
  SelfCheck self_check_;
};

}  // namespace

std::unique_ptr<Engine> open_engine(const std::string &path, const EngineOptions &options) {
  return std::make_unique<ArchiveEngine>(path, options);
}

}  // namespace allegro_dist

extern "C" __attribute__((visibility("default"))) allegro_dist::Engine *allegro_dist_open_engine(
    const char *path, const allegro_dist::EngineOptions *options) {
  return allegro_dist::open_engine(path, *options).release();
}
