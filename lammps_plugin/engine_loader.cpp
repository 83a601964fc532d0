#include "engine_loader.hpp"

#include <dlfcn.h>

#include <stdexcept>

namespace allegro_dist {
namespace {

constexpr const char *engine_library = "liballegro_engine.so";

std::string own_folder() {
  Dl_info info{};
  dladdr(reinterpret_cast<const void *>(&own_folder), &info);
  const std::string file = info.dli_fname ? info.dli_fname : "";
  const auto slash = file.rfind('/');
  return slash == std::string::npos ? "." : file.substr(0, slash);
}

using OpenEngine = decltype(&allegro_dist_open_engine);

OpenEngine find_open_engine() {
  const std::string file = own_folder() + "/" + engine_library;
  void *const library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  void *const symbol = library ? dlsym(library, "allegro_dist_open_engine") : nullptr;
  if (!symbol) {
    const char *const reason = dlerror();
    throw std::runtime_error("the engine '" + file + "' cannot be loaded (" + (reason ? reason : "unknown reason") +
                             "); build or install allegro_dist again");
  }
  return reinterpret_cast<OpenEngine>(symbol);
}

}  // namespace

std::unique_ptr<Engine> load_engine(const std::string &path, const EngineOptions &options) {
  static const OpenEngine open_engine = find_open_engine();
  return std::unique_ptr<Engine>(open_engine(path.c_str(), &options));
}

}  // namespace allegro_dist
