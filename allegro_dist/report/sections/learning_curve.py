"""Section: errors over the number of training frames."""

from __future__ import annotations

import numpy as np

from allegro_dist.drawing import MODEL, REFERENCE, add_axes, logarithmic, new_figure, png
from allegro_dist.report.errors import Error
from allegro_dist.report.learning_curve import LearningCurve, PowerLaw
from allegro_dist.report.page import Picture, Section, Table
from allegro_dist.report.part import LeftOut, Part


def learning_curve_part(curve: LearningCurve) -> Part:
    """Table and plot of the runs, with power laws."""
    if not curve.points:
        raise LeftOut("no runs of other sizes were given (--learning-curve RUN...)")
    rows = [
        (p.run, f"{p.num_frames:,}", _milli(p.errors.energy_per_atom), _milli(p.errors.forces)) for p in curve.points
    ]
    head = ("run", "training frames", "energy MAE, meV/atom", "forces MAE, meV/Å")
    laws = [f"{name} error ~ frames^{-law.exponent:.2f}" for name, law in
            (("energy", curve.energy_per_atom), ("force", curve.forces)) if law is not None]  # fmt: skip
    picture = Picture(_draw(curve), "Errors on the frames of this report over the number of training frames. "
                      + "; ".join(laws), wide=True)  # fmt: skip
    return Part(Section("Learning curve", [Table(head, rows), picture]), curve)


def _milli(error: Error | None) -> str:
    return "" if error is None else f"{1e3 * error.mae:.3g}"


def _draw(curve: LearningCurve) -> bytes:
    figure = new_figure(9.0, 3.5)
    panels: tuple[tuple[str, str, PowerLaw | None], ...] = (
        ("energy_per_atom", "energy MAE, meV/atom", curve.energy_per_atom),
        ("forces", "force MAE, meV/Å", curve.forces),
    )
    for number, (name, label, law) in enumerate(panels, 1):
        axes = add_axes(figure, 1, 2, number)
        points = [(p.num_frames, 1e3 * e.mae) for p in curve.points if (e := getattr(p.errors, name)) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), "o", color=MODEL, markersize=5)
        if law is not None:
            sizes = np.array([min(points)[0], max(points)[0]], dtype=float)
            axes.plot(sizes, 1e3 * law.factor * sizes**-law.exponent, color=REFERENCE, linewidth=1.0)
        logarithmic(axes, "x", "y")
        axes.set(xlabel="training frames", ylabel=label)
    return png(figure)
