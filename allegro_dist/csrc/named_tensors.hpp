// Tensors and texts by name, from the safetensors format: a length (8 bytes, little-endian), a JSON header
//   {"__metadata__": {name: text}, name: {"dtype": "F64" | "I64", "shape": [...], "data_offsets": [begin, end]}}
// and the data. Every access says what is missing or of another shape than expected, by std::runtime_error.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace allegro_dist {

struct NamedTensor {
  std::vector<std::size_t> shape;
  std::vector<double> values;  // row-major; integers are exact up to 2^53
};

class NamedTensors {
 public:
  explicit NamedTensors(std::string_view safetensors);

  bool contains(const std::string &name) const { return tensors_.count(name) > 0; }
  const std::string &text(const std::string &name) const;
  const NamedTensor &tensor(const std::string &name, std::size_t dimensions) const;
  double number(const std::string &name) const { return tensor(name, 0).values[0]; }
  int count(const std::string &name) const;  // a number that is an integer >= 0
  const std::vector<double> &numbers(const std::string &name, const std::vector<std::size_t> &shape) const;
  std::vector<int> indices(const std::string &name, int limit) const;  // of any shape, each >= 0 and < limit

 private:
  const NamedTensor &at(const std::string &name) const;

  std::map<std::string, NamedTensor> tensors_;
  std::map<std::string, std::string> texts_;
};

// `value` as an integer >= 0 and < limit; throws with `what` it is.
int index_below(double value, int limit, const std::string &what);

}  // namespace allegro_dist
