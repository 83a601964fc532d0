"""Sections: errors by type, force magnitude, composition and frame group; the worst frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from allegro_dist.analysis.fits import GPA
from allegro_dist.drawing import MODEL, REFERENCE, add_axes, by_lot, logarithmic, new_axes, new_figure, png
from allegro_dist.report.errors import (
    Error,
    ForceErrors,
    GroupErrors,
    by_force_magnitude,
    by_name,
    by_type,
    worst_frames,
)
from allegro_dist.report.page import Picture, Section, Table
from allegro_dist.report.part import LeftOut, Part
from allegro_dist.report.predictions import Predictions

MAX_ROWS = 40
"""Lines of a table; the JSON has all."""


def type_part(p: Predictions) -> Part:
    """Forces on the atoms of each type."""
    found = by_type(p)
    if not found:
        raise LeftOut("no frame has forces")
    return Part(Section("Errors by type", [_force_table("forces on", found)]), found)


def magnitude_part(p: Predictions) -> Part:
    """Forces by the magnitude of the label."""
    found = by_force_magnitude(p)
    if not found:
        raise LeftOut("no frame has forces")
    picture = Picture(_draw_magnitudes(p, found), "Length of an atom's force error over the length of its force.")
    return Part(Section("Errors by force magnitude", [_force_table("|F|, eV/Å", found), picture]), found)


def composition_part(p: Predictions) -> Part:
    """All errors by reduced formula."""
    if len(set(p.compositions)) < 2:
        raise LeftOut(f"all frames are {p.compositions[0]}")
    return _group_part("Errors by composition", by_name(p, p.compositions))


def group_part(p: Predictions) -> Part:
    """All errors by the frames' groups."""
    if len(set(p.groups)) < 2:
        raise LeftOut("the frames name no groups (config_type or group in a frame's info, or --group KEY)")
    return _group_part("Errors by frame group", by_name(p, p.groups))


def worst_part(p: Predictions) -> Part:
    """Where to look first."""
    found = worst_frames(p)
    if not found:
        raise LeftOut("no frame has forces")
    rows = [
        (w.source, w.group or "", str(w.num_atoms), f"{1e3 * w.forces_rmse:.3g}", f"{1e3 * w.forces_max:.3g}",
         "" if w.energy_per_atom is None else f"{1e3 * w.energy_per_atom:+.3g}")
        for w in found
    ]  # fmt: skip
    head = ("frame", "group", "atoms", "forces RMSE, meV/Å", "largest, meV/Å", "energy, meV/atom")
    return Part(Section("Worst frames", [Table(head, rows)]), found)


def _group_part(title: str, found: Sequence[GroupErrors]) -> Part:
    head = ("", "frames", "atoms", "energy MAE, meV/atom", "RMSE", "forces MAE, meV/Å", "RMSE", "stress MAE, GPa")
    rows = [
        (g.name, f"{g.num_frames:,}", f"{g.num_atoms:,}", _scaled(g.energy_per_atom, "mae", 1e3),
         _scaled(g.energy_per_atom, "rmse", 1e3), _scaled(g.forces, "mae", 1e3), _scaled(g.forces, "rmse", 1e3),
         _scaled(g.stress, "mae", 1 / GPA))
        for g in found[:MAX_ROWS]
    ]  # fmt: skip
    caption = "" if len(found) <= MAX_ROWS else f"the first {MAX_ROWS} of {len(found)}; the JSON has all"
    picture = Picture(_draw_groups(found[:MAX_ROWS]), "Mean absolute errors.", wide=True)
    return Part(Section(title, [Table(head, rows, caption), picture]), list(found))


def _force_table(name: str, found: Sequence[ForceErrors]) -> Table:
    rows = [
        (f.name, f"{f.num_atoms:,}", f"{1e3 * f.forces.mae:.3g}", f"{1e3 * f.forces.rmse:.3g}",
         f"{1e3 * f.reference_rms:.4g}", f"{100 * f.relative:.1f} %")
        for f in found
    ]  # fmt: skip
    return Table((name, "atoms", "MAE, meV/Å", "RMSE, meV/Å", "RMS of labels, meV/Å", "RMSE / RMS"), rows)


def _scaled(error: Error | None, kind: str, unit: float) -> str:
    return "" if error is None else f"{unit * getattr(error, kind):.3g}"


def _draw_magnitudes(p: Predictions, found: Sequence[ForceErrors]) -> bytes:
    figure, axes = new_axes(6.0, 3.6)
    magnitude, error = np.linalg.norm(p.reference_forces, axis=1), np.linalg.norm(p.force_error, axis=1)
    drawn = by_lot(np.flatnonzero(np.isfinite(error) & (magnitude > 0) & (error > 0)))
    axes.scatter(magnitude[drawn], error[drawn], s=5, color=MODEL, alpha=0.35, linewidths=0, rasterized=True)
    nearest = 1e-3 * found[-1].largest  # zeros by symmetry would stretch the axis over ten decades
    for f in found:
        axes.plot(
            (max(f.smallest, nearest), f.largest), [np.sqrt(3) * f.forces.rmse] * 2, color=REFERENCE, linewidth=2.0
        )
    axes.plot([], [], color=REFERENCE, linewidth=2.0, label="root mean square of a class")
    logarithmic(axes, "x", "y")
    axes.set(
        xlabel="|force|, eV/Å", ylabel="|error|, eV/Å", xlim=(nearest, None), ylim=(1e-4 * found[-1].largest, None)
    )
    axes.legend(frameon=False)
    return png(figure)


def _draw_groups(found: Sequence[GroupErrors]) -> bytes:
    names = [g.name for g in found]
    panels = [(label, values) for label, values in (
        ("energy, meV/atom", [1e3 * g.energy_per_atom.mae if g.energy_per_atom else 0.0 for g in found]),
        ("forces, meV/Å", [1e3 * g.forces.mae if g.forces else 0.0 for g in found]),
        ("stress, GPa", [g.stress.mae / GPA if g.stress else 0.0 for g in found]),
    ) if any(values)]  # fmt: skip
    figure = new_figure(3.6 * len(panels) + 0.8, 0.9 + 0.22 * len(found))
    for number, (label, values) in enumerate(panels, 1):
        axes = add_axes(figure, 1, len(panels), number)
        axes.barh(range(len(found)), values, color=MODEL, height=0.7)
        axes.set_yticks(range(len(found)), names if number == 1 else [""] * len(found))
        axes.invert_yaxis()
        axes.set(xlabel=label)
    return png(figure)
