"""`allegro-dist dataset`: make a set on disk from files (build), or look at one, or at files (info)."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from allegro_dist.commands.arguments import positive
from allegro_dist.data.build import ENERGY_UNITS, LENGTH_UNITS, BuildOptions, build_set
from allegro_dist.data.faults import find_faults
from allegro_dist.data.set_file import SUFFIX
from allegro_dist.data.structure import DataError, iterate_structures
from allegro_dist.data.survey import count_neighbors, survey
from allegro_dist.data.survey_report import lines, plot

READABLE = "files that ASE reads, npz files as MD17 is given, or sets on disk"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    text = "make a set on disk, neighbor lists included, that training reads frame by frame"
    _add_build(actions.add_parser("build", help=text, description=text))
    text = "what a set, or files, consist of, and what is probably wrong with them"
    _add_info(actions.add_parser("info", help=text, description=text))


def run(args: argparse.Namespace) -> int:
    return int(args.act(args))


def _add_build(p: argparse.ArgumentParser) -> None:
    p.add_argument("output", metavar="OUT.h5")
    p.add_argument("files", nargs="+", metavar="FILE", help=READABLE)
    p.add_argument("--r-max", type=positive, required=True, help="to which neighbor lists reach: the model's, Angstrom")
    p.add_argument("--energy-unit", choices=ENERGY_UNITS, default="eV", help="of the files (eV; MD17: kcal/mol)")
    p.add_argument("--length-unit", choices=LENGTH_UNITS, default="Angstrom", help="of the files (Angstrom)")
    p.add_argument("--max-force", type=positive, metavar="F", help="leave out frames with a force above F eV/Angstrom")
    p.add_argument(
        "--outliers", type=positive, metavar="K",
        help="leave out frames whose energy per atom is K robust standard deviations from what their composition says",
    )  # fmt: skip
    p.add_argument("--keep-duplicates", action="store_true", help="keep frames with atoms at the same places (0.1 mA)")
    p.add_argument(
        "--primitive", action="store_true",
        help="store frames that repeat a smaller cell, such as strained crystals, as that cell",
    )  # fmt: skip
    for name in ("val", "test"):
        p.add_argument(
            f"--{name}", nargs="+", default=(), metavar="FRACTION|FILE",
            help=f"part to train without, OUT.h5@{name}: a fraction of the frames, or files",
        )  # fmt: skip
    p.add_argument(
        "--split-by", default="frame", metavar="KEY",
        help="draw fractions by whole groups of frames: 'file', or a key of ASE's info (frame by frame)",
    )  # fmt: skip
    p.add_argument("--seed", type=int, default=0, help="of the draw (0)")
    p.set_defaults(act=_build)


def _build(args: argparse.Namespace) -> int:
    output = Path(args.output)
    if output.suffix != SUFFIX:
        raise DataError(f"{output}: a set's name ends in {SUFFIX}")
    if not output.parent.is_dir():
        raise DataError(f"{output.parent}: no such folder")
    options = BuildOptions(
        r_max=args.r_max, energy_unit=args.energy_unit, length_unit=args.length_unit, max_force=args.max_force,
        outliers=args.outliers, keep_duplicates=args.keep_duplicates, primitive=args.primitive, val=_part(args.val),
        test=_part(args.test), split_by=args.split_by, seed=args.seed,
    )  # fmt: skip
    start = time.monotonic()
    built = build_set(output, args.files, options, lambda line: print(line, file=sys.stderr))
    parts = ", ".join(f"{count} {name}" for name, count in built.parts.items())
    print(
        f"{output}: {built.kept} frames ({parts}), {output.stat().st_size / 1e6:.1f} MB, "
        f"neighbors within {args.r_max} A; {time.monotonic() - start:.1f} s"
    )
    if built.repeats.frames:
        print("{} frames repeat a smaller cell: {} atoms became {}".format(*built.repeats))
    for reason, count in built.left_out.items():
        print(f"left out: {count} frames, {reason}")
    return 0


def _add_info(p: argparse.ArgumentParser) -> None:
    p.add_argument("files", nargs="+", metavar="FILE", help=READABLE)
    p.add_argument(
        "--cutoffs", type=float, nargs="+", default=(4.0, 5.0, 6.0), metavar="R", help="to count neighbors (4 5 6 A)"
    )
    p.add_argument("--plots", metavar="FILE.png", help="draw histograms there")
    p.set_defaults(act=_info)


def _info(args: argparse.Namespace) -> int:
    found = survey(iterate_structures(args.files))
    neighbors = count_neighbors(found.sample, args.cutoffs)
    for line in lines(found, neighbors, find_faults(found)):
        print(line)
    if args.plots:
        plot(found, neighbors, Path(args.plots))
    return 0


def _part(values: list[str]) -> float | tuple[str, ...]:
    """A fraction, or the names of files."""
    try:
        (fraction,) = map(float, values)
    except ValueError:
        return tuple(values)
    if not 0 < fraction < 1:
        raise DataError(f"expected a fraction between 0 and 1, or files, got {values[0]}")
    return fraction
