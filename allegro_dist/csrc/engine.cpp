#include "engine.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <utility>

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
  evaluator.evaluate(check.block(), energy.data(), gradient.data());
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

class ArchiveEngine final : public Engine {
 public:
  ArchiveEngine(const std::string &path, const EngineOptions &options)
      : archive_(open_torchscript(path, options)),
        self_check_(run_self_check(path, archive_.info, *archive_.evaluator)) {}

  const std::vector<std::string> &type_names() const override { return archive_.info.type_names; }
  double r_max() const override { return archive_.info.r_max; }
  double interaction_range() const override { return archive_.info.interaction_range; }
  const std::string &dtype() const override { return archive_.info.dtype; }
  const std::string &device() const override { return archive_.evaluator->device(); }
  const std::string &evaluator() const override { return archive_.evaluator->name(); }
  int preferred_block_edges() const override { return archive_.evaluator->preferred_block_edges(); }
  const SelfCheck &self_check() const override { return self_check_; }

  double cutoff(int center_type, int neighbor_type) const override {
    return archive_.info.cutoffs.at(center_type * type_names().size() + neighbor_type);
  }

  void evaluate(const EdgeBlock &block, double *atomic_energy, double *edge_gradient) override {
    if (block.num_centers == 0) return;
    archive_.evaluator->evaluate(block, atomic_energy, edge_gradient);
    for (int i = 0; i < block.num_centers; ++i) require_finite(block, i, atomic_energy[i], edge_gradient);
  }

 private:
  void require_finite(const EdgeBlock &block, int i, double energy, const double *edge_gradient) const {
    // A sum is finite only if all its terms are (or it overflowed, which is as wrong).
    double sum = energy;
    for (int k = 3 * block.edge_offsets[i]; k < 3 * block.edge_offsets[i + 1]; ++k) sum += edge_gradient[k];
    if (std::isfinite(sum)) return;
    std::ostringstream message;
    message << "energy or gradient is not finite for a center of type " << type_names()[block.center_types[i]]
            << " with " << block.edge_offsets[i + 1] - block.edge_offsets[i] << " neighbors (energy " << energy
            << " eV); atoms may have come too close, or the model left its training range";
    throw std::runtime_error(message.str());
  }

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
