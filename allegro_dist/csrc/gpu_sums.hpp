// What a chunk's edge gradients add to atoms: forces and virials of centers and neighbors, ghosts included, energies,
// totals.
//
// Blocks of threads add to the same atoms at any time. Sums of floating-point numbers would depend on who comes first;
// these are integers, so every run gives the same bits: a number is a multiple of a coarse unit and, for the rest, of a
// fine one. Together they hold what a double holds, up to 7e13; what is larger is refused by the center it comes from.
#pragma once

#include <cmath>
#include <cstdint>

#include "gpu_edges.hpp"
#include "zbl.hpp"

namespace allegro_dist {
namespace {

constexpr double coarse_unit = 1.0 / (1 << 16), fine_unit = coarse_unit / (std::int64_t(1) << 40);
constexpr double largest_sum = 4.6e18;  // coarse units: 2^62

// One or several numbers for each atom. Null where not asked for.
struct SumsInParts {
  std::int64_t *coarse, *fine;

  ALLEGRO_DEVICE void add(long k, double value) const {
    const double units = rint(value / coarse_unit);
    if (!(fabs(units) <= largest_sum)) return;  // a failure, reported elsewhere
    gpu::add(coarse + k, static_cast<std::int64_t>(units));
    gpu::add(fine + k, static_cast<std::int64_t>(rint((value - units * coarse_unit) / fine_unit)));
  }
};

// Components of edge gradients that cannot overflow sums of forces and virials, if an atom is in so many edges at most.
inline double largest_gradient(int edges_of_an_atom, double longest_edge) {
  return largest_sum * coarse_unit / (std::max(1, edges_of_an_atom) * std::max(1.0, longest_edge));
}

constexpr int num_totals = 7;  // energy, virial xx yy zz xy xz yz
enum Failure { not_finite, too_large, num_failures };

struct DeviceSums {
  // as edges are given: null where a neighbor list is
  double *gradient;  // [edge, 3]
  // sums over atoms
  SumsInParts forces, virials, centroid_virials;  // [atom, 3], [atom, 6], [atom, 9]
  double *totals;                                 // [block of threads, num_totals]
  double largest_gradient;
  // of every center
  double *energy;    // [num_centers]
  int *num_edges;    // [num_centers]
  int *failures;     // [num_failures] the first center with it
  int first_center;  // of the list's: centers are counted from here
  // the model's
  const double *shift, *charges, *inverse_cutoffs;  // charges null: no ZBL
  int num_model_types, zbl_power;
};

template <class Team>
class ChunkSums {
 public:
  ALLEGRO_DEVICE ChunkSums(const DeviceCenters &in, const DeviceSums &out, const EdgeWorkspace &work, const Team &team)
      : in_(in), out_(out), w_(work), team_(team) {}

  // Centers first .. first + num_atoms - 1, by the block of threads with this number.
  ALLEGRO_DEVICE void add(int first, int num_atoms, int block) const {
    const int num_edges = w_.offsets[num_atoms];
    if (out_.charges) repel(num_atoms);
    finish_energies(first, num_atoms);
    if (out_.gradient) {
      team_.each(3 * num_edges, [&](int k) { out_.gradient[3L * w_.neighbors[k / 3] + k % 3] = w_.gradient[k]; });
      return;
    }
    check(first, num_atoms);
    add_to_neighbors(num_edges);
    add_to_centers(first, num_atoms);
    add_to_totals(num_atoms, block);
  }

 private:
  // ZBL.
  ALLEGRO_DEVICE void repel(int num_atoms) const {
    each_edge(num_atoms, [&](int a, int e) {
      w_.pair_energy[e] = 0.0;
      add_zbl(w_.types[a], out_.num_model_types, out_.charges, out_.inverse_cutoffs, out_.zbl_power, 1,
              w_.vectors + 3 * e, w_.neighbor_types + e, w_.pair_energy[e], w_.gradient + 3 * e);
    });
  }

  // body(atom, edge)
  template <class Body>
  ALLEGRO_DEVICE void each_edge(int num_atoms, const Body &body) const {
    team_.each(num_atoms * list_readers, [&](int item) {
      const int a = item / list_readers;
      for (int e = w_.offsets[a] + item % list_readers; e < w_.offsets[a + 1]; e += list_readers) body(a, e);
    });
  }

