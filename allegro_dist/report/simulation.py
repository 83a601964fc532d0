"""The report on a simulation: one page on its stages, and on the structure and motion of one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from ase import Atoms

from allegro_dist.report.page import write_page
from allegro_dist.report.part import LeftOut, Part, build_parts
from allegro_dist.report.sections.motion import diffusion_part, vibrations_part
from allegro_dist.report.sections.pairs import pairs_part
from allegro_dist.report.sections.snapshot import snapshot_part
from allegro_dist.report.sections.stages import cell_part, stages_part
from allegro_dist.report.sections.transport import CONDUCTIVITY, VISCOSITY, transport_part
from allegro_dist.simulate.checkpoint import SimulationError
from allegro_dist.simulate.folder import Motion, Simulation, StageSpan, motion, read_folder

DISCARD, R_MAX = 0.1, 10.0
FEWEST_FRAMES = 3
"""That show any motion."""


def write_analysis(
    folder: Path,
    page: Path,
    *,
    json_file: Path | None = None,
    stage: int | None = None,
    discard: float = DISCARD,
    r_max: float = R_MAX,
    plateau: float | None = None,
) -> dict[str, str]:
    """Write the report on a simulation's folder.

    Args:
        json_file: where to write the numbers.
        stage: whose pairs, motion and transport are looked at, counted from 0; None: the last of dynamics.
        discard: fraction of each stage that is left out at its beginning.
        r_max: of radial distribution functions, Angstrom.
        plateau: of the integrals for viscosity and conductivity, ps, which ends at twice that time; None: found.

    Returns: the parts that were left out, and why.  Raises SimulationError for what is no such folder, or has no such
    stage.
    """
    run = read_folder(folder)
    chosen = _choose(run, stage)
    parts = build_parts(_parts(run, chosen, discard, r_max, plateau))
    about = {
        "folder": str(folder), "finished": run.finished, "discard": discard,
        "stage": None if chosen is None else chosen.number,
    }  # fmt: skip
    if json_file is not None:
        parts.write_json(json_file, about)
    write_page(page, f"Simulation {folder.resolve().name}", _lead(run, chosen, discard), parts.sections)
    return parts.left_out


def _choose(run: Simulation, number: int | None) -> StageSpan | None:
    """The stage to look at closely; None if no stage of dynamics has begun."""
    dynamics = {stage.number: stage for stage in run.stages if stage.is_dynamics}
    if number is None:
        return list(dynamics.values())[-1] if dynamics else None
    if number not in dynamics:
        known = ", ".join(stage.name for stage in dynamics.values()) or "none"
        raise SimulationError(f"{run.folder}: no stage {number} of dynamics that has begun; there are: {known}")
    return dynamics[number]


def _parts(
    run: Simulation, stage: StageSpan | None, discard: float, r_max: float, plateau: float | None
) -> Iterator[tuple[str, Callable[[], Part]]]:
    """The parts of the report, by their keys in the JSON, in the order of the page."""
    yield "snapshot", lambda: snapshot_part(run)
    yield "stages", lambda: stages_part(run, discard)
    yield "cell", lambda: cell_part(run, discard)
    if stage is None:
        yield "pairs_and_motion", _no_dynamics
        return
    frames = list(run.frames(stage, discard))
    yield "pairs", lambda: pairs_part(frames, stage.name, r_max)

    @cache
    def moving() -> Motion:
        return _motion(frames, stage)

    yield "diffusion", lambda: diffusion_part(moving(), stage.name)
    yield "vibrations", lambda: vibrations_part(moving(), stage.name)
    yield "viscosity", lambda: transport_part(VISCOSITY, run, stage, discard, plateau)
    yield "conductivity", lambda: transport_part(CONDUCTIVITY, run, stage, discard, plateau)


def _no_dynamics() -> Part:
    raise LeftOut("no stage of dynamics has begun")


def _motion(frames: list[Atoms], stage: StageSpan) -> Motion:
    if len(frames) < FEWEST_FRAMES:
        raise LeftOut(f"stage {stage.name} has {len(frames)} frames, {FEWEST_FRAMES} are needed (trajectory.every)")
    try:
        return motion(frames, stage.timestep)
    except ValueError as error:
        raise LeftOut(str(error)) from error


def _lead(run: Simulation, stage: StageSpan | None, discard: float) -> str:
    state = "finished" if run.finished else "not finished"
    closely = "" if stage is None else f" Pairs and motion are those of stage {stage.name}."
    return (
        f"{len(run.stages)} of {len(run.config.stages)} stages, {state}. The first {100 * discard:g} % of each stage "
        f"are left out of averages.{closely} Errors are standard errors; where there is none, the series is constant, "
        "or too short for one."
    )
