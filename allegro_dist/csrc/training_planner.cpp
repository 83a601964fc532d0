#include "training_planner.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

#include "product_planner.hpp"

namespace allegro_dist {
namespace {

// A matrix of places in the flat array of weights; -1 stands for zero.
struct Places {
  int rows = 0, columns = 0;
  std::vector<int> index;  // row-major

  int operator()(int row, int column) const { return index[static_cast<std::size_t>(row) * columns + column]; }
};

template <class Index>
Places places(int rows, int columns, const Index &index) {
  Places out{rows, columns, {}};
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < columns; ++j) out.index.push_back(index(i, j));
  return out;
}

Places transposed(const Places &m) {
  return places(m.columns, m.rows, [&](int i, int j) { return m(j, i); });
}

template <class T>
class TrainingPlanner {
 public:
  TrainingPlanner(const FusedModel &model, const TrainingKernel<T> &kernel, bool train_wavenumbers)
      : model_(model),
        kernel_(kernel),
        planned_(std::make_unique<PlannedTraining<T>>()),
        plan_(planned_->plan),
        train_wavenumbers_(train_wavenumbers) {}

  std::unique_ptr<PlannedTraining<T>> make() {
    require_room();
    sizes();
    columns();
    number_weights();
    basis();
    for (int k = 0; k < plan_.num_dense; ++k) dense_layer(k);
    projection();
    for (int t = 0; t < plan_.num_layers; ++t) tensor_layer(t);
    readout();
    finish();
    return std::move(planned_);
  }

 private:
  int wide(int width) const { return (width + kernel_.lanes - 1) / kernel_.lanes * kernel_.lanes; }
  int orders() const { return model_.l_max + 1; }
  const DenseLayer &layer(int k) const { return model_.dense[k]; }

  void require_room() const {
    const auto require = [](bool fits, const std::string &what) {
      if (!fits) throw std::runtime_error("the fused training step has no room for " + what + "; use the eager one");
    };
    require(static_cast<int>(model_.dense.size()) <= max_dense, std::to_string(model_.dense.size()) + " dense layers");
    require(static_cast<int>(model_.environments.size()) <= max_tensor_layers,
            std::to_string(model_.environments.size()) + " tensor layers");
    require(model_.radial.size <= max_basis, std::to_string(model_.radial.size) + " radial functions");
    require(model_.l_max <= 4, "l_max " + std::to_string(model_.l_max));
  }

  void sizes() {
    plan_.num_types = model_.num_types;
    plan_.l_max = model_.l_max;
    plan_.num_channels = wide(model_.num_channels);
    plan_.num_layers = static_cast<int>(model_.environments.size());
    plan_.num_dense = static_cast<int>(model_.dense.size());
    plan_.num_two_body = model_.num_two_body;
    planned_->cutoffs = model_.cutoffs;
    T *const norm = planned_->memory.template allocate<T>(model_.norm.size());
    std::copy(model_.norm.begin(), model_.norm.end(), norm);
    plan_.norm = norm;
    for (const double factor : model_.norm) planned_->energy_factor.push_back(factor / std::sqrt(2.0));
  }

  void columns() {
    int column = 0;
    const auto place = [&](int width) { return std::exchange(column, column + width); };
    for (int k = 0; k < plan_.num_dense; ++k) {
      plan_.dense[k].width = wide(layer(k).width);
      plan_.dense[k].silu = layer(k).silu;
      plan_.dense[k].column = place(plan_.dense[k].width);
    }
    plan_.dense_stride = row_stride<T>(column);
    plan_.weights_column = place(orders() * plan_.num_channels);
    for (int t = 0; t < plan_.num_layers; ++t) plan_.projection_column[t] = place(plan_.num_channels);
    plan_.stride = row_stride<T>(column);
  }

  // --- places of the weights ----------------------------------------------------------------------------------------

  Places take(int rows, int columns) {
    return places(rows, columns, [&](int, int) { return static_cast<int>(planned_->num_common++); });
  }

  void number_weights() {
    for (const DenseLayer &dense : model_.dense)
      for (const DenseSource &source : dense.sources)
        sources_[&source] = take(source.weights.rows, source.weights.columns);
    projection_ = take(model_.projection.rows, model_.projection.columns);
    for (const Environment &environment : model_.environments)
      environments_.push_back(take(environment.weights.rows, environment.weights.columns));
    for (const TensorProduct &product : model_.products)
      paths_.push_back(take(product.weights.rows, product.weights.columns));
    readout_ = take(1, static_cast<int>(model_.readout.size()));
    if (train_wavenumbers_) wavenumbers_ = take(1, model_.radial.size);
    planned_->destination.resize(planned_->num_common, -1);
  }

