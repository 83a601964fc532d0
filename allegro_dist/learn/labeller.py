"""Labels one frame with the calculator of the settings, checks what it says, and records what became of it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from allegro_dist.config import ConfigError, merged
from allegro_dist.data.filters import largest_force
from allegro_dist.data.structure import DataError, from_atoms
from allegro_dist.learn.calculators import make_calculator
from allegro_dist.learn.labels import Batch, LabelFolder
from allegro_dist.learn.settings import LabelSettings

ENDED = SystemExit(128 + signal.SIGTERM)


class LabelFailed(RuntimeError):  # noqa: N818 (recorded, not raised to anyone)
    """A calculation that gave no label; it may be tried again."""


class LabelRefused(RuntimeError):  # noqa: N818
    """A label that is not taken, and would be the same if it were computed again."""


def label_frame(settings: LabelSettings, batch: Batch, number: int) -> None:
    """Label a frame of a batch, unless that is done; a failure is recorded, and is no error.

    Raises ConfigError for settings that make no calculator, and for a number that no frame has.
    """
    if not 0 <= number < len(batch):
        raise ConfigError(f"--index {number}: {batch.folder} has {len(batch)} frames to label, from 0")
    folder = batch.label_folder(number)
    with folder.held():
        if folder.outcome(settings.retries).state == "waiting":
            _label(settings, batch.frames[number], folder)


def _label(settings: LabelSettings, atoms: Atoms, folder: LabelFolder) -> None:
    start = time.monotonic()
    try:
        labelled = _calculate(settings, atoms, folder.empty_trial(), is_retry=bool(folder.failures()))
        check_label(labelled, settings)
    except LabelRefused as refusal:
        folder.record_refusal(str(refusal), time.monotonic() - start)
    except LabelFailed as failure:
        folder.record_failure(str(failure), time.monotonic() - start)
    else:
        labelled.info["label_seconds"] = time.monotonic() - start
        folder.record_label(labelled)


def check_label(atoms: Atoms, settings: LabelSettings) -> None:
    """Raise LabelFailed for results that are missing or not finite, LabelRefused for a force above the ceiling."""
    try:
        structure = from_atoms(atoms, "label")
    except DataError as error:
        raise LabelFailed(str(error)) from error
    if structure.energy is None or structure.forces is None:
        raise LabelFailed("the calculator gave no energy or no forces")
    if (force := largest_force(structure)) > settings.max_force:
        raise LabelRefused(f"a force of {force:.3g} eV/A, above max_force = {settings.max_force:g}")


def _calculate(settings: LabelSettings, atoms: Atoms, folder: Path, *, is_retry: bool) -> Atoms:
    """The frame with its results, computed in a folder; raises LabelFailed for whatever goes wrong there."""
    keywords = merged(settings.settings, settings.retry_settings) if is_retry else settings.settings
    for name, content in settings.files.items():
        (folder / name).write_text(content)
    atoms = atoms.copy()
    with _inside(folder):
        atoms.calc = make_calculator(settings.calculator, keywords)
        try:
            with _raising(signal.SIGTERM, ENDED), _time_limit(settings.max_minutes):
                results = _results(atoms)
        except Exception as error:  # calculators raise whatever they come across
            raise LabelFailed(f"{type(error).__name__}: {' '.join(str(error).split())} (see {folder})") from error
        if not converged(atoms.calc):
            raise LabelFailed("the calculator says that it has not converged")
    results["energy"] += sum(settings.energy_shift.get(symbol, 0.0) for symbol in atoms.symbols)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _results(atoms: Atoms) -> dict[str, Any]:
    """Energy whose derivatives the forces are (the free one of smeared electrons), forces, stress of a bulk."""
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(apply_constraint=False)}
    if atoms.pbc.all() and "stress" in getattr(atoms.calc, "implemented_properties", ()):
        results["stress"] = atoms.get_stress()
    free = getattr(atoms.calc, "results", {}).get("free_energy")
    return results if free is None else {**results, "energy": float(np.asarray(free))}


def converged(calculator: Any) -> bool:
    """What a calculator says of its own convergence; those that say nothing raise errors when they fail."""
    said = getattr(calculator, "results", {}).get("converged", getattr(calculator, "converged", True))
    return bool(said() if callable(said) else said) if said is not None else True


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _time_limit(minutes: float | None) -> Iterator[None]:
    """Raise TimeoutError in the block after that time (None: never)."""
    if minutes is None:
        yield
        return

    late = TimeoutError(f"not done after {minutes:g} minutes (label.max_minutes)")
    with _raising(signal.SIGALRM, late):
        signal.setitimer(signal.ITIMER_REAL, 60 * minutes)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def _raising(number: int, error: BaseException) -> Iterator[None]:
    """Raise an error in the block at a signal: a program that the calculator has started, such as pw.x, then ends, too,
    which it does not where the signal ends us at once."""

    def end(*_: object) -> None:
        raise error

    before = signal.signal(number, end)
    try:
        yield
    finally:
        signal.signal(number, before)
