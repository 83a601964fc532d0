import json
import os
import shutil
import socket
import subprocess
import sys

import pytest
import torch

from allegro_dist.config import dump
from allegro_dist.training import checkpoint
from allegro_dist.training.run import train
from tests.training.runs import TRAIN_SCRIPT, small_run, write_frames

MPI_VARIABLES = ("PMI", "OMPI", "MPI", "HYDRA", "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_")


@pytest.fixture
def data(tmp_path):
    # 10 frames, 7 to train, batches of 3: the last batch has one frame, so one rank gets none.
    return write_frames(tmp_path / "frames.xyz")


def environment(**variables):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(MPI_VARIABLES)}
    return {**clean, "OMP_NUM_THREADS": "1", **variables}


def run_with_torchrun_variables(config, path, script=TRAIN_SCRIPT):
    dump(config, path)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(path)], stderr=subprocess.PIPE, text=True,
                         env=environment(RANK=str(r), WORLD_SIZE="2", LOCAL_RANK=str(r), LOCAL_WORLD_SIZE="2",
                                         MASTER_ADDR="127.0.0.1", MASTER_PORT=port))
        for r in range(2)
    ]  # fmt: skip
    errors = [p.communicate(timeout=100)[1] for p in processes]
    assert [p.returncode for p in processes] == [0, 0], errors


def run_with_mpirun(config, path):
    launcher = shutil.which("mpirun", path=os.path.dirname(sys.executable)) or shutil.which("mpirun")
    if launcher is None:
        pytest.skip("no mpirun on this machine")
    pytest.importorskip("mpi4py")
    dump(config, path)
    done = subprocess.run([launcher, "-n", "2", sys.executable, "-c", TRAIN_SCRIPT, str(path)], capture_output=True,
                          text=True, timeout=100, env=environment())  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_two_ranks_refit_scale_and_shifts_as_one_process_does(data, tmp_path):
    train(small_run(tmp_path / "source", data, {"max_epochs": 1}))
    start = {"model": str(tmp_path / "source"), "refit_scale": True, "refit_shifts": True, "freeze": ["embedding"]}
    train(small_run(tmp_path / "one", data, {"max_epochs": 1}, start=start))
    run_with_torchrun_variables(
        small_run(tmp_path / "two", data, {"max_epochs": 1}, start=start), tmp_path / "two.yaml"
    )
    one, two = (checkpoint.read(tmp_path / name / "best.ckpt") for name in ("one", "two"))
    for name in ("per_type_scale", "per_type_shift"):
        assert two["statistics"][name] == pytest.approx(one["statistics"][name], rel=1e-10)
    for name, weight in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], weight, rtol=1e-9, atol=1e-11)


def test_two_ranks_take_the_schedule_free_steps_of_one(data, tmp_path):
    settings = {"max_epochs": 2, "optimizer": "schedule_free", "schedule": {"name": "constant"}}
    train(small_run(tmp_path / "one", data, settings))
    run_with_torchrun_variables(small_run(tmp_path / "two", data, settings), tmp_path / "two.yaml")
    one, two = (checkpoint.load_run(tmp_path / name, "last").state_dict() for name in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("launch", [run_with_torchrun_variables, run_with_mpirun])
def test_two_ranks_train_as_one_process_does(data, tmp_path, launch):
    settings = {"max_epochs": 3, "learning_rate": 0.005, "clip_gradient": 0.1}
    train(small_run(tmp_path / "one", data, settings))
    launch(small_run(tmp_path / "two", data, settings), tmp_path / "two.yaml")
    states = [checkpoint.read(tmp_path / name / "last.ckpt") for name in ("one", "two")]
    for name, one in states[0]["weights"].items():
        torch.testing.assert_close(states[1]["weights"][name], one, rtol=1e-9, atol=1e-11)
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1] for name in ("one", "two")]
    one, two = (json.loads(line) for line in lines)
    for part in ("train", "val"):
        assert two[part]["forces"]["mae"] == pytest.approx(one[part]["forces"]["mae"], rel=1e-9)
        assert two[part]["loss"] == pytest.approx(one[part]["loss"], rel=1e-8)
