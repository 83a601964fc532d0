"""The steps of a round: train a committee, deploy it, simulate with it, harvest; each returns its record."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from allegro_dist.config import DataConfig, RunConfig, RunFolderConfig, StartConfig, TrainingConfig, dump
from allegro_dist.learn.harvest import as_chosen, harvest
from allegro_dist.learn.labels import write_batch
from allegro_dist.learn.processes import USER_ERROR, LearningError, Processes, last_words
from allegro_dist.learn.records import Record, read_record
from allegro_dist.learn.settings import LearningConfig, of_round
from allegro_dist.learn.tracks import read_track
from allegro_dist.simulate.checkpoint import read_checkpoint
from allegro_dist.simulate.settings import SimulationConfig

MODEL, FINAL = "model", "final"


@dataclass(frozen=True)
class Round:
    """A round, by its number from 0, in its folder."""

    config: LearningConfig
    number: int
    folder: Path
    processes: Processes

    @property
    def committee(self) -> Path:
        return self.folder / "committee"

    def archives(self, name: str = MODEL) -> tuple[Path, ...]:
        """As `allegro-dist deploy` names those of a committee: of the round, or of the final training (FINAL)."""
        return tuple(self.folder / f"{name}-{k}.pth" for k in range(self.config.members))

    def train(self, files: Sequence[Path | str], num_frames: int, previous: Path | None) -> Record:
        """Train the committee on files of labelled frames.

        Args:
            num_frames: that are in them.
            previous: committee of the round before.
        """
        return self._train("train", self.config.training_of(self.number), files, num_frames, previous, self.committee)

    def deploy(self) -> Record:
        """Make the committee's archives."""
        self._deploy(self.committee, MODEL)
        return {"archives": [str(path) for path in self.archives()]}

    def finish(self, training: TrainingConfig, files: Sequence[Path | str], num_frames: int) -> Record:
        """The final training, as `train`, and its archives."""
        committee = self.folder / f"{FINAL}-committee"
        record = self._train(FINAL, training, files, num_frames, self.committee, committee)
        self._deploy(committee, FINAL)
        return record

    def _train(
        self, name: str, training: TrainingConfig, files: Sequence[Path | str], num_frames: int, source: Path | None,
        committee: Path,
    ) -> Record:  # fmt: skip
        """Train a committee, from another where the settings say so."""
        goes_on = source is not None and self.config.start_from == "previous"
        data, settings = self.config.data, self.folder / f"{name}.yaml"
        run = RunConfig(
            data=DataConfig(train=tuple(map(str, files)), val=data.val, test=data.test),
            model=self.config.model,
            start=StartConfig(model=str(source) if goes_on else None),
            training=training,
            run=RunFolderConfig(dir=str(committee)),
            seed=self.config.seed,
        )
        dump(run, settings)
        members = ["--members", str(self.config.members)]
        self._run(name, ["train", str(settings), *members], self.config.launch.train)
        return {"frames": num_frames, **_outcome(json.loads((committee / "committee.json").read_text()))}

    def _deploy(self, committee: Path, name: str) -> None:
        self._run("deploy", ["deploy", str(committee), "-o", str(self.folder / f"{name}.pth")])

    def simulate(self) -> Record:
        """Run all simulations; one that ends in an error after some frames has done its part."""
        return {"simulations": [self._simulate(k, s) for k, s in enumerate(self._simulations())]}

    def harvest(self, known: Collection[bytes]) -> Record:
        """Choose frames of the simulations, and write them to be labelled.

        Args:
            known: geometry keys of the frames that need no label.
        """
        tracks = [read_track(s, read_checkpoint(Path(s.dir))) for s in self._simulations()]
        found = harvest(tracks, self.config.harvest, known)
        if not found.chosen and found.num_beyond + self._num_ended_early():
            raise LearningError(
                f"{self.folder.name}: a simulation ended early, but no frame before that is between threshold and "
                f"ceiling. Raise harvest.ceiling, or write frames more often (trajectory.every), and delete "
                f"{self.folder}/simulat*"
            )
        if found.chosen:
            write_batch(self.folder, [as_chosen(tracks[c.simulation], c, self.number) for c in found.chosen])
        return asdict(found)

    def _num_ended_early(self) -> int:
        return sum(bool(s["ended"]) for s in read_record(self.folder / "simulate.json")["simulations"])

    def _simulations(self) -> list[SimulationConfig]:
        """As they are run in this round, and stopped beyond the ceiling."""
        archives = tuple(map(str, self.archives()))
        folders = [self.folder / f"simulation-{k}" for k in range(len(self.config.simulations))]
        runs = [of_round(s, self.number, archives, str(f)) for s, f in zip(self.config.simulations, folders)]
        ceiling = self.config.harvest.ceiling
        return [replace(run, commands=(*run.commands, *_halt(run.trajectory.every, ceiling))) for run in runs]

    def _simulate(self, number: int, simulation: SimulationConfig) -> dict[str, Any]:
        settings, log = self.folder / f"simulation-{number}.yaml", self.folder / f"simulation-{number}.log"
        dump(simulation, settings)
        code = self.processes.run(["simulate", str(settings)], log, self.config.launch.simulate)
        checkpoint = read_checkpoint(Path(simulation.dir))
        track = read_track(simulation, checkpoint)
        if code not in (0, USER_ERROR) or not track.frames:
            raise LearningError(f"simulation {number} of {self.folder.name} failed: {last_words(log)} ({log})")
        return {
            "ended": "" if code == 0 else last_words(log),
            "frames": len(track.frames),
            "time": float(track.times[-1]),
            "seconds": checkpoint.seconds if checkpoint else 0.0,
        }

    def _run(self, name: str, arguments: Sequence[str], launcher: str = "") -> None:
        """A command of ours; raises LearningError with its last words if it fails."""
        log = self.folder / f"{name}.log"
        if code := self.processes.run(arguments, log, launcher):
            raise LearningError(f"{name} of {self.folder.name} failed ({code}): {last_words(log)} ({log})")


def _halt(every: int, ceiling: float) -> tuple[str, ...]:
    """LAMMPS commands that end a simulation, with an error, when the committee's deviation is beyond the ceiling."""
    return (
        "variable     learn_deviation equal c_spread[1]",
        f"fix          learn_ceiling all halt {every} v_learn_deviation > {ceiling:g} error hard",
    )


def _outcome(committee: dict[str, Any]) -> Record:
    """What training says of a committee, and what it cost."""
    members = committee["members"]
    record = {"minutes": sum(m["minutes"] for m in members), "steps": members[0]["steps"]}
    if "mean" in committee:
        told = committee["calibration"].get("forces")
        record["test"] = {q: committee["mean"][q] for q in ("forces", "energy_per_atom")}
        record["calibration"] = {k: told[k] for k in ("spearman", "scale")} if isinstance(told, dict) else told
    return record
