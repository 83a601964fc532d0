"""The learning loop: rounds of training, simulation, harvest and labels until nothing is left to learn.

Nothing is computed here: training, deployment and simulation are the commands of the same name, each in a process of
its own that goes on where it was killed; their settings lie in the round's folder, so that each can be given by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from allegro_dist.config import dump
from allegro_dist.data.structure import Structure
from allegro_dist.files import write_atomically, write_json
from allegro_dist.learn.harvest import key_of
from allegro_dist.learn.labelling import LABELLED, label_batch
from allegro_dist.learn.labels import CHOSEN, Batch, write_batch
from allegro_dist.learn.page import PAGE, write_report
from allegro_dist.learn.processes import Processes, only_one
from allegro_dist.learn.records import RESULT, START, Record, Records, in_words
from allegro_dist.learn.rounds import FINAL, Round
from allegro_dist.learn.settings import LearningConfig
from allegro_dist.learn.start import check, check_same_loop, is_labelled, read_start, without_labels


def learn(config: LearningConfig, label_command: Sequence[str]) -> Path:
    """Go through the rounds of a loop, or go on with one; returns its folder (docs/learning.md says what is in it).

    Args:
        label_command: arguments of `allegro-dist` that label a frame, but for `--index I`.

    Raises ConfigError and DataError before anything is run; LearningError for a step that failed; WaitsForLabels where
    a job array is to label; StoppedBySignal.
    """
    folder = Path(config.dir)
    start = read_start(config)
    check(config, start)
    check_same_loop(config, folder / "config.yaml")
    with only_one(folder) as lock, Processes(lock) as processes:
        dump(config, folder / "config.yaml")
        _Loop(config, start, label_command, processes).all_rounds()
    return folder


class _Loop:
    """A loop at work."""

    def __init__(
        self, config: LearningConfig, start: list[Structure], label_command: Sequence[str], processes: Processes
    ) -> None:
        self.config, self.label_command, self.processes = config, label_command, processes
        self.start = start
        self.records = Records(Path(config.dir))
        self.files: list[Path | str] = []  # of labelled frames
        self.num_frames = 0  # in them
        self.known: list[bytes] = []  # geometry keys of all frames that were chosen, with a label or without

    def all_rounds(self) -> None:
        """Begin, go through the rounds, and leave the last committee in the loop's folder."""
        (self.records.folder / RESULT).unlink(missing_ok=True)
        self._begin()
        number, why = 0, self._round(0)
        while not why:
            number += 1
            why = self._round(number)
        archives = self._finish(self._open(number))
        result = {"ended": why, "rounds": number, "frames": self.num_frames, "archives": archives}
        write_json(self.records.folder / RESULT, result)
        write_report(self.config, self.records, why)
        print(f"{why}: {self.num_frames} frames, {' '.join(archives)}, {self.records.folder / PAGE}", flush=True)

    def _finish(self, run: Round) -> list[str]:
        """Train for the last time, if the settings say so, and copy the last archives; returns where they are."""
        last = run.archives()
        if (training := self.config.final) is not None:
            self._step(run.folder, FINAL, lambda: run.finish(training, self.files, self.num_frames))
            last = run.archives(FINAL)
        copies = [self.records.folder / path.name for path in run.archives()]
        for path, copy in zip(last, copies, strict=True):
            write_atomically(copy, path.read_bytes())
        return list(map(str, copies))

    def _begin(self) -> None:
        """Take the first frames, and label them if that is to be done."""
        bare = [without_labels(frame) for frame in self.start]
        if all(map(is_labelled, self.start)):
            given = self.config.data.start
            self.files = [given] if isinstance(given, str) else list(given)
            self.num_frames, self.known = len(self.start), list(map(key_of, bare))
            return
        folder = self.records.folder / START
        if not (folder / CHOSEN).exists():
            write_batch(folder, bare)
        self._label(folder)

    def _round(self, number: int) -> str:
        """One round; returns why it is the last one, or nothing if there is to be another."""
        run = self._open(number)
        run.folder.mkdir(exist_ok=True)
        previous = self._open(number - 1).committee if number else None
        self._step(run.folder, "train", lambda: run.train(self.files, self.num_frames, previous))
        self._step(run.folder, "deploy", run.deploy)
        write_report(self.config, self.records)
        if number == self.config.max_rounds:
            return f"ended after max_rounds = {number}"
        self._step(run.folder, "simulate", run.simulate)
        found = self._step(run.folder, "harvest", lambda: run.harvest(self.known))
        if len(found["chosen"]) < self.config.harvest.enough:
            return f"ended in round {number}, which found {len(found['chosen'])} frames worth a label"
        self._label(run.folder)
        return ""

    def _label(self, folder: Path) -> None:
        """Label a batch, and take its frames in."""
        batch = Batch(folder)
        record = self._step(
            folder, "label", lambda: label_batch(self.config.label, batch, self.label_command, self.processes)
        )
        self.known += map(key_of, batch.frames)
        self.num_frames += record["labelled"]
        if record["labelled"]:
            self.files.append(folder / LABELLED)

    def _step(self, folder: Path, name: str, work: Callable[[], Record]) -> Record:
        """Do a step if it is not done, and say so."""
        done = self.records.find(folder, name)
        if done is not None:
            return done
        record = self.records.add(folder, name, work())
        print(in_words(record), flush=True)
        return record

    def _open(self, number: int) -> Round:
        return Round(self.config, number, self.records.round_folder(number), self.processes)
