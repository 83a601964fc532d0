"""Runs the installed lmp on a structure and reads back everything it says, at full precision."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

from allegro_dist.simulate.lammps_runtime import lmp_command, lmp_environment

BAR = 1.6021765e6  # eV/Angstrom^3 in LAMMPS's bar
MPIEXEC = Path(sys.prefix, "bin", "mpiexec")

INPUT = """\
{head}
atom_style atomic
boundary {boundary}
{processors}
box tilt large
read_data structure.data
{pair}
neighbor {skin} bin
compute energy all pe/atom
compute virial all stress/atom NULL pair
compute total_energy all reduce sum c_energy
compute total_virial all reduce sum c_virial[*]
thermo_style custom step pe pxx pyy pzz pxy pxz pyz c_total_energy c_total_virial[*]
thermo_modify format float %.17g
dump atoms all custom 1 atoms.dump id x y z fx fy fz c_energy c_virial[*]
dump_modify atoms sort id format float %.17g
fix move all nve
run {steps}
"""


@dataclass(frozen=True)
class LammpsResult:
    """The last step. Virials are LAMMPS's order xx, yy, zz, xy, xz, yz; eV and Angstrom."""

    energy: float
    virial: np.ndarray  # [6] from the global pressure
    sum_of_energies: float
    sum_of_virials: np.ndarray  # [6] from the per-atom stresses
    positions: np.ndarray
    forces: np.ndarray
    energies: np.ndarray
    virials: np.ndarray  # [N, 6]
    output: str


def in_lammps_frame(atoms: Atoms) -> Atoms:
    """The structure turned so that its cell is lower triangular, as LAMMPS wants it."""
    turned = atoms.copy()
    turned.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)
    return turned


def write_data(path: Path, atoms: Atoms, type_names: Sequence[str]) -> None:
    """A LAMMPS data file of a structure that is in LAMMPS's frame."""
    cell = atoms.cell.array
    lines = ["test", "", f"{len(atoms)} atoms", f"{len(type_names)} atom types", ""]
    lines += [f"0.0 {cell[k, k]:.17g} {axis}lo {axis}hi" for k, axis in enumerate("xyz")]
    lines += [f"{cell[1, 0]:.17g} {cell[2, 0]:.17g} {cell[2, 1]:.17g} xy xz yz", "", "Masses", ""]
    lines += [f"{k} {atomic_masses[atomic_numbers[name]]}" for k, name in enumerate(type_names, 1)]
    lines += ["", "Atoms # atomic", ""]
    for k, (name, r) in enumerate(zip(atoms.get_chemical_symbols(), atoms.positions), 1):
        lines.append(f"{k} {list(type_names).index(name) + 1} {r[0]:.17g} {r[1]:.17g} {r[2]:.17g}")
    path.write_text("\n".join(lines) + "\n")


def pair_allegro(archive: Path, elements: Sequence[str], options: str = "") -> str:
    return f"pair_style allegro {options}\npair_coeff * * {archive} {' '.join(elements)}"


def children_of(process: int) -> list[int]:
    """Process ids."""
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def ranks_of(launcher: int) -> list[int]:
    """Process ids of the ranks that mpiexec started through its proxy."""
    return [rank for proxy in children_of(launcher) for rank in children_of(proxy)]


def start_lmp(folder: Path, text: str, ranks: int = 1, threads: int = 1) -> subprocess.CompletedProcess[str]:
    """Runs lmp on an input; a run that hangs is a failure."""
    (folder / "in.test").write_text(text)
    command = [str(MPIEXEC), "-n", str(ranks), *lmp_command(["-in", "in.test", "-log", "none"])]
    environment = lmp_environment(os.environ | {"OMP_NUM_THREADS": str(threads)})
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def last_thermo(output: str) -> np.ndarray:
    """The last line of the last run's thermo output."""
    lines = output.splitlines()
    after = max(k for k, line in enumerate(lines) if line.startswith("Loop time"))
    return np.array(lines[after - 1].split(), dtype=float)


def last_dump(folder: Path, num_atoms: int) -> np.ndarray:
    """[num_atoms, columns] the last snapshot of atoms.dump."""
    return np.loadtxt((folder / "atoms.dump").read_text().splitlines()[-num_atoms:], ndmin=2)


def run_lammps(folder: Path, atoms: Atoms, type_names: Sequence[str], pair: str, *, ranks: int = 1, steps: int = 0,
               threads: int = 1, head: str = "units metal", processors: str = "", skin: float = 1.0,
               ) -> LammpsResult:  # fmt: skip
    """Energies, forces and virials of a structure after `steps` steps of NVE from rest.

    Args:
        atoms: in LAMMPS's frame (in_lammps_frame).
        pair: the pair_style and pair_coeff commands.
    """
    write_data(folder / "structure.data", atoms, type_names)
    boundary = " ".join("p" if periodic else "f" for periodic in atoms.pbc)
    run = start_lmp(folder, INPUT.format(head=head, boundary=boundary, processors=processors, pair=pair, skin=skin,
                                         steps=steps), ranks, threads)  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    thermo = last_thermo(run.stdout)
    assert thermo[0] == steps
    table = last_dump(folder, len(atoms))
    assert np.array_equal(table[:, 0], np.arange(1, len(atoms) + 1))
    volume = atoms.cell.volume
    return LammpsResult(
        energy=thermo[1],
        virial=thermo[2:8] * volume / BAR,
        sum_of_energies=thermo[8],
        sum_of_virials=-thermo[9:15] / BAR,
        positions=table[:, 1:4],
        forces=table[:, 4:7],
        energies=table[:, 7],
        virials=-table[:, 8:14] / BAR,
        output=run.stdout,
    )
