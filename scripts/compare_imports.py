#!/usr/bin/env python3
"""Models of nequip-allegro, imported: how far ours are from theirs, and how fast either is.

    python scripts/compare_imports.py [--models NAME;...] [--json FILE]
    python scripts/compare_imports.py --rates [--cells 5] [--rounds 3]

Every model is trained for two epochs by the peer's own nequip-train (in the environment of its own that the benchmark
makes, too), and imported as `allegro-dist import` does.  Differences are root mean squares over random structures in
units of the root mean square of the peer's values: of the weights (in float64 arithmetic, so that the peer's rounding
is all there is), and of the engine without tables and with them.

--rates compares atom-steps per second on one core, of the imported archives: the peer's model compiled by AOTInductor
for its pair style (minutes, the first time only), over energies, forces and virial of 216 atoms, neighbor lists left
out; ours in LAMMPS.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarking.lammps_runs import LammpsRun, RunSettings, random_types
from benchmarking.models import BenchmarkModel
from benchmarking.peer_training import MODELS, NAME, PeerModel, peer_python, train
from benchmarking.peers import CELLS, ENVIRONMENTS, PROGRAMS, TUNED_MALLOC, PeerProcess

from allegro_dist.commands.deploy import TABLE_TOLERANCE, export, probes_of
from allegro_dist.importing.comparison import graphs_of
from allegro_dist.importing.imported import compare_archive, import_model

CHECKPOINTS = ENVIRONMENTS / NAME / "checkpoints"


def folder_name(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-")


def checkpoint_of(name: str) -> Path:
    """The model's checkpoint, trained if it isn't there."""
    folder = CHECKPOINTS / folder_name(name)
    return folder / "best.ckpt" if (folder / "best.ckpt").exists() else train(MODELS[name], folder)


def compare(name: str, archive: Path) -> dict[str, Any]:
    """A row of the table; writes the archive."""
    imported = import_model(checkpoint_of(name), peer_python())
    config = imported.potential.parameters_used.config
    tolerance = TABLE_TOLERANCE[config.dtype]
    export(archive, imported.potential, imported.origin, probes_of(graphs_of(imported.potential, imported.peer.frames)),
           tolerance)  # fmt: skip
    row: dict[str, Any] = {
        "model": name, "types": len(MODELS[name].types), "dtype": config.dtype, "l_max": config.l_max,
        "layers": config.num_layers, "parity": "yes" if config.parity else "no",
        "weights": imported.differences._asdict(),
    }  # fmt: skip
    for evaluator, differences in compare_archive(imported, archive, tolerance):
        row["tables" if "intervals" in evaluator else "engine"] = differences._asdict()
    return row


def rates(name: str, archive: Path, settings: RunSettings, rounds: int) -> dict[str, float]:
    """Median atom-steps per second of the peer and of ours, taking turns."""
    model = MODELS[name]
    program, keep = PROGRAMS / "peer_nequip_allegro.py", ENVIRONMENTS / NAME / "models"
    command = [peer_python(), str(program), "aotinductor", str(checkpoint_of(name)), str(CELLS), str(keep)]
    contestants = {
        "peer": PeerProcess(name, NAME, command),
        "peer, tuned malloc": PeerProcess(name, NAME, command, TUNED_MALLOC),
        "ours": lammps_run(name, model, archive, settings),
    }
    found: dict[str, list[float]] = {contestant: [] for contestant in contestants}
    for _ in range(rounds):
        for contestant, running in contestants.items():
            found[contestant].append(running.rate())
    return {contestant: statistics.median(values) for contestant, values in found.items()}


def lammps_run(name: str, model: PeerModel, archive: Path, settings: RunSettings) -> LammpsRun:
    pair = f"pair_style allegro\npair_coeff * * {archive} {' '.join(model.types)}"
    types = random_types(BenchmarkModel({}, model.types))
    return LammpsRun(name, "ours", pair, settings, types=types, num_types=len(model.types), cutoff=model.r_max)


def differences_table(rows: list[dict[str, Any]]) -> str:
    """One line per model; three numbers are energies, forces, stress."""
    columns = ("model", "l_max", "layers", "parity", "types", "dtype")
    lines = [f"| {' | '.join(columns)} | weights | engine | with tables |", "| --- " * (len(columns) + 3) + "|"]
    for row in rows:
        cells = [str(row[column]) for column in columns]
        for part in ("weights", "engine", "tables"):
            cells.append(" ".join(f"{value:.0e}" for value in row.get(part, {}).values()))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def rates_table(rows: list[dict[str, Any]]) -> str:
    contestants = list(rows[0]["rates"])
    lines = [f"| model | {' | '.join(contestants)} | ratio |", "| --- " * (len(contestants) + 2) + "|"]
    for row in rows:
        *theirs, ours = row["rates"].values()
        cells = [f"{rate:,.0f}" for rate in (*theirs, ours)]
        lines.append(f"| {row['model']} | {' | '.join(cells)} | {ours / max(theirs):.0f} |")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=";".join(MODELS), help=f"separated by semicolons, of {'; '.join(MODELS)}")
    parser.add_argument("--archives", type=Path, default=ENVIRONMENTS / NAME / "imported", help="where they are kept")
    parser.add_argument("--rates", action="store_true", help="of archives that are there, instead")
    parser.add_argument("--cells", type=int, default=5, help="of 8 atoms along each edge, in LAMMPS")
    parser.add_argument("--steps", type=int, default=20, help="of a run in LAMMPS")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the rows there")
    args = parser.parse_args()
    args.models = [name.strip() for name in args.models.split(";")]
    if unknown := [name for name in args.models if name not in MODELS]:
        parser.error(f"--models {'; '.join(unknown)}: expected some of {'; '.join(MODELS)}")
    return args


def main() -> None:
    args = arguments()
    args.archives.mkdir(parents=True, exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        settings = RunSettings(Path(folder), args.cells, args.steps)
        for name in args.models:
            archive = args.archives / f"{folder_name(name)}.pth"
            if args.rates:
                rows.append({"model": name, "rates": rates(name, archive, settings, args.rounds)})
            else:
                rows.append(compare(name, archive))
            print(json.dumps(rows[-1]), flush=True)
    print("\n" + (rates_table(rows) if args.rates else differences_table(rows)))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
