"""`allegro-dist analyse`: one HTML page on a simulation that `allegro-dist simulate` has run, or is running."""

from __future__ import annotations

import argparse
from pathlib import Path

from allegro_dist.commands.arguments import positive
from allegro_dist.report.simulation import DISCARD, R_MAX, write_analysis


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="folder of the simulation")
    parser.add_argument("-o", "--output", default="report.html", help="page to write (report.html)")
    parser.add_argument("--json", metavar="FILE", help="write all numbers there (eV, Angstrom, ps, K, bar)")
    parser.add_argument(
        "--stage", type=int, metavar="N", help="stage of pairs and motion, counted from 0 (the last of dynamics)"
    )
    parser.add_argument(
        "--discard", type=_fraction, default=DISCARD, metavar="FRACTION",
        help=f"part of each stage left out at its beginning ({DISCARD:g})",
    )  # fmt: skip
    parser.add_argument(
        "--r-max", type=positive, default=R_MAX, metavar="R", help=f"of g(r), Angstrom ({R_MAX:g}, or half the cell)"
    )
    parser.add_argument(
        "--plateau", type=positive, metavar="T",
        help="time at which the integrals for viscosity and conductivity are read, up to 2 T, ps (found)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    left_out = write_analysis(
        Path(args.run), Path(args.output), json_file=Path(args.json) if args.json else None,
        stage=args.stage, discard=args.discard, r_max=args.r_max, plateau=args.plateau,
    )  # fmt: skip
    for part, reason in left_out.items():
        print(f"analyse: left out: {part.replace('_', ' ')}: {reason}")
    print(args.output)
    return 0


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to below 1, got {text}")
    return value
