"""Section: a picture of the last frame."""

from __future__ import annotations

from ase.visualize.plot import plot_atoms

from allegro_dist.drawing import new_axes, png
from allegro_dist.report.page import Picture, Section
from allegro_dist.report.part import LeftOut, Part
from allegro_dist.simulate.folder import Simulation

MOST_ATOMS = 5000
"""That are drawn: each is a shape of its own."""
VIEW = "-75x,20y,5z"


def snapshot_part(run: Simulation) -> Part:
    """The last frame of the trajectory, atoms in the cell."""
    atoms = run.last_frame()
    if atoms is None:
        raise LeftOut("the trajectory has no frame yet")
    if len(atoms) > MOST_ATOMS:
        raise LeftOut(f"{len(atoms):,} atoms are more than a picture shows ({MOST_ATOMS:,})")
    atoms.wrap()
    figure, axes = new_axes(5.0, 5.0)
    plot_atoms(atoms, axes, rotation=VIEW)
    axes.set_axis_off()
    formula, step = atoms.get_chemical_formula(), int(atoms.info["step"])
    picture = Picture(png(figure), f"{formula}, step {step:,}.")
    return Part(Section("Structure", [picture]), {"formula": formula, "num_atoms": len(atoms), "step": step})
