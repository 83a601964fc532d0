"""What takes part in a benchmark, something that can be asked for its speed again and again, and what it said."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from benchmarking.models import Work


class Contestant(Protocol):
    model: str
    evaluator: str
    engine: str  # lammps, ase or python: who called the evaluator
    atoms: int
    cores: int
    work: Work | None  # for one atom and step, where it is known

    def rate(self) -> float:
        """Atom-steps per second, measured now."""
        ...

    def bytes_per_atom(self) -> float | None:
        """Memory per atom, where it can be measured."""
        ...


@dataclass
class Result:
    """A contestant's rates over the rounds, atom-steps per second, and its memory, bytes per atom."""

    contestant: Contestant
    rates: list[float] = field(default_factory=list)
    memory: float | None = None
