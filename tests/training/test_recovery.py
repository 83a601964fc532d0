"""A training that breaks down goes back to its best state, at a lower rate; killed meanwhile, it goes on to the bit."""

from __future__ import annotations

import json
import math
import signal

import pytest
import torch

from allegro_dist.config import RecoveryConfig
from allegro_dist.training import checkpoint, loop
from allegro_dist.training.loop import Trainer
from allegro_dist.training.recovery import DivergedError, Recovery
from allegro_dist.training.run import train
from tests.training import ranks
from tests.training.runs import small_run, write_frames

BREAKDOWN = 17  # the step at which weights are made ten times as large: the first of epoch 5, of four steps each
PATIENCE = 2
SETTINGS = {"max_epochs": 12, "learning_rate": 0.005, "ema": 0.5, "schedule": {"name": "constant", "warmup": 0.0},
            "recovery": {"patience": PATIENCE}}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("data") / "frames.xyz")


def run_config(folder, frames, **settings):
    """A run that is validated on its training frames, so that its loss falls."""
    return small_run(folder, frames, {**SETTINGS, **settings}, data={"val": frames})


def break_down_once(stop_at=0):
    """Trainer.step, but for a step that breaks training down, and one at which a signal stops it."""
    real = Trainer.step

    def step(self, indices):
        if self.num_steps + 1 == stop_at:
            signal.raise_signal(signal.SIGTERM)
        go_on = real(self, indices)
        if self.num_steps == BREAKDOWN:
            for flat in self.flat.flats:
                flat.data.mul_(10.0)
        return go_on

    return step


def train_and_break_down(config):
    """For a process of its own."""
    Trainer.step = break_down_once()
    train(config)


def records_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def events_of(folder):
    return json.loads((folder / "results.json").read_text())["recoveries"]


def weights_of(folder, name="last.ckpt"):
    return torch.cat([w.flatten() for w in checkpoint.read(folder / name)["weights"].values()])


@pytest.mark.parametrize("optimizer", ["adam", "schedule_free"])
def test_breakdown_is_undone_at_a_lower_rate(data, tmp_path, monkeypatch, capfd, optimizer):
    monkeypatch.setattr(Trainer, "step", break_down_once())
    train(run_config(tmp_path, data, optimizer=optimizer))
    records, (event,) = records_of(tmp_path), events_of(tmp_path)
    losses = [r["val"]["loss"] for r in records]
    noticed = 4 + PATIENCE  # epochs
    assert min(losses[4:noticed]) > 10 * min(losses[:4])
    assert max(losses[noticed:]) < 10 * min(losses[:4]) and min(losses[noticed:]) < min(losses[:4])
    assert [r["recoveries"] for r in records] == [0] * (noticed - 1) + [1] * (13 - noticed)
    assert [r["lr"] for r in records] == [0.005] * noticed + [0.0025] * (12 - noticed)
    best = 1 + losses.index(min(losses[:4]))
    assert (event["epoch"], event["step"], event["back_to_epoch"]) == (noticed, 4 * noticed, best)
    told = " ".join(capfd.readouterr().err.split())
    assert f"training broke down in epoch {noticed}, step {4 * noticed}: the validation loss is" in told
    assert f"back to the weights of epoch {best}, learning rate x 0.5" in told
    assert f"training broke down and went back 1 times (steps {4 * noticed})" in told


def test_steps_that_are_not_finite_go_back_to_the_best_state(data, tmp_path, monkeypatch):
    real, calls = loop.batch_loss, []

    def spoiled(*arguments):
        calls.append(len(calls))
        return real(*arguments) * (math.nan if 17 <= len(calls) < 17 + loop.MAX_REFUSED else 1.0)

    monkeypatch.setattr(loop, "batch_loss", spoiled)
    train(run_config(tmp_path, data))
    (event,) = events_of(tmp_path)
    assert event["step"] == 16 + loop.MAX_REFUSED and event["reason"].startswith("10 steps in a row had gradients")
    losses = [r["val"]["loss"] for r in records_of(tmp_path)]
    assert min(losses[8:]) < min(losses[:4])


def test_rate_too_high_from_the_start_is_lowered_until_it_trains(data, tmp_path):
    """No forced breakdown: what happens at such rates."""
    settings = {"max_epochs": 60, "learning_rate": 3.0, "clip_gradient": None,
                "recovery": {"patience": PATIENCE, "max_times": 5, "factor": 0.1}}  # fmt: skip
    train(run_config(tmp_path, data, **settings))
    losses = [r["val"]["loss"] for r in records_of(tmp_path)]
    assert events_of(tmp_path) and min(losses) < 0.5 * losses[0]


def test_run_that_behaves_is_what_it_was(data, tmp_path):
    """To the bit that of a run without recovery."""
    for name, times in (("with", 3), ("without", 0)):
        train(run_config(tmp_path / name, data, recovery={"max_times": times}))
    assert torch.equal(weights_of(tmp_path / "with"), weights_of(tmp_path / "without"))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The folder of a run that broke down and was not killed."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", break_down_once())
        train(run_config(folder, data))
    return folder


@pytest.mark.parametrize("stop_at", [20, 24, 26], ids=["broken down", "when it is noticed", "gone back"])
def test_run_killed_around_a_breakdown_goes_on_to_the_bit(data, whole, tmp_path, monkeypatch, stop_at):
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", break_down_once(stop_at))
        with pytest.raises(RuntimeError, match="run the same command to go on"):
            train(run_config(tmp_path, data))
    train(run_config(tmp_path, data))
    assert events_of(tmp_path) == events_of(whole) != []
    for name in ("last.ckpt", "best.ckpt"):
        assert torch.equal(weights_of(whole, name), weights_of(tmp_path, name))


def test_two_ranks_go_back_as_one_does(data, whole, tmp_path):
    ranks.run(2, train_and_break_down, run_config(tmp_path, data), log=tmp_path / "log")
    (one,), (two,) = events_of(whole), events_of(tmp_path)
    assert all(one[key] == two[key] for key in ("epoch", "step", "back_to_epoch"))
    for mine, other in zip(records_of(tmp_path)[6:], records_of(whole)[6:], strict=True):
        assert mine["val"]["loss"] == pytest.approx(other["val"]["loss"], rel=1e-6)


def test_breakdown_beyond_max_times_ends_the_run(data, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "step", break_down_once())
    with pytest.raises(DivergedError, match=r"epoch 6, step 24: the validation loss .* went back 0 times before"):
        train(run_config(tmp_path, data, recovery={"patience": PATIENCE, "max_times": 0}))


def test_validation_that_is_not_finite_is_a_breakdown_at_once():
    assert Recovery(RecoveryConfig()).judge(math.nan, 1.0) == "the validation loss is not finite"


def test_jumps_count_in_a_row():
    recovery = Recovery(RecoveryConfig(patience=2, jump=10.0))
    assert not any(recovery.judge(loss, best=1.0) for loss in (11.0, 9.0, 11.0))
    assert "11.1 times the best one" in recovery.judge(11.1, best=1.0)
