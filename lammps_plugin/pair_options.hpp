// The keywords of the pair_style command.
#pragma once

#include <string>
#include <vector>

namespace allegro_dist {

struct PairOptions {
  std::string device = "auto", evaluator = "auto";  // judged by the engine
  int block_edges = 0;                              // 0: as the evaluator and the memory have it
  double memory = 0.0;                              // bytes that the blocks of a rank may take; 0: not said
  bool takes_mean = true;                           // of a committee, else its first member
};

// Throws std::invalid_argument: an unknown keyword, one without a value, or with one that makes no sense.
PairOptions read_pair_options(const std::vector<std::string> &words);

}  // namespace allegro_dist
