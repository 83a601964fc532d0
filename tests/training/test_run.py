import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from allegro_dist.config import ConfigError, dump
from allegro_dist.config import load as load_configuration
from allegro_dist.data.build import BuildOptions, build_set
from allegro_dist.data.structure import DataError, read_structures
from allegro_dist.training import checkpoint
from allegro_dist.training.checkpoint import CheckpointError, load_run
from allegro_dist.training.evaluate import evaluate_potential
from allegro_dist.training.loop import Trainer
from allegro_dist.training.recovery import DivergedError
from allegro_dist.training.run import train
from tests.training.runs import TRAIN_SCRIPT, small_run, write_frames


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("data") / "frames.xyz")


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = small_run(folder, data, {"max_epochs": 6, "learning_rate": 0.01}, data={"test": data})
    train(config)
    return config, folder


def records_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights_of(folder, name="last.ckpt"):
    state = checkpoint.read(folder / name)
    return torch.cat([w.flatten().double() for w in state["weights"].values()])


# --- what a run leaves -----------------------------------------------------------------------------------------------


def test_run_folder_is_complete(finished):
    names = {path.name for path in finished[1].iterdir()}
    assert names == {
        "config.yaml", "provenance.json", "metrics.jsonl", "best.ckpt", "last.ckpt", "results.json",
        "learning_curve.png", "parity.png",
    }  # fmt: skip


def test_stored_configuration_is_that_of_the_run(finished):
    assert load_configuration(finished[1] / "config.yaml") == finished[0]


def test_metrics_have_one_line_per_epoch_and_the_loss_falls(finished):
    records = records_of(finished[1])
    assert [r["epoch"] for r in records] == [1, 2, 3, 4, 5, 6]
    assert records[-1]["train"]["loss"] < records[0]["train"]["loss"]
    assert set(records[0]["val"]) == {"loss", "energy", "energy_per_atom", "forces", "stress"}


def test_loaded_run_reproduces_its_results(finished):
    _, folder = finished
    results = json.loads((folder / "results.json").read_text())
    frames = read_structures(finished[0].data.train)
    errors = evaluate_potential(load_run(folder), frames)
    for name in ("energy", "energy_per_atom", "forces", "stress"):
        assert errors[name]["mae"] == pytest.approx(results["test"][name]["mae"], rel=1e-10)


def test_best_weights_are_those_of_the_best_validation(finished):
    records, state = records_of(finished[1]), checkpoint.read(finished[1] / "best.ckpt")
    best = min(records, key=lambda r: r["val"]["loss"])
    assert state["epoch"] == best["epoch"]
    assert state["errors"]["forces"]["mae"] == best["val"]["forces"]["mae"]


def test_last_weights_are_the_average(finished):
    last = load_run(finished[1], "last")
    averages = torch.cat([a.flatten() for a in checkpoint.read(finished[1] / "last.ckpt")["ema"]])
    own = torch.cat([p.detach().flatten() for p in last.parameters() if p.requires_grad])
    assert torch.equal(averages, own)


def test_finished_run_is_not_trained_again(finished):
    before = weights_of(finished[1])
    train(finished[0])
    assert torch.equal(before, weights_of(finished[1]))


def test_seed_reproduces_to_the_bit(data, tmp_path):
    for name in ("a", "b"):
        train(small_run(tmp_path / name, data, {"max_epochs": 2}, seed=3))
    train(small_run(tmp_path / "c", data, {"max_epochs": 2}, seed=4))
    assert torch.equal(weights_of(tmp_path / "a"), weights_of(tmp_path / "b"))
    assert not torch.equal(weights_of(tmp_path / "a"), weights_of(tmp_path / "c"))


def test_fused_step_trains_as_the_eager_one_does(data, tmp_path):
    for step in ("fused", "eager"):
        train(small_run(tmp_path / step, data, {"step": step}, model={"train_scale_shift": True, "zbl": True}))
    for fused, eager in zip(records_of(tmp_path / "fused"), records_of(tmp_path / "eager"), strict=True):
        for part in ("train", "val"):
            assert fused[part]["loss"] == pytest.approx(eager[part]["loss"], rel=1e-9)
    torch.testing.assert_close(weights_of(tmp_path / "fused"), weights_of(tmp_path / "eager"), rtol=0, atol=1e-9)


