// What an archive says to an engine, read without torch: the member engine.safetensors of model.pth
// (deploy/engine_data.py writes it). Standard types only.
#pragma once

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
  double energy_tolerance = 0.0;                                            // eV
  double gradient_tolerance = 0.0;                                          // eV/Angstrom
  double float32_energy_tolerance = 0.0, float32_gradient_tolerance = 0.0;  // of an evaluation in float32

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
  std::optional<FusedModel> fused;          // the merged model, of families that the fused evaluator knows
  double torchscript_bytes_per_edge = 0.0;  // temporaries of the scripted module
  double table_tolerance = 0.0;             // eV/Angstrom: how far the archive's tables may move an edge gradient
};

// Throws std::runtime_error: no such file, damaged (every member is held against its checksum), older or newer format.
ArchiveInfo read_archive(const std::string &path);

}  // namespace allegro_dist
