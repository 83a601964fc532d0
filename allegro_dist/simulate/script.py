"""A simulation as LAMMPS commands: what the driver issues one by one, and the input script that does the same.

A stage of dynamics runs in parts that end at checkpoints.  Each part is a `run` of its own, which sets up everything
from the atoms' positions and velocities: that is why a run that goes on from a checkpoint is the unbroken one, to the
last bit on as many ranks.  Steps are counted from wherever the stage begins, since a minimization takes as many as it
takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from allegro_dist.simulate.settings import (
    AtConstantVolume,
    AtPressure,
    Deform,
    Dynamics,
    Langevin,
    Minimize,
    Npt,
    Nvt,
    SimulationConfig,
)
from allegro_dist.simulate.tables import table_commands

PICOSECOND = 1000.0  # fs
SEEDS_OF_REMAINDERS = 500_000
"""Added to a seed where a part goes on after it was stopped on its way, so that no random force comes twice."""
GUARD_EVERY = 1
"""Steps between looks at the temperature for simulations that blow up."""
ALL = "all"
"""LAMMPS's group of all atoms."""
FORCES = ("f_forces[1]", "f_forces[2]", "f_forces[3]")
"""Of the potential alone: what LAMMPS calls fx holds a thermostat's random forces, too."""
ATOM_COLUMNS = ("id", "element", "xu", "yu", "zu", "vx", "vy", "vz", *FORCES, "c_atom_energy")


@dataclass(frozen=True)
class Geometry:
    """What the commands need to know of the first structure."""

    data_file: str
    types: tuple[str, ...]  # chemical symbols
    boundary: str  # of LAMMPS: "p p p"


def atom_columns(config: SimulationConfig) -> tuple[str, ...]:
    """Columns of frames."""
    return (*ATOM_COLUMNS, *(("f_spread",) if len(config.models) > 1 else ()))


def read_structure(config: SimulationConfig, geometry: Geometry) -> list[str]:
    """A new simulation."""
    repeat = config.structure.replicate
    return [
        "units        metal",
        "atom_style   atomic",
        f"boundary     {geometry.boundary}",
        "box          tilt large",
        f"read_data    {geometry.data_file}",
        *([f"replicate    {' '.join(map(str, repeat))}"] if max(repeat) > 1 else []),
    ]


def read_checkpoint(file: str, grid: Sequence[int]) -> list[str]:
    """A simulation that goes on; `grid`: ranks along x, y and z, none: as LAMMPS likes.

    LAMMPS would choose the ranks' grid anew, by the box as it is now, and sums over other subdomains end otherwise in
    their last digits.
    """
    return [*([f"processors   {' '.join(map(str, grid))}"] if grid else []), f"read_restart {file}"]


def settings(config: SimulationConfig, geometry: Geometry, frames_file: str) -> list[str]:
    """What is set for all stages, anew in each process."""
    types, every = " ".join(geometry.types), config.trajectory.every
    potential = [
        f"pair_style   allegro {config.pair_options}".rstrip(),
        f"pair_coeff   * * {' '.join(config.models)} {types}",
    ] if config.models else []  # fmt: skip
    committee = [
        "compute      spread all pair allegro",
        f"fix          spread all pair {every} allegro deviation 1",
    ] if len(config.models) > 1 else []  # fmt: skip
    return [
        *potential,
        *committee,
        "compute      atom_energy all pe/atom",
        "fix          forces all store/force",
        *table_commands(config),
        f"dump         frames all custom {every} {frames_file} {' '.join(atom_columns(config))}",
        f"dump_modify  frames element {types} sort id format float %.15g",
        "variable     temperature equal temp",
        f"fix          guard all halt {GUARD_EVERY} v_temperature > {config.max_temperature:g} error soft",
        *config.commands,
    ]


def velocities(config: SimulationConfig) -> list[str]:
    """Drawn ones, if any."""
    s = config.structure
    return [f"velocity     all create {s.temperature:g} {s.seed} mom yes rot no dist gaussian"] if s.temperature else []


def begin_stage(config: SimulationConfig, number: int) -> list[str]:
    """The fixes of a stage; of names of its own, for LAMMPS's restart files keep the state of fixes by name."""
    stage = config.stages[number]
    if isinstance(stage, Minimize):
        relax = f"fix          cell{number} all box/relax {stage.cell} {stage.pressure:g} vmax 0.001"
        return [*stage.commands, *([relax] if stage.cell != "fixed" else [])]
    timestep = f"timestep     {(stage.timestep or config.timestep) / PICOSECOND:g}"
    group = []
    if isinstance(stage, AtConstantVolume) and stage.atoms is not None:
        group = [f"group        {_group(stage, number)} id {stage.atoms[0]}:{stage.atoms[1]}"]
    return [timestep, *group, *_fixes(stage, number), *stage.commands]


