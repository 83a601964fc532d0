"""Each fault is found where it is planted, and none in a clean set."""

import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import GPa

from allegro_dist.data.faults import find_faults
from allegro_dist.data.structure import from_atoms, iterate_structures
from allegro_dist.data.survey import count_neighbors, survey

COHESIVE = {"Cu": -3.5, "Al": -3.4, "O": -2.5, "H": -1.1, "C": -7.0}  # eV/atom, roughly: EMT's zero is the crystal


def labelled(atoms):
    atoms.calc = EMT()
    stress = atoms.get_stress() if atoms.pbc.all() else None
    return with_labels(atoms, sum(COHESIVE[s] for s in atoms.symbols) + atoms.get_potential_energy(),
                       atoms.get_forces(), stress)  # fmt: skip


def with_labels(atoms, energy, forces, stress=None):
    atoms = atoms.copy()
    results = {"energy": energy, "forces": forces} | ({} if stress is None else {"stress": stress})
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def crystals(number=12):
    """A trajectory: each frame a small step from the one before."""
    rng = np.random.default_rng(0)
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[0] = "Al"
    atoms.positions += rng.normal(0, 0.15, (4, 3))
    frames = []
    for _ in range(number):
        atoms.positions += rng.normal(0, 0.03, (4, 3))
        frames.append(labelled(atoms))
    return frames


def strained(sign=1.0, unit=1.0, excess=0.0):
    """A crystal along volume and shear strains."""
    frames, diagonal = [], np.array([1, 1, 1, 0, 0, 0])
    for n, strain in enumerate(np.linspace(-0.05, 0.05, 9)):
        atoms = bulk("Cu", cubic=True)
        deformation = np.eye(3) * (1 + strain)
        deformation[0, 1] = 0.02 * (n % 3)
        atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
        atoms = labelled(atoms)
        frames.append(with_labels(atoms, atoms.get_potential_energy(), atoms.get_forces(),
                                  sign * unit * atoms.get_stress() + excess * diagonal))  # fmt: skip
    return frames


def molecules(number=12):
    rng = np.random.default_rng(1)
    frames = []
    for name in ("CH4", "H2O"):
        atoms = molecule(name)
        for _ in range(number):
            atoms.positions += rng.normal(0, 0.02, atoms.positions.shape)
            frames.append(labelled(atoms))
    return frames


def faults_of(*files):
    """Faults of frames, as if each list came from a file of its own."""
    structures = [from_atoms(a, f"{name}.xyz, frame {n}") for name, f in zip("abc", files) for n, a in enumerate(f)]
    return find_faults(survey(structures))


def test_clean_set_has_no_faults():
    assert faults_of(crystals(), strained(), molecules()) == []


PUBLISHED = (
    "shared/data/mlearn/Si/train.xyz",
    "shared/data/rmd17/ethanol/train_01.xyz",
    "shared/data/3BPA/train_300K.xyz",
    "repository/examples/silicon/data/train.xyz",
)


def published(name):
    repository = Path(__file__).resolve().parents[2]
    folder, path = name.split("/", 1)
    file = (repository if folder == "repository" else repository.parent / folder) / path
    if not file.exists():
        pytest.skip(f"{name} is not here")
    return iterate_structures(file)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sets_have_no_faults(name):
    assert find_faults(survey(published(name))) == []


def test_energies_of_two_units_are_found():
    other = [with_labels(a, 23.0605 * a.get_potential_energy(), 23.0605 * a.get_forces()) for a in molecules()]
    found = faults_of(molecules(12), other)
    assert "mixed units" in {f.name for f in found}
    assert "as far apart as eV and kcal/mol" in found[0].finding and "--energy-unit" in found[0].advice


@pytest.mark.parametrize(
    "factor, message", [(96.4853, "eV and kJ/mol"), (1 / 51.4221, "energies in eV, forces in Hartree/Bohr")]
)
def test_forces_in_other_units_than_energies_are_found(factor, message):
    other = [with_labels(a, a.get_potential_energy(), factor * a.get_forces()) for a in crystals()]
    (fault,) = faults_of(strained(), other)
    assert fault.name == "mixed units" and fault.finding.startswith("b.xyz: ") and message in fault.finding


