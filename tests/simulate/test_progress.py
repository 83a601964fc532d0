"""What a simulation says of its speed."""

from __future__ import annotations

import time

import pytest

from allegro_dist.simulate.progress import Progress, Speed, describe, speed


def test_speed_is_in_the_units_that_it_says():
    """100 steps of 2 fs in 4 s: 0.05 ps/s, 4.32 ns a day."""
    found = speed(100, 4.0, num_left=50, num_atoms=1000, timestep=0.002)
    assert found.nanoseconds_per_day == pytest.approx(4.32)
    assert found.atom_steps_per_second == 25_000 and found.seconds_left == 2.0


def test_line_has_stage_steps_speed_and_time_left():
    line = describe("1: npt", 1200, 50_000, Speed(12.34, 250_000.4, 3725.0))
    assert line == "stage 1: npt  1,200 of 50,000 steps  12.3 ns/day  250,000 atom-steps/s  1:02:05 left"


def test_only_the_rank_that_shows_writes(capsys):
    for shown in (True, False):
        progress = Progress(shown=shown)
        begun = time.monotonic()
        progress.stage("0: nve", 10, lambda begun=begun: int(1e4 * (time.monotonic() - begun)), 0, 64, 0.001)
        progress.close()
        assert ("stage 0: nve" in capsys.readouterr().err) == shown