def mark_stage(stage: Dynamics, first: str = "$(step:%.0f)") -> list[str]:
    """First and last step of a stage, for what changes over it."""
    return [f"variable     first equal {first}", f"variable     last equal $(v_first+{stage.steps}:%.0f)"]


def minimize(stage: Minimize) -> list[str]:
    """The whole of a minimization."""
    return [f"minimize     0.0 {stage.force_tolerance:g} {stage.max_steps} {10 * stage.max_steps}"]


def run_part(stage: Dynamics, number: int, steps: int, part: str) -> list[str]:
    """Some steps of a stage; `part` counts from 1, for seeds."""
    lines = []
    if isinstance(stage, Langevin):
        first, last = _ramp(stage.temperature)
        heat = f"fix          heat{number} {_group(stage, number)} langevin {first} {last}"
        lines.append(f"{heat} {stage.damping / PICOSECOND:g} {part}")
    return [*lines, f"run          {steps} start ${{first}} stop ${{last}}"]


def write_checkpoint(file: str) -> list[str]:
    """Everything from which the next part starts."""
    return [f"write_restart {file}"]


def end_stage(stage: Minimize | Dynamics, number: int) -> list[str]:
    """Take the stage's fixes away."""
    if isinstance(stage, Minimize):
        return [f"unfix        cell{number}"] if stage.cell != "fixed" else []
    names = ["motion", *(["heat"] if isinstance(stage, Langevin) else []),
             *(["deform"] if isinstance(stage, Deform) else [])]  # fmt: skip
    lines = [f"unfix        {name}{number}" for name in names]
    group = _group(stage, number)
    return lines if group == ALL else [*lines, f"group        {group} delete"]  # LAMMPS has 32 at most


def input_script(config: SimulationConfig, geometry: Geometry) -> str:
    """The whole simulation for `lmp -in`, in the folder of the simulation."""
    lines = ["# written by allegro-dist simulate; lmp -in in.lammps does the same", ""]
    lines += [*read_structure(config, geometry), "", *settings(config, geometry, "frames.dump"), ""]
    lines += velocities(config)
    for number, stage in enumerate(config.stages):
        lines += ["", f"# --- stage {number}: {stage.stage}", *begin_stage(config, number)]
        if isinstance(stage, Minimize):
            lines += [*minimize(stage), *write_checkpoint("checkpoint.restart")]
        else:
            lines += [*mark_stage(stage), *_parts(config, stage, number)]
        lines += end_stage(stage, number)
    return "\n".join([*lines, "", "write_data   final.data", ""])


def _parts(config: SimulationConfig, stage: Dynamics, number: int) -> list[str]:
    """All parts of a stage: a loop over whole ones, and what is left."""
    whole, rest = divmod(stage.steps, config.checkpoint_every)
    seed = stage.seed if isinstance(stage, Langevin) else 0
    save = write_checkpoint("checkpoint.restart")
    lines = []
    if whole:
        body = [*run_part(stage, number, config.checkpoint_every, f"$(v_part+{seed}:%.0f)"), *save]
        lines += [f"variable     part loop {whole}", f"label        stage{number}", *body,
                  "next         part", f"jump         SELF stage{number}"]  # fmt: skip
    if rest:
        lines += [*run_part(stage, number, rest, str(seed + whole + 1)), *save]
    return lines


def _group(stage: Dynamics, number: int) -> str:
    """LAMMPS's name for the atoms that move; of its own in each stage, for restart files keep groups by name."""
    return f"moving{number}" if isinstance(stage, AtConstantVolume) and stage.atoms else ALL


def _fixes(stage: Dynamics, number: int) -> list[str]:
    head = f"fix          motion{number} {_group(stage, number)} "
    if isinstance(stage, AtPressure):
        pressure = " ".join(_ramp(stage.pressure))
        barostat = f"{stage.coupling} {pressure} {stage.pressure_damping / PICOSECOND:g}"
        if isinstance(stage, Npt):
            return [f"{head}npt {_thermostat(stage.temperature, stage.damping)} {barostat}"]
        return [f"{head}nph {barostat}"]
    if isinstance(stage, Nvt):
        return [f"{head}nvt {_thermostat(stage.temperature, stage.damping)}"]
    if isinstance(stage, Deform):
        scales = " ".join(f"{direction} scale {scale:.15g}" for direction, scale in stage.scale.items())
        motion = "nve" if stage.temperature is None else f"nvt {_thermostat(stage.temperature, stage.damping)}"
        return [head + motion, f"fix          deform{number} all deform 1 {scales} remap x"]
    return [f"{head}nve"]


def _thermostat(temperature: float | Sequence[float], damping: float) -> str:
    return f"temp {' '.join(_ramp(temperature))} {damping / PICOSECOND:g}"


def _ramp(value: float | Sequence[float]) -> tuple[str, str]:
    """The values at the beginning and at the end."""
    first, last = (value, value) if isinstance(value, (int, float)) else value
    return f"{first:.15g}", f"{last:.15g}"
