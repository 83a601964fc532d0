"""The roofline plot: our evaluators below what arithmetic and memory of one thread allow.

Intensity is floating point operations per byte that must come from memory or go there in a step: an atom's neighbor
list, position, type and force.  Everything else (edge rows, weights, tables) is meant to stay in caches; a point far
below the roof says that it waits for those, or does what is not counted.
"""

from __future__ import annotations

from math import pi
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarking.models import MODELS
from benchmarking.report import Limits

DENSITY = 8 / 5.43**3  # atoms per cubic Angstrom
SKIN = 2.0  # Angstrom, LAMMPS's default in metal units
ATOM_BYTES = 3 * 8 + 4 + 2 * 3 * 8  # position and type read, force read and written
MARKERS = {"torchscript": "s", "exact": "^", "tabulated": "o"}


def bytes_per_step(r_max: float) -> float:
    """Of an atom: four bytes for each listed neighbor, and its own."""
    return 4 * DENSITY * 4 / 3 * pi * (r_max + SKIN) ** 3 + ATOM_BYTES


def plot_roofline(rows: list[dict[str, Any]], limits: Limits, path: Path) -> None:
    """Attained FLOP/s per core over intensity, for every row whose operations are counted."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    intensity = np.logspace(0, 5, 200)
    axes.plot(intensity, np.minimum(limits.sgemm, limits.stream * intensity) / 1e9, color="black")
    axes.annotate(f"SGEMM {limits.sgemm / 1e9:.0f} GFLOP/s", (1e5, limits.sgemm / 1e9), ha="right", va="bottom")
    axes.annotate(f"memory {limits.stream / 1e9:.1f} GB/s", (1, limits.stream / 1e9), rotation=35, va="bottom")
    colors = {model: f"C{k}" for k, model in enumerate(MODELS)}
    for row in rows:
        if row["flops_per_s"] is None:
            continue
        x = row["flops_per_atom"] / bytes_per_step(MODELS[row["model"]].r_max)
        label = f"{row['model']}, {row['evaluator']}"
        style = {"marker": MARKERS[row["evaluator"]], "color": colors[row["model"]], "linestyle": ""}
        axes.plot(x, row["flops_per_s"] / 1e9, label=label, **style)
    axes.set(xscale="log", yscale="log", xlabel="FLOP per byte of memory", ylabel="GFLOP/s on one core")
    axes.set_title(limits.cpu, fontsize="small")
    axes.legend(fontsize="x-small", loc="lower right")
    figure.savefig(path, dpi=150)
