"""The 2022 form of Allegro is trained by the eager step, and refuses the fused one by name."""

import json

import pytest

from allegro_dist.config import ConfigError
from allegro_dist.training.checkpoint import load_run
from allegro_dist.training.run import train
from tests.training.runs import small_run, write_frames

FAMILY = {"family": "allegro-2022", "num_layers": 3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("data") / "frames.xyz")


def test_training_lowers_the_error_of_forces(data, tmp_path):
    train(small_run(tmp_path, data, {"max_epochs": 8, "learning_rate": 0.01}, model=FAMILY))
    first, *_, last = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert last["train"]["forces"]["rmse"] < 0.9 * first["train"]["forces"]["rmse"]
    trained = load_run(tmp_path)
    assert trained.parameters_used.config.family == "allegro-2022"
    assert all(layer.update != 0 for layer in trained.model.layers)  # the share of the update is learned


def test_fused_step_is_refused(data, tmp_path):
    config = small_run(tmp_path, data, {"step": "fused"}, model=FAMILY)
    with pytest.raises(ConfigError, match="training.step: fused: it knows Allegro models, not Allegro2022"):
        train(config)
