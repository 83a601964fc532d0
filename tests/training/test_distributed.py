"""Many ranks train as one does: loss, gradient, going on with another number of them, and after one is lost."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from allegro_dist.config import dump
from allegro_dist.data.build import BuildOptions, build_set
from allegro_dist.data.dataset import load_frames
from allegro_dist.potential import build_potential, pair_cutoffs
from allegro_dist.training import checkpoint, distributed
from allegro_dist.training.distributed import start_ranks, stop_ranks
from allegro_dist.training.loop import Trainer
from allegro_dist.training.run import train
from tests.training import late_backend, ranks
from tests.training.runs import TRAIN_SCRIPT, small_run, write_frames

STEPS_100 = {"max_epochs": 34, "learning_rate": 0.005, "clip_gradient": 0.1, "checkpoint_every": 34,
             "schedule": {"name": "constant", "warmup": 0.0}}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """10 frames, 7 to train in batches of 3: four ranks, or two in the last batch, have some that get nothing."""
    path = write_frames(tmp_path_factory.mktemp("data") / "frames.xyz")
    frames = read(path, ":")
    frames[2].calc = SinglePointCalculator(frames[2], energy=frames[2].get_potential_energy())
    frames[5] = Atoms("Si", cell=[9, 9, 9], pbc=True)
    frames[5].calc = SinglePointCalculator(frames[5], energy=-0.1)
    write(path, frames)
    return path


@pytest.fixture(scope="module")
def one(data, tmp_path_factory):
    """The run of 100 steps on one rank, which the others are compared with."""
    folder = tmp_path_factory.mktemp("one") / "run"
    train(run_config(folder, data))
    return folder


def run_config(folder, data, settings=STEPS_100, **sections):
    return small_run(folder, data, settings, data={"allow_missing_forces": True}, **sections)


def records_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights_of(folder):
    return torch.cat([w.flatten().double() for w in checkpoint.read(folder / "last.ckpt")["weights"].values()])


def assert_same_curve(folder, one):
    for mine, other in zip(records_of(folder), records_of(one), strict=True):
        for part in ("train", "val"):
            assert mine[part]["loss"] == pytest.approx(other[part]["loss"], rel=1e-6)
            assert mine[part]["forces"]["mae"] == pytest.approx(other[part]["forces"]["mae"], rel=1e-6)


# --- the same as one -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 4])
def test_losses_of_100_steps_are_those_of_one_rank(data, one, tmp_path, size):
    ranks.run(size, train, run_config(tmp_path / "run", data), log=tmp_path / "log")
    assert records_of(tmp_path / "run")[-1]["step"] == 102
    assert_same_curve(tmp_path / "run", one)


def test_run_goes_on_with_other_numbers_of_ranks(data, one, tmp_path):
    for size, epochs in ((2, 10), (4, 20), (1, 34)):
        config = run_config(tmp_path / "run", data, {**STEPS_100, "max_epochs": epochs})
        ranks.run(size, train, config, log=tmp_path / "log")
    assert_same_curve(tmp_path / "run", one)


def test_two_ranks_read_one_set_on_disk(data, tmp_path):
    build_set(tmp_path / "set.h5", [data], BuildOptions(r_max=3.5))
    settings = {**STEPS_100, "max_epochs": 3}
    train(run_config(tmp_path / "one", data, settings))
    ranks.run(2, train, run_config(tmp_path / "two", str(tmp_path / "set.h5"), settings), log=tmp_path / "log")
    assert_same_curve(tmp_path / "two", tmp_path / "one")


def save_gradient(config, indices, output):
    """The gradient of a step's loss, summed over ranks, from first weights."""
    joined = start_ranks("cpu")
    frames = load_frames(config.data, seed=0, forces=True, stress=True)
    names = frames.symbols()
    cutoffs = pair_cutoffs(config.model, names)
    graphs, val = (part.graphs(names, cutoffs, torch.float64) for part in (frames.train, frames.val))
    torch.manual_seed(0)
    potential = build_potential(config.model, type_names=names, avg_num_neighbors=10.0,
                                per_type_scale=[1.0] * len(names), per_type_shift=[0.0] * len(names))  # fmt: skip
    trainer = Trainer(potential, graphs, val, config.training, 0, joined)
    trainer.optimizer.step = lambda: None
    trainer.step(indices)
    if joined.is_main:
        torch.save(trainer.flat.flats[0].grad, output)
    stop_ranks()


