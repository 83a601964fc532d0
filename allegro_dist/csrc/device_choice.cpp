// EngineOptions::device, for the engine and for the TorchScript library.
#include <sstream>
#include <stdexcept>

#include "evaluator.hpp"

namespace allegro_dist {
namespace {

constexpr int num_emulated_gpus = 4;  // more than one, so that tests see how ranks are spread

}  // namespace

DeviceChoice choose_device(const EngineOptions &options, int num_gpus) {
  const std::string &name = options.device;
  if (name == "cpu" || (name == "auto" && num_gpus == 0)) return {DeviceChoice::cpu, 0};
  if (name == "emulated") return {DeviceChoice::emulated, options.local_rank % num_emulated_gpus};
  int index = num_gpus ? options.local_rank % num_gpus : 0;
  if (name.rfind("cuda:", 0) == 0) {
    std::istringstream number(name.substr(5));
    if (!(number >> index) || !number.eof() || index < 0)
      throw std::invalid_argument("device '" + name + "': expected auto, cpu, cuda or cuda:N");
  } else if (name != "auto" && name != "cuda") {
    throw std::invalid_argument("device '" + name + "': expected auto, cpu, cuda or cuda:N");
  }
  if (index >= num_gpus)
    throw std::invalid_argument("device '" + name + "' asked for, but this process sees " + std::to_string(num_gpus) +
                                " CUDA devices");
  return {DeviceChoice::cuda, index};
}

}  // namespace allegro_dist
