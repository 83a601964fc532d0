#include "named_tensors.hpp"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace allegro_dist {
namespace {

[[noreturn]] void malformed(const std::string &what) {
  throw std::runtime_error("engine.safetensors is malformed: " + what);
}

// The subset of JSON that the format's header uses: objects, strings without escapes but \" and \\, whole numbers.
class Header {
 public:
  explicit Header(std::string_view text) : text_(text) {}

  bool next_is(char c) {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
    return at_ < text_.size() && text_[at_] == c;
  }
  bool take(char c) {
    if (!next_is(c)) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) malformed(std::string("expected ") + c + " at byte " + std::to_string(at_) + " of its header");
  }
  std::string string() {
    expect('"');
    std::string out;
    for (; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      if (text_[at_] == '\\') ++at_;
      if (at_ < text_.size()) out += text_[at_];
    }
    expect('"');
    return out;
  }
  std::size_t whole_number() {
    if (next_is(']') || at_ >= text_.size() || text_[at_] < '0' || text_[at_] > '9') malformed("expected a number");
    std::size_t value = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      if (value > std::numeric_limits<std::uint32_t>::max()) malformed("a number is too large");
      value = 10 * value + (text_[at_] - '0');
    }
    return value;
  }
  std::vector<std::size_t> whole_numbers() {
    std::vector<std::size_t> values;
    expect('[');
    if (take(']')) return values;
    do values.push_back(whole_number());
    while (take(','));
    expect(']');
    return values;
  }
  // Calls member(key) for each member of an object; it reads the value.
  template <class Member>
  void object(const Member &member) {
    expect('{');
    if (take('}')) return;
    do {
      const std::string key = string();
      expect(':');
      member(key);
    } while (take(','));
    expect('}');
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

template <class T>
std::vector<double> converted(std::string_view bytes) {
  std::vector<double> values;
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(T)) {
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof(T));
    values.push_back(static_cast<double>(value));
  }
  return values;
}

NamedTensor read_tensor(Header &header, std::string_view data, const std::string &name) {
  std::string dtype;
  std::vector<std::size_t> shape, offsets;
  header.object([&](const std::string &key) {
    if (key == "dtype")
      dtype = header.string();
    else if (key == "shape")
      shape = header.whole_numbers();
    else if (key == "data_offsets")
      offsets = header.whole_numbers();
    else
      malformed("tensor '" + name + "' has an unknown key '" + key + "'");
  });
  if (dtype != "F64" && dtype != "I64")
    malformed("tensor '" + name + "' has dtype '" + dtype + "', expected F64 or I64");
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > data.size())
    malformed("tensor '" + name + "' lies outside of the data");
  const std::string_view bytes = data.substr(offsets[0], offsets[1] - offsets[0]);
  std::size_t size = 1;
  for (const std::size_t extent : shape) {
    if (extent > 0 && size > bytes.size() / extent) malformed("tensor '" + name + "' is larger than its data");
    size *= extent;
  }
  if (bytes.size() != 8 * size) malformed("tensor '" + name + "' has another size than its shape");
  NamedTensor tensor{shape, dtype == "F64" ? converted<double>(bytes) : converted<std::int64_t>(bytes)};
  for (const double value : tensor.values)
    if (!std::isfinite(value)) malformed("tensor '" + name + "' holds a value that is not finite");
  return tensor;
}

std::string listed(const std::vector<std::size_t> &shape) {
  std::string text = "[";
  for (const std::size_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

}  // namespace

NamedTensors::NamedTensors(std::string_view safetensors) {
  std::uint64_t header_size = 0;
  if (safetensors.size() < sizeof(header_size)) malformed("it is truncated");
  std::memcpy(&header_size, safetensors.data(), sizeof(header_size));
  if (header_size > safetensors.size() - sizeof(header_size)) malformed("its header is truncated");
  Header header(safetensors.substr(sizeof(header_size), header_size));
  const std::string_view data = safetensors.substr(sizeof(header_size) + header_size);
  header.object([&](const std::string &name) {
    if (name == "__metadata__")
      header.object([&](const std::string &key) { texts_[key] = header.string(); });
    else
      tensors_[name] = read_tensor(header, data, name);
  });
}

const std::string &NamedTensors::text(const std::string &name) const {
  const auto found = texts_.find(name);
  if (found == texts_.end()) malformed("it lacks the text '" + name + "'");
  return found->second;
}

const NamedTensor &NamedTensors::at(const std::string &name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) malformed("it lacks '" + name + "'");
  return found->second;
}

const NamedTensor &NamedTensors::tensor(const std::string &name, std::size_t dimensions) const {
  const NamedTensor &found = at(name);
  if (found.shape.size() != dimensions)
    malformed("'" + name + "' has " + std::to_string(found.shape.size()) + " dimensions, expected " +
              std::to_string(dimensions));
  return found;
}

int NamedTensors::count(const std::string &name) const {
  return index_below(number(name), std::numeric_limits<int>::max(), name);
}

const std::vector<double> &NamedTensors::numbers(const std::string &name, const std::vector<std::size_t> &shape) const {
  const NamedTensor &found = at(name);
  if (found.shape != shape)
    malformed("'" + name + "' has shape " + listed(found.shape) + ", expected " + listed(shape));
  return found.values;
}

std::vector<int> NamedTensors::indices(const std::string &name, int limit) const {
  std::vector<int> out;
  for (const double value : at(name).values) out.push_back(index_below(value, limit, name));
  return out;
}

int index_below(double value, int limit, const std::string &what) {
  if (!(value >= 0.0 && value < limit) || value != std::floor(value))
    malformed("'" + what + "' holds " + std::to_string(value) + ", expected an index from 0 to " +
              std::to_string(limit - 1));
  return static_cast<int>(value);
}

}  // namespace allegro_dist
