#include "fused_planner.hpp"

#include <algorithm>
#include <cmath>
#include <deque>
#include <stdexcept>
#include <string>
#include <utility>

#include "harmonics.hpp"
#include "product_planner.hpp"
#include "two_body_table.hpp"

namespace allegro_dist {
namespace {

DenseMatrix transposed(const DenseMatrix &m) {
  DenseMatrix out{m.columns, m.rows, std::vector<double>(m.values.size())};
  for (int i = 0; i < m.rows; ++i)
    for (int j = 0; j < m.columns; ++j) out.values[static_cast<std::size_t>(j) * m.rows + i] = m(i, j);
  return out;
}

DenseMatrix columns_of(const DenseMatrix &m, int first, int count) {
  DenseMatrix out{m.rows, count, {}};
  for (int i = 0; i < m.rows; ++i)
    for (int j = 0; j < count; ++j) out.values.push_back(m(i, first + j));
  return out;
}

template <class T>
class Planner {
 public:
  Planner(const FusedModel &model, const Kernel<T> &kernel, MemorySource source)
      : model_(model), kernel_(kernel), planned_(std::make_unique<PlannedModel<T>>(source)), plan_(planned_->plan) {}

  std::unique_ptr<PlannedModel<T>> make() {
    require_room();
    sizes();
    columns();
    for (int k = 0; k < plan_.num_dense; ++k) dense_layer(k);
    for (int t = 0; t < plan_.num_layers; ++t) tensor_layer(t);
    plan_.readout = padded(model_.readout, plan_.dense[plan_.num_dense - 1].width);
    if (tables())
      table();
    else
      two_body();
    return std::move(planned_);
  }

 private:
  bool tables() const { return model_.table_intervals > 0; }
  int first_dense() const { return tables() ? model_.num_two_body : 0; }  // of the layers that the kernel evaluates
  int wide(int width) const { return (width + kernel_.lanes - 1) / kernel_.lanes * kernel_.lanes; }
  int orders() const { return model_.l_max + 1; }
  int num_layers() const { return static_cast<int>(model_.environments.size()); }

  void require_room() const {
    const auto require = [](bool fits, const std::string &what) {
      if (!fits)
        throw std::runtime_error("the fused evaluator has no room for " + what + "; use evaluator torchscript");
    };
    require(static_cast<int>(model_.dense.size()) <= max_dense, std::to_string(model_.dense.size()) + " dense layers");
    require(num_layers() <= max_tensor_layers, std::to_string(num_layers()) + " tensor layers");
    require(model_.radial.size <= max_basis, std::to_string(model_.radial.size) + " radial functions");
    require(model_.l_max <= 4, "l_max " + std::to_string(model_.l_max));
  }

  void sizes() {
    plan_.num_types = model_.num_types;
    plan_.l_max = model_.l_max;
    plan_.num_channels = wide(model_.num_channels);
    plan_.num_layers = num_layers();
    plan_.num_dense = static_cast<int>(model_.dense.size()) - first_dense();
    plan_.num_two_body = tables() ? 0 : model_.num_two_body;
    plan_.table_intervals = model_.table_intervals;
    std::vector<double> inverse, factor;
    for (const double cutoff : model_.cutoffs) inverse.push_back(1.0 / cutoff);
    for (int t = 0; t < model_.num_types; ++t) factor.push_back(model_.scale[t] * model_.norm[t] / std::sqrt(2.0));
    plan_.inverse_cutoffs = kept<double>(inverse);
    plan_.energy_factor = kept<double>(factor);
    plan_.norm = kept<T>(model_.norm);
    for (int l = 0; l < orders(); ++l)
      for (int m = 0; m <= l; ++m)
        plan_.harmonic_norms[l * l + l + m] = static_cast<T>(std::sqrt(harmonic_norm_square(l, m)));
  }

  // Places of everything in the edge rows; see fused_kernel.hpp.
  void columns() {
    int column = 0;
    const auto place = [&](int width) { return std::exchange(column, column + wide(width)); };
    const auto place_layers = [&](bool from_table) {
      for (int k = 0; k < plan_.num_dense; ++k)
        if (reads_two_body(k) == from_table) plan_.dense[k].column = place(layer(k).width);
    };
    if (tables()) place_layers(true);
    plan_.pre_activations_width = column;
    const int channels = plan_.num_channels;
    plan_.weights_column = place(orders() * channels);
    if (tables()) plan_.e1_column = place(orders() * channels);
    plan_.slopes_stride = column;
    place_layers(false);
    if (!tables()) place_layers(true);
    for (int t = 0; t < plan_.num_layers; ++t) {
      plan_.tensor[t].projection_column = place(channels);
      if (tables()) plan_.tensor[t].projection_slope_column = place(channels);
    }
    plan_.values_stride = row_stride<T>(column);

    column = plan_.pre_activations_width;
    for (int k = 0; k < plan_.num_dense; ++k) {
      DensePlan<T> &dense = plan_.dense[k];
      dense.from_table = tables() && reads_two_body(k);
      dense.gradient_column = dense.from_table ? dense.column : place(layer(k).width);
    }
    if (!tables()) plan_.weights_gradient_column = place(orders() * channels);
    for (int t = 0; t < plan_.num_layers; ++t) plan_.tensor[t].projection_gradient_column = place(channels);
    plan_.gradients_stride = row_stride<T>(column);
  }

