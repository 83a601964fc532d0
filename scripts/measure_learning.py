#!/usr/bin/env python3
"""A learning loop against random frames, with an oracle that is cheap enough to draw random frames from.

    python scripts/measure_learning.py [--loop examples/learning/learn.yaml] [--folder learning-run]
        [--random 200 ...] [--steps N] [key=value ...]

Two simulations of the loop's protocol are run with the forces of the oracle, the calculator that labels.  The loop is
measured on frames of the first, which nobody trains on; from the second, random frames are drawn.  Committees are
trained from scratch on these, and on the frames that the loop has labelled, for as many steps as the loop's last one
has had in all.  Ends with a table and FOLDER/learning.png.  key=value changes the loop's settings.  The same command
goes on with an interrupted run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import read

from allegro_dist.config import DataConfig, RunConfig, RunFolderConfig, dump, read_values
from allegro_dist.drawing import MODEL, REFERENCE, add_axes, logarithmic, new_figure, png
from allegro_dist.files import write_atomically, write_json
from allegro_dist.learn.calculators import make_calculator
from allegro_dist.learn.labeller import label_frame
from allegro_dist.learn.labelling import LABELLED
from allegro_dist.learn.labels import read_frame, write_batch, write_frames
from allegro_dist.learn.records import START
from allegro_dist.learn.settings import LearningConfig, read_learning
from allegro_dist.report.committee import open_committee
from allegro_dist.report.errors import by_name, overall
from allegro_dist.report.predictions import predict, read_frames
from allegro_dist.simulate import script
from allegro_dist.simulate.lammps_runtime import import_lammps
from allegro_dist.simulate.settings import Dynamics, SimulationConfig
from allegro_dist.simulate.start import prepare, read_structure
from allegro_dist.tables import Table
from allegro_dist.training.several import member_folders

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = ROOT / "examples" / "learning" / "learn.yaml"
NUM_TEST = 100
SEEDS = {"test": 101, "pool": 202}
STAGE = "stage {}"
"""Names of the groups of frames."""


def oracle_frames(config: LearningConfig, folder: Path, seed: int) -> list[Atoms]:
    """Frames of the loop's simulation, with the oracle's forces; without labels."""
    folder.mkdir(parents=True, exist_ok=True)
    (simulation,) = config.simulations
    simulation = replace(
        simulation,
        model=None,
        commands=("pair_style zero 3.0", "pair_coeff * *"),  # the forces are those of a fix
        structure=replace(simulation.structure, seed=seed),
    )
    start = read_structure(simulation)[0].repeat(simulation.structure.replicate)
    geometry = prepare(simulation, folder)
    before = os.getcwd()
    os.chdir(folder)
    try:
        for name, content in config.label.files.items():
            Path(name).write_text(content)
        if not Path("done").exists():
            run_oracle(simulation, geometry, start, config)
            Path("done").touch()
        frames = read("frames.dump", index=":", format="lammps-dump-text")
    finally:
        os.chdir(before)
    ends = np.cumsum([stage.steps for stage in dynamics_of(simulation)])
    found = []
    for number, atoms in enumerate(frames):
        frame = Atoms(atoms.symbols, atoms.positions, cell=start.cell, pbc=start.pbc)
        step = number * simulation.trajectory.every
        frame.info["config_type"] = STAGE.format(int(np.searchsorted(ends, step)))
        found.append(frame)
    return found


def dynamics_of(simulation: SimulationConfig) -> list[Dynamics]:
    """Its stages; ends the program where one is none that the oracle can run."""
    stages: list[Dynamics] = [stage for stage in simulation.stages if isinstance(stage, Dynamics)]
    if len(stages) < len(simulation.stages):
        sys.exit("simulations: expected stages of dynamics only, got one that minimizes")
    return stages


def run_oracle(simulation: SimulationConfig, geometry: script.Geometry, start: Atoms, config: LearningConfig) -> None:
    """The stages of a simulation in LAMMPS, with a calculator's forces, in the working directory; leaves frames.dump.

    No stage may change the cell.
    """
    lmp = import_lammps().lammps(cmdargs=["-screen", "none", "-log", "none"])
    lines = [
        *script.read_structure(simulation, geometry), *simulation.commands, *script.velocities(simulation),
        "fix oracle all external pf/callback 1 1",
        f"dump frames all custom {simulation.trajectory.every} frames.dump id element xu yu zu",
        f"dump_modify frames sort id element {' '.join(geometry.types)}",
    ]  # fmt: skip
    for line in lines:
        lmp.command(line)
    oracle = Atoms(symbols_of(lmp, geometry), cell=start.cell, pbc=start.pbc)
    oracle.calc = make_calculator(config.label.calculator, config.label.settings)

    def forces(_caller: object, _step: int, _num: int, ids: Any, positions: Any, found: Any) -> None:
        oracle.positions[ids - 1] = positions
        found[:] = oracle.get_forces()[ids - 1]

    lmp.set_fix_external_callback("oracle", forces)
    seed = str(simulation.structure.seed)
    for number, stage in enumerate(dynamics_of(simulation)):
        begin = [*script.begin_stage(simulation, number), *script.mark_stage(stage)]
        for line in (*begin, *script.run_part(stage, number, stage.steps, seed), *script.end_stage(stage, number)):
            lmp.command(line)
    lmp.close()


def symbols_of(lmp: Any, geometry: script.Geometry) -> list[str]:
    """Of LAMMPS's atoms, by their IDs."""
    types = lmp.gather_atoms("type", 0, 1)
    return [geometry.types[number - 1] for number in types]


