// LAMMPS neighbor list -> blocks of centers with their edges. Knows neither torch nor the engine's insides.
#pragma once

#include <vector>

#include "engine.hpp"

namespace LAMMPS_NS {
class NeighList;
}

namespace allegro_dist {

// The model's view of LAMMPS's types: which model type each one is, and how far an ordered pair sees.
struct TypeMap {
  int num_lammps_types = 0;
  std::vector<int> model_type;        // [num_lammps_types + 1], 1-based; -1: not handled here
  std::vector<double> cutoff_square;  // [(num_lammps_types + 1)^2], row = center, in LAMMPS's units
  double length_unit = 1.0;           // of LAMMPS, in Angstrom
};

// Walks a full neighbor list in blocks of at most max_edges edges (one center at least), so that memory and working
// set are bounded by the block and not by the system.
class EdgeBuilder {
 public:
  EdgeBuilder(const TypeMap &types, int max_edges) : types_(types), max_edges_(max_edges) {}

  void start(const LAMMPS_NS::NeighList &list, const double *const *x, const int *type);
  bool next();  // builds the next block; false at the end

  EdgeBlock block() const;
  const std::vector<int> &centers() const { return centers_; }      // local index of each center
  const std::vector<int> &neighbors() const { return neighbors_; }  // local or ghost index of each edge's neighbor

 private:
  void append_center(int center);

  const TypeMap &types_;
  int max_edges_;
  const LAMMPS_NS::NeighList *list_ = nullptr;
  const double *const *x_ = nullptr;
  const int *type_ = nullptr;
  int position_ = 0;
  std::vector<int> centers_, center_types_, offsets_, neighbors_, neighbor_types_;
  std::vector<double> vectors_;
};

}  // namespace allegro_dist
