// Evaluates a block of centers by the engine, as a program of its own: for machines that are emulated.
//     evaluate_block ARCHIVE DTYPE TABLE_INTERVALS < block > results
// Block and results are arrays one after another, in the machine's own numbers; arm.py has them in the same order.
#include <cstdio>
#include <exception>
#include <memory>
#include <string>

#include "arrays.hpp"
#include "engine.hpp"

int main(int argc, char **argv) try {
  allegro_dist::EngineOptions options;
  if (argc != 4) throw std::invalid_argument("expected ARCHIVE DTYPE TABLE_INTERVALS");
  options.device = "cpu";
  options.dtype = argv[2];
  options.table_intervals = std::stoi(argv[3]);
  const std::unique_ptr<allegro_dist::Engine> engine(allegro_dist_open_engine(argv[1], &options));
  const int num_centers = read_array<int>(1)[0], num_edges = read_array<int>(1)[0];
  const auto types = read_array<int>(num_centers), offsets = read_array<int>(num_centers + 1);
  const auto vectors = read_array<double>(3 * num_edges);
  const auto neighbors = read_array<int>(num_edges);
  std::vector<double> energy(num_centers), gradient(3 * num_edges);
  engine->evaluate({num_centers, types.data(), offsets.data(), vectors.data(), neighbors.data()}, 0, energy.data(),
                   gradient.data());
  write_array(energy);
  write_array(gradient);
  std::fprintf(stderr, "%s", engine->evaluator().c_str());
  return 0;
} catch (const std::exception &error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
