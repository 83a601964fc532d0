"""A study of Stillinger-Weber silicon against published values, and against itself when it is killed on the way."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from numpy.testing import assert_allclose
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from allegro_dist.simulate.lammps_calculator import lammps_calculator
from tests.properties.studies import MELTING, STILLINGER_WEBER, run, start, write_study

MELTING_POINT = 1691.0  # K, +- 20 (Broughton and Li, Phys. Rev. B 35, 9120, 1987)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of an unbroken study."""
    return run(write_study(tmp_path_factory.mktemp("finished")))


def results(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return values


def test_crystal_is_the_published_one(finished):
    """5.431 Angstrom; 151.4, 76.4 and 56.4 GPa (Balamane, Halicioglu and Tiller, Phys. Rev. B 46, 2250, 1992)."""
    crystal = results(finished)["crystal"]
    assert_allclose(crystal["cells"][0][:3], 5.431, atol=1e-3)
    tensor = np.array(crystal["elastic"][0]["relaxed"])
    assert_allclose([tensor[0, 0], tensor[0, 1], tensor[3, 3]], [151.4, 76.4, 56.4], rtol=0.005)


def mean_logarithm_of_frequencies(edge: float) -> float:
    """Of the phonons of a crystal that is strained alike in all directions, over a mesh; ln THz."""
    crystal = bulk("Si", "diamond", a=edge)
    cell = PhonopyAtoms(crystal.symbols, cell=crystal.cell.array, scaled_positions=crystal.get_scaled_positions())
    phonon = Phonopy(cell, supercell_matrix=np.diag([3, 3, 3]), primitive_matrix="P")
    phonon.generate_displacements(distance=0.02)
    forces = []
    for displaced in phonon.supercells_with_displacements:
        atoms = Atoms(displaced.symbols, displaced.positions, cell=displaced.cell, pbc=True)
        atoms.calc = lammps_calculator(STILLINGER_WEBER, log_file=None)
        forces.append(atoms.get_forces())
    phonon.forces = forces
    phonon.produce_force_constants()
    phonon.run_mesh([10, 10, 10], is_mesh_symmetry=False)  # without the center of the zone
    return float(np.average(np.log(phonon.mesh.frequencies).mean(axis=1), weights=phonon.mesh.weights))


def test_expansion_is_that_of_its_phonons(finished):
    """Quasi-harmonic theory with classical nuclei: k_B gamma / (B V), gamma = -d<ln f>/d ln V."""
    strain = 0.005
    less, more = (mean_logarithm_of_frequencies(5.431 * scale) for scale in (1 - strain, 1 + strain))
    grueneisen = (less - more) / (3 * 2 * strain)
    curve = results(finished)["crystal"]["equations_of_state"][0]
    expected = units.kB * grueneisen / (curve["bulk_modulus"] * units.GPa * curve["volume"])
    found = results(finished)["expansion"]["lengths"][0]["coefficients"][0]
    assert found["value"] == pytest.approx(expected, rel=0.12)
    assert found["error"] < 0.1 * expected


def test_half_of_the_crystal_is_molten_beside_the_other(finished):
    melting = results(finished)["melting"]
    order = np.array(melting["order"])
    assert_allclose(order[0, 1:2], 1.0, atol=0.25)
    assert_allclose(order[0, 4:5], 0.0, atol=0.25)
    assert melting["num_atoms"] == 192 and 0.25 < melting["share"][0] < 0.75


def test_melting_point_is_the_mean_of_what_counts(finished):
    melting = results(finished)["melting"]
    times, temperatures = np.array(melting["times"]), np.array(melting["temperatures"])
    assert melting["temperature"]["value"] == pytest.approx(temperatures[times >= melting["first_time"]].mean())
    assert melting["first_time"] == pytest.approx((times[0] + times[-1]) / 2, abs=0.1)


def test_page_needs_nothing_else(finished):
    page = (finished / "report.html").read_text()
    assert page.count('src="data:image/png;base64,') == page.count("<img") == 4
    assert all(f">{title}</h2>" in page for title in ("Thermal expansion", "Melting point"))


def test_pictures_are_files_too(finished):
    names = {path.name for path in finished.glob("*.png")}
    assert names == {"crystal-0.png", "crystal-1.png", "expansion-0.png", "melting-0.png"}


def test_killed_it_goes_on_to_the_same_end(finished, tmp_path):
    settings = write_study(tmp_path, crystal=None, expansion=None)
    process = start(settings)
    while not (tmp_path / "study" / "melting" / "checkpoint.json").exists():
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert not (tmp_path / "study" / "melting" / "final.xyz").exists()
    assert results(run(settings))["melting"] == results(finished)["melting"]


def test_two_ranks_do_all_sections(tmp_path):
    few = {"warm_steps": 20, "melt_steps": 20, "cool_steps": 20, "settle_steps": 20, "steps": 40}
    expansion = {"temperatures": [300], "replicate": [2, 2, 2], "steps": 40}
    folder = run(write_study(tmp_path, expansion=expansion, melting=MELTING | few), ranks=2)
    assert {"crystal", "expansion", "melting"} <= set(results(folder))


@pytest.mark.slow
def test_melting_point_is_the_published_one(tmp_path):
    melting = MELTING | {
        "guess": 1600, "replicate": [4, 4, 8], "warm_steps": 2500, "melt_steps": 5000, "cool_steps": 5000,
        "settle_steps": 2500, "steps": 60_000,
    }  # fmt: skip
    settings = write_study(tmp_path, crystal=None, expansion=None, melting=melting, checkpoint_every=5000)
    found = results(run(settings, seconds=3600))["melting"]["melting_point"]
    assert abs(found["value"] - MELTING_POINT) < 20 + 3 * found["error"] < 60
