"""The learning curve: sizes from the runs' folders, exponents from errors that follow a law."""

from __future__ import annotations

import json

import pytest

from allegro_dist.report.errors import Error, GroupErrors
from allegro_dist.report.learning_curve import CurvePoint, fit_power_law, training_frames
from allegro_dist.training.checkpoint import CheckpointError


def point(size: int, force_error: float) -> CurvePoint:
    return CurvePoint(f"run{size}", size, GroupErrors("all", 1, 1, None, Error(3, force_error, force_error, 0.0), None))


def test_power_law_is_found():
    law = fit_power_law([point(n, 2.5 * n**-0.4) for n in (50, 100, 400)], "forces")
    assert law.exponent == pytest.approx(0.4) and law.factor == pytest.approx(2.5)


def test_runs_of_one_size_have_no_law():
    assert fit_power_law([point(50, 0.1), point(50, 0.2)], "forces") is None


def test_quantity_without_labels_has_no_law():
    assert fit_power_law([point(50, 0.1), point(100, 0.2)], "energy_per_atom") is None


def test_size_is_that_of_the_finished_run(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps({"data": {"train": 123, "val": 4}}))
    assert training_frames(str(tmp_path)) == 123


def test_unfinished_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="not the folder of a finished training run: results.json is missing"):
        training_frames(str(tmp_path))