# --- going on --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "step, schedule, optimizer, rates",
    [
        ("fused", "constant", "adam", "equal"),
        ("fused", "plateau", "adam", "relative"),
        ("eager", "constant", "adam", "equal"),
        ("fused", "constant", "schedule_free", "equal"),
    ],
)
def test_resumed_run_equals_an_uninterrupted_one_to_the_bit(data, tmp_path, step, schedule, optimizer, rates):
    settings = {"step": step, "optimizer": optimizer, "rates": rates, "learning_rate": 0.02,
                "schedule": {"name": schedule, "warmup": 0.0, "patience": 1}}  # fmt: skip
    train(small_run(tmp_path / "whole", data, {**settings, "max_epochs": 6}))
    train(small_run(tmp_path / "parts", data, {**settings, "max_epochs": 3}))
    train(small_run(tmp_path / "parts", data, {**settings, "max_epochs": 6}))
    for name in ("last.ckpt", "best.ckpt"):
        assert torch.equal(weights_of(tmp_path / "whole", name), weights_of(tmp_path / "parts", name))
    whole, parts = records_of(tmp_path / "whole"), records_of(tmp_path / "parts")
    assert [(r["epoch"], r["train"], r["val"]) for r in whole] == [(r["epoch"], r["train"], r["val"]) for r in parts]


@pytest.mark.parametrize("training", [{}, {"mean_share": 0.9}, {"schedule": {"name": "plateau", "patience": 1}}])
@pytest.mark.parametrize("number, position", [(4, 2), (5, 3)], ids=["within an epoch", "at its last step"])
def test_run_stopped_by_a_signal_goes_on_to_the_bit(data, tmp_path, monkeypatch, training, number, position):
    train(small_run(tmp_path / "whole", data, training))
    step = Trainer.step

    def interrupted_step(self, indices):
        if self.num_steps == number:
            signal.raise_signal(signal.SIGTERM)
        return step(self, indices)

    monkeypatch.setattr(Trainer, "step", interrupted_step)
    with pytest.raises(RuntimeError, match="run the same command to go on") as raised:
        train(small_run(tmp_path / "parts", data, training))
    assert raised.value.exit_code == 128 + signal.SIGTERM
    state = checkpoint.read(tmp_path / "parts" / "last.ckpt")
    assert (state["epoch"], state["position"]) == (1, position)
    monkeypatch.setattr(Trainer, "step", step)
    train(small_run(tmp_path / "parts", data, training))
    for name in ("last.ckpt", "best.ckpt"):
        assert torch.equal(weights_of(tmp_path / "whole", name), weights_of(tmp_path / "parts", name))
    whole, parts = records_of(tmp_path / "whole"), records_of(tmp_path / "parts")
    assert [(r["epoch"], r["train"], r["val"]) for r in whole] == [(r["epoch"], r["train"], r["val"]) for r in parts]


def test_terminated_process_leaves_a_checkpoint_to_go_on_from(data, tmp_path):
    config = small_run(tmp_path / "run", data, {"max_epochs": 100_000, "max_minutes": 5})
    dump(config, tmp_path / "c.yaml")
    command = [sys.executable, "-c", TRAIN_SCRIPT, str(tmp_path / "c.yaml")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert "run the same command to go on" in process.communicate(timeout=60)[1]
    epoch = checkpoint.read(tmp_path / "run" / "last.ckpt")["epoch"]
    assert epoch >= 1
    train(replace(config, training=replace(config.training, max_epochs=epoch + 2)))
    assert checkpoint.read(tmp_path / "run" / "last.ckpt")["epoch"] == epoch + 2


def test_run_goes_on_by_the_other_step(data, tmp_path):
    for folder, step, epochs in (("whole", "fused", 2), ("parts", "fused", 1), ("parts", "eager", 2)):
        settings = {"step": step, "max_epochs": epochs, "schedule": {"name": "constant"}}
        train(small_run(tmp_path / folder, data, settings))
    torch.testing.assert_close(weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts"), rtol=0, atol=1e-9)


def test_other_configuration_in_the_folder_is_refused_by_key(finished, data):
    config = small_run(finished[1], data, {"max_epochs": 6, "learning_rate": 0.02}, data={"test": data}, seed=1)
    with pytest.raises(CheckpointError, match=r"seed \(was 0, now 1\)") as raised:
        train(config)
    assert "training.learning_rate (was 0.01, now 0.02)" in str(raised.value)
    assert "max_epochs" not in str(raised.value)


def test_changed_training_data_are_refused(tmp_path):
    path = write_frames(tmp_path / "frames.xyz")
    train(small_run(tmp_path / "run", path, {"max_epochs": 1}))
    write_frames(tmp_path / "frames.xyz", seed=50)
    with pytest.raises(CheckpointError, match="other training frames"):
        train(small_run(tmp_path / "run", path, {"max_epochs": 2}))


# --- when to stop ----------------------------------------------------------------------------------------------------


def test_max_minutes_ends_the_run(data, tmp_path):
    train(small_run(tmp_path, data, {"max_epochs": 100_000, "max_minutes": 0.02}))
    assert records_of(tmp_path)[-1]["minutes"] >= 0.02
    assert (tmp_path / "results.json").exists()


def test_early_stopping_ends_the_run(data, tmp_path):
    # With a rate of next to nothing and no averaging, the first validation stays the best.
    train(small_run(tmp_path, data, {"max_epochs": 50, "early_stopping": 3, "learning_rate": 1e-30, "ema": 0.0}))
    assert len(records_of(tmp_path)) == 4


def test_step_that_is_not_finite_is_refused(data, tmp_path, monkeypatch):
    calls = []
    from allegro_dist.training import loop

    real = loop.batch_loss

    def spoiled(errors, batch, coefficients):
        calls.append(len(calls))
        return real(errors, batch, coefficients) * (float("nan") if calls[-1] == 2 else 1.0)

    monkeypatch.setattr(loop, "batch_loss", spoiled)
    train(small_run(tmp_path, data))
    assert torch.isfinite(weights_of(tmp_path)).all()
    assert json.loads((tmp_path / "results.json").read_text())["refused_steps"] == 1


def test_repeated_steps_that_are_not_finite_stop_the_run(data, tmp_path, monkeypatch):
    from allegro_dist.training import loop

    real = loop.batch_loss
    monkeypatch.setattr(loop, "batch_loss", lambda *args: real(*args) * float("nan"))
    with pytest.raises(DivergedError, match="10 steps in a row .* Lower training.learning_rate"):
        train(small_run(tmp_path, data, {"max_epochs": 50}))


# --- bad input -------------------------------------------------------------------------------------------------------


def test_truncated_checkpoint_is_refused(data, tmp_path):
    train(small_run(tmp_path, data, {"max_epochs": 1}))
    path = tmp_path / "last.ckpt"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(CheckpointError, match="last.ckpt: not a whole checkpoint"):
        train(small_run(tmp_path, data, {"max_epochs": 1}))


def test_checkpoint_of_a_newer_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 99)
    checkpoint.save(tmp_path / "best.ckpt", {})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="format 99 is newer"):
        load_run(tmp_path)


