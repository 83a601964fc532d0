"""A file of another package in, a potential out that has been found equal to what was in the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from allegro_dist.engine import Engine
from allegro_dist.importing.comparison import Differences, by_engine, by_potential, check, compare
from allegro_dist.importing.errors import ImportModelError
from allegro_dist.importing.nequip_allegro import convert
from allegro_dist.importing.peer_process import PeerModel, read_peer_model
from allegro_dist.potential import Potential, in_dtype


class Imported(NamedTuple):
    """A converted model beside the one that it was converted from."""

    potential: Potential
    peer: PeerModel
    differences: Differences
    """Of the weights: found in float64 arithmetic, so that the peer's rounding is all there is."""
    origin: dict[str, Any]
    """For model card and results.json."""


def import_model(file: str | os.PathLike[str], python: str | None = None) -> Imported:
    """Read, convert and compare a model of nequip-allegro; see read_peer_model.

    Raises ImportModelError, ConfigError when it has something that ours lacks, or when the results differ.
    """
    peer = read_peer_model(file, python)
    try:
        potential = convert(peer.facts, peer.weights)
        widened = in_dtype(potential, "float64").eval()
        differences = compare(by_potential(widened), widened, peer.frames)
        check(differences, peer.facts["dtype"])
    except ImportModelError as error:
        raise ImportModelError(f"{file}: {error}") from None
    origin = {
        "file": Path(file).name,
        "sha256": peer.digest,
        "versions": peer.facts["versions"],
        "differences": differences._asdict(),
    }
    return Imported(potential, peer, differences, {"imported": origin})


def compare_archive(
    imported: Imported, archive: str | os.PathLike[str], table_tolerance: float
) -> Iterator[tuple[str, Differences]]:
    """What the engine, which LAMMPS and ASE use, makes of the archive: without its tables, and as it is.

    Raises ImportModelError when it differs from the peer by more than rounding and what the tables may add.
    """
    engines = [(Engine(archive, table_intervals=0), 0.0)]
    as_it_is = Engine(archive)
    if as_it_is.evaluator != engines[0][0].evaluator:
        engines.append((as_it_is, table_tolerance))
    for engine, extra in engines:
        differences = compare(by_engine(engine), imported.potential, imported.peer.frames)
        check(differences, imported.peer.facts["dtype"], extra)
        yield engine.evaluator, differences
