// The evaluator of Allegro models on GPUs. Blocks of threads take chunks of centers, one after another, each with a
// workspace of its own that is small enough for all of them to stay in the L2 cache. Compiled twice: by nvcc through
// gpu_evaluator.cu, and as it is for the host, where it emulates a GPU for tests (gpu_runtime.hpp).
//
//   positions, types, when it is new the neighbor list -> edges (gpu_edges.hpp) -> energies, gradients
//   (team_evaluation.hpp) -> sums over atoms (gpu_sums.hpp) -> forces, ghosts' included
//
// All on one stream; the host waits once, for the results. Arithmetic is that of the archive's type: no TF32, no bf16.
#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>

#include "evaluator.hpp"
#include "gpu_neighbor_list.hpp"
#include "gpu_plan.hpp"
#include "gpu_sums.hpp"
#include "team_evaluation.hpp"

namespace allegro_dist {
namespace {

constexpr int block_edges = 1 << 20;  // of one upload

template <class T, int L>
struct EvaluateCenters {
  const Plan<T> *plan;
  const Workspace<T> *workspaces;  // one per block
  const EdgeWorkspace *edges;      // one per block
  DeviceCenters in;
  DeviceSums out;

  ALLEGRO_DEVICE void operator()(const gpu::Team &team, int block, int num_blocks) const {
    const EdgeWorkspace &own = edges[block];
    Chunk chunk;
    chunk.types = own.types;
    chunk.offsets = own.offsets;
    chunk.vectors = own.vectors;
    chunk.neighbor_types = own.neighbor_types;
    chunk.energy = own.energy;
    chunk.gradient = own.gradient;
    const int end = first_of_share(in, block + 1, num_blocks);
    for (int first = first_of_share(in, block, num_blocks); first < end; first += chunk.num_atoms) {
      chunk.num_atoms = EdgeBuilder<gpu::Team>(in, own, team).build(first, end);
      TeamEvaluation<T, L, gpu::Team>(*plan, workspaces[block], chunk, team).run();
      ChunkSums<gpu::Team>(in, out, own, team).add(first, chunk.num_atoms, block);
    }
  }
};

template <class T>
Kernel<T> team_kernel() {
  return {gpu::kind, quad, 0, true, nullptr};
}

template <class T>
class GpuEvaluator final : public Evaluator {
 public:
  GpuEvaluator(FusedModel model, int device)
      : device_number_(chosen(device)),
        l_max_(model.l_max),
        num_types_(model.num_types),
        zbl_power_(model.zbl_envelope_power),
        name_(std::string("fused ") + gpu::kind +
              (model.table_intervals ? ", " + std::to_string(model.table_intervals) + " intervals" : "")),
        device_(std::string(gpu::kind) + ":" + std::to_string(device)),
        num_blocks_(blocks_of(model.l_max)),
        plan_(make_plan<T>(model, team_kernel<T>()), stager_, stream_) {
    const auto keep = [&](const std::vector<double> &values) {
      double *const to = constants_.allocate<double>(values.size());
      stager_.upload(stream_, to, values.data(), values.size());
      return to;
    };
    shift_ = keep(model.shift);
    charges_ = keep(model.charges);
    grow(chunk_edges);
  }

  const std::string &name() const override { return name_; }
  const std::string &device() const override { return device_; }
  int preferred_block_edges() const override { return block_edges; }
  double bytes_per_edge() const override { return sizeof(int); }  // of a neighbor list
  bool builds_edges() const override { return true; }
  double free_memory() const override {
    gpu::use_device(device_number_);
    return gpu::free_memory();
  }

  void evaluate(const EdgeBlock &block, int /*worker*/, double *atomic_energy, double *edge_gradient) override {
    gpu::use_device(device_number_);
    const std::size_t centers = block.num_centers, edges = block.num_edges();
    int most_edges = 0;
    for (std::size_t c = 0; c < centers; ++c)
      most_edges = std::max(most_edges, block.edge_offsets[c + 1] - block.edge_offsets[c]);
    grow(most_edges);
    DeviceCenters in{};
    in.num_centers = block.num_centers;
    in.length_unit = 1.0;
    in.offsets = upload(offsets_, block.edge_offsets, centers + 1);
    in.center_types = upload(types_, block.center_types, centers);
    in.vectors = upload(positions_, block.edge_vectors, 3 * edges);
    in.neighbor_types = upload(neighbor_types_, block.neighbor_types, edges);
    DeviceSums out = sums_for(block.num_centers);
    out.gradient = gradient_.sized(3 * edges);
    launch(in, out);
    const double *const energy = energies_back_.start(stream_, out.energy, centers);
    const double *const gradient = forces_back_.start(stream_, out.gradient, 3 * edges);
    stream_.wait();
    std::copy_n(energy, centers, atomic_energy);
    std::copy_n(gradient, 3 * edges, edge_gradient);
  }

