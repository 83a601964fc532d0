// What the engine asks of an evaluator, and what an archive says about itself. Standard types only.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine.hpp"
#include "fused_model.hpp"

namespace allegro_dist {

// Structures with the energies and edge gradients that the Python model gave when the archive was written.
struct CheckData {
  std::vector<int> center_types, edge_offsets, neighbor_types;
  std::vector<double> edge_vectors, atomic_energy, edge_gradient;
  double energy_tolerance = 0.0;    // eV
  double gradient_tolerance = 0.0;  // eV/Angstrom

  EdgeBlock block() const {
    return {static_cast<int>(center_types.size()), center_types.data(), edge_offsets.data(), edge_vectors.data(),
            neighbor_types.data()};
  }
};

struct ArchiveInfo {
  std::vector<std::string> type_names;
  double r_max = 0.0, interaction_range = 0.0;  // Angstrom
  std::vector<double> cutoffs;                  // [num_types, num_types] row = center, Angstrom
  std::string dtype;
  CheckData check;
  std::optional<FusedModel> fused;  // the merged model, of families that the fused evaluator knows
  double table_tolerance = 0.0;     // eV/Angstrom: how far the archive's tables may move an edge gradient
};

class Evaluator {
 public:
  virtual ~Evaluator() = default;
  virtual void evaluate(const EdgeBlock &block, double *atomic_energy, double *edge_gradient) = 0;
  virtual const std::string &name() const = 0;
  virtual const std::string &device() const = 0;
  virtual int preferred_block_edges() const = 0;
};

struct OpenedArchive {
  ArchiveInfo info;
  std::unique_ptr<Evaluator> evaluator;
};

// What EngineOptions::device means on a machine with so many GPUs.
struct DeviceChoice {
  enum Kind { cpu, cuda, emulated } kind = cpu;
  int index = 0;  // of the GPU
};
// Throws std::invalid_argument: an unknown name, or a GPU that is not there.
DeviceChoice choose_device(const EngineOptions &options, int num_gpus);

// The archive with its scripted module as evaluator.
OpenedArchive open_torchscript(const std::string &path, const EngineOptions &options);

// CPU only; throws std::invalid_argument for an instruction set that this machine lacks.
std::unique_ptr<Evaluator> make_fused_evaluator(FusedModel model, const std::string &dtype,
                                                const EngineOptions &options);

// The fused evaluator on a GPU, where the engine was built with it, and the same code played by the host, for tests.
#ifdef ALLEGRO_CUDA
int cuda_device_count();
std::unique_ptr<Evaluator> make_cuda_evaluator(FusedModel model, const std::string &dtype, int device);
#endif
std::unique_ptr<Evaluator> make_emulated_evaluator(FusedModel model, const std::string &dtype);

}  // namespace allegro_dist
