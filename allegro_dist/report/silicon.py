"""The silicon demo's findings: the DFT crystal of the embedded set, and the report of what training and LAMMPS gave."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.io import read

from allegro_dist.analysis.fits import (
    ElasticConstants,
    EquationOfState,
    SinglePoint,
    StrainTest,
    difference,
    energy_drift,
    fit_elastic_constants,
    fit_equation_of_state,
    radial_distribution,
    strain_test,
)
from allegro_dist.files import write_json
from allegro_dist.report.page import Findings, Picture, Pictures, Row, below, plain_table, write_page
from allegro_dist.report.sections.crystal import draw_equations_of_state
from allegro_dist.report.silicon_figures import plot_drift, plot_radial_distribution
from allegro_dist.simulate.lammps_results import Crystal, read_crystal, read_single_point
from allegro_dist.simulate.lammps_timings import timings_in
from allegro_dist.training.checkpoint import run_results

DRIFT_LIMIT = {"float32": 1e-2, "float64": 1e-3}  # meV/atom/ps
FORCE_LIMIT, ENERGY_LIMIT = 40.0, 3.0  # meV/A, meV/atom: mean absolute errors of the test frames


@dataclass(frozen=True)
class DftCrystal:
    """The crystal according to the DFT frames of the groups "eos" and "strain"."""

    edge: float  # Angstrom, the cube that strains are taken about
    equation_of_state: EquationOfState
    test: StrainTest
    elastic: ElasticConstants  # atoms moved with the cell


def dft_crystal(frames: Sequence[Atoms]) -> DftCrystal:
    """Gather the crystal's frames from a set (by their info "group") and fit them; raises ValueError if some lack."""
    groups = {name: [a for a in frames if a.info.get("group") == name] for name in ("eos", "strain")}
    for name, found in groups.items():
        if not found:
            raise ValueError(f"DFT crystal: no frame of group '{name}' among {len(frames)} frames")
    volumes = [a.get_volume() / len(a) for a in groups["eos"]]
    energies = [a.get_potential_energy() / len(a) for a in groups["eos"]]
    # Along y these strains leave the cube as it is.
    edge = float(groups["strain"][0].cell.array[1, 1])
    test = strain_test([*groups["strain"], *groups["eos"]], edge)
    return DftCrystal(edge, fit_equation_of_state(volumes, energies), test, fit_elastic_constants(test))


@dataclass(frozen=True)
class SiliconRun:
    """Where the demo's steps left their files."""

    train_folder: Path
    errors: Path  # JSON of `allegro-dist evaluate`
    committee: Path | None  # JSON of `allegro-dist report` on it and others trained alike
    python: Mapping[str, SinglePoint]  # by precision
    points: Mapping[tuple[str, int], Path]  # by precision and number of ranks: folders of single_point.in
    crystal: Path  # folder of crystal.in
    dynamics: Mapping[str, Path]  # by precision: folders of md.in
    dft: DftCrystal


def write_silicon_report(path: Path, run: SiliconRun) -> str:
    """Write the page, and its table as results.json beside it; returns the table for the terminal."""
    crystal = read_crystal(run.crystal / "crystal.txt")
    rows = [
        *_training_rows(run),
        *_agreement_rows(run),
        *_crystal_rows(run.dft, crystal),
        *_dynamics_rows(run.dynamics),
    ]
    write_json(path.with_name("results.json"), [vars(row) for row in rows])
    lead = (
        "An Allegro potential trained on density-functional calculations of silicon, deployed as a TorchScript "
        "archive and run by an unmodified LAMMPS. Everything on this page was computed by scripts/demo.sh."
    )
    write_page(path, "Silicon, from DFT to LAMMPS", lead, [Findings(rows), Pictures(_pictures(run, crystal))])
    return plain_table(rows)


