// What the engine asks of an evaluator, and the evaluators that there are. Standard types only.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>

#include "engine.hpp"
#include "fused_model.hpp"

namespace allegro_dist {

// Results over a neighbor list, and the first center whose results cannot be used.
struct ListEvaluation {
  AtomResults results;
  int failed_center = -1;
  int num_edges = 0;              // of that center
  double energy = 0.0;            // of it, eV
  double largest_gradient = 0.0;  // that sums can hold, if it is finite but more than that; else 0
};

class Evaluator {
 public:
  virtual ~Evaluator() = default;
  virtual void evaluate(const EdgeBlock &block, int worker, double *atomic_energy, double *edge_gradient) = 0;
  virtual const std::string &name() const = 0;
  virtual const std::string &device() const = 0;
  virtual int preferred_block_edges() const = 0;
  virtual int num_workers() const { return 1; }
  virtual double bytes_per_edge() const { return 0.0; }  // of a block, where memory grows with it
  virtual bool builds_edges() const { return false; }
  virtual double free_memory() const { return 0.0; }  // bytes, on a GPU where it builds edges
  virtual ListEvaluation evaluate(const ListedAtoms &, const AtomSums &) {
    throw std::logic_error("evaluator " + name() + " wants blocks of edges");
  }
};

// What EngineOptions::device means on a machine with so many GPUs.
struct DeviceChoice {
  enum Kind { cpu, cuda, emulated } kind = cpu;
  int index = 0;  // of the GPU, real or emulated
};
// Throws std::invalid_argument: an unknown name, or a GPU that is not there.
DeviceChoice choose_device(const EngineOptions &options, int num_gpus);

// The archive's scripted module, by torch, which is loaded now (torchscript_library.cpp).
std::unique_ptr<Evaluator> load_torchscript_evaluator(const std::string &path, const EngineOptions &options,
                                                      int num_types, double bytes_per_edge);

// CPU only; throws std::invalid_argument for an instruction set that this machine lacks.
std::unique_ptr<Evaluator> make_fused_evaluator(FusedModel model, const std::string &dtype,
                                                const EngineOptions &options);

// The fused evaluator on a GPU, where the engine was built with it, and the same code played by the host, for tests.
#ifdef ALLEGRO_CUDA
int cuda_device_count();
std::unique_ptr<Evaluator> make_cuda_evaluator(FusedModel model, const std::string &dtype, int device);
#endif
std::unique_ptr<Evaluator> make_emulated_evaluator(FusedModel model, const std::string &dtype, int device);

}  // namespace allegro_dist
