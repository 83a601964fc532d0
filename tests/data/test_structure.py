import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import write

from allegro_dist.data.structure import DataError, digest, from_atoms, read_structures, require_labels
from tests.data.frames import labelled_atoms
from tests.training.ranks import environment


def test_read_extxyz_keeps_every_label(tmp_path):
    atoms = labelled_atoms(0)
    write(tmp_path / "a.xyz", [atoms])
    (structure,) = read_structures(tmp_path / "a.xyz")
    assert structure.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-7)
    np.testing.assert_allclose(structure.forces, atoms.get_forces(), atol=1e-7)
    np.testing.assert_allclose(structure.stress, atoms.get_stress(voigt=False), atol=1e-7)
    np.testing.assert_allclose(structure.cell, atoms.cell.array, atol=1e-7)


def test_ranks_of_mpi_read_files_of_their_own(tmp_path):
    for rank, count in enumerate((2, 3)):
        write(tmp_path / f"{rank}.xyz", [labelled_atoms(n) for n in range(count)])
    script = (
        "import sys; from mpi4py import MPI; from allegro_dist.data.structure import read_structures; "
        "world = MPI.COMM_WORLD; r = world.rank; "
        "counts = world.gather(len(read_structures(f'{sys.argv[1]}/{r}.xyz'))); print(counts) if r == 0 else "
        "read_structures(f'{sys.argv[1]}/0.xyz')"  # one of them alone, too
    )
    command = [Path(sys.prefix, "bin", "mpiexec"), "-n", "2", sys.executable, "-c", script, tmp_path]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=100, env=environment())
    assert done.stdout == "[2, 3]\n", done.stderr


def test_read_several_files_in_order(tmp_path):
    for n in (0, 1):
        write(tmp_path / f"{n}.xyz", [labelled_atoms(n)])
    structures = read_structures([tmp_path / "1.xyz", tmp_path / "0.xyz"])
    assert [s.source for s in structures] == [f"{tmp_path}/1.xyz, frame 0", f"{tmp_path}/0.xyz, frame 0"]


def test_forces_of_constrained_atoms_are_not_zeroed():
    atoms = labelled_atoms(0)
    forces = atoms.get_forces()
    atoms.set_constraint(FixAtoms([0, 1]))
    np.testing.assert_array_equal(from_atoms(atoms).forces, forces)


def test_virial_is_minus_stress_times_volume(tmp_path):
    atoms = labelled_atoms(0)
    stress = atoms.get_stress(voigt=False)
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=atoms.get_forces())
    atoms.info["virial"] = -stress * atoms.get_volume()
    write(tmp_path / "a.xyz", atoms)
    np.testing.assert_allclose(read_structures(tmp_path / "a.xyz")[0].stress, stress, atol=1e-8)


def test_reference_keys_are_read_without_a_calculator():
    atoms = labelled_atoms(0)
    atoms.info["REF_energy"], atoms.arrays["REF_forces"] = -1.5, atoms.get_forces()
    atoms.calc = None
    structure = from_atoms(atoms)
    assert structure.energy == -1.5 and structure.forces is not None


@pytest.mark.parametrize("quantity", ["energy", "forces", "stress"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_label_is_refused_with_file_frame_and_quantity(tmp_path, quantity, value):
    atoms = labelled_atoms(1)
    results = dict(atoms.calc.results)
    results[quantity] = np.array(results[quantity])
    results[quantity][(0,) * results[quantity].ndim] = value
    atoms.calc = SinglePointCalculator(atoms, **results)
    write(tmp_path / "bad.xyz", [labelled_atoms(0), atoms])
    with pytest.raises(DataError, match=rf"bad.xyz, frame 1: {quantity} is not finite: (nan|inf)"):
        read_structures(tmp_path / "bad.xyz")


def test_not_finite_position_is_refused():
    atoms = labelled_atoms(0)
    atoms.positions[2, 1] = np.nan
    with pytest.raises(DataError, match=r"positions is not finite: nan at \[2, 1\]"):
        from_atoms(atoms)


def test_missing_forces_name_the_frame_what_was_found_and_what_to_do():
    atoms = labelled_atoms(0)
    atoms.calc = SinglePointCalculator(atoms, energy=1.0)
    structures = [from_atoms(atoms, "some.xyz, frame 7")]
    with pytest.raises(DataError, match=r"xyz, frame 7: no forces; labels found: energy\. In extxyz.*allow_missing"):
        require_labels(structures, forces=True, stress=False)
    require_labels(structures, forces=False, stress=False)


def test_missing_energy_is_refused():
    atoms = labelled_atoms(0)
    atoms.calc = None
    with pytest.raises(DataError, match="no energy and no forces; labels found: none"):
        require_labels([from_atoms(atoms)], forces=True, stress=False)


def test_stress_weight_without_any_stress_is_refused():
    structure = from_atoms(labelled_atoms(0, pbc=False))
    with pytest.raises(DataError, match="no training frame has a stress"):
        require_labels([structure], forces=True, stress=True)


@pytest.mark.parametrize("content", ["", "0\n\n"])
def test_empty_file_is_refused(tmp_path, content):
    path = tmp_path / "empty.xyz"
    path.write_text(content)
    with pytest.raises(DataError, match="empty.xyz"):
        read_structures(path)


def test_missing_file_is_named():
    with pytest.raises(DataError, match="nowhere.xyz: no such file"):
        read_structures("nowhere.xyz")


def test_unreadable_file_is_named(tmp_path):
    (tmp_path / "odd.xyz").write_text("not a structure\nat all\n")
    with pytest.raises(DataError, match="odd.xyz: ASE can't read it"):
        read_structures(tmp_path / "odd.xyz")


def test_digest_changes_with_one_label():
    structure = from_atoms(labelled_atoms(0))
    assert digest([structure]) == digest([from_atoms(labelled_atoms(0))])
    assert digest([structure]) != digest([structure._replace(energy=structure.energy + 1e-9)])