def _training_rows(run: SiliconRun) -> list[Row]:
    results = run_results(run.train_folder)
    errors = json.loads(run.errors.read_text())
    data = results["data"]
    frames = f"{errors['num_frames']} held-out frames, {errors['num_atoms']} atoms"
    work = f"{results['epochs']} epochs, {results['minutes']:.1f} minutes"
    force, energy = 1e3 * errors["forces"]["mae"], 1e3 * errors["energy_per_atom"]["mae"]
    return [
        Row("Training", "frames", f"{data['train']} training, {data['val']} validation", "DFT (PBE)"),
        Row("Training", "weights", f"{results['num_weights']}", work),
        below("Test errors (mean absolute)", "forces", force, FORCE_LIMIT, "meV/Å", frames),
        below("Test errors (mean absolute)", "energy", energy, ENERGY_LIMIT, "meV/atom"),
        Row("Test errors (mean absolute)", "stress", f"{errors['stress']['mae'] / units.GPa:.3g} GPa"),
        *(_committee_rows(run.committee) if run.committee else ()),
    ]


def _committee_rows(path: Path) -> list[Row]:
    committee = json.loads(path.read_text())
    errors, calibration = committee["parity"]["errors"], committee["calibration"]["forces"]
    force, energy = 1e3 * errors["forces"]["mae"], 1e3 * errors["energy_per_atom"]["mae"]
    section = f"Mean of {len(committee['models'])} models (mean absolute errors)"
    told = f"rank correlation with the models' deviation {calibration['spearman']:.2f}"
    return [
        below(section, "forces", force, FORCE_LIMIT, "meV/Å", told),
        below(section, "energy", energy, ENERGY_LIMIT, "meV/atom"),
        Row(section, "stress", f"{errors['stress']['mae'] / units.GPa:.3g} GPa"),
    ]


def _agreement_rows(run: SiliconRun) -> list[Row]:
    points = {key: read_single_point(folder) for key, folder in run.points.items()}
    rows = []
    atoms = len(run.python["float64"].forces)
    section = f"LAMMPS against Python ({atoms} displaced atoms, 1 rank)"
    exact = difference(points["float64", 1], run.python["float64"])
    rows += [
        below(section, "energy, float64", exact.energy_per_atom, 1e-9, "eV/atom"),
        below(section, "forces, float64", exact.forces_max, 1e-8, "eV/Å", "largest difference of a component"),
        below(section, "pressure, float64", exact.pressure_relative, 1e-6, "relative"),
    ]
    single = difference(points["float32", 1], run.python["float32"])
    rows.append(below(section, "forces, float32", single.forces_relative, 1e-5, "relative", "rms over rms"))
    section = "LAMMPS on 2 ranks against 1 rank"
    for dtype, limit in (("float64", 1e-10), ("float32", 1e-5)):
        two = difference(points[dtype, 2], points[dtype, 1])
        rows += [
            below(section, f"energy, {dtype}", two.energy_per_atom, limit, "eV/atom"),
            below(section, f"forces, {dtype}", two.forces_max, limit, "eV/Å"),
        ]
    return rows