  ALLEGRO_DEVICE void finish_energies(int first, int num_atoms) const {
    team_.each(num_atoms, [&](int a) {
      const bool is_ours = type_of_center(in_, first + a) >= 0;
      double energy = is_ours ? w_.energy[a] + out_.shift[w_.types[a]] : 0.0;
      if (out_.charges)
        for (int e = w_.offsets[a]; e < w_.offsets[a + 1]; ++e) energy += w_.pair_energy[e];
      w_.energy[a] = energy;
      out_.energy[out_.first_center + first + a] = energy;
      out_.num_edges[out_.first_center + first + a] = w_.offsets[a + 1] - w_.offsets[a];
    });
  }

  ALLEGRO_DEVICE void check(int first, int num_atoms) const {
    team_.each(num_atoms, [&](int a) {
      const int center = out_.first_center + first + a;
      if (!(fabs(w_.energy[a]) < HUGE_VAL)) gpu::lower(out_.failures + not_finite, center);
    });
    each_edge(num_atoms, [&](int a, int e) {
      for (int d = 0; d < 3; ++d) {
        const double size = fabs(w_.gradient[3 * e + d]);
        if (size <= out_.largest_gradient) continue;
        gpu::lower(out_.failures + (size < HUGE_VAL ? too_large : not_finite), out_.first_center + first + a);
      }
    });
  }

  // Component k of - r (x) g, in the order xx yy zz xy xz yz yx zx zy.
  ALLEGRO_DEVICE double virial(int e, int k) const {
    const int row = k < 3 ? k : k < 5 ? 0 : k == 5 || k == 6 ? 1 : 2;
    const int column = k < 3 ? k : k == 3 ? 1 : k == 4 || k == 5 ? 2 : k == 8 ? 1 : 0;
    return -w_.vectors[3 * e + row] * w_.gradient[3 * e + column];
  }
  ALLEGRO_DEVICE double symmetric_virial(int e, int k) const {
    return k < 3 ? virial(e, k) : 0.5 * (virial(e, k) + virial(e, k + 3));
  }

  ALLEGRO_DEVICE void add_to_neighbors(int num_edges) const {
    team_.each(3 * num_edges, [&](int k) { out_.forces.add(3L * w_.neighbors[k / 3] + k % 3, -w_.gradient[k]); });
    if (out_.virials.coarse)
      team_.each(6 * num_edges, [&](int item) {
        const int e = item / 6, k = item % 6;
        out_.virials.add(6L * w_.neighbors[e] + k, 0.5 * symmetric_virial(e, k));
      });
    if (out_.centroid_virials.coarse)
      team_.each(9 * num_edges, [&](int item) {
        const int e = item / 9, k = item % 9;
        out_.centroid_virials.add(9L * w_.neighbors[e] + k, virial(e, k));
      });
  }

  ALLEGRO_DEVICE void add_to_centers(int first, int num_atoms) const {
    team_.each(9 * num_atoms, [&](int item) {
      const int a = item / 9, k = item % 9;
      const long atom = in_.centers[first + a];
      double sum = 0.0;
      if (k < 3) {
        for (int e = w_.offsets[a]; e < w_.offsets[a + 1]; ++e) sum += w_.gradient[3 * e + k];
        out_.forces.add(3 * atom + k, sum);
        return;
      }
      for (int e = w_.offsets[a]; e < w_.offsets[a + 1]; ++e) sum += symmetric_virial(e, k - 3);
      w_.virial[6 * a + k - 3] = sum;
      if (out_.virials.coarse) out_.virials.add(6 * atom + k - 3, 0.5 * sum);
    });
  }

  // In the order of the block's chunks: the same in every run on GPUs alike.
  ALLEGRO_DEVICE void add_to_totals(int num_atoms, int block) const {
    team_.each(num_totals, [&](int k) {
      double total = 0.0;
      for (int a = 0; a < num_atoms; ++a) total += k ? w_.virial[6 * a + k - 1] : w_.energy[a];
      out_.totals[num_totals * block + k] += total;
    });
  }

  const DeviceCenters &in_;
  const DeviceSums &out_;
  const EdgeWorkspace &w_;
  const Team &team_;
};

// Both parts -> numbers, in the place of the coarse ones.
struct JoinParts {
  SumsInParts sums;
  std::int64_t count;

  ALLEGRO_DEVICE void operator()(const gpu::Team &team, int block, int num_blocks) const {
    const std::int64_t begin = count * block / num_blocks, end = count * (block + 1) / num_blocks;
    team.each(static_cast<int>(end - begin), [&](int k) {
      std::int64_t *const place = sums.coarse + begin + k;
      const double value =
          static_cast<double>(*place) * coarse_unit + static_cast<double>(sums.fine[begin + k]) * fine_unit;
      memcpy(place, &value, sizeof value);
    });
  }
};

}  // namespace
}  // namespace allegro_dist
