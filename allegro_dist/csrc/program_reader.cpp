#include "program_reader.hpp"

#include <set>
#include <stdexcept>
#include <string>

namespace allegro_dist {
namespace {

constexpr int any = 1 << 15;  // above every size and index of a model; products of two still fit an int

void require(const std::string &what, std::size_t found, std::size_t expected) {
  if (found != expected)
    throw std::runtime_error("the fused program's " + what + " has size " + std::to_string(found) + ", expected " +
                             std::to_string(expected));
}

int positive(const std::string &what, int size) {
  if (size < 1) throw std::runtime_error("the fused program's " + what + " is 0, expected 1 at least");
  return size;
}

class ProgramReader {
 public:
  ProgramReader(const NamedTensors &tensors, int num_types) : tensors_(tensors) {
    const std::vector<int> sizes = tensors.indices("fused.sizes", any);
    require("sizes", sizes.size(), 5);
    model_.l_max = index_below(sizes[0], 16, "fused.sizes");
    model_.num_channels = positive("number of channels", sizes[1]);
    num_layers_ = positive("number of tensor layers", sizes[2]);
    model_.num_types = sizes[3];
    model_.num_two_body = positive("number of two-body layers", sizes[4]);
    require("number of types", model_.num_types, num_types);
    columns_ = (model_.l_max + 1) * model_.num_channels;
  }

  FusedModel read() {
    const std::size_t types = model_.num_types;
    model_.cutoffs = tensors_.numbers("fused.cutoffs", {types, types});
    model_.norm = tensors_.numbers("fused.norm", {types});
    model_.scale = tensors_.numbers("fused.scale", {types});
    model_.shift = tensors_.numbers("fused.shift", {types});
    model_.charges = tensors_.tensor("fused.charges", 1).values;
    if (!model_.charges.empty()) require("charges", model_.charges.size(), model_.num_types);
    model_.zbl_envelope_power = tensors_.count("fused.zbl_envelope_power");
    read_dense();
    read_radial();
    model_.readout = tensors_.tensor("fused.readout", 1).values;
    require("readout", model_.readout.size(), model_.dense.back().width);
    model_.projection = matrix("fused.projection", width_of(model_.num_two_body - 1), columns_);
    read_tensor_layers();
    require_order();
    return std::move(model_);
  }

 private:
  DenseMatrix matrix(const std::string &name, int rows, int columns) const {
    return {rows, columns, tensors_.numbers(name, {static_cast<std::size_t>(rows), static_cast<std::size_t>(columns)})};
  }

  // Rows of integers, column k below limits[k].
  std::vector<std::vector<int>> table(const std::string &name, const std::vector<int> &limits) const {
    const NamedTensor &found = tensors_.tensor(name, 2);
    require(name + " (columns)", found.shape[1], static_cast<int>(limits.size()));
    std::vector<std::vector<int>> rows(found.shape[0]);
    for (std::size_t k = 0; k < found.values.size(); ++k)
      rows[k / limits.size()].push_back(index_below(found.values[k], limits[k % limits.size()], name));
    return rows;
  }

  int width_of(int layer) const { return model_.dense.at(layer).width; }

  void read_dense() {
    for (const auto &layer : table("fused.dense.layers", {any, 2}))
      model_.dense.push_back({positive("dense layer's width", layer[0]), layer[1] != 0, {}});
    const int num_dense = static_cast<int>(model_.dense.size());
    index_below(model_.num_two_body, num_dense, "fused.sizes");  // other layers follow
    int k = 0;
    for (const auto &source : table("fused.dense.sources", {num_dense, 2, any})) {
      const bool projection = source[1] != 0;
      const int limit = projection ? num_layers_ : source[0];  // dense layers read earlier ones
      index_below(source[2], limit, "fused.dense.sources");
      const int width = projection ? model_.num_channels : width_of(source[2]);
      model_.dense[source[0]].sources.push_back(
          {projection ? DenseSource::projection : DenseSource::dense, source[2],
           matrix("fused.dense.source." + std::to_string(k++), width, width_of(source[0]))});
    }
  }

