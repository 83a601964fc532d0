"""A whole training run: data and statistics in, a run folder out; resumed when the folder holds a checkpoint."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import torch

from allegro_dist.config import RunConfig, to_dict
from allegro_dist.data.dataset import Frames, load_frames
from allegro_dist.data.frames import FrameSet
from allegro_dist.data.statistics import Statistics, compute_statistics
from allegro_dist.data.structure import DataError
from allegro_dist.documented import documented
from allegro_dist.files import write_atomically, write_json
from allegro_dist.potential import DTYPES, Potential, pair_cutoffs
from allegro_dist.training import checkpoint
from allegro_dist.training.distributed import RankLostError, Ranks, start_ranks, stop_ranks
from allegro_dist.training.evaluate import EvaluationBatches, error_sums, parity_of
from allegro_dist.training.freeze import freeze
from allegro_dist.training.log import RunLog, require_tensorboard
from allegro_dist.training.loop import Trainer
from allegro_dist.training.plots import plot_learning_curve, plot_parity
from allegro_dist.training.progress import ProgressDisplay
from allegro_dist.training.provenance import describe_data, record_start
from allegro_dist.training.start import LoadPotential, first_potential, start_types
from allegro_dist.versions import versions


class Interrupted(RuntimeError):  # noqa: N818 (not a mistake of anyone's)
    """Training was stopped by a signal, after writing its checkpoint."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


def train(config: RunConfig, load_potential: LoadPotential = checkpoint.load_run) -> Path:
    """Train a potential; returns the run folder (docs/training.md says what is in it).

    Args:
        load_potential: reads config.start.model where there is one; this one knows run folders.

    Goes on from last.ckpt where the folder holds one of the same configuration and data.  Raises Interrupted after
    SIGTERM or SIGINT, with the state saved; DataError, ConfigError, CheckpointError, FileError, DivergedError as
    they say.
    """
    if config.run.tensorboard:
        require_tensorboard()  # before any work is done
    ranks = start_ranks(config.training.device, config.training.threads)
    try:
        return train_on(ranks, config, load_potential)
    finally:
        stop_ranks()


def train_on(ranks: Ranks, config: RunConfig, load_potential: LoadPotential, *, shown: bool = True) -> Path:
    """`train` on processes that have joined; `shown` says whether the first of them tells how it goes."""
    folder = Path(config.run.dir)
    frames, trainer, statistics = _open(config, ranks, load_potential)
    identity = {"config": to_dict(config), "statistics": _plain(statistics), "digest": frames.digest}
    if ranks.is_main:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "config.yaml", documented(config))
        record_start(folder, describe_data(config, frames), ranks)
    log = RunLog(folder, trainer.epoch, writes=ranks.is_main, tensorboard=config.run.tensorboard)
    ranks.barrier()
    with ProgressDisplay(shown=shown and ranks.is_main) as display, trainer.stopped_by_signals():
        display.message(_summary(config, trainer, frames, statistics))
        if trainer.train_graphs.remark:
            display.message(trainer.train_graphs.remark)
        try:
            stopped = _epochs(trainer, display, log, folder, identity)
        except RankLostError as lost:
            _save_alone(trainer, folder, identity)
            raise RankLostError(
                f"{lost}; the state is in {folder / 'last.ckpt'}: run the same command to go on"
            ) from None
    log.close()
    if stopped:
        raise Interrupted(
            f"interrupted; the state is in {folder / 'last.ckpt'}: run the same command to go on", stopped
        )
    if ranks.is_main:
        finish(folder, config, frames, log.records, trainer, identity)
    ranks.barrier()
    return folder


def _open(config: RunConfig, ranks: Ranks, load_potential: LoadPotential) -> tuple[Frames, Trainer, Statistics]:
    """The data of a run and its trainer, at the start or where the folder's checkpoint is."""
    loss = config.training.loss
    frames = load_frames(config.data, seed=config.seed, forces=loss.weighs("forces"), stress=loss.weighs("stress"))
    state = _read_state(Path(config.run.dir) / "last.ckpt", config, frames.digest)
    source = load_potential(config.start.model, config.start.weights) if config.start.model and not state else None
    type_names = _type_names(config, frames, state, source)
    cutoffs, dtype = pair_cutoffs(config.model, type_names), DTYPES[config.model.dtype]
    train_graphs, val_graphs = (part.graphs(type_names, cutoffs, dtype) for part in (frames.train, frames.val))
    if not train_graphs.has_edges():
        raise DataError(f"no two atoms of the training frames are within model.r_max = {config.model.r_max:g} Angstrom")
    if state:
        potential, statistics = checkpoint.build_from(state), checkpoint.statistics_of(state)
    else:
        statistics = compute_statistics(config.model, type_names, frames.train, train_graphs, frames.isolated)
        potential, statistics = first_potential(config, statistics, source, train_graphs, ranks)
        freeze(potential, config.start.freeze)
    trainer = Trainer(potential, train_graphs, val_graphs, config.training, config.seed, ranks)
    if state:
        trainer.restore(state)
    return frames, trainer, statistics


