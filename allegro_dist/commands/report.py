"""`allegro-dist report`: one HTML page on a potential or a committee: errors, uncertainty, dimers, crystals."""

from __future__ import annotations

import argparse
from pathlib import Path

from allegro_dist.commands.arguments import device
from allegro_dist.report.evaluation import write_evaluation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", metavar="MODEL", help="run folder or archive; several are a committee")
    parser.add_argument(
        "--data", nargs="+", required=True, metavar="FILE", help="labelled frames: files that ASE reads"
    )
    parser.add_argument("-o", "--output", default="report.html", help="page to write (report.html)")
    parser.add_argument("--json", metavar="FILE", help="write all numbers there (eV, Angstrom; elastic constants GPa)")
    parser.add_argument(
        "--learning-curve", nargs="+", default=[], metavar="RUN", help="finished runs on other numbers of frames"
    )
    parser.add_argument(
        "--crystal", nargs="+", default=[], metavar="FILE",
        help="structures for equation of state, elastic constants and phonons",
    )  # fmt: skip
    parser.add_argument("--group", metavar="KEY", help="info key that names a frame's group (config_type, group)")
    parser.add_argument("--device", type=device, default="cpu")


def run(args: argparse.Namespace) -> int:
    left_out = write_evaluation(
        Path(args.output), args.models, args.data, json_file=Path(args.json) if args.json else None,
        runs=args.learning_curve, crystals=args.crystal, group_key=args.group, device=args.device,
        say=lambda text: print(f"report: {text}", flush=True),
    )  # fmt: skip
    for part, reason in left_out.items():
        print(f"report: left out: {part.replace('_', ' ')}: {reason}")
    print(args.output)
    return 0
