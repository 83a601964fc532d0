/* -*- c++ -*- ----------------------------------------------------------
   Pair style allegro: runs an allegro_dist archive in LAMMPS.

     pair_style allegro [device auto|cpu|cuda|cuda:N] [evaluator auto|fused|torchscript] [block N]
     pair_coeff * * model.pth Si O ...

   This file derives from LAMMPS's class Pair and is distributed under the
   GNU General Public License, version 2; see LICENSE in this directory.
------------------------------------------------------------------------- */
#ifndef LMP_PAIR_ALLEGRO_H
#define LMP_PAIR_ALLEGRO_H

#include "pair.h"

#include <memory>
#include <string>
#include <vector>

#include "edge_builder.hpp"
#include "engine.hpp"
#include "units.hpp"

namespace LAMMPS_NS {

class PairAllegro : public Pair {
 public:
  explicit PairAllegro(class LAMMPS *);
  ~PairAllegro() override;

  void settings(int, char **) override;
  void coeff(int, char **) override;
  void init_style() override;
  double init_one(int, int) override;
  void setup() override;
  void compute(int, int) override;
  double memory_usage() override;

 private:
  struct Slot {  // one block, and what became of it
    allegro_dist::EdgeBuilder edges;
    std::vector<double> energy, gradient;
    std::string failure;
  };

  void allocate();
  void require_special_neighbors();
  void open_archive(const std::string &path);
  void map_types(const std::string &path, int num_elements, char **names);
  void evaluate_block(int begin, int end, int worker, Slot &slot) const;
  std::string first_atom_not_finite(const Slot &slot) const;
  void add_block(const Slot &slot);
  void add_virial(int center, int neighbor, const double *r, const double *g);
  void report(const std::string &path) const;

  std::string device_ = "auto", evaluator_ = "auto";
  int block_edges_ = 0;  // 0: what the evaluator prefers
  std::unique_ptr<allegro_dist::Engine> engine_;
  allegro_dist::TypeMap types_;
  allegro_dist::Units units_;  // of this run, which update knows
  std::vector<Slot> slots_;
};

}  // namespace LAMMPS_NS

#endif