def labelled(config: LearningConfig, folder: Path, frames: Sequence[Atoms]) -> list[Atoms]:
    """Frames with the oracle's energies, forces and stresses, made in a folder as the loop's labels are."""
    batch = write_batch(folder, frames)
    for number in range(len(batch)):
        label_frame(config.label, batch, number)
    return [read_frame(batch.label_folder(number).label) for number in range(len(batch))]


def make_test_set(config: LearningConfig, folder: Path) -> None:
    """test.xyz: labelled frames, evenly spaced."""
    if not (folder / "test.xyz").exists():
        frames = oracle_frames(config, folder / "oracle-test", SEEDS["test"])
        chosen = frames[:: len(frames) // NUM_TEST]
        write_frames(folder / "test.xyz", labelled(config, folder / "labels-test", chosen))


def run_loop(settings: Path, folder: Path, overrides: Sequence[str]) -> Path:
    """The loop, measured on the test frames; returns its folder."""
    loop = folder / "loop"
    command(["learn", str(settings), f"dir={loop}", f"data.test={folder / 'test.xyz'}", *overrides])
    return loop


def random_frames(config: LearningConfig, folder: Path, num_frames: int) -> Path:
    """A file of labelled frames drawn from the second simulation."""
    path = folder / f"random-{num_frames}.xyz"
    if not path.exists():
        pool = oracle_frames(config, folder / "oracle-pool", SEEDS["pool"])
        chosen = sorted(np.random.default_rng(num_frames).permutation(len(pool))[:num_frames])
        write_frames(path, labelled(config, folder / f"labels-{num_frames}", [pool[i] for i in chosen]))
    return path


def train_anew(
    config: LearningConfig, folder: Path, name: str, files: Sequence[Path], num_steps: int
) -> dict[str, Any]:
    """Train a committee from scratch, for at least so many steps; returns frames, steps and errors."""
    num_frames = sum(len(read(file, ":")) for file in files)
    if not isinstance(config.data.val, float):
        sys.exit(f"data.val: expected a fraction, which holds for any number of frames, got {config.data.val}")
    num_train = num_frames - max(1, round(config.data.val * num_frames))
    epochs = int(np.ceil(num_steps / np.ceil(num_train / config.training.batch_size)))
    run = folder / f"{name.replace(' ', '-')}-{num_frames}-{epochs}"
    settings = RunConfig(
        data=DataConfig(train=tuple(map(str, files)), val=config.data.val, test=str(folder / "test.xyz")),
        model=config.model,
        training=replace(config.training, max_epochs=epochs, validate_every=max(1, epochs // 20)),
        run=RunFolderConfig(dir=str(run)),
        seed=config.seed,
    )
    dump(settings, run.with_suffix(".yaml"))
    command(["train", str(run.with_suffix(".yaml")), "--members", str(config.members)])
    steps = json.loads((run / "member-0" / "results.json").read_text())["steps"]
    return {"name": name, "frames": num_frames, "steps": steps, "errors": measure(run, folder / "test.xyz")}


def command(arguments: Sequence[str]) -> None:
    subprocess.run([sys.executable, "-m", "allegro_dist.cli", *arguments], cwd=ROOT, check=True)


def measure(committee: Path, test: Path) -> dict[str, dict[str, float]]:
    """Errors of a committee's mean on the groups of test frames, and on all: meV/A and meV/atom."""
    predictions = predict(open_committee(member_folders(committee)), read_frames([str(test)]))
    return {
        found.name: {
            "forces": 1e3 * found.forces.mae, "forces_rmse": 1e3 * found.forces.rmse,
            "energy": 1e3 * found.energy_per_atom.mae,
        }
        for found in [overall(predictions), *by_name(predictions, predictions.groups)]
        if found.forces and found.energy_per_atom
    }  # fmt: skip


def loop_outcomes(loop: Path, test: Path) -> Iterator[dict[str, Any]]:
    """Of each round and of the last training: frames, steps of a member so far, errors."""
    steps, committees = 0, {"train": "committee", "final": "final-committee"}
    for record in map(json.loads, (loop / "record.jsonl").read_text().splitlines()):
        if record["step"] in committees:
            steps += record["steps"]
            errors = measure(loop / record["round"] / committees[record["step"]], test)
            name = f"loop, {record['round'] if record['step'] == 'train' else 'last training'}"
            yield {"name": name, "frames": record["frames"], "steps": steps, "errors": errors}


QUANTITIES = {"forces": "F, meV/A", "forces_rmse": "F RMSE", "energy": "E, meV/atom"}


def groups(outcomes: Sequence[dict[str, Any]]) -> list[str]:
    """The stages of the protocol, in their order."""
    return sorted(set(outcomes[0]["errors"]) - {"all"})


def table(outcomes: Sequence[dict[str, Any]]) -> Table:
    columns = ["trained on", "frames", "steps"]
    columns += [
        f"{group} {what}" for group in ("all", *groups(outcomes)) for what in ("F, meV/A", "F RMSE", "E, meV/atom")
    ]
    rows = [
        [o["name"], str(o["frames"]), str(o["steps"]),
         *(f"{o['errors'][group][quantity]:.2f}" for group in ("all", *groups(outcomes)) for quantity in QUANTITIES)]
        for o in outcomes
    ]  # fmt: skip
    return Table("Mean absolute errors of three members' mean on the test frames", columns, rows)


def draw(outcomes: Sequence[dict[str, Any]]) -> bytes:
    """Errors on the last stage over labelled frames, of the loop and of trainings from scratch."""
    figure = new_figure(11.0, 3.5)
    panels = (
        ("forces_rmse", "force RMSE, meV/Å"),
        ("forces", "force MAE, meV/Å"),
        ("energy", "energy MAE, meV/atom"),
    )
    drawn = (("loop", MODEL, "o-"), ("frames of the loop", MODEL, "*"), ("random frames", REFERENCE, "s"))
    for number, (quantity, label) in enumerate(panels, 1):
        axes = add_axes(figure, 1, len(panels), number)
        for name, color, marks in drawn:
            points = [
                (o["frames"], o["errors"][groups(outcomes)[-1]][quantity])
                for o in outcomes
                if o["name"].startswith(name)
            ]
            if points:
                axes.plot(*zip(*points, strict=True), marks, color=color, markersize=6, label=name)
        logarithmic(axes, "x", "y")
        axes.set(xlabel="labelled frames", ylabel=label)
    axes.legend(frameon=False)
    return png(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loop", type=Path, default=SETTINGS, help="its settings")
    parser.add_argument("--folder", type=Path, default=Path("learning-run"))
    parser.add_argument("--random", type=int, nargs="+", default=[200], help="sizes of random sets")
    parser.add_argument("--steps", type=int, help="of the trainings beside the loop; as many as in all of the loop's")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_intermixed_args()
    folder = args.folder.resolve()
    os.chdir(ROOT)
    config = read_learning(read_values(args.loop, args.overrides), str(args.loop))
    make_test_set(config, folder)
    loop = run_loop(args.loop, folder, args.overrides)
    outcomes = list(loop_outcomes(loop, folder / "test.xyz"))
    steps = args.steps or outcomes[-1]["steps"]
    files = [path for path in (loop / START / LABELLED, *sorted(loop.glob(f"round-*/{LABELLED}"))) if path.exists()]
    outcomes.append(train_anew(config, folder, "frames of the loop", files, steps))
    for size in args.random:
        outcomes.append(train_anew(config, folder, "random frames", [random_frames(config, folder, size)], steps))
    write_atomically(folder / "learning.png", draw(outcomes))
    write_json(folder / "results.json", outcomes)
    table(outcomes).show()


if __name__ == "__main__":
    main()
