// Cuts batches into chunks of centers that stay in cache, and runs the training kernels on them.
#include "training_step.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "instruction_set.hpp"
#include "training_planner.hpp"

namespace allegro_dist {
namespace {

// Of a chunk's rows: they should stay in L2, beside weights and accumulators, but few centers have short products per
// atom. With 2 MB of L2 (34 neighbors, 2 layers) 256 kB are 35 % slower, 768 kB 7 %, 2 MB 2 %.
constexpr int chunk_bytes = 1200 << 10;
constexpr int chunk_atoms = 64;  // bounds chunks of centers with few neighbors

int rounded_up(int value, int unit) {
  return (value + unit - 1) / unit * unit;
}

// Arrays one after another in one block; only counts them while the block is null.
template <class T>
class Carver {
 public:
  explicit Carver(T *block = nullptr) : block_(block) {}
  T *operator()(std::size_t count) {
    constexpr std::size_t unit = memory_alignment / sizeof(T);
    const std::size_t first = used_;
    used_ += (count + unit - 1) / unit * unit;
    return block_ ? block_ + first : nullptr;
  }
  std::size_t used() const { return used_; }

 private:
  T *block_;
  std::size_t used_ = 0;
};

template <class T>
struct Tape final : TrainingTape {
  std::vector<int> present;                 // types
  std::vector<int> types, offsets, pairs;   // of the batch
  std::vector<int> first_atom, first_edge;  // [chunk + 1]
  std::vector<int> chunk_offsets;           // of each chunk's centers and its end, from its first edge
  std::vector<TrainingChunk<T>> chunks;
  Block<T> memory;
  long weights_version = 0;
};

template <class T>
void lay_out(const TrainingPlan<T> &plan, TrainingChunk<T> &chunk, Carver<T> &array) {
  const std::size_t rows = chunk.edge_capacity, channels = plan.num_channels, atoms = chunk.num_atoms;
  const std::size_t components = (plan.l_max + 1) * (plan.l_max + 1), atom_rows = components * atoms + row_tile;
  chunk.values = array(rows * plan.stride);
  chunk.gradients = array(rows * plan.stride);
  chunk.slopes = array(rows * plan.dense_stride);
  chunk.curvatures = array(rows * plan.dense_stride);
  chunk.direction = array(4 * rows);
  chunk.basis = array(rows * 2 * plan.basis_size);
  for (int t = 0; t < plan.num_layers; ++t) {
    const std::size_t width = plan.dense[plan.source[t]].width;
    chunk.sums[t] = array(atom_rows * width);
    chunk.sums_gradient[t] = array(atom_rows * width);
    chunk.environment[t] = array(atom_rows * channels);
    chunk.environment_gradient[t] = array(atom_rows * channels);
    chunk.adjoint_gradient[t] = array(atoms * components * channels);
    for (int step = 0; step <= t; ++step)
      chunk.adjoint[t][step] = array(atoms * plan.product[t - step].num_outputs * channels);
  }
}

// For chunks of up to `rows` edges and `atoms` centers; loss gradients of a chunk included.
template <class T>
void lay_out(const TrainingPlan<T> &plan, std::size_t accumulators, std::size_t rows, std::size_t atoms,
             TrainingScratch<T> &scratch, T *&loss_energy, T *&loss_edges, Carver<T> &array) {
  const std::size_t components = (plan.l_max + 1) * (plan.l_max + 1), channels = plan.num_channels;
  const std::size_t atom_rows = components * atoms + row_tile;
  std::size_t widest = 4, outputs = components;
  for (int k = 0; k < plan.num_dense; ++k) widest = std::max<std::size_t>(widest, plan.dense[k].width);
  for (int t = 0; t < plan.num_layers; ++t) outputs = std::max<std::size_t>(outputs, plan.product[t].num_outputs);
  scratch.accumulators = array(accumulators);
  for (T **const by_component : {&scratch.harmonics, &scratch.harmonics_tangent, &scratch.harmonics_gradient})
    *by_component = array(components * rows);
  scratch.asked = array(rows * widest);
  scratch.tangents = array(rows * plan.stride);
  scratch.adjoints = array(rows * plan.stride);
  scratch.length_tangent = array(rows);
  for (int t = 0; t < plan.num_layers; ++t) {
    const std::size_t width = plan.dense[plan.source[t]].width;
    scratch.sums_tangent[t] = array(atom_rows * width);
    scratch.sums_adjoint[t] = array(atom_rows * width);
    scratch.environment_tangent[t] = array(atom_rows * channels);
    scratch.environment_adjoint[t] = array(atom_rows * channels);
    for (int step = 0; step <= t; ++step)
      scratch.adjoint_tangent[t][step] = array(atoms * plan.product[t - step].num_outputs * channels);
  }
  scratch.adjoint_adjoint = array(atoms * components * channels);
  for (T *&step : scratch.steps) step = array(outputs * channels);
  loss_energy = array(atoms);
  loss_edges = array(3 * rows);
}

template <class T>
class StepOf final : public TrainingStep {
 public:
  StepOf(const FusedModel &model, const TrainingKernel<T> &kernel, const TrainingOptions &options)
      : kernel_(kernel),
        planned_(plan_training<T>(model, kernel, options.train_wavenumbers)),
        plan_(planned_->plan),
        workers_(std::max(1, options.num_threads)) {
    const int per_edge = sizeof(T) * (4 * plan_.stride + 2 * plan_.dense_stride);
    chunk_edges_ = std::max(4 * row_tile, chunk_bytes / per_edge);
  }