  ListEvaluation evaluate(const ListedAtoms &atoms, const AtomSums &asked) override {
    gpu::use_device(device_number_);
    if (atoms.list_is_new) take(atoms);
    if (atoms.num_centers != list_.num_centers())
      throw std::logic_error("a neighbor list of " + std::to_string(atoms.num_centers) +
                             " centers is said to be the last one, which had " + std::to_string(list_.num_centers()));
    DeviceCenters in{};
    in.positions = upload(positions_, atoms.positions, 3 * static_cast<std::size_t>(atoms.num_atoms));
    in.types = upload(types_, atoms.types, atoms.num_atoms);
    in.model_type = model_types_.get();
    in.cutoff_square = cutoff_squares_.get();
    in.num_types = atoms.type_map->num_types + 1;
    in.length_unit = atoms.type_map->length_unit;
    DeviceSums out = sums_for(atoms.num_centers);
    out.largest_gradient = largest_gradient(list_.edges_of_an_atom(), longest_edge_);
    out.forces = cleared(forces_, 3, atoms);
    if (asked.virials) out.virials = cleared(virials_, 6, atoms);
    if (asked.centroid_virials) out.centroid_virials = cleared(centroid_virials_, 9, atoms);
    for (int part = 0; part < list_.num_parts(); ++part) {
      list_.place(part, atoms, stager_, stream_, in);
      out.first_center = list_.start(part);
      launch(in, out);
    }
    return fetch(out, atoms, asked);
  }

 private:
  static int chosen(int device) {
    gpu::use_device(device);
    return device;
  }

  // Calls body with l_max as a compile-time number.
  template <class Body>
  static auto by_order(int l_max, const Body &body) {
    switch (l_max) {
      case 0:
        return body(std::integral_constant<int, 0>());
      case 1:
        return body(std::integral_constant<int, 1>());
      case 2:
        return body(std::integral_constant<int, 2>());
      case 3:
        return body(std::integral_constant<int, 3>());
      default:
        return body(std::integral_constant<int, 4>());
    }
  }

  int blocks_of(int l_max) const {
    return by_order(l_max, [&](auto l) { return gpu::resident_blocks<EvaluateCenters<T, l.value>>(device_number_); });
  }

  void launch(const DeviceCenters &in, const DeviceSums &out) const {
    if (in.num_centers == 0) return;
    by_order(l_max_, [&](auto l) {
      gpu::launch(stream_, num_blocks_,
                  EvaluateCenters<T, l.value>{plan_.on_device(), workspaces_, edge_workspaces_, in, out});
    });
  }

  template <class U, class V>
  U *upload(GrowingArray<U> &array, const V *from, std::size_t count) {
    U *const to = array.sized(count);
    stager_.upload(stream_, to, count,
                   [&](U *staged, std::size_t begin, std::size_t size) { std::copy_n(from + begin, size, staged); });
    return to;
  }

  SumsInParts cleared(GrowingArray<std::int64_t> &sums, int components, const ListedAtoms &atoms) {
    const std::size_t count = static_cast<std::size_t>(components) * atoms.num_atoms;
    std::int64_t *const both = sums.sized(2 * count);
    stream_.fill(both, 0, 2 * count);
    return {both, both + count};
  }

  // A new list.
  void take(const ListedAtoms &atoms) {
    const TypeMap &types = *atoms.type_map;
    const double longest = *std::max_element(types.cutoff_square.begin(), types.cutoff_square.end());
    longest_edge_ = std::sqrt(longest) * types.length_unit;
    upload(model_types_, types.model_type.data(), types.model_type.size());
    upload(cutoff_squares_, types.cutoff_square.data(), types.cutoff_square.size());
    list_.cut(atoms);
    grow(list_.most_neighbors());
  }

  DeviceSums sums_for(int num_centers) {
    DeviceSums out{};
    out.energy = energies_.sized(num_centers);
    out.num_edges = num_edges_.sized(num_centers);
    out.totals = totals_.sized(num_totals * num_blocks_);
    out.failures = failures_.sized(num_failures);
    stream_.fill(out.totals, 0, num_totals * num_blocks_);
    stream_.fill(out.failures, no_failure_byte, num_failures);
    out.shift = shift_;
    out.charges = charges_;
    out.inverse_cutoffs = plan_.sizes().inverse_cutoffs;
    out.num_model_types = num_types_;
    out.zbl_power = zbl_power_;
    return out;
  }

