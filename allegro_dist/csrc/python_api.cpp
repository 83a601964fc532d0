// The engine for Python's ctypes (allegro_dist/engine.py): plain functions, no exception crosses.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine.hpp"

#define ALLEGRO_EXPORT extern "C" __attribute__((visibility("default")))

using allegro_dist::EdgeBlock;
using allegro_dist::Engine;

namespace {

void write_message(char *buffer, int size, const char *text) {
  std::snprintf(buffer, size, "%s", text);
}

void require_type(const char *what, int index, int type, int num_types) {
  if (type < 0 || type >= num_types)
    throw std::invalid_argument(std::string(what) + "[" + std::to_string(index) + "] is " + std::to_string(type) +
                                ", expected 0 to " + std::to_string(num_types - 1));
}

// Evaluators index memory by these and trust their caller: the pair style builds valid blocks, a script may not.
void require_valid(const EdgeBlock &block, int num_types) {
  for (int i = 0; i < block.num_centers; ++i) {
    require_type("center_types", i, block.center_types[i], num_types);
    if (block.edge_offsets[i + 1] < block.edge_offsets[i])
      throw std::invalid_argument("edge_offsets decrease from " + std::to_string(block.edge_offsets[i]) + " to " +
                                  std::to_string(block.edge_offsets[i + 1]) + " at center " + std::to_string(i));
  }
  for (int e = 0; e < block.num_edges(); ++e) require_type("neighbor_types", e, block.neighbor_types[e], num_types);
}

// Each worker takes a run of centers with its share of the edges.
void evaluate_by_all_workers(Engine &engine, const EdgeBlock &block, double *atomic_energy, double *edge_gradient) {
  const int num_workers = engine.num_workers();
  const int *const offsets = block.edge_offsets, *const end = offsets + block.num_centers;
  std::vector<std::exception_ptr> failures(num_workers);
#pragma omp parallel for num_threads(num_workers) schedule(static, 1)
  for (int w = 0; w < num_workers; ++w) {
    const auto first_center = [&](int worker) {
      const long share = static_cast<long>(block.num_edges()) * worker / num_workers;
      return worker == num_workers ? block.num_centers
                                   : static_cast<int>(std::lower_bound(offsets, end, share) - offsets);
    };
    const int first = first_center(w), count = first_center(w + 1) - first, edge = offsets[first];
    try {
      std::vector<int> own_offsets(offsets + first, offsets + first + count + 1);
      for (int &offset : own_offsets) offset -= edge;
      engine.evaluate({count, block.center_types + first, own_offsets.data(), block.edge_vectors + 3L * edge,
                       block.neighbor_types + edge},
                      w, atomic_energy + first, edge_gradient + 3L * edge);
    } catch (...) {
      failures[w] = std::current_exception();
    }
  }
  for (const auto &failure : failures)
    if (failure) std::rethrow_exception(failure);
}

}  // namespace

// Null on failure, with the reason in `message`; *invalid says that an option was to blame.
ALLEGRO_EXPORT Engine *allegro_dist_engine_open(const char *path, const char *device, int num_threads,
                                                const char *evaluator, const char *instruction_set, const char *dtype,
                                                int table_intervals, char *message, int size, int *invalid) {
  *invalid = 0;
  try {
    allegro_dist::EngineOptions options;
    options.device = device;
    options.num_threads = num_threads;
    options.evaluator = evaluator;
    options.instruction_set = instruction_set;
    options.dtype = dtype;
    options.table_intervals = table_intervals;
    return allegro_dist::open_engine(path, options).release();
  } catch (const std::invalid_argument &error) {
    *invalid = 1;
    write_message(message, size, error.what());
  } catch (const std::exception &error) {
    write_message(message, size, error.what());
  } catch (...) {
    write_message(message, size, "unknown error");
  }
  return nullptr;
}

ALLEGRO_EXPORT void allegro_dist_engine_close(Engine *engine) {
  delete engine;
}

ALLEGRO_EXPORT const char *allegro_dist_engine_evaluator(const Engine *engine) {
  return engine->evaluator().c_str();
}

// 0, or 1 with the reason in `message`.
ALLEGRO_EXPORT int allegro_dist_engine_evaluate(Engine *engine, int num_centers, const int *center_types,
                                                const int *edge_offsets, const double *edge_vectors,
                                                const int *neighbor_types, double *atomic_energy, double *edge_gradient,
                                                char *message, int size) {
  try {
    const EdgeBlock block{num_centers, center_types, edge_offsets, edge_vectors, neighbor_types};
    require_valid(block, static_cast<int>(engine->type_names().size()));
    evaluate_by_all_workers(*engine, block, atomic_energy, edge_gradient);
    return 0;
  } catch (const std::exception &error) {
    write_message(message, size, error.what());
  } catch (...) {
    write_message(message, size, "unknown error");
  }
  return 1;
}
