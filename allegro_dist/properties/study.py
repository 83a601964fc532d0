"""A study of a crystal: its sections one after another, and after each of them the page and the numbers anew.

One process, or every rank of `mpiexec -n N`: all ranks simulate, rank 0 does the rest.  Simulations, which take long,
know themselves where they stand (simulate/driver.py); what is quick is computed again when a study goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ase import Atoms
from ase.calculators.calculator import Calculator

from allegro_dist.analysis.crystal import CrystalError, relaxed_crystal
from allegro_dist.config import ConfigError, dump
from allegro_dist.data.structure import read_atoms
from allegro_dist.files import check_writable, write_atomically, write_json
from allegro_dist.properties.expansion import check_shape, expansion_part, expansion_simulations
from allegro_dist.properties.melting import melting_part, melting_simulation, write_structure
from allegro_dist.properties.settings import CrystalSettings, PropertiesConfig
from allegro_dist.report.committee import open_committee
from allegro_dist.report.crystals import crystal_properties, read_crystal
from allegro_dist.report.page import Picture, write_page
from allegro_dist.report.part import Part, plain
from allegro_dist.report.predictions import read_frames
from allegro_dist.report.sections.crystal import crystal_part
from allegro_dist.simulate.driver import simulate
from allegro_dist.simulate.lammps_calculator import lammps_calculator
from allegro_dist.simulate.main_rank import on_main
from allegro_dist.simulate.settings import SimulationConfig
from allegro_dist.simulate.start import prepare

PAGE, RESULTS = "report.html", "results.json"


class Crystal(NamedTuple):
    """What is studied."""

    atoms: Atoms  # as the file has them
    calculator: Calculator
    cutoff: float | None  # Angstrom; None: LAMMPS's potential does not say


class Task(NamedTuple):
    """A section of the study."""

    key: str
    simulations: Sequence[SimulationConfig]
    part: Callable[[], Part]  # when these are finished


def study(config: PropertiesConfig) -> Path:
    """Do all sections, or go on with a study; returns its folder, with report.html, results.json and the pictures.

    Raises ConfigError, DataError, ArchiveError, FileError, and CrystalError for what can't be relaxed, before anything
    is simulated; SimulationError and Stopped as simulate does. Ranks but the first raise FailedOnMain for what fails
    there.
    """
    from mpi4py import MPI

    comm = MPI.COMM_WORLD

    @cache
    def crystal() -> Crystal:  # asked for by rank 0 alone
        return _read(config)

    at_rest = on_main(comm, lambda: _begin(config, crystal))
    tasks = list(_tasks(config, crystal, at_rest))
    on_main(comm, lambda: _check(tasks))
    parts: dict[str, Part] = {}
    for task in tasks:
        for simulation in task.simulations:
            simulate(simulation)
        on_main(comm, lambda: _add(config, crystal(), parts, task))  # noqa: B023
    return Path(config.dir)


def _read(config: PropertiesConfig) -> Crystal:
    if config.model is None:
        return Crystal(read_atoms(config.structure), lammps_calculator(config.commands, log_file=None), None)
    committee = open_committee([config.model])
    return Crystal(read_crystal(config.structure, committee), committee.members[0], float(committee.cutoffs.max()))


def _begin(config: PropertiesConfig, read: Callable[[], Crystal]) -> Atoms:
    """Make the folder and what the simulations start from; returns the crystal at rest."""
    Path(config.dir).mkdir(parents=True, exist_ok=True)
    check_writable(Path(config.dir) / PAGE)
    crystal = read()
    at_rest = _at_rest(config, crystal)
    if config.expansion is not None:
        check_shape(config, config.expansion, crystal.atoms, at_rest)
    dump(config, Path(config.dir) / "config.yaml")
    if config.melting is not None:
        write_structure(config, config.melting)
    at_rest.calc = None
    return at_rest


def _at_rest(config: PropertiesConfig, crystal: Crystal) -> Atoms:
    try:
        return relaxed_crystal(crystal.atoms, crystal.calculator)
    except CrystalError:
        raise
    except Exception as error:  # LAMMPS's, of which its module knows no type
        if config.model is not None:
            raise
        reason = " ".join(str(error).split())
        raise ConfigError(f"commands: LAMMPS stopped at the crystal in {config.structure}: {reason}") from None


def _tasks(config: PropertiesConfig, crystal: Callable[[], Crystal], at_rest: Atoms) -> list[Task]:
    c, e, m = config.crystal, config.expansion, config.melting
    tasks = []
    if c is not None:
        tasks.append(Task("crystal", (), lambda: _crystal_part(config, c, crystal())))
    if e is not None:
        tasks.append(Task("expansion", expansion_simulations(config, e), lambda: expansion_part(config, e, at_rest)))
    if m is not None:
        tasks.append(Task("melting", [melting_simulation(config, m)], lambda: melting_part(config, m)))
    return tasks


def _check(tasks: Sequence[Task]) -> None:
    """That all structures can be simulated, before the first one is."""
    for simulation in (simulation for task in tasks for simulation in task.simulations):
        prepare(simulation, None)


def _crystal_part(config: PropertiesConfig, c: CrystalSettings, crystal: Crystal) -> Part:
    frames = read_frames(c.data) if c.data else []
    width = c.supercell or 2 * (crystal.cutoff or 0.0)
    return crystal_part(crystal_properties(config.structure, crystal.atoms, [crystal.calculator], frames, width))


def _add(config: PropertiesConfig, crystal: Crystal, parts: dict[str, Part], task: Task) -> None:
    """Look at a section's simulations, and write the page and the numbers anew."""
    parts[task.key] = task.part()
    folder = Path(config.dir)
    about = {"structure": config.structure, "model": config.model, "commands": list(config.commands)}
    write_json(folder / RESULTS, about | {key: plain(part.numbers) for key, part in parts.items()})
    title = f"Properties of {crystal.atoms.get_chemical_formula('hill', empirical=True)}"
    lead = f"{config.structure} by {config.model or '; '.join(config.commands)}. Errors are standard errors."
    write_page(folder / PAGE, title, lead, [part.section for part in parts.values()])
    pictures = [block for block in parts[task.key].section.blocks if isinstance(block, Picture)]
    for number, picture in enumerate(pictures):
        write_atomically(folder / f"{task.key}-{number}.png", picture.png)
    print(f"{task.key}: {folder / PAGE}", flush=True)
