#!/usr/bin/env python3
"""Train on the embedded silicon set, deploy, run LAMMPS on two ranks, compare with Python and DFT, report.

Started by scripts/demo.sh. Every step leaves its files in the demo's folder, together with what they were made from,
and is not done again while that is the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import read

from allegro_dist.analysis.fits import SinglePoint
from allegro_dist.report.silicon import DftCrystal, SiliconRun, dft_crystal, write_silicon_report

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "silicon"
TRAIN, TEST = EXAMPLE / "data" / "train.xyz", EXAMPLE / "data" / "test.xyz"
PROGRAMS = Path(sys.prefix) / "bin"
RANKS = 2  # of training and of LAMMPS


@dataclass(frozen=True)
class Plan:
    """How much is done."""

    name: str
    members: int  # potentials that are trained; LAMMPS runs the first
    nvt_steps: int
    nve_steps: dict[str, int]  # by precision of the archive

    @property
    def is_committee(self) -> bool:
        return self.members > 1


QUICK = Plan("quick", 1, 300, {"float32": 1000})
FULL = Plan("full", 4, 1000, {"float32": 5000, "float64": 2500})


class Demo:
    """The steps of the demo in one folder."""

    def __init__(self, plan: Plan, config: Path, folder: Path) -> None:
        self.plan, self.config, self.folder = plan, config, folder
        self.train_folder = folder / "train"
        self.run_folder = self.train_folder / "member-0" if plan.is_committee else self.train_folder
        self.start = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)

    def say(self, text: str) -> None:
        print(f"demo [{time.monotonic() - self.start:4.0f} s] {text}", flush=True)

    def archive(self, dtype: str, member: int = 0) -> Path:
        return self.folder / f"model-{dtype}{f'-{member}' if self.plan.is_committee else ''}.pth"

    def train(self) -> None:
        """Train, or go on with an interrupted training."""
        several = self.plan.is_committee
        if (self.train_folder / ("committee.json" if several else "results.json")).exists():
            self.say(f"training: done before ({self.train_folder})")
            return
        self.say(f"training on {TRAIN.name}" + (f", a committee of {self.plan.members}" if several else ""))
        changes: list[object] = [f"run.dir={self.train_folder}", *(["--members", self.plan.members] if several else [])]
        ranks: list[object] = [PROGRAMS / "mpiexec", "-n", RANKS] if (os.cpu_count() or 1) >= RANKS else []
        run([*ranks, PROGRAMS / "allegro-dist", "train", self.config, *changes], cwd=ROOT)

    def deploy(self) -> None:
        """Archives in both precisions, and errors on the test frames: of the first, and of a committee's mean.

        Of the last epoch, when the learning rate has come down: too few frames validate to choose one by them.
        """
        weights = self.run_folder / "last.ckpt"
        for dtype in ("float32", "float64"):
            out = self.archive(dtype)
            if not out.exists() or out.stat().st_mtime < weights.stat().st_mtime:
                self.say(f"deploying {out.name}")
                options = ["--weights", "last", "-o", self.folder / f"model-{dtype}.pth", "--dtype", dtype]
                run([PROGRAMS / "allegro-dist", "deploy", self.train_folder, *options])
        self.say("errors on the test frames")
        errors = self.folder / "errors.json"
        run([PROGRAMS / "allegro-dist", "evaluate", self.archive("float32"), TEST, "--json", errors])
        if self.plan.is_committee:
            archives = [self.archive("float32", member) for member in range(self.plan.members)]
            page = self.folder / "committee.html"
            run([PROGRAMS / "allegro-dist", "report", *archives, "--data", TEST, "-o", page, "--json", self.committee])

    @property
    def committee(self) -> Path:
        """What is said of the committee, for programs."""
        return self.folder / "committee.json"

    def lammps(self, name: str, dtype: str, ranks: int, **variables: object) -> Path:
        """Run an input of the example; returns its output folder, which appears once it has run to its end."""
        script, archive = EXAMPLE / f"{name}.in", self.archive(dtype)
        settings = {key: value if isinstance(value, list) else [str(value)] for key, value in variables.items()}
        made_from = json.dumps([ranks, digest(script, archive), settings])
        out = self.folder / "lammps" / f"{name}-{dtype}-{ranks}"
        stamp = out / "made_from.json"
        if stamp.exists() and stamp.read_text() == made_from:
            return out
        self.say(f"LAMMPS: {name}.in, {dtype}, {ranks} MPI rank{'s' * (ranks > 1)}")
        part = out.with_name(out.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        command: list[object] = [PROGRAMS / "mpiexec", "-n", ranks, PROGRAMS / "allegro-dist", "lmp", "-in", script]
        # Relative names: a variable's value with a space in it would be two words to LAMMPS.
        here = part.relative_to(self.folder)
        command += ["-log", here / "log.lammps", "-screen", "none", "-var", "model", archive.name, "-var", "out", here]
        for key, values in settings.items():
            command += ["-var", key, *values]
        run(command, log=part / "log.lammps", cwd=self.folder, OMP_NUM_THREADS="1")
        (part / stamp.name).write_text(made_from)
        shutil.rmtree(out, ignore_errors=True)
        part.rename(out)
        return out

    def python_single_points(self) -> dict[str, SinglePoint]:
        """One displaced crystal by the ASE calculator of each archive; displaced.data is the same for LAMMPS."""
        from allegro_dist.simulate.calculator import AllegroCalculator

        atoms = displaced_crystal()
        atoms.write(self.folder / "displaced.data", format="lammps-data")
        points = {}
        for dtype in ("float32", "float64"):
            atoms.calc = AllegroCalculator(self.archive(dtype), evaluator="torchscript")
            pressure = -float(atoms.get_stress()[:3].mean())
            points[dtype] = SinglePoint(atoms.get_potential_energy(), atoms.get_forces(), pressure)
        return points

    def crystal(self, dft: DftCrystal) -> Path:
        """The same volumes and strains as the DFT frames, in LAMMPS."""
        shears = words(dft.test.shear[np.abs(dft.test.shear) > 1e-9])
        return self.lammps(
            "crystal", "float64", RANKS, edge=dft.edge, edges=words((8 * dft.equation_of_state.volumes) ** (1 / 3)),
            stretch=words(1 + dft.test.uniaxial), clamped=shears, relaxed=shears,
        )  # fmt: skip

    def run(self) -> Path:
        """All steps; returns the report."""
        self.train()
        self.deploy()
        dft = dft_crystal([*read(TRAIN, ":"), *read(TEST, ":")])
        python = self.python_single_points()
        points = {
            (dtype, ranks): self.lammps("single_point", dtype, ranks, data="displaced.data")
            for dtype in ("float32", "float64") for ranks in (1, RANKS)
        }  # fmt: skip
        crystal = self.crystal(dft)
        edge = dft.equation_of_state.lattice_constant()
        dynamics = {
            dtype: self.lammps("md", dtype, RANKS, edge=edge, nvt_steps=self.plan.nvt_steps, nve_steps=steps)
            for dtype, steps in self.plan.nve_steps.items()
        }
        done = SiliconRun(
            self.run_folder, self.folder / "errors.json", self.committee if self.plan.is_committee else None,
            python, points, crystal, dynamics, dft,
        )  # fmt: skip
        report = self.folder / "report.html"
        print(write_silicon_report(report, done))
        shutil.copyfile(report, self.folder.parent / report.name)  # the latest, where README points
        self.say(f"report: {report}")
        return report


def displaced_crystal() -> Atoms:
    """216 atoms, strained and displaced at random by 0.1 Angstrom, so that no force or stress is zero by symmetry."""
    atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat(3)
    atoms.set_cell(atoms.cell.array * [1.01, 1.0, 0.98], scale_atoms=True)
    atoms.rattle(0.1, seed=7)
    atoms.wrap()
    return atoms


def words(values: np.ndarray) -> list[str]:
    return [f"{value:.12g}" for value in values]


def digest(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def run(command: list[object], log: Path | None = None, cwd: Path | None = None, **environment: str) -> None:
    """Run a command to its end; a failure ends the demo, naming the command and showing the end of its log."""
    arguments = [str(word) for word in command]
    code = subprocess.run(arguments, env=os.environ | environment, cwd=cwd).returncode
    if code:
        if log is not None and log.exists():
            print("\n".join(log.read_text().splitlines()[-15:]), file=sys.stderr)
        sys.exit(f"demo: stopped, exit code {code}: {' '.join(arguments)}\ndemo: run scripts/demo.sh again to go on")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--full", action="store_true", help="train four potentials, simulate longer, in both precisions"
    )
    plan = FULL if parser.parse_args().full else QUICK
    Demo(plan, ROOT / "examples" / "silicon.yaml", ROOT / "demo-run" / plan.name).run()


if __name__ == "__main__":
    main()
