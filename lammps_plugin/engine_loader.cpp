// liblammps exports a reference BLAS and LAPACK of its own (dgemm_, dtrsm_, ...) and brings its own OpenMP runtime.
// The names are those that libtorch exports too, and LAMMPS's come first in the loader's order: torch's float64 matrix
// products would run in the reference code, several times slower. So torch is not linked to the plugin but loaded
// from here with RTLD_DEEPBIND, which makes it look among its own libraries first.
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

// A program that uses C++ streams may hold the process's only initialized copy of them; a library bound deeply would
// write to the other one and crash.
bool streams_are_shared() {
  void *const library = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_NOLOAD);
  if (!library) return false;
  const bool shared = dlsym(RTLD_DEFAULT, "_ZSt4cerr") == dlsym(library, "_ZSt4cerr") &&
                      dlsym(RTLD_DEFAULT, "_ZSt4cout") == dlsym(library, "_ZSt4cout");
  dlclose(library);
  return shared;
}

using OpenEngine = decltype(&allegro_dist_open_engine);

OpenEngine find_open_engine() {
  const std::string file = own_folder() + "/" + engine_library;
  void *const library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | (streams_are_shared() ? RTLD_DEEPBIND : 0));
  void *const symbol = library ? dlsym(library, "allegro_dist_open_engine") : nullptr;
  if (!symbol) {
    const char *const reason = dlerror();
    throw std::runtime_error("the engine '" + file + "' cannot be loaded (" + (reason ? reason : "unknown reason") +
                             "); build allegro_dist again for the torch that is installed now");
  }
  return reinterpret_cast<OpenEngine>(symbol);
}

}  // namespace

std::unique_ptr<Engine> load_engine(const std::string &path, const EngineOptions &options) {
  static const OpenEngine open_engine = find_open_engine();
  return std::unique_ptr<Engine>(open_engine(path.c_str(), &options));
}

}  // namespace allegro_dist
