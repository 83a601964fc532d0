#!/usr/bin/env python3
"""Models of nequip-allegro, imported: how far ours are from theirs, and how fast either is.

    python scripts/compare_imports.py [--models NAME,...] [--rates] [--cells 5] [--rounds 3] [--json FILE]

Every model is trained for two epochs by the peer's own nequip-train (in the environment of its own that the benchmark
makes, too), and imported as `allegro-dist import` does.  Differences are root mean squares over random structures in
units of the root mean square of the peer's values: of the weights (in float64 arithmetic, so that the peer's rounding
is all there is), and of the engine without tables and with them.

--rates compares atom-steps per second on one core: the peer's model compiled by AOTInductor for its pair style, over
energies, forces and virial of 216 atoms, neighbor lists left out; ours in LAMMPS.
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


def checkpoint_of(name: str) -> Path:
    """The model's checkpoint, trained if it isn't there."""
    folder = CHECKPOINTS / name.replace(", ", "-").replace(" ", "-")
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
        "layers": config.num_layers, "parity": config.parity, "weights": imported.differences._asdict(),
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


def markdown(rows: list[dict[str, Any]]) -> str:
    """One line per model; three numbers are energies, forces, stress."""
    lines = ["| model | l_max | layers | parity | types | dtype | weights | engine | with tables |", "| --- " * 9 + "|"]
    for row in rows:
        cells = [
            row["model"],
            row["l_max"],
            row["layers"],
            "yes" if row["parity"] else "no",
            row["types"],
            row["dtype"],
        ]
        cells += [
            " ".join(f"{value:.0e}" for value in row[part].values()) if part in row else ""
            for part in ("weights", "engine", "tables")
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    if "rates" in rows[0]:
        lines += [
            "",
            "| model | " + " | ".join(rows[0]["rates"]) + " | ratio |",
            "| --- " * (2 + len(rows[0]["rates"])) + "|",
        ]
        for row in rows:
            *theirs, ours = row["rates"].values()
            cells = [row["model"], *(f"{rate:,.0f}" for rate in (*theirs, ours)), f"{ours / max(theirs):.0f}"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=";".join(MODELS), help=f"separated by semicolons, of {'; '.join(MODELS)}")
    parser.add_argument("--rates", action="store_true", help="measure speeds, too")
    parser.add_argument("--cells", type=int, default=5, help="of 8 atoms along each edge, in LAMMPS")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    names = [name.strip() for name in args.models.split(";")]
    if unknown := [name for name in names if name not in MODELS]:
        parser.error(f"--models {'; '.join(unknown)}: expected some of {'; '.join(MODELS)}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        settings = RunSettings(Path(folder), args.cells, args.steps)
        for name in names:
            archive = Path(folder) / "imported.pth"
            row = compare(name, archive)
            if args.rates:
                row["rates"] = rates(name, archive, settings, args.rounds)
            print(json.dumps(row), flush=True)
            rows.append(row)
    print("\n" + markdown(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
