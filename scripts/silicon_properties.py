#!/usr/bin/env python3
"""The table and the plots of docs/silicon.md: the silicon archive beside the DFT of its set, published PBE, experiment.

    python scripts/silicon_properties.py [--folder run/silicon-properties] [--dft run/silicon-dft]

of a study by `allegro-dist properties examples/silicon/properties.yaml`, as far as it has come.  Prints the table as
Markdown and puts the plots into docs/.  With --dft pw.x computes the optical phonon, too, in that folder and with the
settings of the set (make_silicon_dataset.py): minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.io import read
from make_silicon_dataset import k_points, label

from allegro_dist.analysis.averages import Average
from allegro_dist.report.silicon import dft_crystal
from allegro_dist.tables import Table

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "examples" / "silicon" / "data"
PLOTS = {
    "crystal-0.png": "silicon_volume.png", "crystal-1.png": "silicon_phonons.png",
    "expansion-0.png": "silicon_expansion.png", "melting-0.png": "silicon_melting.png",
}  # fmt: skip
"""Of the study, and their names in docs/."""
DISPLACEMENT = 0.05
"""Of one sublattice against the other along x, where the force has no quadratic term, Angstrom."""


class Row(NamedTuple):
    """A quantity: ours, by the DFT of the set, published PBE, experiment; empty where there is none."""

    quantity: str
    model: str
    dft: str = ""
    published: str = ""
    experiment: str = ""


def displaced_sublattice(edge: float) -> Atoms:
    """Diamond, every atom with a neighbor above it along the diagonal moved against these, along x."""
    atoms = bulk("Si", "diamond", a=edge, cubic=True)
    atoms.positions[1::2, 0] += DISPLACEMENT
    return atoms


def optical_phonon(edge: float, folder: Path) -> float:
    """At the center of the zone, THz, by pw.x."""
    forces = label(displaced_sublattice(edge), folder.resolve(), k_points("eos_000")).get_forces()
    stiffness = -forces[1::2, 0].mean() / DISPLACEMENT
    angular = math.sqrt(stiffness / (bulk("Si").get_masses()[0] / 2)) * 1000 * units.fs  # 1/ps
    return angular / (2 * math.pi)


def rows_at_rest(crystal: dict[str, Any], dft_folder: Path | None) -> list[Row]:
    """Lattice, equation of state, elastic constants, phonons."""
    dft = dft_crystal([*read(DATA / "train.xyz", ":"), *read(DATA / "test.xyz", ":")])
    (curve,), (elastic,), (phonons,) = crystal["equations_of_state"], crystal["elastic"], crystal["phonons"]
    relaxed, clamped = np.array(elastic["relaxed"]), np.array(elastic["clamped"])
    reference = dft.equation_of_state
    phonon = "" if dft_folder is None else f"{optical_phonon(reference.lattice_constant(), dft_folder):.2f}"
    return [
        Row("lattice constant, Å", f"{(8 * curve['volume']) ** (1 / 3):.3f}", f"{reference.lattice_constant():.3f}",
            "5.47 [1]", "5.431 [2]"),
        Row("bulk modulus, GPa", f"{curve['bulk_modulus']:.1f}", f"{reference.bulk_modulus:.1f}", "88.5 [1]",
            "97.8 [3]"),
        Row("C11, GPa", f"{relaxed[0, 0]:.1f}", f"{dft.elastic.c11:.1f}", "153.1 [4]", "165.6 [3]"),
        Row("C12, GPa", f"{relaxed[0, 1]:.1f}", f"{dft.elastic.c12:.1f}", "57.0 [4]", "63.9 [3]"),
        Row("C44, GPa", f"{relaxed[3, 3]:.1f}", "", "74.3 [4]", "79.5 [3]"),
        Row("C44 with clamped atoms, GPa", f"{clamped[3, 3]:.1f}", f"{dft.elastic.c44:.1f}"),
        Row("optical phonon at Γ, THz", f"{phonons['at_gamma'][-1]:.2f}", phonon, "", "15.53 [5]"),
    ]  # fmt: skip


def measured_expansion(t: float) -> float:
    """Linear, 1e-6/K, 120 to 1500 K (Okada and Tokumaru, J. Appl. Phys. 56, 314, 1984)."""
    return 3.725 * (1 - math.exp(-5.88e-3 * (t - 124))) + 5.548e-4 * t


def rows_of_expansion(expansion: dict[str, Any]) -> list[Row]:
    (a,) = expansion["lengths"]
    rows = []
    for t, coefficient in zip(a["expansion"]["temperatures"], a["coefficients"], strict=True):
        ours = Average(1e6 * coefficient["value"], 1e6 * coefficient["error"])
        rows.append(Row(f"expansion at {t:g} K, 1e-6/K", str(ours), "", "", f"{measured_expansion(t):.2f} [6]"))
    return rows


def rows_of_melting(melting: dict[str, Any]) -> list[Row]:
    point = melting["melting_point"]
    ours = str(Average(**point)) if point else "one phase is gone"
    return [Row("melting point, K", ours, "", "about 1490 [7]", "1687 [7]")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "run" / "silicon-properties")
    parser.add_argument("--dft", type=Path, help="folder of pw.x")
    args = parser.parse_args()
    folder = args.folder
    results = json.loads((folder / "results.json").read_text())
    at_rest = partial(rows_at_rest, dft_folder=args.dft)
    make = {"crystal": at_rest, "expansion": rows_of_expansion, "melting": rows_of_melting}
    rows = [row for key, rows_of in make.items() if key in results for row in rows_of(results[key])]
    columns = ("", "si.pth", "DFT of its set", "PBE, published", "experiment")
    print(Table("Silicon", columns, rows).markdown())
    for source, name in PLOTS.items():
        if (folder / source).exists():
            shutil.copyfile(folder / source, ROOT / "docs" / name)


if __name__ == "__main__":
    main()
