# LibTorch::LibTorch from CMAKE_PREFIX_PATH (or LIBTORCH_ROOT), else from the Python package.
# torch's own TorchConfig.cmake is not used: of a CUDA build it demands a CUDA toolkit, which running on GPUs does not.
set(libtorch_roots "${LIBTORCH_ROOT}" "${PYTHON_TORCH_DIR}")
find_path(LIBTORCH_INCLUDE_DIR torch/csrc/api/include/torch/torch.h HINTS ${libtorch_roots} PATH_SUFFIXES include)
find_library(LIBTORCH_CPU_LIBRARY torch_cpu HINTS ${libtorch_roots} PATH_SUFFIXES lib)
find_library(LIBTORCH_LIBRARY torch HINTS ${libtorch_roots} PATH_SUFFIXES lib)
find_library(LIBTORCH_C10_LIBRARY c10 HINTS ${libtorch_roots} PATH_SUFFIXES lib)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LIBTORCH_LIBRARY LIBTORCH_CPU_LIBRARY LIBTORCH_C10_LIBRARY LIBTORCH_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "install torch for ${Python_EXECUTABLE}, or add your libtorch to CMAKE_PREFIX_PATH")

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  get_filename_component(LIBTORCH_LIBRARY_DIR "${LIBTORCH_LIBRARY}" DIRECTORY)
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  target_include_directories(LibTorch::LibTorch SYSTEM INTERFACE
    "${LIBTORCH_INCLUDE_DIR}" "${LIBTORCH_INCLUDE_DIR}/torch/csrc/api/include")
  # libtorch.so only pulls in libtorch_cuda.so where there is one, so the linker must not drop it as unused.
  target_link_libraries(LibTorch::LibTorch INTERFACE
    "-Wl,--no-as-needed" "${LIBTORCH_LIBRARY}" "-Wl,--as-needed" "${LIBTORCH_CPU_LIBRARY}" "${LIBTORCH_C10_LIBRARY}")
endif()
