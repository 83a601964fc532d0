"""What a run writes down of its course and of its origin."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from allegro_dist.config import ConfigError
from allegro_dist.training.log import RunLog
from allegro_dist.training.run import train
from allegro_dist.versions import commit
from tests.training.runs import small_run, write_frames


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("data") / "frames.xyz")


def record(epoch, loss=1.0):
    return {"epoch": epoch, "lr": 0.1, "train": {"loss": loss}, "val": {"loss": loss, "forces": {"mae": 2, "rmse": 3}}}


def test_records_after_the_checkpoint_are_dropped(tmp_path):
    log = RunLog(tmp_path, 0, writes=True, tensorboard=False)
    for epoch in (1, 2, 3):
        log.append(record(epoch))
    assert RunLog(tmp_path, 2, writes=True, tensorboard=False).records == [record(1), record(2)]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_torn_last_line_of_a_killed_run_is_dropped(tmp_path):
    RunLog(tmp_path, 0, writes=True, tensorboard=False).append(record(1))
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write(json.dumps(record(2))[:20])
    assert RunLog(tmp_path, 9, writes=True, tensorboard=False).records == [record(1)]


def test_tensorboard_reads_the_values_of_the_records_once_after_a_resumed_run(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for done, epochs in ((0, (1, 2, 3)), (2, (3, 4))):
        log = RunLog(tmp_path, done, writes=True, tensorboard=True)
        for epoch in epochs:
            log.append(record(epoch, loss=epoch + 0.25 * done))
        log.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss/val")] == [(1, 1.0), (2, 2.0), (3, 3.5), (4, 4.5)]
    assert events.Scalars("forces_rmse/val")[0].value == 3
    assert events.Scalars("learning_rate")[0].value == pytest.approx(0.1)


def test_run_writes_for_tensorboard_when_asked(data, tmp_path):
    pytest.importorskip("tensorboard")
    train(small_run(tmp_path, data, {"max_epochs": 1}, run={"tensorboard": True}))
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_missing_tensorboard_is_said_before_any_work(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match="run.tensorboard: true needs TensorBoard: pip install tensorboard"):
        train(small_run(tmp_path / "run", data, run={"tensorboard": True}))
    assert not (tmp_path / "run").exists()


def test_provenance_holds_files_frames_and_every_start(data, tmp_path):
    for _ in range(2):
        train(small_run(tmp_path, data, {"max_epochs": 1}, data={"test": data}))
    found = json.loads((tmp_path / "provenance.json").read_text())
    content = Path(data).read_bytes()
    assert found["data"]["files"] == {data: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}}
    assert [found["data"][part] for part in ("train", "val", "test")] == [7, 3, 10]
    assert len(found["starts"]) == 2
    assert set(found["starts"][0]["versions"]) == {"allegro-dist", "torch", "e3nn", "numpy", "python"}


def test_commit_is_that_of_the_repository_that_holds_the_sources(tmp_path):
    def git(*arguments):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=tmp_path, check=True,
                       capture_output=True)  # fmt: skip

    assert commit(tmp_path) is None
    git("init")
    (tmp_path / "__init__.py").write_text("")
    assert commit(tmp_path) is None  # in somebody's repository, which does not know it
    git("add", ".")
    git("commit", "-m", "one")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True).stdout.strip()
    assert commit(tmp_path) == head
    (tmp_path / "__init__.py").write_text("changed")
    assert commit(tmp_path) == f"{head}-dirty"