@pytest.mark.parametrize("size, accumulate", [(2, 1), (4, 1), (1, 3), (2, 2)])
def test_gradient_is_that_of_one_rank_in_one_pass(data, tmp_path, size, accumulate):
    settings = {"clip_gradient": None, "batch_size": 5}
    for name, number, passes in (("one", 1, 1), ("many", size, accumulate)):
        config = run_config(tmp_path / name, data, {**settings, "accumulate": passes})
        ranks.run(number, save_gradient, config, [4, 0, 6, 2, 5], tmp_path / name, log=tmp_path / "log")
    one, many = (torch.load(tmp_path / name) for name in ("one", "many"))
    torch.testing.assert_close(many, one, rtol=1e-11, atol=1e-12 * float(one.abs().max()))


def test_two_ranks_refit_scale_and_shifts_as_one_process_does(data, tmp_path):
    train(run_config(tmp_path / "source", data, {"max_epochs": 1}))
    start = {"model": str(tmp_path / "source"), "refit_scale": True, "refit_shifts": True, "freeze": ["embedding"]}
    configs = [run_config(tmp_path / name, data, {"max_epochs": 1}, start=start) for name in ("one", "two")]
    train(configs[0])
    ranks.run(2, train, configs[1], log=tmp_path / "log")
    one, two = (checkpoint.read(tmp_path / name / "best.ckpt") for name in ("one", "two"))
    for name in ("per_type_scale", "per_type_shift"):
        assert two["statistics"][name] == pytest.approx(one["statistics"][name], rel=1e-10)
    for name, weight in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], weight, rtol=1e-9, atol=1e-11)


def test_two_ranks_take_the_schedule_free_steps_of_one(data, tmp_path):
    settings = {"max_epochs": 2, "optimizer": "schedule_free", "schedule": {"name": "constant"}}
    train(run_config(tmp_path / "one", data, settings))
    ranks.run(2, train, run_config(tmp_path / "two", data, settings), log=tmp_path / "log")
    one, two = (checkpoint.load_run(tmp_path / name, "last").state_dict() for name in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-9, atol=1e-11)


# --- how they are started --------------------------------------------------------------------------------------------


def test_tasks_of_slurm_are_ranks(data, tmp_path):
    settings = {"max_epochs": 1}
    train(run_config(tmp_path / "one", data, settings))
    ranks.run(2, train, run_config(tmp_path / "two", data, settings), log=tmp_path / "log",
              variables=ranks.slurm_variables)  # fmt: skip
    assert_same_curve(tmp_path / "two", tmp_path / "one")
    assert "2 processes" in (tmp_path / "log.0").read_text() and not (tmp_path / "log.1").read_text()


def test_processes_of_mpirun_are_ranks(data, tmp_path):
    launcher = shutil.which("mpirun", path=os.path.dirname(sys.executable)) or shutil.which("mpirun")
    if launcher is None:
        pytest.skip("no mpirun on this machine")
    pytest.importorskip("mpi4py")
    settings = {"max_epochs": 1}
    train(run_config(tmp_path / "one", data, settings))
    dump(run_config(tmp_path / "two", data, settings), tmp_path / "two.yaml")
    done = subprocess.run([launcher, "-n", "2", sys.executable, "-c", TRAIN_SCRIPT, str(tmp_path / "two.yaml")],
                          capture_output=True, text=True, timeout=100, env=ranks.environment())  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_same_curve(tmp_path / "two", tmp_path / "one")


