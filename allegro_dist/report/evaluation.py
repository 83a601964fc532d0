"""The evaluation report: one page on a trained potential, or a committee, and the same numbers as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms

from allegro_dist.files import check_writable
from allegro_dist.report.committee import Committee, open_committee
from allegro_dist.report.crystals import crystal_properties, read_crystal
from allegro_dist.report.dimers import dimer_curves
from allegro_dist.report.learning_curve import learning_curve, training_frames
from allegro_dist.report.page import Section, Table, write_page
from allegro_dist.report.part import LeftOut, Part, build_parts
from allegro_dist.report.predictions import Frame, Predictions, predict, read_frames
from allegro_dist.report.sections.calibration import calibration_part
from allegro_dist.report.sections.crystal import crystal_part
from allegro_dist.report.sections.dimers import dimer_part
from allegro_dist.report.sections.errors import composition_part, group_part, magnitude_part, type_part, worst_part
from allegro_dist.report.sections.learning_curve import learning_curve_part
from allegro_dist.report.sections.parity import parity_part


def write_evaluation(
    page: Path,
    models: Sequence[str],
    data: Sequence[str],
    *,
    json_file: Path | None = None,
    runs: Sequence[str] = (),
    crystals: Sequence[str] = (),
    group_key: str | None = None,
    device: str = "cpu",
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, str]:
    """Write the report of models on data.

    Args:
        models: archives or run folders; several are a committee, whose mean is the prediction.
        data: files of labelled frames.
        json_file: where to write the numbers.
        runs: finished runs of several sizes, for the learning curve.
        crystals: files of one structure each.
        group_key: of ASE's info, which names a frame's group; None: config_type or group.
        say: is told what is being computed.

    Returns: the parts that were left out, and why.  Raises FileError, DataError, ArchiveError and CheckpointError, as
    they say.
    """
    for file in filter(None, (page, json_file)):
        check_writable(file)
    committee = open_committee(models, device)
    frames = read_frames(data, group_key)
    structures = {path: read_crystal(path, committee) for path in crystals}
    sizes = {run: training_frames(run) for run in runs}
    say(f"{len(frames)} frames")
    predictions = predict(committee, frames)
    parts = build_parts(_parts(committee, frames, predictions, sizes, structures, device, say))
    if json_file is not None:
        parts.write_json(json_file, {"models": _origins(committee), "data": list(data)})
    write_page(page, _title(committee), _lead(predictions, data), [_models_section(committee), *parts.sections])
    return parts.left_out


def _parts(
    committee: Committee, frames: Sequence[Frame], p: Predictions, sizes: dict[str, int],
    structures: dict[str, Atoms], device: str, say: Callable[[str], None],
) -> Iterator[tuple[str, Callable[[], Part]]]:  # fmt: skip
    """The parts of the report, by their keys in the JSON, in the order of the page."""
    yield "parity", lambda: parity_part(p)
    yield "by_type", lambda: type_part(p)
    yield "by_force_magnitude", lambda: magnitude_part(p)
    yield "by_composition", lambda: composition_part(p)
    yield "by_group", lambda: group_part(p)
    yield "worst_frames", lambda: worst_part(p)
    yield "calibration", lambda: calibration_part(p)
    say("learning curve" if sizes else "dimers")
    yield "learning_curve", lambda: learning_curve_part(learning_curve(sizes, frames, device))
    yield "dimers", lambda: dimer_part(dimer_curves(committee, p.shortest))
    members, width = committee.members, 2 * float(committee.cutoffs.max())
    for path, atoms in structures.items():
        say(f"crystal {path}")
        yield f"crystal {path}", lambda: crystal_part(crystal_properties(path, atoms, members, frames, width))  # noqa: B023
    if not structures:
        yield "crystal", _no_crystal


def _no_crystal() -> Part:
    raise LeftOut("equation of state, elastic constants and phonons need a structure (--crystal FILE)")


def _origins(committee: Committee) -> list[dict[str, Any]]:
    return [{"name": name, "weights_sha256": card["weights_sha256"], "type_names": card["type_names"]}
            for name, card in zip(committee.names, committee.cards, strict=True)]  # fmt: skip


def _title(committee: Committee) -> str:
    what = "Potential" if len(committee.names) == 1 else f"Committee of {len(committee.names)} potentials"
    return f"{what} for {', '.join(committee.type_names)}"


def _lead(p: Predictions, data: Sequence[str]) -> str:
    return f"Measured on {len(p.num_atoms):,} frames, {p.num_atoms.sum():,} atoms: {', '.join(map(str, data))}."


def _models_section(committee: Committee) -> Section:
    rows = [
        (name, card["family"], f"{card['r_max']:g}", card["dtype"], f"{card['num_parameters']:,}",
         str(card["training"].get("data", {}).get("train", "")), card["weights_sha256"][:12])
        for name, card in zip(committee.names, committee.cards, strict=True)
    ]  # fmt: skip
    return Section("Models", [Table(("", "family", "r_max, Å", "dtype", "weights", "training frames", "digest"), rows)])
