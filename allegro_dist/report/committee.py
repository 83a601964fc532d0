"""The models that a report is of: one, or a committee of several for the same types, as ASE calculators."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from allegro_dist.data.structure import Array
from allegro_dist.deploy.archive import save_archive
from allegro_dist.deploy.archive_file import ArchiveError
from allegro_dist.simulate.calculator import AllegroCalculator
from allegro_dist.training.checkpoint import load_run, run_results


@dataclass(frozen=True)
class Committee:
    """K models of the same types; their mean is the prediction, their spread its uncertainty."""

    names: tuple[str, ...]  # as they were given: run folders, archives
    members: tuple[AllegroCalculator, ...]

    @property
    def type_names(self) -> tuple[str, ...]:
        return self.members[0].archive.type_names

    @property
    def cards(self) -> list[dict[str, Any]]:
        """The members' model cards."""
        return [member.archive.card for member in self.members]

    @property
    def cutoffs(self) -> Array:
        """[T, T] largest of the members' cutoffs for each ordered type pair, Angstrom."""
        return np.max([member.cutoffs for member in self.members], axis=0)


def open_committee(paths: Sequence[str | os.PathLike[str]], device: str = "cpu") -> Committee:
    """Open archives and run folders (their best weights, without tables).

    Raises ArchiveError or CheckpointError for what is none, or when the types differ.
    """
    members = tuple(open_model(path, device) for path in paths)
    first = members[0].archive.type_names
    for path, member in zip(paths, members, strict=True):
        if member.archive.type_names != first:
            raise ArchiveError(
                f"{path}: a committee's members have the same types in the same order, but this one has "
                f"{' '.join(member.archive.type_names)} and {paths[0]} has {' '.join(first)}"
            )
    return Committee(tuple(str(path) for path in paths), members)


def open_model(path: str | os.PathLike[str], device: str = "cpu") -> AllegroCalculator:
    """The calculator of an archive, or of a run folder, for which an archive is made and thrown away."""
    path = Path(path)
    if not path.is_dir():
        return AllegroCalculator(path, device)
    potential = load_run(path)
    with tempfile.TemporaryDirectory(prefix="allegro-dist-") as folder:
        archive = Path(folder) / "model.pth"
        save_archive(archive, potential, run_results(path))
        return AllegroCalculator(archive, device)