def test_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="best.ckpt is missing"):
        load_run(tmp_path)


def test_type_that_the_model_lacks_is_named(data, tmp_path):
    with pytest.raises(DataError, match="atom of type 'H', but the model has O, Si"):
        train(small_run(tmp_path, data, model={"type_names": ["O", "Si"]}))


def test_pair_cutoff_of_an_unknown_type_is_refused(data, tmp_path):
    with pytest.raises(ConfigError, match="pair_cutoffs 'H-X'"):
        train(small_run(tmp_path, data, model={"pair_cutoffs": {"H-X": 2.0}}))


def test_frames_without_forces_train_energies_when_allowed(data, tmp_path):
    frames = read(data, ":")
    for atoms in frames[::2]:
        atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy())
    write(tmp_path / "partly.xyz", frames)
    settings = {"max_epochs": 2, "loss": {"energy": 1.0, "forces": 1.0}}
    with pytest.raises(DataError, match="partly.xyz, frame 0: no forces"):
        train(small_run(tmp_path / "run", str(tmp_path / "partly.xyz"), settings))
    train(small_run(tmp_path / "run", str(tmp_path / "partly.xyz"), settings, data={"allow_missing_forces": True}))
    assert records_of(tmp_path / "run")[-1]["epoch"] == 2


# --- sets on disk ----------------------------------------------------------------------------------------------------


def test_run_on_a_set_on_disk_equals_that_on_its_files_to_the_bit(data, tmp_path):
    build_set(tmp_path / "set.h5", [data], BuildOptions(r_max=3.5))
    train(small_run(tmp_path / "files", data))
    train(small_run(tmp_path / "set", str(tmp_path / "set.h5")))
    assert torch.equal(weights_of(tmp_path / "files"), weights_of(tmp_path / "set"))
    files, stored = (json.loads((tmp_path / name / "results.json").read_text())["val"] for name in ("files", "set"))
    assert files == stored


def test_parts_of_a_set_train_validate_and_test(data, tmp_path):
    build_set(tmp_path / "set.h5", [data], BuildOptions(r_max=3.5, val=0.2, test=0.2))
    parts = {name: f"{tmp_path}/set.h5@{name}" for name in ("val", "test")}
    train(small_run(tmp_path / "run", f"{tmp_path}/set.h5@train", {"max_epochs": 1}, data=parts))
    counts = json.loads((tmp_path / "run" / "results.json").read_text())["data"]
    assert (counts["train"], counts["val"], counts["test"]) == (6, 2, 2)


def test_whole_of_a_split_set_is_no_training_data(data, tmp_path):
    build_set(tmp_path / "set.h5", [data], BuildOptions(r_max=3.5, val=0.2))
    with pytest.raises(DataError, match=r"set.h5 is split into parts: take .*set.h5@train"):
        train(small_run(tmp_path / "run", f"{tmp_path}/set.h5"))
