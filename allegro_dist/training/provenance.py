"""provenance.json: what a run was made from (files, frames) and made with (versions, commit), start by start."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from allegro_dist.config import RunConfig
from allegro_dist.data.dataset import Frames
from allegro_dist.files import write_json
from allegro_dist.training.distributed import Ranks
from allegro_dist.versions import commit, versions

LARGEST_FILE = 2 << 30
"""Bytes of a file beyond which its sum would delay the start; the digest of the frames still identifies the data."""


def record_start(folder: Path, data: dict[str, Any], ranks: Ranks) -> None:
    """Add this start to provenance.json (rank 0); earlier starts, with other versions perhaps, stay."""
    path = folder / "provenance.json"
    earlier = json.loads(path.read_text())["starts"] if path.exists() else []
    start = {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "processes": ranks.size,
        "device": str(ranks.device),
        "versions": versions(),
        "commit": commit(),
    }
    write_json(path, {"data": data, "starts": [*earlier, start]})


def describe_data(config: RunConfig, frames: Frames) -> dict[str, Any]:
    """Numbers of frames, the digest of the training frames, and the files."""
    return {
        "digest": frames.digest,
        "train": len(frames.train),
        "val": len(frames.val),
        "test": len(frames.test),
        "files": describe_files(config),
    }


def describe_files(config: RunConfig) -> dict[str, dict[str, Any]]:
    """SHA-256 and size of each file that a run reads."""
    data, start = config.data, config.start
    first = f"{start.model}/{start.weights}.ckpt" if start.model and Path(start.model).is_dir() else start.model
    named = (data.train, data.val, data.test, data.isolated_atoms, first)
    return {path: _describe_file(path) for path in dict.fromkeys(p for value in named for p in _paths(value))}


def _paths(value: str | Sequence[str] | float | None) -> Sequence[str]:
    if isinstance(value, str):
        return (value,)
    return () if value is None or isinstance(value, float) else value


def _describe_file(name: str) -> dict[str, Any]:
    """Empty for what is no file (ASE reads databases, too)."""
    path = Path(name)
    if not path.exists():
        path = Path(name.partition("@")[0])  # "frames.xyz@:100": a part of a file
    if not path.is_file():
        return {}
    size = path.stat().st_size
    return {"bytes": size, "sha256": _sha256(path) if size <= LARGEST_FILE else None}


def _sha256(path: Path) -> str:
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()
