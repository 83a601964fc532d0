/* -*- c++ -*- ----------------------------------------------------------
   Pair style allegro: runs an allegro_dist archive in LAMMPS.

     pair_style allegro [device auto|cpu|cuda|cuda:N] [evaluator auto|fused|torchscript] [block N]
                        [memory SIZE] [committee mean|first]
     pair_coeff * * model.pth [another.pth ...] Si O ...

   This file derives from LAMMPS's class Pair and is distributed under the
   GNU General Public License, version 2; see LICENSE in this directory.
------------------------------------------------------------------------- */
#ifndef LMP_PAIR_ALLEGRO_H
#define LMP_PAIR_ALLEGRO_H

#include "pair.h"

#include <string>
#include <vector>

#include "committee.hpp"
#include "edge_builder.hpp"
#include "force_deviation.hpp"
#include "pair_options.hpp"
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
  int pack_reverse_comm(int, int, double *) override;
  void unpack_reverse_comm(int, int *, double *) override;
  void *extract(const char *, int &) override;
  void *extract_peratom(const char *, int &);  // overrides; LAMMPS of 2022 has nothing to override
  double memory_usage() override;

 private:
  struct Slot {  // one block, and what became of it
    allegro_dist::EdgeBuilder edges;
    std::vector<allegro_dist::Evaluation> results;  // of each member of the committee
    allegro_dist::Evaluation mean;
    std::string failure;
  };

  void allocate();
  void deallocate();
  void open_archives(const std::vector<std::string> &paths);
  void map_types(int num_elements, char **names);
  void report(int member) const;
  void bound_memory();
  long listed_at_once() const;
  std::string evaluate(bool wants_deviation);
  std::string run_blocks(bool wants_deviation);
  std::string run_list(bool wants_deviation);
  void evaluate_block(int begin, int end, int worker, Slot &slot) const;
  void add_block(const Slot &slot);
  allegro_dist::ListedAtoms listed_atoms();
  void add_results(const allegro_dist::ListedAtoms &atoms, const allegro_dist::AtomResults &results, double weight);
  void add_virial(int center, int neighbor, const double *r, const double *g);
  void finish_deviation();
  void end_run();

  allegro_dist::PairOptions options_;
  double memory_ = 0.0;  // bytes that blocks, or lists on a GPU, may take; 0: no limit
  allegro_dist::Committee committee_;
  allegro_dist::TypeMap types_;
  allegro_dist::Units units_;  // of this run, which update knows
  int absent_mask_ = 0;        // group bits of atoms that only LAMMPS's bookkeeping knows
  std::vector<Slot> slots_;
  std::vector<int> centers_;          // of the list, in the order in which blocks take them
  std::vector<int> present_centers_;  // of the list, where some are absent
  bigint list_build_ = -1;            // of LAMMPS's builds, the one whose list the engine has; -1: none

  allegro_dist::ForceDeviation deviation_;
  int deviation_flag_ = 0;  // set by fix pair at steps when it wants the deviations
  int sending_member_ = 0;
  double largest_and_mean_deviation_[2] = {};  // on the first rank, zero on the others: compute pair sums over ranks
};

}  // namespace LAMMPS_NS

#endif
