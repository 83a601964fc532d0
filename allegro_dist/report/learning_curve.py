"""Errors over the number of training frames, from runs of several sizes measured on the same frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from allegro_dist.report.committee import open_committee
from allegro_dist.report.errors import GroupErrors, overall
from allegro_dist.report.predictions import Frame, predict
from allegro_dist.training.checkpoint import CheckpointError, run_results


@dataclass(frozen=True)
class CurvePoint:
    """A run and its errors."""

    run: str
    num_frames: int  # it was trained on
    errors: GroupErrors


@dataclass(frozen=True)
class PowerLaw:
    """error = factor x frames^-exponent, least squares of logarithms."""

    factor: float
    exponent: float


@dataclass(frozen=True)
class LearningCurve:
    """Runs by size; the laws are None where runs of one size only have that error."""

    points: tuple[CurvePoint, ...]
    forces: PowerLaw | None  # mean absolute error, eV/Angstrom
    energy_per_atom: PowerLaw | None  # mean absolute error, eV


def training_frames(run: str) -> int:
    """How many frames a finished run was trained on; raises CheckpointError for what is none."""
    results = run_results(run)
    if not results:
        raise CheckpointError(f"{run}: not the folder of a finished training run: results.json is missing")
    return int(results["data"]["train"])


def learning_curve(sizes: dict[str, int], frames: Sequence[Frame], device: str = "cpu") -> LearningCurve:
    """Measure the best weights of each run; `sizes`: its number of training frames."""
    points = [
        CurvePoint(run, size, overall(predict(open_committee([run], device), frames))) for run, size in sizes.items()
    ]
    points.sort(key=lambda point: (point.num_frames, point.run))
    return LearningCurve(tuple(points), fit_power_law(points, "forces"), fit_power_law(points, "energy_per_atom"))


def fit_power_law(points: Sequence[CurvePoint], quantity: str) -> PowerLaw | None:
    """The law of a quantity's mean absolute error."""
    known = [(p.num_frames, e.mae) for p in points if (e := getattr(p.errors, quantity)) is not None and e.mae > 0]
    if len({size for size, _ in known}) < 2:
        return None
    sizes, errors = np.log(known).T
    slope, intercept = np.polyfit(sizes, errors, 1)
    return PowerLaw(float(np.exp(intercept)), float(-slope))