def _epochs(trainer: Trainer, display: ProgressDisplay, log: RunLog, folder: Path, identity: dict[str, Any]) -> int:
    """Train to the end, writing metrics and checkpoints; returns the number of the signal that stopped it, or 0."""
    while not trainer.finished():
        for go_on in trainer.run_epoch():
            display.update(trainer.epoch + 1, trainer.progress(), trainer.learning_rate)
            _tell(trainer, display)
            if not go_on:
                _save(trainer, folder, identity)
                return trainer.stop_signal or signal.SIGTERM
        if trainer.validation_due():
            record = trainer.validate()
            log.append(record)
            display.epoch(record, trainer.progress())
            _tell(trainer, display)
        if trainer.position < trainer.num_batches:  # out of time: what is left of the epoch is for a longer run
            break
        trainer.end_epoch()
        if trainer.epoch % trainer.config.checkpoint_every == 0:
            _save(trainer, folder, identity)
    _save(trainer, folder, identity)
    display.message(f"stopped: {trainer.finished()}")
    if broken := trainer.recovery.events:
        steps = ", ".join(str(event["step"]) for event in broken)
        display.message(
            f"training broke down and went back {len(broken)} times (steps {steps}): lower its learning_rate"
        )
    return 0


def _tell(trainer: Trainer, display: ProgressDisplay) -> None:
    """Say what the trainer has undone."""
    for message in trainer.recovery.tell():
        display.message(message)


def _save(trainer: Trainer, folder: Path, identity: dict[str, Any], writer: str = "") -> None:
    """Write last.ckpt and best.ckpt (rank 0); `writer` tells those apart that may write at once."""
    state = trainer.state()  # sums over ranks: all take part
    if not trainer.ranks.is_main:
        return
    checkpoint.save(folder / "last.ckpt", {**identity, **state}, writer)
    best = trainer.best
    if best.epoch:
        weights = {"weights": best.weights, "epoch": best.epoch, "errors": best.errors}
        checkpoint.save(folder / "best.ckpt", {**identity, **weights}, writer)


def _save_alone(trainer: Trainer, folder: Path, identity: dict[str, Any]) -> None:
    """Write the checkpoints when another rank is lost, maybe rank 0: every survivor does that got furthest."""
    rank, path = trainer.ranks.rank, folder / "last.ckpt"
    trainer.go_alone()
    if not path.exists() or checkpoint.read(path)["num_steps"] < trainer.num_steps:
        _save(trainer, folder, identity, writer=f".{rank}")


def _read_state(path: Path, config: RunConfig, digest: str) -> dict[str, Any]:
    """The checkpoint to go on from, which must be of the same configuration and data; empty if there is none."""
    if not path.exists():
        return {}
    state = checkpoint.read(path)
    checkpoint.check_same_run(path, state, config, digest)
    return state


def _type_names(config: RunConfig, frames: Frames, state: dict[str, Any], source: Potential | None) -> tuple[str, ...]:
    if state:
        return checkpoint.statistics_of(state).type_names
    found = config.model.type_names or frames.symbols()
    return found if source is None or config.model.type_names else start_types(source, found)


def finish(folder: Path, config: RunConfig, frames: Frames, records: list[dict[str, Any]], trainer: Trainer,
           identity: dict[str, Any]) -> None:  # fmt: skip
    """Measure the best weights on validation and test frames; results.json and pictures."""
    potential = checkpoint.load_run(folder).to(trainer.ranks.device)
    results: dict[str, Any] = {
        "versions": versions(),
        "best_epoch": trainer.best.epoch,
        "epochs": trainer.epoch,
        "steps": trainer.num_steps,
        "refused_steps": trainer.num_refused,
        "recoveries": trainer.recovery.events,
        "minutes": trainer.minutes,
        "num_weights": trainer.num_weights,
        "data": {"digest": frames.digest, "train": len(frames.train), "val": len(frames.val), "test": len(frames.test)},
        "statistics": identity["statistics"],
    }
    for name, part in (("val", frames.val), ("test", frames.test)):
        if len(part):
            results[name] = _measure(potential, config, part, folder / "parity.png", f"{name} frames")
    write_json(folder / checkpoint.RESULTS, results)
    plot_learning_curve(records, folder / "learning_curve.png")


def _measure(potential: Potential, config: RunConfig, frames: FrameSet, picture: Path, title: str) -> dict[str, Any]:
    used, device = potential.parameters_used, potential.shift.device
    graphs = frames.graphs(used.type_names, pair_cutoffs(used.config, used.type_names), DTYPES[config.model.dtype])
    batches = EvaluationBatches(graphs, device)
    errors = error_sums(potential, batches, used.type_names, device).result()
    plot_parity(parity_of(potential, batches, device), errors, picture, title)
    return errors


def _summary(config: RunConfig, trainer: Trainer, frames: Frames, statistics: Statistics) -> str:
    ranks = trainer.ranks
    processes = "process" if ranks.size == 1 else "processes"
    step = "eager" if trainer.evaluator is trainer.potential else "fused"
    begun = f"starting from {config.start.model}" if config.start.model else "starting"
    return (
        f"{f'going on from epoch {trainer.epoch}' if trainer.num_steps else begun}: "
        f"{len(frames.train)} training and {len(frames.val)} validation frames of {', '.join(statistics.type_names)}; "
        f"{statistics.avg_num_neighbors[0]:.1f} neighbors within {config.model.r_max} A; "
        f"{trainer.num_weights} weights ({config.model.dtype}); {ranks.size} {processes} x {torch.get_num_threads()} "
        f"threads on {ranks.device}, {step} step; run folder {config.run.dir}"
    )


def _plain(statistics: Statistics) -> dict[str, list[Any]]:
    return {name: list(values) for name, values in statistics._asdict().items()}
