// Loads the library of the TorchScript evaluator, and with it torch, when it is asked for.
//
// liblammps exports a reference BLAS and LAPACK of its own (dgemm_, dtrsm_, ...). The names are those that libtorch
// exports too, and LAMMPS's come first in the loader's order: torch's float64 matrix products would run in the
// reference code, several times slower. RTLD_DEEPBIND makes torch look among its own libraries first.
#include <dlfcn.h>

#include <stdexcept>
#include <string>

#include "evaluator.hpp"
#include "library_beside.hpp"

namespace allegro_dist {
namespace {

using MakeEvaluator = Evaluator *(*)(const char *path, const EngineOptions *options, int num_types,
                                     double bytes_per_edge);

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

MakeEvaluator find_make_evaluator() {
  const auto found = function_beside("liballegro_torchscript.so", "allegro_dist_make_torchscript_evaluator",
                                     streams_are_shared() ? RTLD_DEEPBIND : 0);
  if (!found.function)
    throw std::runtime_error("evaluator torchscript needs '" + found.file + "', which cannot be loaded (" +
                             found.failure +
                             "); build allegro_dist where torch is installed, and again when torch changes");
  return reinterpret_cast<MakeEvaluator>(found.function);
}

}  // namespace

std::unique_ptr<Evaluator> load_torchscript_evaluator(const std::string &path, const EngineOptions &options,
                                                      int num_types, double bytes_per_edge) {
  static const MakeEvaluator make_evaluator = find_make_evaluator();
  return std::unique_ptr<Evaluator>(make_evaluator(path.c_str(), &options, num_types, bytes_per_edge));
}

}  // namespace allegro_dist
