#include "pair_options.hpp"

#include <limits>
#include <stdexcept>
#include <utility>

namespace allegro_dist {
namespace {

constexpr int most_block_edges = 500000000;  // 3 numbers of each are counted in 32 bits

// A number with its unit, one of "", K, M and G, or of "" alone; NaN where the text is something else.
double number_of(const std::string &text, bool has_unit) {
  std::size_t end = 0;
  try {
    const double number = std::stod(text, &end);
    const std::string unit = text.substr(end);
    for (const auto &[name, factor] : {std::pair("", 1.0), {"K", 0x1p10}, {"M", 0x1p20}, {"G", 0x1p30}})
      if (unit == name && (has_unit || unit.empty())) return number * factor;
  } catch (const std::logic_error &) {  // not a number, or too large for one
  }
  return std::numeric_limits<double>::quiet_NaN();
}

int read_block(const std::string &text) {
  const double number = number_of(text, false);
  if (!(number >= 1 && number <= most_block_edges && number == static_cast<int>(number)))
    throw std::invalid_argument("block must be a number of edges from 1 to " + std::to_string(most_block_edges) +
                                ", got " + text);
  return static_cast<int>(number);
}

double read_memory(const std::string &text) {
  const double bytes = number_of(text, true);
  if (!(bytes >= 1.0 && bytes <= std::numeric_limits<double>::max()))
    throw std::invalid_argument("memory must be a number of bytes, or of K, M or G, such as 500M, got " + text);
  return bytes;
}

bool read_committee(const std::string &text) {
  if (text != "mean" && text != "first") throw std::invalid_argument("committee must be mean or first, got " + text);
  return text == "mean";
}

}  // namespace

PairOptions read_pair_options(const std::vector<std::string> &words) {
  PairOptions options;
  for (std::size_t k = 0; k < words.size(); k += 2) {
    const std::string &keyword = words[k];
    if (keyword != "device" && keyword != "evaluator" && keyword != "block" && keyword != "memory" &&
        keyword != "committee")
      throw std::invalid_argument("unknown keyword '" + keyword +
                                  "'; known are device, evaluator, block, memory and committee");
    if (k + 1 == words.size()) throw std::invalid_argument("keyword '" + keyword + "' needs a value");
    const std::string &value = words[k + 1];
    if (keyword == "device") options.device = value;
    if (keyword == "evaluator") options.evaluator = value;
    if (keyword == "block") options.block_edges = read_block(value);
    if (keyword == "memory") options.memory = read_memory(value);
    if (keyword == "committee") options.takes_mean = read_committee(value);
  }
  return options;
}

}  // namespace allegro_dist
