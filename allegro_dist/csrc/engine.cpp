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

std::vector<double> sized(std::size_t size) { return std::vector<double>(size); }

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

}  // namespace

struct Engine::Impl {
  ArchiveInfo info;
  std::unique_ptr<Evaluator> evaluator;
  SelfCheck self_check;
};

Engine::Engine(const std::string &path, const EngineOptions &options) : impl_(std::make_unique<Impl>()) {
  OpenedArchive opened = open_torchscript(path, options);
  impl_->info = std::move(opened.info);
  impl_->evaluator = std::move(opened.evaluator);
  impl_->self_check = run_self_check(path, impl_->info, *impl_->evaluator);
}

Engine::~Engine() = default;
Engine::Engine(Engine &&) noexcept = default;
Engine &Engine::operator=(Engine &&) noexcept = default;

const std::vector<std::string> &Engine::type_names() const { return impl_->info.type_names; }
double Engine::r_max() const { return impl_->info.r_max; }
double Engine::interaction_range() const { return impl_->info.interaction_range; }
const std::string &Engine::dtype() const { return impl_->info.dtype; }
const std::string &Engine::device() const { return impl_->evaluator->device(); }
const std::string &Engine::evaluator() const { return impl_->evaluator->name(); }
int Engine::preferred_block_edges() const { return impl_->evaluator->preferred_block_edges(); }
const SelfCheck &Engine::self_check() const { return impl_->self_check; }

double Engine::cutoff(int center_type, int neighbor_type) const {
  return impl_->info.cutoffs.at(center_type * type_names().size() + neighbor_type);
}

void Engine::evaluate(const EdgeBlock &block, double *atomic_energy, double *edge_gradient) {
  if (block.num_centers == 0) return;
  impl_->evaluator->evaluate(block, atomic_energy, edge_gradient);
  for (int i = 0; i < block.num_centers; ++i) {
    // A sum is finite only if all its terms are (or it overflowed, which is as wrong).
    double sum = atomic_energy[i];
    for (int k = 3 * block.edge_offsets[i]; k < 3 * block.edge_offsets[i + 1]; ++k) sum += edge_gradient[k];
    if (std::isfinite(sum)) continue;
    std::ostringstream message;
    message << "energy or gradient is not finite for a center of type " << type_names()[block.center_types[i]]
            << " with " << block.edge_offsets[i + 1] - block.edge_offsets[i] << " neighbors (energy "
            << atomic_energy[i] << " eV); atoms may have come too close, or the model left its training range";
    throw std::runtime_error(message.str());
  }
}

}  // namespace allegro_dist
