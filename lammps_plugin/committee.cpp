#include "committee.hpp"

#include <algorithm>
#include <stdexcept>

#include "engine_loader.hpp"

namespace allegro_dist {
namespace {

void require_same(const Engine &first, const std::string &first_path, const Engine &other, const std::string &path) {
  const auto refuse = [&](const std::string &what) {
    throw std::invalid_argument("archive '" + path + "' has other " + what + " than '" + first_path +
                                "': members of a committee must agree in them");
  };
  const int num_types = static_cast<int>(first.type_names().size());
  if (other.type_names() != first.type_names()) refuse("types, or another order of them,");
  for (int a = 0; a < num_types; ++a)
    for (int b = 0; b < num_types; ++b)
      if (other.cutoff(a, b) != first.cutoff(a, b)) refuse("cutoffs");
}

}  // namespace

void Committee::open(const std::vector<std::string> &paths, const EngineOptions &options) {
  engines_.clear();
  paths_ = paths;
  for (const std::string &path : paths) {
    engines_.push_back(load_engine(path, options));
    require_same(member(0), paths[0], *engines_.back(), path);
  }
}

int Committee::fewest(int (Engine::*count)() const) const {
  int fewest = (member(0).*count)();
  for (const auto &engine : engines_) fewest = std::min(fewest, (*engine.*count)());
  return fewest;
}

double Committee::bytes_per_edge() const {
  double bytes = 0.0;
  for (const auto &engine : engines_) bytes += engine->bytes_per_edge();
  return bytes;
}

bool Committee::builds_edges() const {
  return std::all_of(engines_.begin(), engines_.end(), [](const auto &engine) { return engine->builds_edges(); });
}

void Committee::evaluate(const EdgeBlock &block, int worker, std::vector<Evaluation> &results) const {
  const auto num_components = 3 * static_cast<std::size_t>(block.num_edges());
  results.resize(engines_.size());
  for (int k = 0; k < size(); ++k) {
    Evaluation &result = results[k];
    result.energy.assign(block.num_centers, 0.0);
    if (result.gradient.size() < num_components) result.gradient.resize(num_components);
    engines_[k]->evaluate(block, worker, result.energy.data(), result.gradient.data());
  }
}

std::vector<AtomResults> Committee::evaluate(const ListedAtoms &atoms, const AtomSums &asked) const {
  std::vector<AtomResults> results;
  for (const auto &engine : engines_) results.push_back(engine->evaluate(atoms, asked));
  return results;
}

void take_mean(const std::vector<Evaluation> &results, const EdgeBlock &block, Evaluation &mean) {
  const double weight = 1.0 / static_cast<double>(results.size());
  mean.energy.assign(block.num_centers, 0.0);
  mean.gradient.assign(3 * static_cast<std::size_t>(block.num_edges()), 0.0);
  for (const Evaluation &result : results) {
    for (std::size_t i = 0; i < mean.energy.size(); ++i) mean.energy[i] += weight * result.energy[i];
    for (std::size_t k = 0; k < mean.gradient.size(); ++k) mean.gradient[k] += weight * result.gradient[k];
  }
}

}  // namespace allegro_dist