  ListEvaluation fetch(const DeviceSums &out, const ListedAtoms &atoms, const AtomSums &asked) {
    const auto joined = [&](const SumsInParts &sums, int components, Download<double> &back) {
      const std::size_t count = static_cast<std::size_t>(components) * atoms.num_atoms;
      gpu::launch(stream_, num_blocks_, JoinParts{sums, static_cast<std::int64_t>(count)});
      return back.start(stream_, reinterpret_cast<const double *>(sums.coarse), count);
    };
    ListEvaluation found;
    AtomResults &results = found.results;
    results.forces = joined(out.forces, 3, forces_back_);
    if (asked.virials) results.virials = joined(out.virials, 6, virials_back_);
    if (asked.centroid_virials) results.centroid_virials = joined(out.centroid_virials, 9, centroid_virials_back_);
    if (asked.energies) results.energies = energies_back_.start(stream_, out.energy, atoms.num_centers);
    const double *const totals = totals_back_.start(stream_, out.totals, num_totals * num_blocks_);
    const int *const failures = failures_back_.start(stream_, out.failures, num_failures);
    stream_.wait();
    for (int block = 0; block < num_blocks_; ++block) {
      results.energy += totals[num_totals * block];
      for (int k = 0; k < 6; ++k) results.virial[k] += totals[num_totals * block + 1 + k];
    }
    report(failures, out, atoms, found);
    return found;
  }

  void report(const int *failures, const DeviceSums &out, const ListedAtoms &atoms, ListEvaluation &found) {
    const int first = std::min(failures[not_finite], failures[too_large]);
    if (first >= atoms.num_centers) return;
    found.failed_center = first;
    if (failures[too_large] < failures[not_finite]) found.largest_gradient = out.largest_gradient;
    const double *const energy = energies_back_.start(stream_, out.energy + first, 1);
    const int *const num_edges = failures_back_.start(stream_, out.num_edges + first, 1);
    stream_.wait();
    found.energy = *energy;
    found.num_edges = *num_edges;
  }

  // A center with more edges than that makes all workspaces grow.
  void grow(int edges) {
    if (edges <= workspace_edges_) return;
    stream_.wait();
    workspace_edges_ = 0;
    workspace_memory_.reset();
    workspace_memory_ = std::make_unique<Arena>(gpu::device_memory(), device_block);
    const int room = edges + edges / 4;
    std::vector<Workspace<T>> work;
    std::vector<EdgeWorkspace> edge_work;
    for (int b = 0; b < num_blocks_; ++b) {
      work.push_back(make_workspace<T>(plan_.sizes(), team_kernel<T>(), room, chunk_atoms, *workspace_memory_));
      edge_work.push_back(make_edge_workspace(room, *workspace_memory_));
    }
    workspaces_ = workspace_memory_->allocate<Workspace<T>>(num_blocks_);
    edge_workspaces_ = workspace_memory_->allocate<EdgeWorkspace>(num_blocks_);
    stager_.upload(stream_, workspaces_, work.data(), work.size());
    stager_.upload(stream_, edge_workspaces_, edge_work.data(), edge_work.size());
    workspace_edges_ = room;
  }

  static constexpr int no_failure_byte = 0x7f;  // four of them are more than any center's number

  int device_number_, l_max_, num_types_, zbl_power_;
  std::string name_, device_;
  int num_blocks_;
  gpu::Stream stream_;
  Stager stager_;
  DevicePlan<T> plan_;
  Arena constants_{gpu::device_memory()};
  const double *shift_ = nullptr, *charges_ = nullptr;

  int workspace_edges_ = 0;
  std::unique_ptr<Arena> workspace_memory_;
  Workspace<T> *workspaces_ = nullptr;
  EdgeWorkspace *edge_workspaces_ = nullptr;

  DeviceNeighborList list_;
  double longest_edge_ = 0.0;  // Angstrom
  GrowingArray<int> types_, neighbor_types_, model_types_, num_edges_, failures_;
  GrowingArray<std::int64_t> offsets_, forces_, virials_, centroid_virials_;
  GrowingArray<double> positions_, cutoff_squares_, energies_, gradient_, totals_;
  Download<double> energies_back_, forces_back_, virials_back_, centroid_virials_back_, totals_back_;
  Download<int> failures_back_;
};

std::unique_ptr<Evaluator> make(FusedModel model, const std::string &dtype, int device) {
  if (dtype == "float32") return std::make_unique<GpuEvaluator<float>>(std::move(model), device);
  if (dtype == "float64") return std::make_unique<GpuEvaluator<double>>(std::move(model), device);
  throw std::runtime_error("the fused evaluator knows float32 and float64, not '" + dtype + "'");
}

}  // namespace

#ifdef __CUDACC__
int cuda_device_count() {
  return gpu::device_count();
}
std::unique_ptr<Evaluator> make_cuda_evaluator(FusedModel model, const std::string &dtype, int device) {
  return make(std::move(model), dtype, device);
}
#else
std::unique_ptr<Evaluator> make_emulated_evaluator(FusedModel model, const std::string &dtype, int device) {
  return make(std::move(model), dtype, device);
}
#endif

}  // namespace allegro_dist
