"""The records of a loop: a file for each step, which says that the step is done, and all of them as JSON lines.

start/label.json
round-000/train.json, deploy.json, simulate.json, harvest.json, label.json, final.json
record.jsonl        result.json, when the loop has ended
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from allegro_dist.files import write_atomically, write_json

RECORD, RESULT = "record.jsonl", "result.json"
START = "start"
Record = dict[str, Any]


@dataclass(frozen=True)
class Records:
    """The records in the folder of a loop."""

    folder: Path

    def round_folder(self, number: int) -> Path:
        return self.folder / f"round-{number:03d}"

    def find(self, folder: Path, name: str) -> Record | None:
        """The record of a step; None if it is not done."""
        path = folder / f"{name}.json"
        return read_record(path) if path.exists() else None

    def add(self, folder: Path, name: str, values: Record) -> Record:
        """Say that a step is done, by its record, which is returned."""
        record = {"round": folder.name, "step": name, **values}
        write_json(folder / f"{name}.json", record)
        write_atomically(self.folder / RECORD, "".join(json.dumps(r) + "\n" for r in self.all()))
        return record

    def all(self) -> list[Record]:
        """Those of all steps that are done, in their order."""
        folders = [self.folder / START, *sorted(self.folder.glob("round-*"))]
        files = [folder / f"{name}.json" for folder in folders for name in WORDS]
        return [read_record(file) for file in files if file.exists()]


def read_record(path: Path) -> Record:
    record: Record = json.loads(path.read_text())
    return record


def in_words(record: Record) -> str:
    """A line about a step."""
    return f"{record['round']}: {WORDS[record['step']](record)}"


def _train(r: Record) -> str:
    last = "for the last time " if r["step"] == "final" else ""
    line = f"trained {last}on {r['frames']} frames, {r['minutes']:.1f} min for all members"
    if "test" not in r:
        return line
    forces, energy = (1e3 * r["test"][q]["mae"] for q in ("forces", "energy_per_atom"))
    return f"{line}; test MAE {forces:.1f} meV/A, {energy:.2f} meV/atom"


def _deploy(r: Record) -> str:
    return f"deployed {' '.join(r['archives'])}"


def _simulate(r: Record) -> str:
    parts = [
        f"{s['time'] / 1000:.2f} ps, {s['frames']} frames{', ended early: ' + s['ended'] if s['ended'] else ''}"
        for s in r["simulations"]
    ]
    return f"simulated {'; '.join(parts)}"


def _harvest(r: Record) -> str:
    return (
        f"{len(r['chosen'])} frames chosen of {r['num_above']} above the threshold among {r['num_frames']}, "
        f"{r['num_beyond']} beyond the ceiling; largest deviation {r['largest']:.3f} eV/A"
    )


def _label(r: Record) -> str:
    return (
        f"{r['labelled']} labelled, {r['refused']} refused, {r['failed']} failed in {r['trials']} trials, "
        f"{r['seconds'] / 60:.1f} min"
    )


WORDS = {
    "train": _train, "deploy": _deploy, "simulate": _simulate, "harvest": _harvest, "label": _label, "final": _train,
}  # fmt: skip
