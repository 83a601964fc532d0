#include "engine_loader.hpp"

#include <stdexcept>

#include "library_beside.hpp"

namespace allegro_dist {
namespace {

using OpenEngine = decltype(&allegro_dist_open_engine);

OpenEngine find_open_engine() {
  const auto found = function_beside("liballegro_engine.so", "allegro_dist_open_engine");
  if (!found.function)
    throw std::runtime_error("the engine '" + found.file + "' cannot be loaded (" + found.failure +
                             "); build or install allegro_dist again");
  return reinterpret_cast<OpenEngine>(found.function);
}

}  // namespace

std::unique_ptr<Engine> load_engine(const std::string &path, const EngineOptions &options) {
  static const OpenEngine open_engine = find_open_engine();
  return std::unique_ptr<Engine>(open_engine(path.c_str(), &options));
}

}  // namespace allegro_dist
