"""`allegro-dist evaluate`: errors of a run's best weights, or of an archive, on labelled frames."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from allegro_dist.commands.arguments import device
from allegro_dist.data.structure import read_structures
from allegro_dist.deploy.archive import load_archive
from allegro_dist.files import write_json
from allegro_dist.training.checkpoint import load_run
from allegro_dist.training.evaluate import evaluate, evaluate_potential

UNITS = {"energy": "eV", "energy_per_atom": "eV/atom", "forces": "eV/A", "stress": "eV/A^3"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="run folder or archive")
    parser.add_argument("data", nargs="+", help="files that ASE reads")
    parser.add_argument("--json", metavar="FILE", help="write the errors there too (eV, eV/A, eV/A^3)")
    parser.add_argument("--device", type=device, default="cpu")


def run(args: argparse.Namespace) -> int:
    structures = read_structures(args.data)
    if Path(args.model).is_dir():
        errors = evaluate_potential(load_run(args.model).to(args.device), structures)
    else:
        archive = load_archive(args.model, args.device)
        errors = evaluate(
            archive, structures, type_names=archive.type_names, cutoffs=archive.cutoffs(), device=args.device
        )
    if args.json:
        write_json(Path(args.json), errors)
    _print(errors)
    return 0


def _print(errors: dict[str, Any]) -> None:
    print(f"{errors['num_frames']} frames, {errors['num_atoms']} atoms")
    for name, unit in UNITS.items():
        if name in errors:
            print(f"{name:16} MAE {errors[name]['mae']:.5g}  RMSE {errors[name]['rmse']:.5g}  {unit}")
    for symbol, error in errors.get("forces", {}).get("per_type", {}).items():
        print(f"  forces on {symbol:4} MAE {error['mae']:.5g}  RMSE {error['rmse']:.5g}  eV/A")