  const DenseLayer &layer(int k) const { return model_.dense[k + first_dense()]; }

  // The weights by which kernel layer k reads h_two; null if it does not.
  const DenseMatrix *two_body_source(int k) const {
    for (const DenseSource &source : layer(k).sources)
      if (source.kind == DenseSource::dense && source.index == model_.num_two_body - 1) return &source.weights;
    return nullptr;
  }
  bool reads_two_body(int k) const { return two_body_source(k) != nullptr; }

  struct Operand {
    int column;
    const DenseMatrix *weights;
  };

  void dense_layer(int k) {
    DensePlan<T> &dense = plan_.dense[k];
    dense.width = wide(layer(k).width);
    dense.silu = layer(k).silu;
    std::vector<Operand> operands;
    for (const DenseSource &source : layer(k).sources) {
      if (source.kind == DenseSource::projection) {
        dense.projection = source.index;
        operands.push_back({plan_.tensor[source.index].projection_column, &source.weights});
        const DenseMatrix back = transposed(source.weights);
        dense.to_projection = product({{dense.gradient_column, &back}}, plan_.num_channels);
      } else if (source.index >= first_dense()) {
        operands.push_back({plan_.dense[source.index - first_dense()].column, &source.weights});
      }
    }
    if (k > 0 || tables()) dense.forward = product(operands, dense.width);
    backward(k);
    for (int t = 0; t < plan_.num_layers; ++t)
      if (model_.environments[t].source - first_dense() == k) dense.environment = t;
  }

  // dE/dh_k from all that read h_k.
  void backward(int k) {
    std::deque<DenseMatrix> weights;
    std::vector<Operand> operands;
    for (int reader = k + 1; reader < plan_.num_dense; ++reader)
      for (const DenseSource &source : layer(reader).sources)
        if (source.kind == DenseSource::dense && source.index - first_dense() == k)
          operands.push_back({plan_.dense[reader].gradient_column, &weights.emplace_back(transposed(source.weights))});
    if (k == plan_.num_two_body - 1)
      operands.push_back(
          {plan_.weights_gradient_column, &weights.emplace_back(transposed(by_padded_order(model_.projection)))});
    plan_.dense[k].backward = product(operands, plan_.dense[k].width);
  }

  // Columns (l, u) with u padded to whole vectors.
  DenseMatrix by_padded_order(const DenseMatrix &m) const {
    const int channels = model_.num_channels, stride = plan_.num_channels;
    DenseMatrix out{m.rows, orders() * stride,
                    std::vector<double>(static_cast<std::size_t>(m.rows) * orders() * stride)};
    for (int k = 0; k < m.rows; ++k)
      for (int l = 0; l < orders(); ++l)
        for (int u = 0; u < channels; ++u)
          out.values[static_cast<std::size_t>(k) * out.columns + l * stride + u] = m(k, l * channels + u);
    return out;
  }

  void tensor_layer(int t) {
    TensorPlan<T> &tensor = plan_.tensor[t];
    const Environment &environment = model_.environments[t];
    tensor.source = environment.source >= first_dense() ? environment.source - first_dense() : -1;
    if (tensor.source >= 0)
      for (int l = 0; l < orders(); ++l) {
        const DenseMatrix weights = columns_of(environment.weights, l * model_.num_channels, model_.num_channels);
        const DenseMatrix back = transposed(weights);
        tensor.mix[l] = product({{0, &weights}}, plan_.num_channels);
        tensor.mix_back[l] = product({{0, &back}}, plan_.dense[tensor.source].width);
      }
    const TensorProduct &product = model_.products[t];
    T *const weights = planned_->memory.template allocate<T>(product.weights.rows * plan_.num_channels);
    for (int p = 0; p < product.weights.rows; ++p)
      for (int u = 0; u < model_.num_channels; ++u)
        weights[p * plan_.num_channels + u] = static_cast<T>(product.weights(p, u));
    tensor.path_weights = weights;
    plan_terms<T>(model_, t, planned_->memory, tensor);
  }

