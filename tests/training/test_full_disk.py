"""A training whose disk is full stops with its last checkpoint whole, and goes on from there to the bit."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest
import torch

from allegro_dist.files import FileError
from allegro_dist.training import checkpoint
from allegro_dist.training.loop import Trainer
from allegro_dist.training.run import train
from tests.training.runs import small_run, write_frames


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return write_frames(tmp_path_factory.mktemp("data") / "frames.xyz")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory) -> Path:
    """The folder of an unbroken run of four epochs."""
    return train(small_run(tmp_path_factory.mktemp("whole"), data))


@pytest.mark.parametrize(
    "limit, file, kept", [(3_000, "metrics.jsonl", "last checkpoint"), (100_000, "last.ckpt", "previous one")]
)
def test_run_goes_on_to_the_bit_when_there_is_room_again(data, whole, tmp_path, limit, file, kept):
    """Full is here a limit to the size of files, from the validation of the third epoch on."""
    config, before = small_run(tmp_path, data), resource.getrlimit(resource.RLIMIT_FSIZE)
    real, checkpoints = Trainer.validate, []

    def validate(self):
        if self.epoch == 2:
            checkpoints.append((tmp_path / "last.ckpt").read_bytes())
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        return real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "validate", validate)
        try:
            with pytest.raises(FileError, match=f"{tmp_path / file}: can't be written: File too large; the {kept} is"):
                train(config)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [(tmp_path / "last.ckpt").read_bytes()] == checkpoints
    assert not list(tmp_path.glob("*.part"))
    train(config)
    for name in ("last.ckpt", "best.ckpt"):
        one, other = (checkpoint.read(folder / name)["weights"] for folder in (whole, tmp_path))
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert records_of(tmp_path) == records_of(whole)


def records_of(folder: Path) -> list[dict[str, Any]]:
    """Without what the clock says."""
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in record.items() if key != "minutes"} for record in records]
