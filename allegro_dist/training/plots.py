"""PNG pictures of a run: learning curve and parity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase.units import GPa
from matplotlib.figure import Figure

from allegro_dist.drawing import MODEL, REFERENCE, new_figure, png
from allegro_dist.files import write_atomically
from allegro_dist.training.evaluate import Parity


def plot_learning_curve(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Force and energy MAE of training and validation, and the learning rate, by epoch (lines of metrics.jsonl)."""
    panels = [(n, u) for n, u in (("forces", "force MAE, meV/Å"), ("energy_per_atom", "energy MAE, meV/atom")) if
              any(n in r["val"] for r in records)]  # fmt: skip
    figure = new_figure(4.5 * len(panels), 3.6)
    for number, (name, label) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        for part, color in (("train", REFERENCE), ("val", MODEL)):
            points = [(r["epoch"], 1e3 * r[part][name]["mae"]) for r in records if name in r[part]]
            if points:
                axes.plot(
                    *zip(*points, strict=True),
                    color=color,
                    linewidth=1.2,
                    label={"train": "training", "val": "validation"}[part],
                )
        rate = axes.twinx()
        rate.plot([r["epoch"] for r in records], [r["lr"] for r in records], color="0.75", linewidth=1.0, zorder=0)
        rate.set_ylabel("learning rate", color="0.55")
        axes.set(xlabel="epoch", ylabel=label, yscale="log")
        axes.legend(frameon=False)
    write_atomically(path, png(figure))


def plot_parity(parity: Parity, errors: dict[str, Any], path: Path, title: str) -> None:
    """`parity_figure` as a file."""
    figure = parity_figure(parity, errors)
    figure.suptitle(title)
    write_atomically(path, png(figure))


def parity_figure(parity: Parity, errors: dict[str, Any]) -> Figure:
    """Predicted against reference: energy per atom (less the shifts), force components, stress components.

    Args:
        errors: {"energy_per_atom": {"mae"}, "forces": .., "stress": ..}, eV and Angstrom, for the titles.
    """
    panels = []
    if len(parity.energy):
        panels.append(
            (parity.energy, "energy less shifts, eV/atom", f"MAE {1e3 * errors['energy_per_atom']['mae']:.2f} meV/atom")
        )
    if len(parity.forces):
        panels.append((parity.forces, "force component, eV/Å", f"MAE {1e3 * errors['forces']['mae']:.1f} meV/Å"))
    if len(parity.stress):
        panels.append((parity.stress / GPa, "stress component, GPa", f"MAE {errors['stress']['mae'] / GPa:.2f} GPa"))
    figure = new_figure(3.8 * max(len(panels), 1), 3.9)
    for number, (pairs, label, note) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        ends = [float(pairs.min()), float(pairs.max())]
        axes.plot(ends, ends, color="0.6", linewidth=0.8)
        axes.scatter(pairs[:, 0], pairs[:, 1], s=6, color=MODEL, alpha=0.5, linewidths=0, rasterized=True)
        axes.set(xlabel=f"reference {label}", ylabel="model", title=note)
        axes.set_aspect("equal", adjustable="datalim")
    return figure