  void two_body() {
    const DenseMatrix weights = by_padded_order(model_.projection);
    plan_.two_body_weights =
        product({{plan_.dense[plan_.num_two_body - 1].column, &weights}}, orders() * plan_.num_channels);
    const RadialBasis &radial = model_.radial;
    plan_.bessel = radial.kind == RadialBasis::bessel;
    plan_.basis_size = radial.size;
    plan_.basis_parameter = radial.parameter;
    bool integers = true;
    for (int i = 0; i < static_cast<int>(radial.wavenumbers.size()); ++i)
      integers = integers && radial.wavenumbers[i] == i + 1.0;
    if (plan_.bessel && !integers) plan_.wavenumbers = kept<double>(radial.wavenumbers);
    const int width = plan_.dense[0].width, pairs = model_.num_types * model_.num_types;
    T *const out = planned_->memory.template allocate<T>(static_cast<std::size_t>(pairs) * radial.size * width);
    for (int p = 0; p < pairs; ++p)
      for (int b = 0; b < radial.size; ++b)
        for (int c = 0; c < radial.weights[p].columns; ++c)
          out[(static_cast<std::size_t>(p) * radial.size + b) * width + c] = static_cast<T>(radial.weights[p](b, c));
    plan_.basis_weights = out;
  }

  void table() {
    struct Output {
      int column;
      DenseMatrix weights;
    };
    std::vector<Output> outputs;
    for (int k = 0; k < plan_.num_dense; ++k)
      if (const DenseMatrix *weights = two_body_source(k)) outputs.push_back({plan_.dense[k].column, *weights});
    outputs.push_back({plan_.weights_column, by_padded_order(model_.projection)});
    outputs.push_back({plan_.e1_column, by_padded_order(model_.environments[0].weights)});

    const int intervals = model_.table_intervals, pairs = model_.num_types * model_.num_types;
    const std::size_t width = plan_.slopes_stride, row_size = 3 * width;
    T *const values = planned_->memory.template allocate<T>(pairs * (intervals + 1) * row_size);
    for (int pair = 0; pair < pairs; ++pair)
      for (int i = 0; i <= intervals; ++i) {
        // x = 0 itself is singular in the Bessel functions' formula, and no edge is that short
        const std::vector<double> h =
            two_body_features(model_, pair, i ? i / static_cast<double>(intervals) : 1e-3 / intervals);
        T *const knot = values + (static_cast<std::size_t>(pair) * (intervals + 1) + i) * row_size;
        for (const Output &output : outputs)
          for (int order = 0; order < 3; ++order) {
            const double *const x = h.data() + order * output.weights.rows;
            const double step = std::pow(intervals, -order);
            for (int c = 0; c < output.weights.columns; ++c) {
              double sum = 0.0;
              for (int k = 0; k < output.weights.rows; ++k) sum += x[k] * output.weights(k, c);
              knot[order * width + output.column + c] = static_cast<T>(sum * step);
            }
          }
      }
    plan_.table = values;
  }

  MatrixProduct<T> product(const std::vector<Operand> &operands, int width) {
    MatrixProduct<T> out;
    if (operands.size() > max_operands) throw std::runtime_error("the fused evaluator has no room for so many layers");
    std::vector<std::pair<const DenseMatrix *, int>> rows;  // of all operands, one below another; -1: padding
    for (const Operand &operand : operands) {
      out.column[out.num_operands] = operand.column;
      out.depth[out.num_operands++] = wide(operand.weights->rows);
      for (int k = 0; k < wide(operand.weights->rows); ++k)
        rows.emplace_back(operand.weights, k < operand.weights->rows ? k : -1);
    }
    out.width = width;
    T *packed = planned_->memory.template allocate<T>(rows.size() * width);
    out.weights = packed;
    for (int column = 0, panel; column < width; column += panel) {
      const int vectors = (width - column) / kernel_.lanes;
      if (!kernel_.panel_vectors)
        panel = width;
      else
        panel = kernel_.lanes * (vectors >= kernel_.panel_vectors ? kernel_.panel_vectors : vectors >= 2 ? 2 : 1);
      for (const auto &[weights, k] : rows)
        for (int c = column; c < column + panel; ++c)
          *packed++ = k >= 0 && c < weights->columns ? static_cast<T>((*weights)(k, c)) : T(0);
    }
    return out;
  }

  template <class U>
  const U *kept(const std::vector<double> &values) {
    U *const out = planned_->memory.template allocate<U>(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) out[i] = static_cast<U>(values[i]);
    return out;
  }
  const T *padded(const std::vector<double> &values, int width) {
    std::vector<double> all = values;
    all.resize(width, 0.0);
    return kept<T>(all);
  }

  const FusedModel &model_;
  const Kernel<T> &kernel_;
  std::unique_ptr<PlannedModel<T>> planned_;
  Plan<T> &plan_;
};

}  // namespace

template <class T>
std::unique_ptr<PlannedModel<T>> make_plan(const FusedModel &model, const Kernel<T> &kernel, MemorySource source) {
  return Planner<T>(model, kernel, source).make();
}

template std::unique_ptr<PlannedModel<float>> make_plan(const FusedModel &, const Kernel<float> &, MemorySource);
template std::unique_ptr<PlannedModel<double>> make_plan(const FusedModel &, const Kernel<double> &, MemorySource);

}  // namespace allegro_dist
