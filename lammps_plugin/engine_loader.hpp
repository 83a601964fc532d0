// Loads the engine's library, which lies beside the plugin, when the first archive is opened.
#pragma once

#include <memory>
#include <string>

#include "engine.hpp"

namespace allegro_dist {

// As open_engine. Throws std::runtime_error also when the library cannot be loaded.
std::unique_ptr<Engine> load_engine(const std::string &path, const EngineOptions &options);

}  // namespace allegro_dist
