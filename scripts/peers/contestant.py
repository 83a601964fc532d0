"""What every peer's process does: hold a model, evaluate one crystal when asked, say how fast it was.

A peer is a program of this folder, run by the interpreter of an environment of its own:

    PYTHON scripts/peers/PEER.py MODE MODEL CELLS FOLDER

It keeps in FOLDER what takes long to make (compiled models), prints a line "ready ..." and then, for each line that it
reads, atom-steps per second of energies, forces and virial of 8 CELLS^3 atoms.  Neighbor lists are made once, before.
One thread, float32.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ase import Atoms
from ase.build import bulk


class Request(NamedTuple):
    """A peer's command line."""

    mode: str
    model: str
    cells: int
    folder: Path


def request() -> Request:
    mode, model, cells, folder = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Request(mode, model, int(cells), Path(folder))


def silicon(cells: int, elements: Sequence[str] = ("Si",)) -> Atoms:
    """The diamond crystal of the benchmark, 8 cells^3 atoms off their sites; the elements take turns."""
    atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat(cells)
    atoms.symbols[:] = [elements[k % len(elements)] for k in range(len(atoms))]
    atoms.rattle(0.05, seed=1)
    return atoms


def serve(evaluate: Callable[[], object], num_atoms: int, neighbors: float, repeats: int = 3) -> None:
    """Evaluate once to warm up, then `repeats` times for every line of the standard input."""
    evaluate()
    print(f"ready: {neighbors:.1f} neighbors", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(repeats):
            evaluate()
        print(repeats * num_atoms / (time.perf_counter() - start), flush=True)