  // Room for the derivatives of `weights`, rows padded to whole vectors.
  long accumulate(const Places &weights) {
    const long place = static_cast<long>(planned_->num_accumulators), stride = wide(weights.columns);
    for (int i = 0; i < weights.rows; ++i)
      for (int j = 0; j < weights.columns; ++j)
        if (weights(i, j) >= 0) planned_->destination[weights(i, j)] = static_cast<int>(place + i * stride + j);
    planned_->num_accumulators += weights.rows * stride;
    return place;
  }

  // Places packed weights at `pointer`, once all are known.
  void pack_at(const T *&pointer, const std::vector<int> &origin) {
    pointers_.emplace_back(&pointer, planned_->origin.size());
    planned_->origin.insert(planned_->origin.end(), origin.begin(), origin.end());
    while (planned_->origin.size() * sizeof(T) % memory_alignment) planned_->origin.push_back(-1);
  }

  std::vector<int> padded_rows(const Places &m) const {
    return places(m.rows, wide(m.columns), [&](int i, int j) { return j < m.columns ? m(i, j) : -1; }).index;
  }

  // Columns (l, u) with u padded to whole vectors.
  Places by_padded_order(const Places &m) const {
    const int channels = model_.num_channels, stride = plan_.num_channels;
    return places(m.rows, orders() * stride,
                  [&](int i, int j) { return j % stride < channels ? m(i, j / stride * channels + j % stride) : -1; });
  }

  Places of_order(const Places &m, int l) const {
    return places(m.rows, model_.num_channels, [&](int i, int j) { return m(i, l * model_.num_channels + j); });
  }

  // --- products -----------------------------------------------------------------------------------------------------

  struct Operand {
    int column;
    Places weights;
  };

  void product(MatrixProduct<T> &out, const std::vector<Operand> &operands, int width) {
    if (operands.size() > max_operands)
      throw std::runtime_error("the fused training step has no room for so many layers");
    for (const Operand &operand : operands) {
      out.column[out.num_operands] = operand.column;
      out.depth[out.num_operands++] = operand.weights.rows;
    }
    out.width = width;
    std::vector<int> origin;
    for (int column = 0, panel; column < width; column += panel) {
      const int vectors = (width - column) / kernel_.lanes;
      panel = kernel_.lanes * (vectors >= kernel_.panel_vectors ? kernel_.panel_vectors : vectors >= 2 ? 2 : 1);
      for (const Operand &operand : operands)
        for (int k = 0; k < operand.weights.rows; ++k)
          for (int c = column; c < column + panel; ++c)
            origin.push_back(c < operand.weights.columns ? operand.weights(k, c) : -1);
    }
    pack_at(out.weights, origin);
  }

  void dense_layer(int k) {
    TrainingDense &dense = plan_.dense[k];
    std::vector<Operand> operands;
    for (const DenseSource &source : layer(k).sources) {
      const Places &weights = sources_[&source];
      const bool projection = source.kind == DenseSource::projection;
      const int column = projection ? plan_.projection_column[source.index] : plan_.dense[source.index].column;
      operands.push_back({column, weights});
      add_weight_product(column, weights, dense.column);
      if (!projection) continue;
      dense.projection = source.index;
      product(plan_.to_projection[k], {{dense.column, transposed(weights)}}, plan_.num_channels);
    }
    if (k > 0) product(plan_.forward[k], operands, dense.width);
    backward(k);
    for (int t = 0; t < plan_.num_layers; ++t)
      if (model_.environments[t].source == k) dense.environment = t;
  }

  // dE/dh_k from all that read h_k.
  void backward(int k) {
    std::vector<Operand> operands;
    for (int reader = k + 1; reader < plan_.num_dense; ++reader)
      for (const DenseSource &source : layer(reader).sources)
        if (source.kind == DenseSource::dense && source.index == k)
          operands.push_back({plan_.dense[reader].column, transposed(sources_[&source])});
    if (k == plan_.num_two_body - 1)
      operands.push_back({plan_.weights_column, transposed(by_padded_order(projection_))});
    product(plan_.backward[k], operands, plan_.dense[k].width);
  }

  void projection() {
    const int column = plan_.dense[plan_.num_two_body - 1].column;
    const Places weights = by_padded_order(projection_);
    product(plan_.to_weights, {{column, weights}}, weights.columns);
    add_weight_product(column, weights, plan_.weights_column);
  }

  void add_weight_product(int left, const Places &weights, int right) {
    weight_products_.push_back({left, weights.rows, right, wide(weights.columns), accumulate(weights)});
  }

  void tensor_layer(int t) {
    const Environment &environment = model_.environments[t];
    plan_.source[t] = environment.source;
    for (int l = 0; l < orders(); ++l) {
      const Places weights = of_order(environments_[t], l);
      product(plan_.mix[t][l], {{0, weights}}, plan_.num_channels);
      product(plan_.mix_back[t][l], {{0, transposed(weights)}}, plan_.dense[environment.source].width);
      plan_.mix_place[t][l] = accumulate(weights);
    }
    pack_at(plan_.product[t].path_weights, padded_rows(paths_[t]));
    plan_.path_place[t] = accumulate(paths_[t]);
    plan_terms(model_, t, planned_->memory, plan_.product[t]);
  }

