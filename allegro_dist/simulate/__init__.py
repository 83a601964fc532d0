"""Running a deployed model: in LAMMPS, from settings to a finished simulation, and in ASE.

    from allegro_dist.simulate import Npt, Nvt, SimulationConfig, StructureSettings, read_folder, simulate

    folder = simulate(SimulationConfig(
        structure=StructureSettings(file="silicon.cif", replicate=(5, 5, 5), temperature=600),
        model="si.pth",
        stages=(Nvt(temperature=(300, 600), steps=10_000), Npt(temperature=600, steps=50_000)),
    ))
    run = read_folder(folder)   # settings, stages, thermo.csv as arrays, frames

    from allegro_dist.simulate import AllegroCalculator
    atoms.calc = AllegroCalculator("si.pth")

`allegro-dist simulate --print-config` shows all settings; docs/simulation.md says what a simulation leaves.

Names are loaded when first used: LAMMPS's own start script imports lammps_runtime and must not wait for torch.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allegro_dist.simulate.calculator import AllegroCalculator
    from allegro_dist.simulate.checkpoint import SimulationError
    from allegro_dist.simulate.driver import Stopped, simulate
    from allegro_dist.simulate.folder import Simulation, read_folder
    from allegro_dist.simulate.settings import (
        Deform,
        Langevin,
        Minimize,
        Nph,
        Npt,
        Nve,
        Nvt,
        RecordSettings,
        SimulationConfig,
        StructureSettings,
        TrajectorySettings,
    )

__all__ = [
    "AllegroCalculator",
    "Deform",
    "Langevin",
    "Minimize",
    "Nph",
    "Npt",
    "Nve",
    "Nvt",
    "RecordSettings",
    "Simulation",
    "SimulationConfig",
    "SimulationError",
    "Stopped",
    "StructureSettings",
    "TrajectorySettings",
    "read_folder",
    "simulate",
]
_MODULES = ("settings", "checkpoint", "folder", "driver", "calculator")  # what takes longest to import comes last


def __getattr__(name: str) -> Any:
    for module in map(_import, _MODULES if name in __all__ else ()):
        if hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _import(module: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{module}")
