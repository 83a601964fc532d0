"""Section: does the committee know where it errs?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from allegro_dist.drawing import MODEL, QUIET, REFERENCE, add_axes, logarithmic, new_figure, png
from allegro_dist.report.calibration import PROBABILITIES, Calibration, calibrations
from allegro_dist.report.page import Block, Picture, Section, Table, Text
from allegro_dist.report.part import LeftOut, Part
from allegro_dist.report.predictions import Predictions

EXPLANATION = (
    "The deviation of a force is sqrt(1/K sum |F_k - mean F|²), the one that LAMMPS gives (compute pair allegro, fix "
    "halt). Multiplied by the scale, it is the root mean square error to be expected. Reliability: root mean square "
    "error against predicted, in bins of equal count; ENCE is the mean relative distance from the diagonal. "
    "Miscalibration area: distance between the share of errors inside a central normal interval and the interval's "
    "probability, 0 at best, 0.5 at worst; what scaling leaves of it is a matter of the distribution's form."
)
UNITS = {"forces": "meV/Å per component", "energy_per_atom": "meV/atom"}


def calibration_part(p: Predictions) -> Part:
    """Correlation, scale, reliability and miscalibration of forces and energies, as far as there are labels."""
    if p.num_models < 2:
        raise LeftOut("one model has no spread: give the archives or runs of a committee")
    told = calibrations(p)
    found = {name: c for name, c in told.items() if isinstance(c, Calibration)}
    reasons = {name: reason for name, reason in told.items() if isinstance(reason, str)}
    if not found:
        raise LeftOut("; ".join(reasons.values()))
    blocks: list[Block] = [Text(EXPLANATION), _table(found)]
    blocks += [Text(f"{name.replace('_', ' ')}: left out: {reason}") for name, reason in reasons.items()]
    for name, c in found.items():
        caption = f"{name.replace('_', ' ').capitalize()}: reliability, and shares of errors inside intervals."
        blocks.append(Picture(_draw(c, UNITS[name]), caption, wide=True))
    return Part(Section("Calibration of the uncertainty", blocks), found)


def _table(found: dict[str, Calibration]) -> Table:
    def line(label: str, values: Sequence[float]) -> tuple[str, ...]:
        return (label, *(f"{value:.3g}" for value in values))

    of = list(found.values())
    return Table(
        ("", *(name.replace("_", " ") for name in found)),
        [
            ("errors", *(f"{c.count:,}" for c in of)),
            ("without a deviation, left out", *(f"{c.num_left_out:,}" for c in of)),
            line("rank correlation of |error| with deviation", [c.spearman for c in of]),
            line("linear correlation", [c.pearson for c in of]),
            line("scale", [c.scale for c in of]),
            line("ENCE", [c.ence for c in of]),
            line("ENCE, scaled", [c.ence_scaled for c in of]),
            line("miscalibration area", [c.miscalibration_area for c in of]),
            line("miscalibration area, scaled", [c.miscalibration_area_scaled for c in of]),
        ],
    )


def _draw(c: Calibration, unit: str) -> bytes:
    figure = new_figure(9.0, 3.7)
    axes = add_axes(figure, 1, 2, 1)
    ends = 1e3 * np.array([min(c.bin_sigma.min(), c.bin_error.min()), max(c.bin_sigma.max(), c.bin_error.max())])
    axes.plot(ends, ends, color=QUIET, linewidth=0.9, linestyle=":")
    axes.plot(1e3 * c.bin_sigma, 1e3 * c.bin_error, "o-", color=MODEL, markersize=4.5, linewidth=1.2)
    axes.plot(ends, c.scale * ends, color=REFERENCE, linewidth=1.0, label=f"error = {c.scale:.2g} x deviation")
    logarithmic(axes, "x", "y")
    axes.set(xlabel=f"deviation, {unit}", ylabel="rms error")
    axes.legend(frameon=False)
    axes = add_axes(figure, 1, 2, 2)
    axes.plot((0, 1), (0, 1), color=QUIET, linewidth=0.9, linestyle=":")
    axes.plot(PROBABILITIES, c.inside, color=MODEL, linewidth=1.4, label="as told")
    axes.plot(PROBABILITIES, c.inside_scaled, color=REFERENCE, linewidth=1.2, label="scaled")
    axes.set(xlabel="probability of the interval", ylabel="share of errors inside", xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False)
    return png(figure)
