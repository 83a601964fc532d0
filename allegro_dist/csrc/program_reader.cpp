#include "program_reader.hpp"

#include <torch/types.h>

#include <stdexcept>
#include <string>

namespace allegro_dist {
namespace {

class Reader {
 public:
  explicit Reader(const c10::Dict<c10::IValue, c10::IValue> &program) : program_(program) {}

  torch::Tensor tensor(const std::string &name, int dimensions) const {
    if (!program_.contains(name)) throw std::runtime_error("the archive's fused program lacks '" + name + "'");
    const torch::Tensor found = program_.at(name).toTensor().to(torch::kCPU).contiguous();
    if (found.dim() != dimensions)
      throw std::runtime_error("the archive's fused program has '" + name + "' with " + std::to_string(found.dim()) +
                               " dimensions, expected " + std::to_string(dimensions));
    return found;
  }

  int number(const std::string &name) const { return static_cast<int>(tensor(name, 0).item<int64_t>()); }

  std::vector<double> numbers(const std::string &name) const { return values(tensor(name, 1)); }

  DenseMatrix matrix(const std::string &name) const { return matrix_of(tensor(name, 2)); }

  static DenseMatrix matrix_of(const torch::Tensor &t) {
    return {static_cast<int>(t.size(0)), static_cast<int>(t.size(1)), values(t)};
  }

  // Rows of integers.
  std::vector<std::vector<int>> table(const std::string &name, int columns) const {
    const torch::Tensor t = tensor(name, 2).to(torch::kInt64);
    if (t.size(1) != columns)
      throw std::runtime_error("the archive's fused program has '" + name + "' with " + std::to_string(t.size(1)) +
                               " columns, expected " + std::to_string(columns));
    std::vector<std::vector<int>> rows(t.size(0));
    const int64_t *p = t.data_ptr<int64_t>();
    for (auto &row : rows) {
      row.assign(p, p + columns);
      p += columns;
    }
    return rows;
  }

 private:
  static std::vector<double> values(const torch::Tensor &t) {
    const torch::Tensor flat = t.to(torch::kFloat64).contiguous();
    return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
  }

  const c10::Dict<c10::IValue, c10::IValue> &program_;
};

RadialBasis read_radial(const Reader &reader) {
  RadialBasis radial;
  radial.kind = reader.number("radial.kind") ? RadialBasis::spline : RadialBasis::bessel;
  radial.parameter = reader.number("radial.parameter");
  radial.wavenumbers = reader.numbers("radial.wavenumbers");
  const torch::Tensor weights = reader.tensor("radial.weights", 3);
  radial.size = static_cast<int>(weights.size(1));
  for (int64_t p = 0; p < weights.size(0); ++p) radial.weights.push_back(Reader::matrix_of(weights[p]));
  return radial;
}

std::vector<DenseLayer> read_dense(const Reader &reader) {
  std::vector<DenseLayer> dense;
  for (const auto &layer : reader.table("dense.layers", 2)) dense.push_back({layer[0], layer[1] != 0, {}});
  int k = 0;
  for (const auto &source : reader.table("dense.sources", 3))
    dense.at(source[0]).sources.push_back({source[1] ? DenseSource::projection : DenseSource::dense, source[2],
                                           reader.matrix("dense.source." + std::to_string(k++))});
  return dense;
}

std::vector<ProductTerm> read_terms(const Reader &reader, const std::string &name, bool proceeds) {
  std::vector<ProductTerm> terms;
  const std::vector<double> values = reader.numbers(name + ".value");
  for (const auto &index : reader.table(name + ".index", proceeds ? 4 : 3))
    terms.push_back({index[0], index[1], proceeds ? index[2] : 0, index.back(), values.at(terms.size())});
  return terms;
}

}  // namespace

std::optional<FusedModel> read_program(const c10::Dict<c10::IValue, c10::IValue> &program) {
  if (program.empty()) return std::nullopt;
  const Reader reader(program);
  FusedModel model;
  const torch::Tensor sizes = reader.tensor("sizes", 1);
  const auto size = [&](int k) { return static_cast<int>(sizes[k].item<int64_t>()); };
  model.l_max = size(0);
  model.num_channels = size(1);
  model.num_types = size(3);
  model.num_two_body = size(4);
  model.cutoffs = reader.matrix("cutoffs").values;
  model.norm = reader.numbers("norm");
  model.scale = reader.numbers("scale");
  model.shift = reader.numbers("shift");
  model.charges = reader.numbers("charges");
  model.zbl_envelope_power = reader.number("zbl_envelope_power");
  model.radial = read_radial(reader);
  model.dense = read_dense(reader);
  model.readout = reader.numbers("readout");
  model.projection = reader.matrix("projection");
  const torch::Tensor sources = reader.tensor("environment.sources", 1);
  for (int t = 0; t < size(2); ++t) {
    const std::string product = "product." + std::to_string(t);
    model.environments.push_back(
        {static_cast<int>(sources[t].item<int64_t>()), reader.matrix("environment." + std::to_string(t))});
    model.products.push_back({reader.number(product + ".dim"), reader.matrix(product + ".weights"),
                              read_terms(reader, product + ".start", false),
                              read_terms(reader, product + ".proceed", true)});
  }
  return model;
}

}  // namespace allegro_dist
