// Functions of the project's other libraries, which lie beside the one that includes this (internal linkage: each finds
// its own folder). They are loaded when they are wanted, and never unloaded.
#pragma once

#include <dlfcn.h>

#include <string>

namespace allegro_dist {
namespace {

struct FunctionBeside {
  void *function = nullptr;
  std::string file, failure;  // why there is no function
};

// `binding` is added to dlopen's RTLD_NOW | RTLD_LOCAL.
FunctionBeside function_beside(const std::string &library, const char *name, int binding = 0) {
  Dl_info info{};
  dladdr(reinterpret_cast<const void *>(&function_beside), &info);
  const std::string own = info.dli_fname ? info.dli_fname : "";
  const auto slash = own.rfind('/');
  FunctionBeside found;
  found.file = (slash == std::string::npos ? "." : own.substr(0, slash)) + "/" + library;
  void *const handle = dlopen(found.file.c_str(), RTLD_NOW | RTLD_LOCAL | binding);
  if (handle) found.function = dlsym(handle, name);
  if (found.function) return found;
  const char *const reason = dlerror();
  found.failure = reason ? reason : "unknown reason";
  return found;
}

}  // namespace
}  // namespace allegro_dist