def test_forces_that_are_gradients_are_found():
    (fault,) = faults_of([with_labels(a, a.get_potential_energy(), -a.get_forces()) for a in crystals()])
    assert fault.name == "force sign" and "sign is wrong" in fault.finding


def test_duplicates_are_found_with_their_conflict():
    frames = crystals()
    copy = with_labels(frames[3], frames[3].get_potential_energy() + 0.25, frames[3].get_forces())
    (fault,) = faults_of(frames, [copy, frames[5]])
    assert fault.name == "duplicates"
    assert "2 of 14 frames" in fault.finding and "b.xyz, frame 0 repeats a.xyz, frame 3" in fault.finding
    assert "differ by up to 0.25 eV" in fault.finding


def test_net_forces_are_found():
    frames = crystals()
    frames[7] = with_labels(frames[7], frames[7].get_potential_energy(), frames[7].get_forces() + [0.3, 0, 0])
    (fault,) = faults_of(frames)
    assert fault.name == "net forces" and "1.2 eV/A in all in a.xyz, frame 7" in fault.finding


def test_stress_of_the_wrong_sign_is_found():
    (fault,) = faults_of(crystals(), strained(sign=-1.0))
    assert fault.name == "stress sign" and "positive under tension" in fault.advice


def test_stress_in_other_units_is_found():
    (fault,) = faults_of(crystals(), strained(unit=1 / GPa))
    assert fault.name == "stress units" and "GPa instead of eV/A^3" in fault.finding


def excess_found(fault):
    number, direction = re.search(r"were ([0-9.]+) eV/A\^3 .* (lower|higher) along", fault.finding).groups()
    return float(number) if direction == "lower" else -float(number)


@pytest.mark.parametrize("excess", [0.01, -0.01])
def test_stress_with_a_constant_offset_is_found(excess):
    (fault,) = faults_of(crystals(), strained(excess=excess))
    assert fault.name == "stress offset"
    assert excess_found(fault) == pytest.approx(excess, abs=5e-4)  # the trapezoidal rule alone makes 2.5e-4 here


def test_copper_stresses_of_mlearn_are_off_the_slope_of_its_energies():
    (fault,) = find_faults(survey(published("shared/data/mlearn/Cu/train.xyz")))
    assert fault.name == "stress offset"
    # The derivative of a polynomial through the energies of its 20 axial strains is 0.013 to 0.020 below the stresses.
    assert 0.013 < excess_found(fault) < 0.020


def test_isolated_atoms_that_dominate_are_found():
    lone = [with_labels(Atoms(s), 0.0, np.zeros((1, 3))) for s in ("Cu", "Al")]
    (fault,) = faults_of(crystals(), strained(), lone)
    assert fault.name == "isolated atoms dominate" and "2 frames of isolated atoms" in fault.finding
    assert "data.isolated_atoms" in fault.advice


def test_neighbors_are_counted_within_each_cutoff():
    copper = from_atoms(labelled(bulk("Cu")))  # fcc: 12 neighbors at a/sqrt(2), 6 at a, 24 at a sqrt(1.5)
    a = 3.61
    counts = count_neighbors([copper], [0.8 * a, 1.1 * a, 1.3 * a])
    assert [c.per_atom.tolist() for c in counts] == [[12.0], [18.0], [42.0]]


def test_sample_of_many_frames_is_evenly_spaced(monkeypatch):
    monkeypatch.setattr("allegro_dist.data.survey.SAMPLE", 10)
    structures = [from_atoms(Atoms("H", positions=[[n, 0, 0]]), f"a, frame {n}") for n in range(100)]
    found = survey(structures)
    steps = np.diff([s.positions[0, 0] for s in found.sample])
    assert len(found.sources) == 100 and 5 <= len(found.sample) <= 10 and len(set(steps)) == 1
