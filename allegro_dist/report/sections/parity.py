"""Section: predictions against labels."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from allegro_dist.analysis.fits import GPA
from allegro_dist.data.structure import Array
from allegro_dist.drawing import by_lot, png
from allegro_dist.report.errors import Error, GroupErrors, overall
from allegro_dist.report.page import Picture, Section, Table
from allegro_dist.report.part import Part
from allegro_dist.report.predictions import Predictions
from allegro_dist.training.evaluate import Parity
from allegro_dist.training.plots import parity_figure


def parity_part(p: Predictions) -> Part:
    """Errors of all frames, and the plots; the JSON has the points that are drawn."""
    errors, pairs = overall(p), parity_pairs(p)
    drawn = Parity(*(by_lot(values) for values in pairs))
    picture = Picture(
        png(parity_figure(drawn, _by_name(errors))),
        "Model against labels. Energies per atom, less those of the atoms apart. "
        + "; ".join(f"{len(d):,} of {len(a):,} values drawn" for d, a in zip(drawn, pairs) if len(d) < len(a)),
        wide=True,
    )
    numbers = {"errors": errors, "values": drawn._asdict()}
    return Part(Section("Parity", [Table(("", "values", "MAE", "RMSE", "mean"), _rows(errors)), picture]), numbers)


def parity_pairs(p: Predictions) -> Parity:
    """Label and prediction of everything that has a label."""
    return Parity(
        energy=_pairs((p.reference_energy - p.shift) / p.num_atoms, (p.energy.mean(axis=0) - p.shift) / p.num_atoms),
        forces=_pairs(p.reference_forces, p.forces.mean(axis=0)),
        stress=_pairs(p.reference_stress, p.stress.mean(axis=0)),
    )


def _pairs(reference: Array, model: Array) -> Array:
    pairs = np.stack([reference.ravel(), model.ravel()], axis=1)
    return pairs[np.isfinite(pairs).all(axis=1)]


def _by_name(errors: GroupErrors) -> dict[str, Any]:
    return {name: error for name, error in asdict(errors).items() if error is not None}


def _rows(errors: GroupErrors) -> list[tuple[str, ...]]:
    found: tuple[tuple[str, Error | None, float], ...] = (
        ("energy, meV/atom", errors.energy_per_atom, 1e3),
        ("forces, meV/Å", errors.forces, 1e3),
        ("stress, GPa", errors.stress, 1 / GPA),
    )
    return [
        (name, f"{e.count:,}", f"{unit * e.mae:.3g}", f"{unit * e.rmse:.3g}", f"{unit * e.mean:+.2g}")
        for name, e, unit in found
        if e is not None
    ]
