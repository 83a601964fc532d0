"""`allegro-dist deploy`: export a run's best weights as an archive for LAMMPS and ASE."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from allegro_dist.commands.arguments import not_negative
from allegro_dist.compiled import is_built
from allegro_dist.config import load
from allegro_dist.data.dataset import open_frames
from allegro_dist.data.graph import Graph, build_graph
from allegro_dist.deploy.archive import load_archive, save_archive
from allegro_dist.deploy.tables import Probe, choose_tables
from allegro_dist.engine import Engine
from allegro_dist.files import check_writable
from allegro_dist.potential import Potential, in_dtype, pair_cutoffs
from allegro_dist.training.checkpoint import load_run, run_results
from allegro_dist.training.several import member_folders

TABLE_TOLERANCE = {"float32": 2e-6, "float64": 0.0}
"""What tables may add to the forces, as a share of their root mean square; float64 stays exact."""
NUM_PROBES = 16  # training frames on which tables are measured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="run folder, or that of a committee (train --members)")
    parser.add_argument(
        "-o", "--output", default="model.pth", help="archive to write (model.pth); of a committee model-0.pth, ..."
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), help="precision of the archive (that of the run)")
    parser.add_argument(
        "--weights",
        choices=("best", "last"),
        default="best",
        help="averaged weights of which epoch, by validation (best)",
    )
    add_table_arguments(parser)


def add_table_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tolerance",
        type=not_negative,
        help="error that tabulated two-body functions may add to the forces, as a share of their root mean square "
        "(2e-6 in float32; float64 archives are exact)",
    )
    parser.add_argument("--exact", dest="tolerance", action="store_const", const=0.0, help="no tables")


def run(args: argparse.Namespace) -> int:
    output, members = Path(args.output), member_folders(Path(args.run))
    numbers = [member.name.removeprefix("member") for member in members]
    archives = [output.with_name(f"{output.stem}{number}{output.suffix}") for number in numbers] or [output]
    for archive in archives:
        check_writable(archive)
    for run, archive in zip(members or [Path(args.run)], archives, strict=True):
        types = _deploy(run, archive, args)
    if members:
        print(f"pair_coeff * * {' '.join(map(str, archives))} {' '.join(types)}")
    return 0


def _deploy(run: Path, output: Path, args: argparse.Namespace) -> tuple[str, ...]:
    """Export one run; returns its types."""
    potential = load_run(run, args.weights)
    if args.dtype:
        potential = in_dtype(potential, args.dtype)
    tolerance = table_tolerance(args, potential)
    probes = _probes(run, potential) if tolerance else []
    print(export(output, potential, run_results(run), probes, tolerance))
    return potential.parameters_used.type_names


def table_tolerance(args: argparse.Namespace, potential: Potential) -> float:
    """As asked, or the default of the potential's precision."""
    if args.tolerance is None:
        return TABLE_TOLERANCE[potential.parameters_used.config.dtype]
    return float(args.tolerance)


def export(
    output: Path, potential: Potential, origin: dict[str, Any], probes: Sequence[Probe], tolerance: float
) -> str:
    """Write an archive with tables as the tolerance allows, and pass its self-checks; returns a line about it."""
    tables = choose_tables(potential, probes, tolerance)
    card = save_archive(output, potential, origin, tables)
    load_archive(output)  # its self-checks, here at least: in Python, and as LAMMPS will run it
    if is_built():
        Engine(output)
    return (
        f"{output}: {card['family']}, {' '.join(card['type_names'])}, r_max {card['r_max']} A, {card['dtype']}, "
        f"{card['num_parameters']} weights, {output.stat().st_size / 1e6:.2f} MB; "
        f"{tables[0].intervals or 'no'} table intervals; self-check passed"
    )


def _probes(run: Path, potential: Potential) -> list[Probe]:
    """Edges of some training frames of a run; none where its data is no longer in its place."""
    used = potential.parameters_used
    try:
        frames = open_frames(load(run / "config.yaml").data.train)
    except (FileNotFoundError, ValueError) as error:
        print(f"allegro-dist: tables are measured on a random cluster only ({error})", file=sys.stderr)
        return []
    cutoffs = pair_cutoffs(used.config, used.type_names)
    chosen = np.flatnonzero(frames.num_atoms > 1)[:: max(1, len(frames) // NUM_PROBES)].tolist()
    graphs = [build_graph(s, used.type_names, cutoffs, torch.float64) for s in frames.subset(chosen).structures()]
    return probes_of(graphs)


def probes_of(graphs: Iterable[Graph]) -> list[Probe]:
    return [Probe(g.edge_vectors, g.edge_index, g.atom_types) for g in graphs]
