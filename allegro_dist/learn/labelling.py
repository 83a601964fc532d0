"""Labels a batch, in processes of this machine or by a job array, and gathers what came of it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from allegro_dist.learn.labels import LABELS, Batch, Outcome, read_frame, write_frames
from allegro_dist.learn.processes import USER_ERROR, LearningError, Processes, last_words
from allegro_dist.learn.settings import LabelSettings

LABELLED = "labelled.xyz"
LOG = "submit.log"


class WaitsForLabels(RuntimeError):  # noqa: N818 (not a mistake of anyone's)
    """The loop ends until a job array has labelled some frames."""

    exit_code = os.EX_TEMPFAIL


def label_batch(settings: LabelSettings, batch: Batch, command: Sequence[str], processes: Processes) -> dict[str, Any]:
    """Label all frames that wait for it, and write those with labels to labelled.xyz; returns the record of the step.

    Args:
        command: arguments of `allegro-dist` that label a frame, but for `--index I`.

    Raises WaitsForLabels where others are to do that, LearningError when too many frames got no label.
    """
    if settings.mode == "processes":
        _in_processes(settings, batch, command, processes)
    else:
        _by_array(settings, batch, command, processes)
    outcomes = batch.outcomes(settings.retries)
    _refuse_too_many(settings, batch, outcomes)
    labelled = [o.number for o in outcomes if o.state == "labelled"]
    if labelled:
        write_frames(batch.folder / LABELLED, [read_frame(batch.label_folder(n).label) for n in labelled])
    return {
        **{state: sum(o.state == state for o in outcomes) for state in ("labelled", "refused", "failed")},
        "trials": sum(o.trials for o in outcomes),
        "seconds": sum(o.seconds for o in outcomes),
        "without_label": [{"number": o.number, "state": o.state, "reason": o.reason} for o in outcomes if o.reason],
    }


def _in_processes(settings: LabelSettings, batch: Batch, command: Sequence[str], processes: Processes) -> None:
    """Some processes at once, each for `chunk` frames: one that dies takes no frame of another with it."""
    while waiting := batch.waiting(settings.retries):
        trials = {number: len(batch.label_folder(number).failures()) for number in waiting}
        chunks = [waiting[i : i + settings.chunk] for i in range(0, len(waiting), settings.chunk)]
        jobs = [(_log(batch, chunk[0]), [*command, "--index", *map(str, chunk)]) for chunk in chunks]
        for chunk, code in zip(chunks, processes.run_all(jobs, settings.processes)):
            if code:
                still = [n for n in batch.waiting(settings.retries) if n in chunk]
                untouched = [n for n in still if len(batch.label_folder(n).failures()) == trials[n]]
                _record_death(batch, untouched, code, last_words(_log(batch, chunk[0])))


def _record_death(batch: Batch, untouched: Sequence[int], code: int, words: str) -> None:
    """Of a process that ended at the first of the frames that it left untouched; raises LearningError where it was
    asked for what it can't do."""
    if code == USER_ERROR or not untouched:
        raise LearningError(f"labels of {batch.folder}: {words}")
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    batch.label_folder(untouched[0]).record_failure(f"the process ended with {how}: {words}", 0.0)


def _by_array(settings: LabelSettings, batch: Batch, command: Sequence[str], processes: Processes) -> None:
    """Submit what waits as often as trials are allowed, or say what is to be submitted."""
    for _ in range(settings.retries + 1):
        waiting = batch.waiting(settings.retries)
        if not waiting or settings.submit is None:
            break
        _submit(settings.submit, waiting, settings.retries, batch, processes)
    if waiting := batch.waiting(settings.retries):
        raise WaitsForLabels(
            f"{len(waiting)} of {len(batch)} frames wait for their labels: run `allegro-dist "
            f"{shlex.join(command)} --index I` for I = {ranges(waiting)}, then the same command again"
        )


def _submit(line: str, waiting: Sequence[int], retries: int, batch: Batch, processes: Processes) -> None:
    """Submit an array, and record which of its tasks died; raises LearningError when nothing came of it.

    Its exit code does not tell: that of `sbatch --wait` is 0 when tasks were cancelled, 1 when one was killed.
    """
    log, before = batch.folder / LOG, batch.outcomes(retries)
    begun = {number: batch.label_folder(number).begun() for number in waiting}
    for name, value in (("indices", ranges(waiting)), ("first", waiting[0]), ("last", waiting[-1])):
        line = line.replace(f"{{{name}}}", str(value))
    code = processes.run_line(line, log)
    for folder in map(batch.label_folder, batch.waiting(retries) if code != USER_ERROR else ()):
        if folder.begun() not in (None, begun[folder.number]):
            folder.record_failure("its task of the job array ended without a result; what it printed may say why", 0.0)
    if code and (code == USER_ERROR or batch.outcomes(retries) == before):
        raise LearningError(f"`{line}` ended with exit code {code}: {last_words(log)}")


def ranges(numbers: Sequence[int]) -> str:
    """Sorted numbers as SLURM's --array takes them: 0-3,7."""
    groups: list[list[int]] = []
    for number in numbers:
        if groups and number == groups[-1][-1] + 1:
            groups[-1].append(number)
        else:
            groups.append([number])
    return ",".join(str(g[0]) if len(g) == 1 else f"{g[0]}-{g[-1]}" for g in groups)


def _refuse_too_many(settings: LabelSettings, batch: Batch, outcomes: Sequence[Outcome]) -> None:
    without = [o for o in outcomes if o.state != "labelled"]
    if len(without) > settings.max_failed * len(outcomes):
        raise LearningError(
            f"{len(without)} of {len(outcomes)} frames of {batch.folder} got no label, more than label.max_failed = "
            f"{settings.max_failed:g}. The first, number {without[0].number}, was {without[0].state}: "
            f"{without[0].reason}. Delete {batch.folder / LABELS} to label all of them again"
        )


def _log(batch: Batch, number: int) -> Path:
    """What a labelling process says."""
    path = batch.label_folder(number).path
    path.mkdir(parents=True, exist_ok=True)
    return path / "log"
