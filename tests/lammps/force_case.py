"""A case of the force style tests: a YAML file in the manner of LAMMPS's own, and what the Python model says of it.

A file holds the model (its whole configuration and the seeds of its weights), the structure, and two states, at the
start and after some steps of NVE: energy, stress and forces, positions and velocities. "stress" is, as in LAMMPS's
files, the virial, xx, yy, zz, xy, xz, yz. Units are LAMMPS's metal units: eV, Angstrom, ps, g/mol.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.md.verlet import VelocityVerlet

from allegro_dist.config import AllegroConfig, from_dict, to_dict
from allegro_dist.potential import Potential, assemble_forces, assemble_virial, build_potential
from tests.conftest import edges_of

FOLDER = Path(__file__).parent / "force_styles"
LAMMPS_ORDER = ((0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2))
# LAMMPS's own g/mol (Angstrom/ps)^2 in eV, with its digits: with today's value positions would differ by 1e-8 of a
# displacement. ASE's unit of time is the one in which this factor is 1.
MVV2E = 1.0364269e-4
ASE_TIME = MVV2E**0.5  # ps


@dataclass(frozen=True)
class State:
    energy: float
    stress: np.ndarray  # [6] the virial, eV
    forces: np.ndarray  # [N, 3]
    positions: np.ndarray  # [N, 3] not wrapped
    velocities: np.ndarray  # [N, 3] Angstrom/ps


@dataclass(frozen=True)
class ForceCase:
    name: str
    model: AllegroConfig  # with type names, scales, shifts and numbers of neighbors given
    seeds: tuple[int, ...]  # of torch's generator; several make a committee, of which the mean is taken
    atoms: Atoms  # in LAMMPS's frame
    velocities: np.ndarray  # [N, 3] Angstrom/ps
    timestep: float  # ps
    steps: int

    @property
    def type_names(self) -> tuple[str, ...]:
        assert self.model.type_names is not None
        return self.model.type_names

    def potentials(self) -> list[Potential]:
        """The members, with weights drawn from their seeds."""
        members = []
        for seed in self.seeds:
            torch.manual_seed(seed)
            values = {
                name: [getattr(self.model, name)[symbol] for symbol in self.type_names]
                for name in ("avg_num_neighbors", "per_type_scale", "per_type_shift")
            }
            members.append(build_potential(self.model, type_names=self.type_names, **values).eval())
        return members


class MeanOfMembers(Calculator):
    """The Python model on ASE's neighbor list: no archive, no compiled code."""

    implemented_properties = ["energy", "forces", "virial"]  # noqa: RUF012

    def __init__(self, case: ForceCase) -> None:
        super().__init__()
        self.case, self.members = case, case.potentials()

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        model = self.case.model
        vectors, index, types = edges_of(self.atoms, self.case.type_names, model.pair_cutoffs, model.r_max)
        one_frame = torch.zeros(len(vectors), dtype=torch.int64)
        found = [member(vectors, index, types) for member in self.members]
        energy = torch.stack([energies.sum() for energies, _ in found]).mean()
        gradient = torch.stack([gradient for _, gradient in found]).mean(0)
        self.results = {
            "energy": float(energy),
            "forces": assemble_forces(gradient, index, len(types)).numpy(),
            "virial": assemble_virial(gradient, vectors, one_frame, 1)[0].numpy()[LAMMPS_ORDER],
        }


def integrate(case: ForceCase) -> tuple[State, State]:
    """The states before and after the steps, by ASE's velocity Verlet in float64."""
    atoms = case.atoms.copy()
    atoms.set_velocities(case.velocities * ASE_TIME)
    atoms.calc = MeanOfMembers(case)
    first = _state(atoms)
    VelocityVerlet(atoms, timestep=case.timestep / ASE_TIME, logfile=None).run(case.steps)
    return first, _state(atoms)


def _state(atoms: Atoms) -> State:
    forces = atoms.get_forces()
    results = atoms.calc.results
    return State(
        results["energy"], results["virial"], forces, atoms.positions.copy(), atoms.get_velocities() / ASE_TIME
    )


# --- files -----------------------------------------------------------------------------------------------------------


def _rows(table: np.ndarray, labels: list[str]) -> str:
    lines = (" ".join([label, *(f"{x:.16e}" for x in row)]) for label, row in zip(labels, table))
    return "\n".join(lines) + "\n"


def _table(text: str) -> np.ndarray:
    """Numbers of the lines, without the label that each begins with."""
    return np.array([line.split()[1:] for line in text.splitlines()], dtype=float)


class _Dumper(yaml.SafeDumper):
    """Text of several lines stands as it is."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def write_case(case: ForceCase, first: State, last: State) -> None:
    atoms, numbers = case.atoms, [str(k) for k in range(1, len(case.atoms) + 1)]
    values = {
        "natoms": len(atoms),
        "model": to_dict(case.model),
        "seeds": list(case.seeds),
        "timestep": case.timestep,
        "run_steps": case.steps,
        "cell": _rows(atoms.cell.array, ["a", "b", "c"]),
        "atoms": _rows(np.hstack([atoms.positions, case.velocities]), atoms.get_chemical_symbols()),
        "init_energy": first.energy,
        "init_stress": _rows(first.stress[:, None], ["xx", "yy", "zz", "xy", "xz", "yz"]),
        "init_forces": _rows(first.forces, numbers),
        "run_energy": last.energy,
        "run_stress": _rows(last.stress[:, None], ["xx", "yy", "zz", "xy", "xz", "yz"]),
        "run_forces": _rows(last.forces, numbers),
        "run_pos": _rows(last.positions, numbers),
        "run_vel": _rows(last.velocities, numbers),
    }
    head = "# Written by scripts/make_force_references.py from the Python model; see tests/lammps/force_case.py.\n"
    (FOLDER / f"{case.name}.yaml").write_text(head + yaml.dump(values, Dumper=_Dumper, sort_keys=False))


def read_case(name: str) -> tuple[ForceCase, State, State]:
    """The case and its states before and after the steps."""
    values = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    symbols = [line.split()[0] for line in values["atoms"].splitlines()]
    positions, velocities = np.hsplit(_table(values["atoms"]), 2)
    atoms = Atoms(symbols, positions, cell=_table(values["cell"]), pbc=True)
    model = from_dict(AllegroConfig, values["model"], name)
    case = ForceCase(name, model, tuple(values["seeds"]), atoms, velocities, values["timestep"], values["run_steps"])
    first = State(
        values["init_energy"], _table(values["init_stress"])[:, 0], _table(values["init_forces"]), positions, velocities
    )
    last = State(
        values["run_energy"],
        _table(values["run_stress"])[:, 0],
        *(_table(values[key]) for key in ("run_forces", "run_pos", "run_vel")),
    )
    return case, first, last
