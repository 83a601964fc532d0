"""Running a deployed model: in LAMMPS (lammps_runtime) and in ASE (calculator).

Names are loaded when first used: LAMMPS's own start script imports lammps_runtime and must not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allegro_dist.simulate.calculator import AllegroCalculator

__all__ = ["AllegroCalculator"]


def __getattr__(name: str) -> Any:
    if name == "AllegroCalculator":
        from allegro_dist.simulate.calculator import AllegroCalculator

        return AllegroCalculator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
