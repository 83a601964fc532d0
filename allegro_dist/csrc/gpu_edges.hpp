// Edges built on the device, chunk by chunk: each block of threads walks through its share of the centers, looks which
// listed neighbors of the next few are within the cutoff, takes as many centers as its workspace holds, and writes
// their edges there, in the order of the list.
//
// What is read by all threads between two phases (the chunk's size) is written in a phase before, and not in the next.
#pragma once

#include <cstdint>

#include "fused_kernel.hpp"
#include "gpu_runtime.hpp"

namespace allegro_dist {
namespace {

// A chunk's rows take about 4 kB per edge; those of all resident blocks together should fit the L2 cache (50 MB).
constexpr int chunk_edges = 96, chunk_atoms = 32;
constexpr int list_readers = 32;  // threads that share a center's listed neighbors

// What the centers see, in device memory: a neighbor list, or edges as the caller built them.
struct DeviceCenters {
  int num_centers;
  const std::int64_t *offsets;  // [num_centers + 1] into the listed neighbors, or into the edges
  // a neighbor list: positions and types of the caller, to be turned into the model's
  const int *centers, *neighbors;  // [num_centers], [listed] atoms
  const double *positions;         // [atom, 3]
  const int *types;                // [atom]
  const int *model_type;           // [num_types]
  const double *cutoff_square;     // [num_types^2]
  int num_types;
  double length_unit;
  // edges as they are, or null
  const double *vectors;                     // [edge, 3]
  const int *center_types, *neighbor_types;  // [num_centers], [edge] model types
};

// The edges of one chunk. One for each block of threads.
struct EdgeWorkspace {
  int *num_atoms;       // [1] centers of the chunk
  int *first_places;    // [chunk_atoms, list_readers] of a reader's edges among its center's
  int *offsets;         // [chunk_atoms + 1]
  int *types;           // [chunk_atoms] model types
  int *neighbors;       // [edge] atoms, or the caller's edges
  int *neighbor_types;  // [edge] model types
  double *vectors;      // [edge, 3] Angstrom
  double *gradient;     // [edge, 3]
  double *pair_energy;  // [edge] ZBL
  double *energy;       // [chunk_atoms]
  double *virial;       // [chunk_atoms, 6]
};

inline EdgeWorkspace make_edge_workspace(std::size_t edges, Arena &memory) {
  EdgeWorkspace work;
  work.num_atoms = memory.allocate<int>(1);
  work.first_places = memory.allocate<int>(chunk_atoms * list_readers);
  work.offsets = memory.allocate<int>(chunk_atoms + 1);
  work.types = memory.allocate<int>(chunk_atoms);
  work.neighbors = memory.allocate<int>(edges);
  work.neighbor_types = memory.allocate<int>(edges);
  work.vectors = memory.allocate<double>(3 * edges);
  work.gradient = memory.allocate<double>(3 * edges);
  work.pair_energy = memory.allocate<double>(edges);
  work.energy = memory.allocate<double>(chunk_atoms);
  work.virial = memory.allocate<double>(6 * chunk_atoms);
  return work;
}

// The first center of a block's share; shares are about equal in listed neighbors.
ALLEGRO_DEVICE int first_of_share(const DeviceCenters &in, int block, int num_blocks) {
  constexpr std::int64_t per_center = 8;  // a center's own work, in neighbors
  const std::int64_t all = in.offsets[in.num_centers] + per_center * in.num_centers;
  const std::int64_t before = all / num_blocks * block + all % num_blocks * block / num_blocks;
  int low = 0, high = in.num_centers;  // of the centers with so much before them or more, the first
  while (low < high) {
    const int middle = low + (high - low) / 2;
    if (in.offsets[middle] + per_center * middle < before)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

ALLEGRO_DEVICE int type_of_center(const DeviceCenters &in, int center) {
  return in.center_types ? in.center_types[center] : in.model_type[in.types[in.centers[center]]];
}

template <class Team>
class EdgeBuilder {
 public:
  ALLEGRO_DEVICE EdgeBuilder(const DeviceCenters &in, const EdgeWorkspace &work, const Team &team)
      : in_(in), w_(work), team_(team) {}

  // The edges of centers first .. , before `end`, as many as fit. Returns their number, one at least.
  ALLEGRO_DEVICE int build(int first, int end) const {
    const int num_candidates = candidates(first, end);
    count(first, num_candidates);
    place(num_candidates);
    const int num_atoms = *w_.num_atoms;
    fill(first, num_atoms);
    return num_atoms;
  }

 private:
  struct Neighbor {
    double x, y, z;  // from the center, in the caller's units
    int index;       // atom, or edge of the caller
    bool is_within;
  };

  // A center with more neighbors than all readers have is shared evenly.
  ALLEGRO_DEVICE std::int64_t begin_of(int center, int reader) const {
    const std::int64_t begin = in_.offsets[center];
    return begin + (in_.offsets[center + 1] - begin) * reader / list_readers;
  }

  ALLEGRO_DEVICE Neighbor look(int center, std::int64_t k) const {
    if (in_.vectors)
      return {in_.vectors[3 * k], in_.vectors[3 * k + 1], in_.vectors[3 * k + 2], static_cast<int>(k), true};
    const int i = in_.centers[center], j = in_.neighbors[k];
    const double *const from = in_.positions + 3L * i, *const to = in_.positions + 3L * j;
    const double x = to[0] - from[0], y = to[1] - from[1], z = to[2] - from[2];
    const double square = in_.cutoff_square[in_.types[i] * in_.num_types + in_.types[j]];
    return {x, y, z, j, x * x + y * y + z * z < square};
  }

  // Centers to look at: with a skin, a list is two or three times as long as there are edges.
  ALLEGRO_DEVICE int candidates(int first, int end) const {
    int count = 1;
    while (count < chunk_atoms && first + count < end &&
           in_.offsets[first + count + 1] - in_.offsets[first] <= 4 * chunk_edges)
      ++count;
    return count;
  }

  ALLEGRO_DEVICE void count(int first, int num_candidates) const {
    team_.each(num_candidates * list_readers, [&](int item) {
      const int center = first + item / list_readers, reader = item % list_readers;
      int count = 0;
      for (std::int64_t k = begin_of(center, reader); k < begin_of(center, reader + 1); ++k)
        count += look(center, k).is_within;
      w_.first_places[item] = count;
    });
  }

  ALLEGRO_DEVICE void place(int num_candidates) const {
    team_.each(num_candidates, [&](int a) {
      int place = 0;
      for (int reader = 0; reader < list_readers; ++reader) {
        int &first_place = w_.first_places[a * list_readers + reader];
        const int count = first_place;
        first_place = place;
        place += count;
      }
      w_.offsets[a + 1] = place;
    });
    team_.each(1, [&](int) {
      w_.offsets[0] = 0;
      int fitting = 0;
      for (int edges = 0; fitting < num_candidates; ++fitting) {
        edges += w_.offsets[fitting + 1];
        if (fitting && edges > chunk_edges) break;
        w_.offsets[fitting + 1] = edges;
      }
      *w_.num_atoms = fitting;
    });
  }

  ALLEGRO_DEVICE void fill(int first, int num_atoms) const {
    team_.each(num_atoms * list_readers, [&](int item) {
      const int a = item / list_readers, center = first + a, reader = item % list_readers;
      int e = w_.offsets[a] + w_.first_places[item];
      for (std::int64_t k = begin_of(center, reader); k < begin_of(center, reader + 1); ++k) {
        const Neighbor neighbor = look(center, k);
        if (!neighbor.is_within) continue;
        w_.vectors[3 * e] = neighbor.x * in_.length_unit;
        w_.vectors[3 * e + 1] = neighbor.y * in_.length_unit;
        w_.vectors[3 * e + 2] = neighbor.z * in_.length_unit;
        w_.neighbors[e] = neighbor.index;
        w_.neighbor_types[e] = in_.vectors ? in_.neighbor_types[k] : in_.model_type[in_.types[neighbor.index]];
        ++e;
      }
      // A center of another pair style's type has no edges, and no type of ours.
      if (reader == 0) w_.types[a] = type_of_center(in_, center) < 0 ? 0 : type_of_center(in_, center);
    });
  }

  const DeviceCenters &in_;
  const EdgeWorkspace &w_;
  const Team &team_;
};

}  // namespace
}  // namespace allegro_dist