  void read_radial() {
    RadialBasis &radial = model_.radial;
    radial.kind = tensors_.count("fused.radial.kind") ? RadialBasis::spline : RadialBasis::bessel;
    radial.parameter = tensors_.count("fused.radial.parameter");
    radial.wavenumbers = tensors_.tensor("fused.radial.wavenumbers", 1).values;
    const NamedTensor &weights = tensors_.tensor("fused.radial.weights", 3);
    require("radial weights (pairs)", weights.shape[0], model_.num_types * model_.num_types);
    require("radial weights (columns)", weights.shape[2], width_of(0));
    radial.size = positive("number of radial functions", static_cast<int>(weights.shape[1]));
    if (radial.kind == RadialBasis::bessel) require("wavenumbers", radial.wavenumbers.size(), radial.size);
    const std::size_t size = weights.shape[1] * weights.shape[2];
    for (std::size_t p = 0; p < weights.shape[0]; ++p) {
      const auto begin = weights.values.begin() + p * size;
      radial.weights.push_back({radial.size, width_of(0), {begin, begin + size}});
    }
  }

  void read_tensor_layers() {
    const int num_dense = static_cast<int>(model_.dense.size()), components = (model_.l_max + 1) * (model_.l_max + 1);
    const std::vector<int> sources = tensors_.indices("fused.environment.sources", num_dense);
    require("environment sources", sources.size(), num_layers_);
    std::vector<int> outputs;
    for (int t = 0; t < num_layers_; ++t) {
      const std::string dim = "fused.product." + std::to_string(t) + ".dim";
      outputs.push_back(index_below(tensors_.number(dim), 2 * components + 1, dim));  // both parities of each l
    }
    for (int t = 0; t < num_layers_; ++t) {
      const std::string product = "fused.product." + std::to_string(t);
      model_.environments.push_back(
          {sources[t], matrix("fused.environment." + std::to_string(t), width_of(sources[t]), columns_)});
      const int num_paths = static_cast<int>(tensors_.tensor(product + ".weights", 2).shape[0]);
      const int inputs = t + 1 < num_layers_ ? outputs[t + 1] : any;  // the last product only starts
      if (t == 0) require(product + ".dim", outputs[0], components);  // of q_t after its last step
      model_.products.push_back({outputs[t], matrix(product + ".weights", num_paths, model_.num_channels),
                                 terms(product + ".start", {outputs[t], components, num_paths}),
                                 terms(product + ".proceed", {outputs[t], components, inputs, num_paths})});
    }
  }

  std::vector<ProductTerm> terms(const std::string &name, const std::vector<int> &limits) const {
    const bool proceeds = limits.size() == 4;
    const auto rows = table(name + ".index", limits);
    const std::vector<double> &values = tensors_.numbers(name + ".value", {rows.size()});
    std::vector<ProductTerm> terms;
    for (const auto &index : rows)
      terms.push_back({index[0], index[1], proceeds ? index[2] : 0, index.back(), values[terms.size()]});
    return terms;
  }

  // What evaluators count on (phases.hpp): the two-body layers are a chain; later layers read its end, one another, and
  // the projections, which come one by one, each after the layer that its environment reads.
  void require_order() const {
    const auto require = [](bool right, const std::string &what) {
      if (!right) throw std::runtime_error("the fused program's layers are out of order: " + what);
    };
    const int h_two = model_.num_two_body - 1;
    for (int t = 0; t < num_layers_; ++t) {
      const int source = model_.environments[t].source;
      require(t ? source > model_.environments[t - 1].source : source == h_two,
              "environment " + std::to_string(t) + " reads layer " + std::to_string(source));
    }
    int next_projection = 0;
    for (int k = 0; k < static_cast<int>(model_.dense.size()); ++k) {
      const int first_projection = next_projection;
      std::set<int> layers;
      for (const DenseSource &source : model_.dense[k].sources) {
        const bool projection = source.kind == DenseSource::projection;
        const std::string what = "layer " + std::to_string(k) + " reads " + (projection ? "projection " : "layer ") +
                                 std::to_string(source.index);
        if (projection)
          require(k > h_two && source.index == next_projection++ && source.index == first_projection &&
                      model_.environments[source.index].source < k,
                  what);
        else
          require((k > h_two ? source.index >= h_two : source.index == k - 1) && layers.insert(source.index).second,
                  what);
      }
      require(k == 0 || !model_.dense[k].sources.empty(), "layer " + std::to_string(k) + " reads nothing");
    }
    require(next_projection == num_layers_, "projection " + std::to_string(next_projection) + " is not read");
  }

  const NamedTensors &tensors_;
  FusedModel model_;
  int num_layers_ = 0, columns_ = 0;
};

}  // namespace

std::optional<FusedModel> read_program(const NamedTensors &tensors, int num_types) {
  if (!tensors.contains("fused.sizes")) return std::nullopt;
  return ProgramReader(tensors, num_types).read();
}

}  // namespace allegro_dist