  std::size_t num_weights(int num_present) const override {
    return planned_->num_common + planned_->num_radial(num_present * num_present);
  }

  TrainingTape *forward(const void *weights, const TrainingGraph &graph, double *energy, void *edge_gradient) override {
    std::unique_ptr<Tape<T>> tape = idle_tape();
    read_graph(graph, *tape);
    take_weights(weights, *tape);
    cut(*tape);
    for_each_chunk(*tape, [&](TrainingChunk<T> &chunk, int first_atom, int first_edge, Worker &worker) {
      chunk.vectors = static_cast<const T *>(graph.vectors) + 3L * first_edge;
      chunk.energy = energy + first_atom;
      chunk.edge_gradient = static_cast<T *>(edge_gradient) + 3L * first_edge;
      kernel_.forward(plan_, chunk, worker.scratch);
      for (int a = 0; a < chunk.num_atoms; ++a) {
        const double factor = planned_->energy_factor[chunk.types[a]];
        chunk.energy[a] *= factor;
        for (int i = 3 * chunk.offsets[a]; i < 3 * chunk.offsets[a + 1]; ++i)
          chunk.edge_gradient[i] *= static_cast<T>(factor);
      }
    });
    return used_.emplace_back(std::move(tape)).get();
  }

  void backward(TrainingTape *of, const void *weights, const double *energy_factors, const void *edge_factors,
                void *weight_gradient) override {
    Tape<T> &tape = *static_cast<Tape<T> *>(of);
    if (tape.weights_version != weights_version_) take_weights(weights, tape);
    const std::size_t num_accumulators = accumulators_of(tape);
    for_each_chunk(
        tape,
        [&](TrainingChunk<T> &chunk, int first_atom, int first_edge, Worker &worker) {
          const T *const edges = static_cast<const T *>(edge_factors) + 3L * first_edge;
          for (int a = 0; a < chunk.num_atoms; ++a) {
            const double factor = planned_->energy_factor[chunk.types[a]];
            worker.loss_energy[a] = static_cast<T>(factor * energy_factors[first_atom + a]);
            for (int i = 3 * chunk.offsets[a]; i < 3 * chunk.offsets[a + 1]; ++i)
              worker.loss_edges[i] = static_cast<T>(factor) * edges[i];
          }
          kernel_.backward(plan_, chunk, {worker.loss_energy, worker.loss_edges}, worker.scratch);
        },
        [&](Worker &worker) { std::fill_n(worker.scratch.accumulators, num_accumulators, T(0)); });
    T *const sums = workers_[0].scratch.accumulators;
    for (std::size_t w = 1; w < workers_.size(); ++w)
      for (std::size_t i = 0; i < num_accumulators; ++i) sums[i] += workers_[w].scratch.accumulators[i];
    planned_->unpack(sums, num_pairs(tape), static_cast<T *>(weight_gradient));
  }

