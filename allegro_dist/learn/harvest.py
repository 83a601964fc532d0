"""Which frames of a round's simulations are worth a label, and different enough from one another.

A frame's deviation is that of the atom on which the committee differs most.  Candidates are the frames between
threshold and ceiling that come before a simulation first exceeds the ceiling: what follows grew out of garbage.  They
are chosen one after another,

    the next one = arg max over candidates of   deviation x time to the nearest chosen frame of its simulation

where none is chosen yet, the time is that of the longest simulation, so that other simulations count as far away.
Frames nearer than `apart` to a chosen one, and frames that are chosen or trained on already, are passed over.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from allegro_dist.data.filters import geometry_key
from allegro_dist.data.structure import from_atoms
from allegro_dist.learn.settings import HarvestSettings


@dataclass(frozen=True)
class Track:
    """The frames of a simulation, as far as it came."""

    frames: Sequence[Atoms]
    times: NDArray[np.float64]  # fs

    @property
    def deviations(self) -> NDArray[np.float64]:
        """[T] eV/Angstrom."""
        return np.array([atoms.info["largest_deviation"] for atoms in self.frames])


@dataclass(frozen=True)
class Choice:
    """A chosen frame, and why it was."""

    simulation: int
    frame: int
    step: int
    time: float  # fs
    deviation: float  # eV/Angstrom
    apart: float | None  # fs, from the nearest frame that was chosen before; None: the first of its simulation


@dataclass(frozen=True)
class Harvest:
    """What a round's simulations gave."""

    num_frames: int
    num_above: int  # at or above the threshold
    num_beyond: int  # beyond the ceiling, or behind such a frame
    largest: float  # deviation before the ceiling, eV/Angstrom
    chosen: list[Choice]


def harvest(tracks: Sequence[Track], settings: HarvestSettings, known: Collection[bytes] = ()) -> Harvest:
    """Choose frames of simulations.

    Args:
        known: geometry keys (data.filters) of the frames that need no label.
    """
    usable = [_before_ceiling(track.deviations, settings.ceiling) for track in tracks]
    found = [deviations[:n] for deviations, n in zip((t.deviations for t in tracks), usable)]
    num_frames, inside = sum(len(t.frames) for t in tracks), np.concatenate([np.zeros(1), *found])
    return Harvest(
        num_frames=num_frames,
        num_above=int((inside >= settings.threshold).sum()),
        num_beyond=num_frames - sum(usable),
        largest=float(inside.max()),
        chosen=list(_choose(tracks, found, settings, set(known))),
    )


def as_chosen(track: Track, choice: Choice, round_number: int) -> Atoms:
    """The frame of a choice, without the committee's results, and with the reasons in its info."""
    atoms = _bare(track.frames[choice.frame])
    atoms.info.update(
        config_type=f"round {round_number}", simulation=choice.simulation, step=choice.step,
        committee_deviation=choice.deviation,
    )  # fmt: skip
    return atoms


def key_of(atoms: Atoms) -> bytes:
    """Equal for frames of the same atoms at the same places, whatever their labels."""
    return geometry_key(from_atoms(_bare(atoms)))


def _bare(atoms: Atoms) -> Atoms:
    """The atoms alone, inside the cell."""
    bare = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    bare.wrap()
    return bare


def _before_ceiling(deviations: NDArray[np.float64], ceiling: float) -> int:
    """How many frames come before the first beyond the ceiling; one that is no number is beyond it."""
    beyond = np.flatnonzero(~(deviations <= ceiling))
    return int(beyond[0]) if len(beyond) else len(deviations)


def _choose(tracks: Sequence[Track], found: Sequence[NDArray[np.float64]], settings: HarvestSettings,
            known: set[bytes]) -> Any:  # fmt: skip
    """Choice after choice."""
    longest = max((float(np.ptp(t.times)) for t in tracks if len(t.times)), default=0.0) or 1.0
    nearest = [np.full(len(d), np.inf) for d in found]  # time to the nearest chosen frame of the simulation
    open_ = [d >= settings.threshold for d in found]
    taken = 0
    while taken < settings.per_round:
        worth = [
            np.where(o & (n >= settings.apart), d * np.minimum(n, longest), 0.0)
            for o, n, d in zip(open_, nearest, found)
        ]
        best = max(((float(w.max()), s) for s, w in enumerate(worth) if len(w)), default=(0.0, 0), key=lambda b: b[0])
        if best[0] <= 0:
            return
        s = best[1]
        k = int(worth[s].argmax())
        open_[s][k] = False
        track, key = tracks[s], key_of(tracks[s].frames[k])
        if key in known:
            continue
        known.add(key)
        apart = float(nearest[s][k])
        yield Choice(s, k, int(track.frames[k].info["step"]), float(track.times[k]), float(found[s][k]),
                     apart if np.isfinite(apart) else None)  # fmt: skip
        nearest[s] = np.minimum(nearest[s], np.abs(track.times[: len(nearest[s])] - track.times[k]))
        taken += 1
