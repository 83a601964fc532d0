// Several models of the same types and cutoffs judge the same edges. One model is a committee of one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine.hpp"

namespace allegro_dist {

struct Evaluation {              // of one block
  std::vector<double> energy;    // [num_centers] eV
  std::vector<double> gradient;  // [num_edges, 3] and perhaps more, eV/Angstrom
  double memory_usage() const {
    return static_cast<double>(sizeof(double) * (energy.capacity() + gradient.capacity()));
  }
};

class Committee {
 public:
  // Throws as load_engine does; std::invalid_argument where an archive's types or cutoffs are not the first one's.
  void open(const std::vector<std::string> &paths, const EngineOptions &options);

  const Engine &member(int k) const { return *engines_[k]; }
  const std::string &path(int k) const { return paths_[k]; }
  int size() const { return static_cast<int>(engines_.size()); }
  int num_workers() const { return fewest(&Engine::num_workers); }
  int preferred_block_edges() const { return fewest(&Engine::preferred_block_edges); }
  double bytes_per_edge() const;  // of all members: memory that one is done with may stay with it

  bool builds_edges() const;
  double free_memory() const { return member(0).free_memory(); }  // of the GPU that all members share

  // Every member's results. Throws as Engine::evaluate does.
  void evaluate(const EdgeBlock &block, int worker, std::vector<Evaluation> &results) const;
  std::vector<AtomResults> evaluate(const ListedAtoms &atoms, const AtomSums &asked) const;

 private:
  int fewest(int (Engine::*count)() const) const;  // over the members

  std::vector<std::string> paths_;
  std::vector<std::unique_ptr<Engine>> engines_;
};

void take_mean(const std::vector<Evaluation> &results, const EdgeBlock &block, Evaluation &mean);

}  // namespace allegro_dist
