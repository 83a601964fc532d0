"""Runs a simulation: the stages of a configuration in LAMMPS, with outputs and checkpoints; goes on where it stopped.

One process, or every rank of `mpiexec -n N`.  Nothing is computed here: LAMMPS gets the commands of script.py, one
after another, and rank 0 keeps the books.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io

from allegro_dist.config import ConfigError, dump, to_dict
from allegro_dist.files import write_atomically
from allegro_dist.one_voice import in_one_line
from allegro_dist.simulate import script
from allegro_dist.simulate.checkpoint import Checkpoint, SimulationError, read_checkpoint, write_checkpoint
from allegro_dist.simulate.lammps_files import as_atoms, read_dump
from allegro_dist.simulate.lammps_runtime import import_lammps, load_plugin, refuse_foreign_launcher
from allegro_dist.simulate.main_rank import on_main
from allegro_dist.simulate.outputs import FRAMES, Outputs
from allegro_dist.simulate.progress import Progress
from allegro_dist.simulate.script import Geometry
from allegro_dist.simulate.settings import Dynamics, Langevin, Minimize, SimulationConfig, differing_keys
from allegro_dist.simulate.start import prepare
from allegro_dist.simulate.tables import LOG, tables

BLOWN_UP = "blown_up.xyz"


class Stopped(RuntimeError):  # noqa: N818 (not a mistake of anyone's)
    """A simulation was stopped by a signal, after a checkpoint."""

    exit_code = 128 + signal.SIGTERM


def simulate(config: SimulationConfig) -> Path:
    """Run a simulation to its end, or go on with an interrupted one; returns its folder.

    The folder holds config.yaml, in.lammps (the same for `lmp -in`), thermo.csv, trajectory.xyz or .dump, and, at the
    end, final.xyz and final.data.

    Raises ConfigError, DataError and ForeignLauncherError before anything is run; SimulationError when LAMMPS fails or
    the temperature explodes, with the last frame saved; Stopped after SIGTERM or SIGINT. Ranks but the first raise
    FailedOnMain for what fails there; where LAMMPS fails on some ranks only, all are ended.
    """
    refuse_foreign_launcher(os.environ)
    from mpi4py import MPI

    config = _absolute(config)
    folder, comm = Path(config.dir).resolve(), MPI.COMM_WORLD
    checkpoint, geometry = on_main(comm, lambda: _begin(config, folder))
    if checkpoint is not None and checkpoint.finished:
        return folder
    _leave_signals_to_the_pair_style()
    before = os.getcwd()
    os.chdir(folder)  # LAMMPS's file names are those of the script, which is run there
    try:
        run = _Run(config, folder, geometry, checkpoint, comm)
        try:
            run.all_stages()
        finally:
            run.close()
    finally:
        os.chdir(before)
    return folder


def _begin(config: SimulationConfig, folder: Path) -> tuple[Checkpoint | None, Geometry | None]:
    """Where the simulation stands, and its structure (None: it is finished); writes what LAMMPS is to read."""
    checkpoint = read_checkpoint(folder)
    if checkpoint is not None and (differing := differing_keys(config, checkpoint.config)):
        raise ConfigError(
            f"{folder} belongs to a simulation with other settings: {', '.join(differing)}. Take another dir, or "
            "delete it"
        )
    if checkpoint is not None and checkpoint.finished:
        return checkpoint, None
    folder.mkdir(parents=True, exist_ok=True)
    geometry = prepare(config, folder if checkpoint is None else None)
    dump(config, folder / "config.yaml")
    write_atomically(folder / "in.lammps", script.input_script(config, geometry))
    for name in (FRAMES, *(table.source for table in tables(config))):
        (folder / name).unlink(missing_ok=True)
    return checkpoint, geometry


class _Run:
    """A LAMMPS instance at work on a simulation."""

    def __init__(
        self, config: SimulationConfig, folder: Path, geometry: Geometry, checkpoint: Checkpoint | None, comm: Any
    ) -> None:
        self.config, self.folder, self.geometry, self.comm = config, folder, geometry, comm
        self.checkpoint = checkpoint or Checkpoint(to_dict(config))
        self.outputs: Outputs | None = None  # on rank 0
        on_main(comm, self._open_outputs)
        arguments = ["-log", str(folder / LOG), "-screen", "none", "-nocite"]
        self.lmp = import_lammps().lammps(comm=comm, cmdargs=arguments)
        load_plugin(self.lmp)
        self.progress = Progress(shown=comm.rank == 0)

    def _open_outputs(self) -> None:
        extended = self.config.trajectory.format == "extxyz"
        self.outputs = Outputs(self.folder, tables(self.config), extended, self.checkpoint.written)

    def close(self) -> None:
        self.progress.close()
        self.lmp.close()

    def all_stages(self) -> None:
        restart = self.checkpoint.restart
        if restart:
            same_ranks = math.prod(self.checkpoint.grid) == self.comm.size
            self._issue(script.read_checkpoint(restart, self.checkpoint.grid if same_ranks else ()))
        else:
            self._issue(script.read_structure(self.config, self.geometry))
        self._issue(script.settings(self.config, self.geometry, FRAMES))
        if not restart:
            self._issue(script.velocities(self.config))
        for number in range(self.checkpoint.stage, len(self.config.stages)):
            stage = self.config.stages[number]
            self._issue(script.begin_stage(self.config, number))
            if isinstance(stage, Minimize):
                self._timed(script.minimize(stage))
            else:
                self._dynamics(stage, number)
            is_last = number + 1 == len(self.config.stages)
            if is_last:
                self._finish()
            ends = (*self.checkpoint.ends, self._step())
            self._save(stage=number + 1, first=None, ends=ends, finished=is_last)
            self._issue(script.end_stage(stage, number))

    def _dynamics(self, stage: Dynamics, number: int) -> None:
        """The parts of a stage that are left, with checkpoints between them."""
        first = self.checkpoint.first
        self._issue(script.mark_stage(stage) if first is None else script.mark_stage(stage, str(first)))
        first = self._step() if first is None else first
        every = self.config.checkpoint_every
        timestep = (stage.timestep or self.config.timestep) / script.PICOSECOND
        while (done := self._step() - first) < stage.steps:
            part, into = divmod(done, every)
            steps = min(every - into, stage.steps - done)
            seed = part + 1 + (script.SEEDS_OF_REMAINDERS if into else 0)
            if isinstance(stage, Langevin):
                seed += stage.seed
            self.progress.stage(
                f"{number}: {self.config.stages[number].stage}",
                stage.steps,
                self._step,
                first,
                self.lmp.get_natoms(),
                timestep,
            )
            self._timed(script.run_part(stage, number, steps, str(seed)))
            stopped = self._step() < first + done + steps
            if stopped:
                self._refuse_blown_up()
            if first + done + steps < first + stage.steps or stopped:
                self._save(stage=number, first=first)
            if stopped:
                raise Stopped(f"stopped at step {self._step()}; the same command goes on with {self.folder}")

    def _refuse_blown_up(self) -> None:
        """Of a run that ended early: was it the guard? Then save the frame, and raise."""
        temperature = self.lmp.extract_variable("temperature")
        if temperature > self.config.max_temperature:
            raise SimulationError(
                f"step {self._step()}: the temperature is {temperature:.3g} K, beyond max_temperature "
                f"{self.config.max_temperature:g}: is the timestep too long? {self._save_frame()}"
            )

    def _save_frame(self) -> str:
        """Write the present frame to blown_up.xyz, if LAMMPS still can; says so."""
        part = self.folder / "blown_up.part"
        columns = " ".join(c for c in script.ATOM_COLUMNS if c != "c_atom_energy")
        types = " ".join(self.geometry.types)
        try:
            self.lmp.command(f"write_dump all custom {part.name} {columns} modify element {types} sort id")
            on_main(self.comm, lambda: self._write_blown_up(part))
        except Exception as error:
            reason = in_one_line(error) or error
            return f"The frame could not be saved ({reason}); the last checkpoint is at step {self.checkpoint.step}"
        return f"The frame is in {self.folder / BLOWN_UP}"

    def _write_blown_up(self, part: Path) -> None:
        ase.io.write(self.folder / BLOWN_UP, as_atoms(read_dump(part)[-1]), parallel=False)
        part.unlink()

    def _timed(self, lines: Sequence[str]) -> None:
        start = time.monotonic()
        try:
            self._issue(lines)
        except SimulationError as error:
            raise SimulationError(f"{error}. {self._save_frame()}") from None
        self.checkpoint = replace(self.checkpoint, seconds=self.checkpoint.seconds + time.monotonic() - start)

    def _save(self, **changes: Any) -> None:
        """A checkpoint here; the outputs first, so that it names only what is there."""
        step = self._step()
        restart = f"checkpoint.{step}.{changes['stage']}.restart"
        self._issue(script.write_checkpoint(restart))
        grid = tuple(self.lmp.extract_global("procgrid") or ())  # LAMMPS of 2023 doesn't tell
        now = replace(self.checkpoint, step=step, restart=restart, grid=grid, **changes)
        self.checkpoint = on_main(self.comm, lambda: self._write(now))

    def _write(self, checkpoint: Checkpoint) -> Checkpoint:
        """Outputs and checkpoint, on rank 0; returns it with what it says of the outputs."""
        assert self.outputs is not None
        checkpoint = replace(checkpoint, written=self.outputs.collect(checkpoint.step))
        write_checkpoint(self.folder, checkpoint)
        return checkpoint

    def _finish(self) -> None:
        """The last frame, as LAMMPS and as ASE have it."""
        self._issue(["write_data   final.data"])
        on_main(self.comm, self._write_final)

    def _write_final(self) -> None:
        # by rank 0 alone: ASE's default, under MPI, is that all take part
        data = self.folder / "final.data"
        atoms = ase.io.read(data, format="lammps-data", atom_style="atomic", units="metal", parallel=False)
        ase.io.write(self.folder / "final.xyz", atoms, parallel=False)

    def _step(self) -> int:
        return int(self.lmp.extract_global("ntimestep"))

    def _issue(self, lines: Sequence[str]) -> None:
        for line in lines:
            try:
                self.lmp.command(line)
            except Exception as error:  # LAMMPS's, of which the module knows no type
                reason = f"LAMMPS stopped at `{' '.join(line.split())}`: {' '.join(str(error).split())}"
                if self.comm.size > 1 and type(error).__name__ == "MPIAbortException":  # the others wait for this rank
                    told = f"allegro-dist: {reason}; the last checkpoint is at step {self.checkpoint.step}"
                    print(told, file=sys.stderr, flush=True)
                    self.comm.Abort(2)
                raise SimulationError(reason) from None


def _absolute(config: SimulationConfig) -> SimulationConfig:
    """Archives by their whole paths: LAMMPS works in the simulation's folder."""
    models = tuple(str(Path(model).resolve()) for model in config.models)
    return replace(config, model=models if len(models) > 1 else next(iter(models), None))


def _leave_signals_to_the_pair_style() -> None:
    """It ends a run after its step on every rank, but leaves programs alone that have handlers, as Python has one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
