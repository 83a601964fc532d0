// The evaluator of Allegro models on CPUs: cuts blocks into chunks that stay in cache and runs the kernel of this
// machine's instruction set on them. Threads work on blocks of their own, as workers.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "evaluator.hpp"
#include "fused_planner.hpp"
#include "instruction_set.hpp"
#include "zbl.hpp"

namespace allegro_dist {
namespace {

// A chunk's rows take about 4 kB per edge and should stay in L2; more of them share the weights that are read for them,
// and are padded less.
constexpr int chunk_edges = 96;
constexpr int chunk_atoms = 64;  // bounds chunks of centers with few neighbors
constexpr int block_edges = 2048;

template <class T>
Kernel<T> kernel_of(const std::string &instruction_set) {
  const auto pick = [](Kernel<float> (*single)(), Kernel<double> (*twice)()) {
    if constexpr (sizeof(T) == sizeof(float))
      return single();
    else
      return twice();
  };
  [[maybe_unused]] const InstructionSet set = choose_instruction_set(instruction_set);
#ifdef ALLEGRO_X86_KERNELS
  if (set == InstructionSet::avx512) return pick(avx512::kernel_float, avx512::kernel_double);
  if (set == InstructionSet::avx2) return pick(avx2::kernel_float, avx2::kernel_double);
#endif
  return pick(baseline::kernel_float, baseline::kernel_double);
}

template <class T>
class FusedEvaluator final : public Evaluator {
 public:
  FusedEvaluator(FusedModel model, const EngineOptions &options)
      : model_(std::move(model)),
        kernel_(kernel_of<T>(options.instruction_set)),
        planned_(make_plan<T>(model_, kernel_)),
        name_(std::string("fused ") + kernel_.name +
              (model_.table_intervals ? ", " + std::to_string(model_.table_intervals) + " intervals" : "")),
        workers_(std::max(1, options.num_threads)) {
    for (Worker &worker : workers_) worker.grow(*planned_, kernel_, chunk_edges, chunk_atoms);
  }

  const std::string &name() const override { return name_; }
  const std::string &device() const override { return device_; }
  int preferred_block_edges() const override { return block_edges; }
  int num_workers() const override { return static_cast<int>(workers_.size()); }

  void evaluate(const EdgeBlock &block, int worker, double *atomic_energy, double *edge_gradient) override {
    run(workers_[worker], block, atomic_energy, edge_gradient);
    if (!model_.charges.empty()) add_repulsion(block, atomic_energy, edge_gradient);
  }

 private:
  struct Worker {
    std::unique_ptr<Arena> memory;
    Workspace<T> work;
    int edges = 0, atoms = 0;

    void grow(const PlannedModel<T> &planned, const Kernel<T> &kernel, int num_edges, int num_atoms) {
      if (num_edges <= edges && num_atoms <= atoms) return;
      edges = std::max(edges, num_edges);
      atoms = std::max(atoms, num_atoms);
      memory = std::make_unique<Arena>();
      work = make_workspace<T>(planned.plan, kernel, edges, atoms, *memory);
    }
  };

  void run(Worker &worker, const EdgeBlock &block, double *atomic_energy, double *edge_gradient) {
    const int *const offsets = block.edge_offsets;
    for (int a = 0, next; a < block.num_centers; a = next) {
      next = end_of_chunk(offsets, a, block.num_centers, chunk_edges, chunk_atoms);
      worker.grow(*planned_, kernel_, offsets[next] - offsets[a], next - a);
      Chunk chunk;
      chunk.num_atoms = next - a;
      chunk.types = block.center_types + a;
      chunk.offsets = offsets + a;
      chunk.vectors = block.edge_vectors;
      chunk.neighbor_types = block.neighbor_types;
      chunk.energy = atomic_energy + a;
      chunk.gradient = edge_gradient;
      kernel_.evaluate(planned_->plan, worker.work, chunk);
      for (int i = a; i < next; ++i) atomic_energy[i] += model_.shift[block.center_types[i]];
    }
  }

  void add_repulsion(const EdgeBlock &block, double *atomic_energy, double *edge_gradient) const {
    for (int i = 0; i < block.num_centers; ++i) {
      const int begin = block.edge_offsets[i];
      add_zbl(block.center_types[i], model_.num_types, model_.charges.data(), planned_->plan.inverse_cutoffs,
              model_.zbl_envelope_power, block.edge_offsets[i + 1] - begin, block.edge_vectors + 3L * begin,
              block.neighbor_types + begin, atomic_energy[i], edge_gradient + 3L * begin);
    }
  }

  FusedModel model_;
  Kernel<T> kernel_;
  std::unique_ptr<PlannedModel<T>> planned_;
  std::string name_, device_ = "cpu";
  std::vector<Worker> workers_;
};

}  // namespace

std::unique_ptr<Evaluator> make_fused_evaluator(FusedModel model, const std::string &dtype,
                                                const EngineOptions &options) {
  if (dtype == "float32") return std::make_unique<FusedEvaluator<float>>(std::move(model), options);
  if (dtype == "float64") return std::make_unique<FusedEvaluator<double>>(std::move(model), options);
  throw std::runtime_error("the fused evaluator knows float32 and float64, not '" + dtype + "'");
}

}  // namespace allegro_dist