def _crystal_rows(dft: DftCrystal, model: Crystal) -> list[Row]:
    section = "Crystal: LAMMPS (2 ranks, float64) against DFT"
    curve, reference = model.equation_of_state, dft.equation_of_state

    def row(quantity: str, value: float, expected: float, unit: str, digits: int, note: str = "") -> Row:
        against = f"DFT {expected:.{digits}f} {unit} ({100 * (value / expected - 1):+.2g} %)"
        return Row(section, quantity, f"{value:.{digits}f} {unit}", f"{against}{'; ' * bool(note)}{note}")

    same = f"same {len(reference.volumes)} volumes and fit (Birch-Murnaghan)"
    strains = f"same {len(dft.test.uniaxial)} strains and fit, about a = {dft.edge:g} Å"
    shears = f"same {len(dft.test.shear)} strains and fit, atoms moved with the cell"
    return [
        row("lattice constant", curve.lattice_constant(), reference.lattice_constant(), "Å", 4, same),
        row("bulk modulus", curve.bulk_modulus, reference.bulk_modulus, "GPa", 1, same),
        row("C11", model.elastic.c11, dft.elastic.c11, "GPa", 1, strains),
        row("C12", model.elastic.c12, dft.elastic.c12, "GPa", 1, strains),
        row("C44, clamped atoms", model.elastic.c44, dft.elastic.c44, "GPa", 1, shears),
        Row(section, "C44, relaxed atoms", f"{model.c44_relaxed:.1f} GPa", "model only: the set has no relaxed shears"),
        Row(section, "lattice constant, zero pressure", f"{model.lattice_constant:.4f} Å",
            "model only: cell relaxed by LAMMPS, from the virial instead of energies"),
    ]  # fmt: skip


def _dynamics_rows(dynamics: Mapping[str, Path]) -> list[Row]:
    rows = []
    for dtype, folder in dynamics.items():
        nvt, nve = (np.loadtxt(folder / f"{name}.txt").T for name in ("nvt", "nve"))
        timing = timings_in((folder / "log.lammps").read_text())[-1]
        section = f"Dynamics: {timing.num_atoms} atoms, {timing.num_ranks} ranks, 1 fs, {dtype}"
        drift = energy_drift(nve[0], 1e3 * nve[1])
        warm = nvt[2, len(nvt[2]) // 2 :]
        note = f"slope over {nve[0, -1]:g} ps, standard error {drift.standard_error:.1g}; rms {drift.fluctuation:.1g}"
        speed = timing.atom_steps_per_second
        rows += [
            below(section, "NVE energy drift", drift.slope, DRIFT_LIMIT[dtype], "meV/atom/ps", note),
            Row(section, "temperature", f"NVT {warm.mean():.0f} K, NVE {nve[2].mean():.0f} K",
                f"asked: 300 K; NVT: second half of {nvt[0, -1]:g} ps"),
            Row(section, "speed", f"{speed:,.0f} atom-steps/s",
                f"{speed / timing.num_ranks:,.0f} per rank; NVE, LAMMPS's own clock"),
        ]  # fmt: skip
    return rows


def _pictures(run: SiliconRun, crystal: Crystal) -> list[Picture]:
    series, curves = {}, {}
    for dtype, folder in run.dynamics.items():
        nve = np.loadtxt(folder / "nve.txt").T
        series[dtype] = (nve[0], nve[1])
        frames = read(folder / "frames.dump", index=":", format="lammps-dump-text")
        curves[dtype] = radial_distribution(list(frames))
    drifts = {dtype: energy_drift(*pair) for dtype, pair in series.items()}
    edge = run.dft.equation_of_state.lattice_constant()
    shells = [edge * np.sqrt(s) for s in (3 / 16, 1 / 2, 11 / 16, 1, 19 / 16, 3 / 2, 27 / 16, 2)]  # diamond lattice
    temperature = np.mean([np.loadtxt(folder / "nve.txt")[:, 2].mean() for folder in run.dynamics.values()])
    return [
        Picture((run.train_folder / "learning_curve.png").read_bytes(), "Learning curve."),
        Picture((run.train_folder / "parity.png").read_bytes(), "Model against DFT on the test frames.", wide=True),
        Picture(draw_equations_of_state([crystal.equation_of_state], run.dft.equation_of_state,
                                        ("model (LAMMPS)", "DFT")),
                "Equation of state of the crystal, each curve above its own minimum; dotted: the minima."),
        Picture(plot_drift(series, drifts), "Total energy in NVE, with straight lines fitted to it."),
        Picture(plot_radial_distribution(curves, shells),
                f"Radial distribution in NVE at {temperature:.0f} K; dotted: shells of the DFT lattice at rest."),
    ]  # fmt: skip
