"""The first structure of a simulation: read by ASE, checked against the archives, written as a LAMMPS data file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.io.lammpsdata import read_lammps_data, write_lammps_data

from allegro_dist.config import ConfigError
from allegro_dist.data.structure import DataError, from_atoms, read_atoms, reading
from allegro_dist.deploy.archive_file import read_model_card
from allegro_dist.simulate.script import Geometry
from allegro_dist.simulate.settings import AtConstantVolume, AtPressure, SimulationConfig, Stage

DATA_FILE = "structure.data"
MARGIN = 10.0
"""Angstrom; of the box about atoms that have no cell."""


def prepare(config: SimulationConfig, folder: Path | None) -> Geometry:
    """Check the structure and write it into the simulation's folder (None: only check).

    Raises DataError and ConfigError for what can't be simulated: an unreadable file, types that an archive lacks, a
    missing cell where one is to change.
    """
    atoms, types = read_structure(config)
    for model in config.models:
        missing = [t for t in types if t not in read_model_card(model)["type_names"]]
        if missing:
            known = ", ".join(read_model_card(model)["type_names"])
            raise DataError(f"{config.structure.file}: type '{missing[0]}' is not among those of {model}: {known}")
    if folder is not None:
        with open(folder / DATA_FILE, "w") as file:
            write_lammps_data(file, _with_cell(atoms), specorder=list(types), masses=True,
                              velocities=bool(atoms.get_velocities().any()))  # fmt: skip
    # an open direction is bounded by the outermost atoms, wherever they go
    return Geometry(DATA_FILE, types, " ".join("p" if periodic else "s" for periodic in atoms.pbc))


def read_structure(config: SimulationConfig) -> tuple[Atoms, tuple[str, ...]]:
    """The atoms and the chemical symbols of the LAMMPS types; raises as `prepare`, but knows of no archive."""
    atoms, types = _read(config)
    from_atoms(atoms, config.structure.file)  # is it finite?
    num_atoms = len(atoms) * int(np.prod(config.structure.replicate))
    for number, stage in enumerate(config.stages):
        if reason := _impossible(stage, atoms, num_atoms):
            raise ConfigError(f"stages.{number} ({stage.stage}): {config.structure.file} {reason}")
    return atoms, types


def _impossible(stage: Stage, atoms: Atoms, num_atoms: int) -> str:
    """What about a structure makes a stage impossible, if anything."""
    if isinstance(stage, AtPressure):
        periodic = atoms.pbc["xyz".index(stage.coupling)] if len(stage.coupling) == 1 else atoms.pbc.all()
        if not periodic:
            return f"has no periodic cell that a barostat could change (pbc {atoms.pbc.tolist()})"
    if isinstance(stage, AtConstantVolume) and stage.atoms is not None:
        first, last = stage.atoms
        if not first <= last <= num_atoms:
            return f"has {num_atoms:,} atoms with all replicas: [{first}, {last}] are not the first and last of some"
    return ""


def _read(config: SimulationConfig) -> tuple[Atoms, tuple[str, ...]]:
    """The atoms and the chemical symbols of the LAMMPS types."""
    path, given = config.structure.file, config.structure.types
    if Path(path).suffix in (".data", ".lmp"):
        if given is None:
            raise ConfigError(f"structure.types: {path} is a LAMMPS data file: name the element of each of its types")
        numbers = {number: atomic_numbers[symbol] for number, symbol in enumerate(given, 1)}
        with reading(path):
            atoms = read_lammps_data(path, Z_of_type=numbers, atom_style="atomic")
    else:
        atoms = read_atoms(path)
    found = sorted(set(atoms.get_chemical_symbols()), key=lambda symbol: atomic_numbers[symbol])
    types = given or tuple(found)
    unknown = [symbol for symbol in found if symbol not in types]
    if unknown:
        raise ConfigError(f"structure.types: {path} has '{unknown[0]}', which is not among {list(types)}")
    return atoms, types


def _with_cell(atoms: Atoms) -> Atoms:
    """In a box, where the atoms have no cell of their own."""
    if atoms.cell.rank == 3:
        return atoms
    if atoms.pbc.any():
        raise DataError(f"{atoms.get_chemical_formula()}: periodic, but its cell has {atoms.cell.rank} vectors only")
    boxed = atoms.copy()
    boxed.set_cell(np.ptp(atoms.positions, axis=0) + 2 * MARGIN)
    boxed.center()
    return boxed
