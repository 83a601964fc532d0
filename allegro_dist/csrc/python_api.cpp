// The engine for Python's ctypes (allegro_dist/engine.py): plain functions, no exception crosses.
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>

#include "engine.hpp"

#define ALLEGRO_EXPORT extern "C" __attribute__((visibility("default")))

using allegro_dist::Engine;

namespace {

void write_message(char *buffer, int size, const char *text) {
  std::snprintf(buffer, size, "%s", text);
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
    engine->evaluate({num_centers, center_types, edge_offsets, edge_vectors, neighbor_types}, atomic_energy,
                     edge_gradient);
    return 0;
  } catch (const std::exception &error) {
    write_message(message, size, error.what());
    return 1;
  }
}
