// How far the forces of a committee's members on each atom lie apart: sqrt(1/K sum_k |F_k - mean F|^2).
#pragma once

#include <algorithm>
#include <vector>

#include "committee.hpp"
#include "edge_builder.hpp"

namespace allegro_dist {

class ForceDeviation {
 public:
  void start(int num_members, int num_local, int num_ghosts);  // takes all memory that is needed
  void add_block(const EdgeBuilder &edges, const std::vector<Evaluation> &results);

  void set_forces(int member, const double *forces) {  // [num_atoms, 3]
    std::copy_n(forces, 3 * num_atoms_, force(member, 0));
  }

  // Force of one member on an atom, eV/Angstrom; the caller brings the ghosts' home between add_block and finish.
  double *force(int member, int atom) { return &forces_[3 * (static_cast<std::size_t>(member) * num_atoms_ + atom)]; }
  void finish(int num_local, double unit);  // unit: of the result, in eV/Angstrom

  double *per_atom() { return per_atom_.data(); }  // [num_local]; never null
  double memory_usage() const {
    return static_cast<double>(sizeof(double) * (forces_.capacity() + per_atom_.capacity()));
  }

 private:
  int num_members_ = 0;
  std::size_t num_atoms_ = 0;
  std::vector<double> forces_;  // [member, atom, 3]
  std::vector<double> per_atom_ = std::vector<double>(1);
};

}  // namespace allegro_dist
