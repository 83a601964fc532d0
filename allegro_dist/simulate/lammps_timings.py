"""How long the runs of a LAMMPS log took, and on what, by LAMMPS's own clock."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_LOOP_TIME = re.compile(r"^Loop time of (\S+) on (\d+) procs for (\d+) steps with (\d+) atoms", re.MULTILINE)
_SECTION = re.compile(r"^(\w+) +\|[^|\n]*\| *([\d.e+-]+) *\|", re.MULTILINE)  # its average over ranks
_GHOSTS = re.compile(r"^Nghost: +(\S+) ave", re.MULTILINE)


@dataclass(frozen=True)
class Timing:
    """One `run`, or minimization."""

    seconds: float
    num_ranks: int
    num_steps: int
    num_atoms: int
    sections: dict[str, float] = field(default_factory=dict)
    """Seconds of Pair, Neigh, Comm, Output, Modify and Other, averaged over ranks."""
    ghosts_per_rank: float = 0.0

    @property
    def atom_steps_per_second(self) -> float:
        return self.num_steps * self.num_atoms / self.seconds


def timings_in(log: str) -> list[Timing]:
    """The runs that a log, or what LAMMPS wrote to the screen, tells of, in order."""
    found = list(_LOOP_TIME.finditer(log))
    ends = [match.start() for match in found[1:]] + [len(log)]
    timings = []
    for match, end in zip(found, ends, strict=True):
        seconds, *counts = match.groups()
        ranks, steps, atoms = map(int, counts)
        breakdown = log[match.end() : end]
        sections = {name: float(spent) for name, spent in _SECTION.findall(breakdown)}
        ghosts = _GHOSTS.search(breakdown)
        timings.append(Timing(float(seconds), ranks, steps, atoms, sections, float(ghosts[1]) if ghosts else 0.0))
    return timings