  void give_back(TrainingTape *tape) override {
    const auto found = std::find_if(used_.begin(), used_.end(), [&](const auto &own) { return own.get() == tape; });
    if (found == used_.end()) return;
    idle_.push_back(std::move(*found));
    used_.erase(found);
  }

 private:
  struct Worker {
    TrainingScratch<T> scratch;
    T *loss_energy = nullptr, *loss_edges = nullptr;
    Block<T> memory;
  };

  static int num_pairs(const Tape<T> &tape) { return static_cast<int>(tape.present.size() * tape.present.size()); }
  std::size_t accumulators_of(const Tape<T> &tape) const {
    return planned_->num_accumulators + planned_->num_radial_accumulators(num_pairs(tape));
  }

  void take_weights(const void *weights, Tape<T> &tape) {
    planned_->pack(static_cast<const T *>(weights), tape.present);
    tape.weights_version = ++weights_version_;
  }

  std::unique_ptr<Tape<T>> idle_tape() {
    if (idle_.empty()) return std::make_unique<Tape<T>>();
    std::unique_ptr<Tape<T>> tape = std::move(idle_.back());
    idle_.pop_back();
    return tape;
  }

  // Types, first edges of the atoms, and type pairs; checks all that would index memory.
  void read_graph(const TrainingGraph &graph, Tape<T> &tape) const {
    const int num_present = graph.num_present;
    const auto require = [](bool valid, const char *what, long index) {
      if (!valid) throw std::invalid_argument(std::string(what) + " " + std::to_string(index));
    };
    std::vector<int> rank(plan_.num_types, -1);  // of a type among those present
    tape.present.assign(graph.present, graph.present + num_present);
    for (int i = 0; i < num_present; ++i) {
      require(graph.present[i] >= 0 && graph.present[i] < plan_.num_types, "present: no such type at", i);
      rank[graph.present[i]] = i;
    }
    const auto is_present = [&](std::int64_t type) { return type >= 0 && type < plan_.num_types && rank[type] >= 0; };
    tape.types.resize(graph.num_atoms);
    tape.offsets.assign(graph.num_atoms + 1, 0);
    tape.pairs.resize(graph.num_edges);
    for (int a = 0; a < graph.num_atoms; ++a) {
      require(is_present(graph.types[a]), "atom_types: no such type at atom", a);
      tape.types[a] = static_cast<int>(graph.types[a]);
    }
    for (int e = 0; e < graph.num_edges; ++e) {
      const std::int64_t center = graph.centers[e], neighbor = graph.neighbors[e];
      require(center >= 0 && center < graph.num_atoms && neighbor >= 0 && neighbor < graph.num_atoms,
              "edge_index: no such atom at edge", e);
      require(e == 0 || graph.centers[e - 1] <= center, "edge_index: not sorted by center at edge", e);
      tape.pairs[e] = rank[tape.types[center]] * num_present + rank[tape.types[neighbor]];
      ++tape.offsets[center + 1];
    }
    for (int a = 0; a < graph.num_atoms; ++a) tape.offsets[a + 1] += tape.offsets[a];
  }

  // Chunks of the batch, with memory of their own on the tape.
  void cut(Tape<T> &tape) {
    const int num_atoms = static_cast<int>(tape.types.size());
    tape.chunks.clear();
    tape.first_atom.assign(1, 0);
    tape.first_edge.assign(1, 0);
    tape.chunk_offsets.clear();
    int most_rows = 0, most_atoms = 0;
    for (int a = 0, next; a < num_atoms; a = next) {
      next = end_of_chunk(tape.offsets.data(), a, num_atoms, chunk_edges_, chunk_atoms);
      TrainingChunk<T> &chunk = tape.chunks.emplace_back();
      chunk.num_atoms = next - a;
      chunk.num_edges = tape.offsets[next] - tape.offsets[a];
      chunk.edge_capacity = rounded_up(rounded_up(chunk.num_edges, row_tile), kernel_.lanes);
      chunk.types = tape.types.data() + a;
      chunk.pair = tape.pairs.data() + tape.offsets[a];
      for (int i = a; i <= next; ++i) tape.chunk_offsets.push_back(tape.offsets[i] - tape.offsets[a]);
      tape.first_atom.push_back(next);
      tape.first_edge.push_back(tape.offsets[next]);
      most_rows = std::max(most_rows, chunk.edge_capacity);
      most_atoms = std::max(most_atoms, chunk.num_atoms);
    }
    Carver<T> counted;
    for (TrainingChunk<T> &chunk : tape.chunks) lay_out(plan_, chunk, counted);
    Carver<T> array(tape.memory.at_least(counted.used()));
    for (std::size_t i = 0; i < tape.chunks.size(); ++i) {
      tape.chunks[i].offsets = tape.chunk_offsets.data() + tape.first_atom[i] + i;
      lay_out(plan_, tape.chunks[i], array);
    }
    grow(accumulators_of(tape), most_rows, most_atoms);
  }

