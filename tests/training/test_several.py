"""Committees and sweeps: which runs they are, that each is the run it would be alone, and their table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from allegro_dist.cli import main
from allegro_dist.config import ConfigError, RunConfig, dump, from_dict
from allegro_dist.training import checkpoint, several
from allegro_dist.training.outcomes import sweep_table
from allegro_dist.training.recovery import DivergedError
from allegro_dist.training.run import train
from allegro_dist.training.several import committee, grid
from tests.training import ranks
from tests.training.runs import small_run, write_frames


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("data") / "frames.xyz")


def configuration(point):
    values: dict = {"data": {"train": "a.xyz"}, "model": {}, "training": {}}
    for item in point:
        key, _, value = item.partition("=")
        section, _, name = key.partition(".")
        values[section] = {**values[section], name: json.loads(value)}
    return from_dict(RunConfig, values)


def test_members_differ_in_seed_and_folder():
    config = from_dict(RunConfig, {"data": {"train": "a.xyz"}, "seed": 7, "run": {"dir": "c"}})
    runs = [run.config for run in committee(config, 3)]
    assert [(run.seed, run.run.dir) for run in runs] == [(7, "c/member-0"), (8, "c/member-1"), (9, "c/member-2")]


def committee_folder(folder: Path, num_members: int) -> Path:
    for number in range(num_members):
        (folder / f"member-{number}").mkdir(parents=True)
    return folder


def test_members_start_each_from_its_own_of_another_committee(tmp_path):
    source = str(committee_folder(tmp_path / "first", 3))
    config = from_dict(RunConfig, {"data": {"train": "a.xyz"}, "start": {"model": source}})
    assert [run.config.start.model for run in committee(config, 2)] == [f"{source}/member-0", f"{source}/member-1"]


def test_committee_of_too_few_members_to_start_from_is_refused(tmp_path):
    source = str(committee_folder(tmp_path / "first", 2))
    config = from_dict(RunConfig, {"data": {"train": "a.xyz"}, "start": {"model": source}})
    with pytest.raises(ConfigError, match="first has 2 members, but 3 are to start from them"):
        committee(config, 3)


def test_grid_is_the_product_of_its_axes():
    runs = grid(["model.l_max=1,2", "training.learning_rate=1e-3,4e-3,0.01"], configuration)
    assert [(r.config.model.l_max, r.config.training.learning_rate) for r in runs] == [
        (1, 1e-3), (1, 4e-3), (1, 1e-2), (2, 1e-3), (2, 4e-3), (2, 1e-2)]  # fmt: skip
    assert runs[1].config.run.dir == "run/l_max=1_learning_rate=4e-3"


def test_commas_inside_brackets_belong_to_a_value():
    runs = grid(['model.pair_cutoffs={"H-H": 3.0, "H-O": 4.0},{}'], configuration)
    assert [r.config.model.pair_cutoffs for r in runs] == [{"H-H": 3.0, "H-O": 4.0}, {}]


@pytest.mark.parametrize(
    "items, message",
    [
        (["model.l_max"], "--sweep 'model.l_max': expected key=value,value"),
        (["model.l_max="], "expected key=value,value"),
        (["model.l_max=[1"], "expected key=value,value"),
        (["model.l_max=1,2", "model.l_max=3"], "a key is given twice"),
        (["model.l_max=1,1"], "a value is given twice"),
        (["run.dir=1,2"], "run.dir is the folder of all runs"),
        (["model.l_max=1,9"], "model.l_max.*less than or equal to 4, got 9"),
    ],
)
def test_malformed_sweep_is_refused(items, message):
    with pytest.raises(ConfigError, match=message):
        grid(items, configuration)


def test_sweep_trains_each_point_as_it_would_be_alone_and_ends_with_a_table(data, tmp_path, capsys):
    dump(small_run(tmp_path / "runs", data, {"max_epochs": 2}, data={"test": data}), tmp_path / "c.yaml")
    command = ["train", str(tmp_path / "c.yaml"), "--sweep", "model.l_max=0,1", "training.learning_rate=1e-30,0.01"]
    assert main(command) == 0
    first = capsys.readouterr().out
    alone = small_run(tmp_path / "alone", data, {"max_epochs": 2, "learning_rate": 0.01}, data={"test": data},
                      model={"l_max": 1})  # fmt: skip
    train(alone)
    one, two = (checkpoint.read(tmp_path / name / "last.ckpt")["weights"]
                for name in ("alone", "runs/l_max=1_learning_rate=0.01"))  # fmt: skip
    assert all(torch.equal(weight, two[name]) for name, weight in one.items())

    outcomes = json.loads((tmp_path / "runs" / "sweep.json").read_text())
    assert len(outcomes) == 4
    errors = [outcome["val"]["forces"]["mae"] for outcome in outcomes]
    assert errors == sorted(errors)
    for outcome in outcomes:
        results = json.loads((tmp_path / "runs" / outcome["name"] / "results.json").read_text())
        assert outcome["test"] == results["test"] and outcome["num_weights"] == results["num_weights"]
    assert (tmp_path / "runs" / "sweep.md").read_text() in first
    assert f"{1e3 * errors[0]:.2f}" in first


def test_runs_that_are_done_are_not_opened_again_but_changed_ones_are(tmp_path, monkeypatch):
    frames = write_frames(tmp_path / "frames.xyz")
    dump(small_run(tmp_path / "runs", frames, {"max_epochs": 1}), tmp_path / "c.yaml")
    command = ["train", str(tmp_path / "c.yaml"), "--sweep", "seed=0,1"]
    assert main(command) == 0
    opened = []
    real = several.train_on
    monkeypatch.setattr(several, "train_on", lambda *args, **kw: opened.append(args[1].seed) or real(*args, **kw))
    assert main(command) == 0
    assert opened == []
    (tmp_path / "runs" / "seed=1" / "results.json").unlink()  # killed before its end
    assert main(command) == 0
    assert opened == [1]
    assert main([*command[:2], "training.max_epochs=2", *command[2:]]) == 0
    assert opened == [1, 0, 1]
    write_frames(tmp_path / "frames.xyz", seed=50)
    assert main([*command[:2], "training.max_epochs=2", *command[2:]]) == 2


def test_members_shared_out_over_processes_are_those_trained_alone(data, tmp_path):
    config = small_run(tmp_path / "shared", data, {"max_epochs": 1}, seed=4)
    dump(config, tmp_path / "c.yaml")
    ranks.run(2, main, ["train", str(tmp_path / "c.yaml"), "--members", "3"], log=tmp_path / "log")
    for number in range(3):
        train(small_run(tmp_path / "alone" / str(number), data, {"max_epochs": 1}, seed=4 + number))
        one, two = (checkpoint.read(tmp_path / folder / "last.ckpt")["weights"]
                    for folder in (f"alone/{number}", f"shared/member-{number}"))  # fmt: skip
        assert all(torch.equal(weight, two[name]) for name, weight in one.items())


def diverging(monkeypatch, *names):
    """Let the runs in some folders diverge at once."""
    real = several.train_on

    def train_on(ranks, config, load_potential, *, shown):
        if Path(config.run.dir).name in names:
            raise DivergedError("10 steps in a row had gradients that are not finite")
        return real(ranks, config, load_potential, shown=shown)

    monkeypatch.setattr(several, "train_on", train_on)


def test_run_that_diverges_stops_no_other_of_a_sweep(data, tmp_path, monkeypatch, capsys):
    diverging(monkeypatch, "seed=0")
    dump(small_run(tmp_path / "runs", data, {"max_epochs": 1}), tmp_path / "c.yaml")
    assert main(["train", str(tmp_path / "c.yaml"), "--sweep", "seed=0,1"]) == 0
    good, bad = json.loads((tmp_path / "runs" / "sweep.json").read_text())
    assert good["name"] == "seed=1" and "val" in good
    assert bad["failed"] == "10 steps in a row had gradients that are not finite"


def test_member_that_diverges_is_named_when_the_others_are_done(data, tmp_path, monkeypatch, capsys):
    diverging(monkeypatch, "member-0")
    dump(small_run(tmp_path / "runs", data, {"max_epochs": 1}), tmp_path / "c.yaml")
    assert main(["train", str(tmp_path / "c.yaml"), "--members", "2"]) == 2
    assert "member-0: 10 steps in a row" in capsys.readouterr().err
    assert (tmp_path / "runs" / "member-1" / "results.json").exists()


def test_run_that_diverged_is_last_in_the_table():
    good = {"settings": {"seed": "0"}, "num_weights": 5, "epochs": 2, "minutes": 1.0, "val": {"forces": {"mae": 0.02}}}
    table = sweep_table([good, {"settings": {"seed": "1"}, "failed": "10 steps in a row"}])
    assert table.rows == [["0", "5", "2", "1.0", "20.00"], ["1", "diverged", "", "", ""]]
    assert all(len(row) == len(table.columns) for row in table.rows)
