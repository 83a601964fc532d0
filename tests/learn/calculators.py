"""Calculators that fail in the ways that real ones do, by module:Class."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

WAITS = "import os, time; open('program.pid', 'w').write(str(os.getpid())); time.sleep(60)"
"""A program that a calculator starts, as Quantum ESPRESSO's does."""


class Faulty(Calculator):
    """Effective medium theory with a fault."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]  # type: ignore[misc]

    def __init__(self, fault: str = "", seconds: float = 0.0) -> None:
        super().__init__()
        self.fault, self.seconds = fault, seconds

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        time.sleep(self.seconds)
        if self.fault == "error":
            raise RuntimeError("the density\ndid not converge")
        if self.fault == "program":
            subprocess.check_call([sys.executable, "-c", WAITS])
        if self.fault == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        bare = self.atoms.copy()
        bare.calc = EMT()
        self.results = {"energy": bare.get_potential_energy(), "forces": bare.get_forces()}
        if self.fault == "not finite":
            self.results["forces"] = np.full((len(bare), 3), np.nan)
        if self.fault == "not converged":
            self.results["converged"] = False
        if self.fault == "free energy":
            self.results["free_energy"] = self.results["energy"] - 1.0
