// The training step for Python's ctypes (allegro_dist/training/kernel.py): plain functions, no exception crosses.
#include <cstdio>
#include <exception>
#include <stdexcept>

#include "program_reader.hpp"
#include "training_step.hpp"

#define ALLEGRO_EXPORT extern "C" __attribute__((visibility("default")))

using allegro_dist::TrainingStep;
using allegro_dist::TrainingTape;

namespace {

// The result of `body`, or `failed` with the reason in `message`.
template <class Result, class Body>
Result guarded(char *message, int size, Result failed, const Body &body) {
  try {
    return body();
  } catch (const std::exception &error) {
    std::snprintf(message, size, "%s", error.what());
  } catch (...) {
    std::snprintf(message, size, "unknown error");
  }
  return failed;
}

}  // namespace

// `program` is the fused program in the safetensors format. Null on failure.
ALLEGRO_EXPORT TrainingStep *allegro_dist_training_open(const char *program, long program_size, int num_types,
                                                        const char *dtype, const char *instruction_set, int num_threads,
                                                        int train_wavenumbers, char *message, int size) {
  return guarded<TrainingStep *>(message, size, nullptr, [&] {
    const auto model = allegro_dist::read_program(
        allegro_dist::NamedTensors({program, static_cast<std::size_t>(program_size)}), num_types);
    if (!model) throw std::invalid_argument("there is no fused program");
    return make_training_step(*model, {dtype, instruction_set, num_threads, train_wavenumbers != 0}).release();
  });
}

ALLEGRO_EXPORT void allegro_dist_training_close(TrainingStep *step) {
  delete step;
}

ALLEGRO_EXPORT long allegro_dist_training_num_weights(const TrainingStep *step, int num_present) {
  return static_cast<long>(step->num_weights(num_present));
}

// The tape, or null on failure.
ALLEGRO_EXPORT TrainingTape *allegro_dist_training_forward(TrainingStep *step, const void *weights, int num_atoms,
                                                           int num_edges, const std::int64_t *atom_types,
                                                           int num_present, const std::int64_t *present,
                                                           const std::int64_t *edge_index, const void *edge_vectors,
                                                           double *energy, void *edge_gradient, char *message,
                                                           int size) {
  return guarded<TrainingTape *>(message, size, nullptr, [&] {
    return step->forward(
        weights,
        {num_atoms, num_edges, atom_types, num_present, present, edge_index, edge_index + num_edges, edge_vectors},
        energy, edge_gradient);
  });
}

// 0, or 1 on failure.
ALLEGRO_EXPORT int allegro_dist_training_backward(TrainingStep *step, TrainingTape *tape, const void *weights,
                                                  const double *energy_factors, const void *edge_factors,
                                                  void *weight_gradient, char *message, int size) {
  return guarded(message, size, 1, [&] {
    step->backward(tape, weights, energy_factors, edge_factors, weight_gradient);
    return 0;
  });
}

ALLEGRO_EXPORT void allegro_dist_training_give_back(TrainingStep *step, TrainingTape *tape) {
  step->give_back(tape);
}
