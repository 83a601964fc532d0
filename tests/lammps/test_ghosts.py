"""The scaling model's processor grids and ghosts are those that LAMMPS reports."""

from __future__ import annotations

import re

import pytest

from allegro_dist.simulate.lammps_timings import timings_in
from allegro_dist.simulate.scaling import ghosts_per_rank, processor_grid
from tests.lammps.lammps_run import start_lmp

CUTOFF, SKIN, NUM_ATOMS = 5.0, 1.0, 20_000
INPUT = """
units metal
region box block 0 {0} 0 {1} 0 {2}
create_box 1 box
create_atoms 1 random 20000 7 NULL
mass 1 28
pair_style zero 5.0
pair_coeff * *
neighbor 1.0 bin
run 0
"""


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
@pytest.mark.parametrize("box", [(70.0, 70.0, 70.0), (150.0, 60.0, 40.0)], ids=["cube", "brick"])
def test_grid_and_ghosts_are_those_of_lammps(tmp_path, box, ranks):
    run = start_lmp(tmp_path, INPUT.format(*box), ranks)
    assert run.returncode == 0, run.stdout + run.stderr
    grid = tuple(map(int, re.findall(r"(\d+) by (\d+) by (\d+) MPI processor grid", run.stdout)[0]))
    assert processor_grid(ranks, box) == grid
    reported = timings_in(run.stdout)[-1].ghosts_per_rank
    density = NUM_ATOMS / (box[0] * box[1] * box[2])
    assert ghosts_per_rank(box, grid, CUTOFF + SKIN, density) == pytest.approx(reported, rel=0.03)