# --- when one is killed ----------------------------------------------------------------------------------------------


LONG = {"max_epochs": 50, "learning_rate": 0.01, "checkpoint_every": 5}


def killed(config, size, victim, delay, log):
    """Runs on ranks until one is killed, a while after the first checkpoint; returns how the others ended."""
    last = config.run.dir + "/last.ckpt"
    processes = ranks.start(size, train, config, log=log)
    deadline = time.monotonic() + 100
    while not os.path.exists(last) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(delay)
    os.kill(processes[victim].pid, signal.SIGKILL)
    for process in processes:
        process.join(100)
    return [p.exitcode for n, p in enumerate(processes) if n != victim]


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    """Final weights of the long run on so many ranks, each computed once."""
    known = {}

    def weights(size):
        if size not in known:
            folder = tmp_path_factory.mktemp(f"whole{size}")
            ranks.run(size, train, run_config(folder / "run", data, LONG), log=folder / "log")
            known[size] = weights_of(folder / "run")
        return known[size]

    return weights


def assert_kill_is_survived(data, folder, uninterrupted, size, seed):
    draw = random.Random(seed)
    config = run_config(folder / "run", data, LONG)
    codes = killed(config, size, draw.randrange(size), draw.uniform(0, 0.5), folder / "log")
    if any(codes):
        assert all(code == 1 for code in codes)
        messages = [(folder / f"log.{r}").read_text() for r in range(size)]
        assert sum("another process of this run has ended" in m and "run the same command to go on" in m
                   for m in messages) == size - 1, messages  # fmt: skip
    checkpoint.read(folder / "run" / "last.ckpt")
    ranks.run(size, train, config, log=folder / "log")
    assert torch.equal(weights_of(folder / "run"), uninterrupted(size))


def train_and_die(config, victim, number):
    """One rank kills itself before a step."""
    step = Trainer.step

    def last_step(self, indices):
        if (self.ranks.rank, self.num_steps) == (victim, number):
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, indices)

    Trainer.step = last_step
    train(config)


def train_and_die_late(*arguments):
    """The same on a back end that tells of it as nccl does."""
    distributed.BACKENDS["cpu"] = late_backend.register()
    train_and_die(*arguments)


@pytest.mark.parametrize("die, victim", [(train_and_die, 0), (train_and_die, 1), (train_and_die_late, 1)])
def test_survivor_leaves_the_state_before_the_lost_step(data, tmp_path, die, victim):
    settings = {**LONG, "max_epochs": 4, "checkpoint_every": 1000}
    ranks.run(2, train, run_config(tmp_path / "whole", data, settings), log=tmp_path / "log")
    config = run_config(tmp_path / "run", data, settings)
    processes = ranks.start(2, die, config, victim, 7, log=tmp_path / "log")
    for process in processes:
        process.join(100)
    assert [p.exitcode for p in processes] == ([-9, 1] if victim == 0 else [1, -9])
    state = checkpoint.read(tmp_path / "run" / "last.ckpt")
    assert (state["epoch"], state["position"], state["num_steps"]) == (2, 1, 7)
    assert not list((tmp_path / "run").glob("*.part"))
    assert "another process of this run has ended" in (tmp_path / f"log.{1 - victim}").read_text()
    ranks.run(2, train, config, log=tmp_path / "log")
    assert torch.equal(weights_of(tmp_path / "run"), weights_of(tmp_path / "whole"))


@pytest.mark.parametrize("size, seed", [(1, 0), (2, 1)])
def test_run_goes_on_to_the_bit_after_a_rank_is_killed(data, tmp_path, uninterrupted, size, seed):
    assert_kill_is_survived(data, tmp_path, uninterrupted, size, seed)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("seed", range(10))
def test_run_goes_on_to_the_bit_after_kills_at_ten_moments(data, tmp_path, uninterrupted, size, seed):
    assert_kill_is_survived(data, tmp_path, uninterrupted, size, 100 + seed)