  // Room in the workers' scratch for this and all earlier tapes: any of them may still go backward.
  void grow(std::size_t accumulators, std::size_t rows, std::size_t atoms) {
    if (accumulators <= accumulators_ && rows <= rows_ && atoms <= atoms_) return;
    accumulators_ = std::max(accumulators_, accumulators);
    rows_ = std::max(rows_, rows);
    atoms_ = std::max(atoms_, atoms);
    for (Worker &worker : workers_) {
      const auto lay_out_in = [&](Carver<T> array) {
        lay_out(plan_, accumulators_, rows_, atoms_, worker.scratch, worker.loss_energy, worker.loss_edges, array);
        return array.used();
      };
      lay_out_in(Carver<T>(worker.memory.at_least(lay_out_in(Carver<T>()))));
    }
  }

  // Each thread takes a run of chunks, so that its sums do not depend on timing.
  template <class Body>
  void for_each_chunk(Tape<T> &tape, const Body &body, const auto &...prepare) {
    const int num_workers = static_cast<int>(workers_.size()), num_chunks = static_cast<int>(tape.chunks.size());
#pragma omp parallel for num_threads(num_workers) schedule(static, 1) if (num_workers > 1)
    for (int w = 0; w < num_workers; ++w) {
      (prepare(workers_[w]), ...);
      for (int i = num_chunks * w / num_workers; i < num_chunks * (w + 1) / num_workers; ++i)
        body(tape.chunks[i], tape.first_atom[i], tape.first_edge[i], workers_[w]);
    }
  }

  const TrainingKernel<T> kernel_;
  std::unique_ptr<PlannedTraining<T>> planned_;
  const TrainingPlan<T> &plan_;
  std::vector<Worker> workers_;
  std::vector<std::unique_ptr<Tape<T>>> idle_, used_;
  long weights_version_ = 0;
  int chunk_edges_ = 0;
  std::size_t accumulators_ = 0, rows_ = 0, atoms_ = 0;  // that the workers' scratch has room for
};

template <class T>
TrainingKernel<T> kernel_of(InstructionSet set) {
  const auto pick = [](TrainingKernel<float> (*single)(), TrainingKernel<double> (*twice)()) {
    if constexpr (sizeof(T) == sizeof(float))
      return single();
    else
      return twice();
  };
#ifdef ALLEGRO_X86_KERNELS
  if (set == InstructionSet::avx512) return pick(avx512::training_kernel_float, avx512::training_kernel_double);
  if (set == InstructionSet::avx2) return pick(avx2::training_kernel_float, avx2::training_kernel_double);
#endif
  static_cast<void>(set);
  return pick(baseline::training_kernel_float, baseline::training_kernel_double);
}

}  // namespace

std::unique_ptr<TrainingStep> make_training_step(const FusedModel &model, const TrainingOptions &options) {
  const InstructionSet set = choose_instruction_set(options.instruction_set);
  if (options.dtype == "float32") return std::make_unique<StepOf<float>>(model, kernel_of<float>(set), options);
  if (options.dtype == "float64") return std::make_unique<StepOf<double>>(model, kernel_of<double>(set), options);
  throw std::invalid_argument("dtype '" + options.dtype + "': expected float32 or float64");
}

}  // namespace allegro_dist