  void basis() {
    const RadialBasis &radial = model_.radial;
    plan_.bessel = radial.kind == RadialBasis::bessel;
    plan_.train_wavenumbers = train_wavenumbers_;
    plan_.basis_size = radial.size;
    plan_.basis_parameter = radial.parameter;
    planned_->basis_columns = layer(0).width;
    bool integers = !train_wavenumbers_;
    for (std::size_t i = 0; i < radial.wavenumbers.size(); ++i) integers = integers && radial.wavenumbers[i] == i + 1.0;
    if (integers) return;
    double *const wavenumbers = planned_->memory.template allocate<double>(radial.size);
    std::copy(radial.wavenumbers.begin(), radial.wavenumbers.end(), wavenumbers);
    plan_.wavenumbers = wavenumbers;
    if (!train_wavenumbers_) return;
    planned_->wavenumbers = wavenumbers;
    plan_.wavenumbers_place = accumulate(wavenumbers_);
  }

  void readout() {
    pack_at(plan_.readout, padded_rows(readout_));
    plan_.readout_place = accumulate(readout_);
  }

  void finish() {
    planned_->packed = planned_->memory.template allocate<T>(planned_->origin.size());
    for (const auto &[pointer, first] : pointers_) *pointer = planned_->packed + first;
    WeightProduct *const products = planned_->memory.template allocate<WeightProduct>(weight_products_.size());
    std::copy(weight_products_.begin(), weight_products_.end(), products);
    plan_.weight_products = products;
    plan_.num_weight_products = static_cast<int>(weight_products_.size());
    plan_.basis_place = static_cast<long>(planned_->num_accumulators);
  }

  const FusedModel &model_;
  const TrainingKernel<T> &kernel_;
  std::unique_ptr<PlannedTraining<T>> planned_;
  TrainingPlan<T> &plan_;
  const bool train_wavenumbers_;
  std::vector<Places> environments_, paths_;
  std::map<const DenseSource *, Places> sources_;
  Places projection_, readout_, wavenumbers_;
  std::vector<WeightProduct> weight_products_;
  std::vector<std::pair<const T **, std::size_t>> pointers_;
};

}  // namespace

template <class T>
std::size_t PlannedTraining<T>::num_radial(int num_pairs) const {
  return static_cast<std::size_t>(num_pairs) * plan.basis_size * basis_columns;
}

template <class T>
std::size_t PlannedTraining<T>::num_radial_accumulators(int num_pairs) const {
  return static_cast<std::size_t>(num_pairs) * plan.basis_size * plan.dense[0].width;
}

template <class T>
void PlannedTraining<T>::pack(const T *weights, const std::vector<int> &types) {
  for (std::size_t i = 0; i < origin.size(); ++i) packed[i] = origin[i] >= 0 ? weights[origin[i]] : T(0);
  if (wavenumbers) std::copy(weights + num_common - plan.basis_size, weights + num_common, wavenumbers);
  const std::size_t num_rows = types.size() * types.size() * plan.basis_size;
  T *const rows = basis_weights.at_least(num_rows * plan.dense[0].width);
  for (std::size_t row = 0; row < num_rows; ++row)
    std::copy_n(weights + num_common + row * basis_columns, basis_columns, rows + row * plan.dense[0].width);
  inverse_cutoffs.clear();
  for (const int center : types)
    for (const int neighbor : types) inverse_cutoffs.push_back(1.0 / cutoffs[center * plan.num_types + neighbor]);
  plan.basis_weights = rows;
  plan.inverse_cutoffs = inverse_cutoffs.data();
}

template <class T>
void PlannedTraining<T>::unpack(const T *accumulators, int num_pairs, T *weight_gradient) const {
  for (std::size_t i = 0; i < num_common; ++i) weight_gradient[i] = accumulators[destination[i]];
  for (int row = 0; row < num_pairs * plan.basis_size; ++row)
    std::copy_n(accumulators + plan.basis_place + static_cast<long>(row) * plan.dense[0].width, basis_columns,
                weight_gradient + num_common + static_cast<long>(row) * basis_columns);
}

template <class T>
std::unique_ptr<PlannedTraining<T>> plan_training(const FusedModel &model, const TrainingKernel<T> &kernel,
                                                  bool train_wavenumbers) {
  return TrainingPlanner<T>(model, kernel, train_wavenumbers).make();
}

template struct PlannedTraining<float>;
template struct PlannedTraining<double>;
template std::unique_ptr<PlannedTraining<float>> plan_training(const FusedModel &, const TrainingKernel<float> &, bool);
template std::unique_ptr<PlannedTraining<double>> plan_training(const FusedModel &, const TrainingKernel<double> &,
                                                                bool);

}  // namespace allegro_dist
