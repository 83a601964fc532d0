"""ASE calculator over a pair style of LAMMPS's own, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ase.calculators.calculator import Calculator

from allegro_dist.simulate.lammps_runtime import import_lammps


def lammps_calculator(commands: Sequence[str], **settings: Any) -> Calculator:
    """ASE's LAMMPSlib, on this rank alone.

    Args:
        commands: such as `pair_style` and `pair_coeff`.
        settings: what else LAMMPSlib takes.
    """
    from ase.calculators.lammpslib import LAMMPSlib
    from mpi4py import MPI

    import_lammps()
    defaults: dict[str, Any] = {"log_file": "log.lammps", "comm": MPI.COMM_SELF}
    calculator: Calculator = LAMMPSlib(lmpcmds=list(commands), **{**defaults, **settings})
    return calculator
