// One compiled training step, forward and backward, as a program of its own: for machines that are emulated.
//     training_step DTYPE NUM_TYPES TRAIN_WAVENUMBERS < program, weights, graph, factors > results
// Input and results are arrays one after another, in the machine's own numbers; arm.py has them in the same order.
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>

#include "arrays.hpp"

// training_api.cpp
extern "C" {
struct TrainingStep;
struct TrainingTape;
TrainingStep *allegro_dist_training_open(const char *program, long program_size, int num_types, const char *dtype,
                                         const char *instruction_set, int num_threads, int train_wavenumbers,
                                         char *message, int size);
TrainingTape *allegro_dist_training_forward(TrainingStep *step, const void *weights, int num_atoms, int num_edges,
                                            const std::int64_t *atom_types, int num_present,
                                            const std::int64_t *present, const std::int64_t *edge_index,
                                            const void *edge_vectors, double *energy, void *edge_gradient,
                                            char *message, int size);
int allegro_dist_training_backward(TrainingStep *step, TrainingTape *tape, const void *weights,
                                   const double *energy_factors, const void *edge_factors, void *weight_gradient,
                                   char *message, int size);
}

namespace {

char message[4096];

template <class Real>
void run(const char *dtype, int num_types, int train_wavenumbers) {
  const auto sizes = read_array<std::int64_t>(5);
  const auto num_weights = sizes[1], num_atoms = sizes[2], num_edges = sizes[3], num_present = sizes[4];
  const auto program = read_array<char>(sizes[0]);
  const auto weights = read_array<Real>(num_weights);
  const auto types = read_array<std::int64_t>(num_atoms), present = read_array<std::int64_t>(num_present);
  const auto edge_index = read_array<std::int64_t>(2 * num_edges);
  const auto vectors = read_array<Real>(3 * num_edges);
  const auto energy_factors = read_array<double>(num_atoms);
  const auto edge_factors = read_array<Real>(3 * num_edges);
  std::vector<double> energy(num_atoms);
  std::vector<Real> gradient(3 * num_edges), weight_gradient(num_weights);
  TrainingStep *const step = allegro_dist_training_open(program.data(), sizes[0], num_types, dtype, "auto", 1,
                                                        train_wavenumbers, message, sizeof(message));
  if (!step) throw std::runtime_error(message);
  TrainingTape *const tape = allegro_dist_training_forward(
      step, weights.data(), num_atoms, num_edges, types.data(), num_present, present.data(), edge_index.data(),
      vectors.data(), energy.data(), gradient.data(), message, sizeof(message));
  if (!tape || allegro_dist_training_backward(step, tape, weights.data(), energy_factors.data(), edge_factors.data(),
                                              weight_gradient.data(), message, sizeof(message)))
    throw std::runtime_error(message);
  write_array(energy);
  write_array(gradient);
  write_array(weight_gradient);
}

}  // namespace

int main(int argc, char **argv) try {
  if (argc != 4) throw std::invalid_argument("expected DTYPE NUM_TYPES TRAIN_WAVENUMBERS");
  const std::string dtype = argv[1];
  (dtype == "float32" ? run<float> : run<double>)(argv[1], std::stoi(argv[2]), std::stoi(argv[3]));
  return 0;
} catch (const std::exception &error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
