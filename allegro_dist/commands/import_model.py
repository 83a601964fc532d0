"""`allegro-dist import`: rewrite a trained model of nequip-allegro as a run or an archive of ours, and prove it."""

from __future__ import annotations

import argparse
from pathlib import Path

from allegro_dist.commands.deploy import add_table_arguments, export, probes_of, table_tolerance
from allegro_dist.compiled import is_built
from allegro_dist.importing.comparison import graphs_of
from allegro_dist.importing.errors import ImportModelError
from allegro_dist.importing.imported import Imported, compare_archive, import_model
from allegro_dist.training.checkpoint import save_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="checkpoint (.ckpt) or package (.nequip.zip) of nequip-allegro")
    parser.add_argument(
        "-o", "--output", default="model.pth", help="archive (*.pth), or run folder to write (model.pth)"
    )
    parser.add_argument(
        "--peer-python", metavar="PYTHON", help="interpreter of the environment that has nequip-allegro (this one)"
    )
    add_table_arguments(parser)


def run(args: argparse.Namespace) -> int:
    imported = import_model(args.file, args.peer_python)
    num_atoms = sum(len(frame.energies) for frame in imported.peer.frames)
    print(
        f"{args.file}: differences from the peer's own values for {num_atoms} random atoms, rms in units of their rms"
    )
    print(f"  weights, in float64         {imported.differences}")
    output = Path(args.output)
    if output.suffix == ".pth":
        _write_archive(imported, output, table_tolerance(args, imported.potential))
    else:
        save_run(output, imported.potential, imported.origin)
        print(f"{output}: a run folder (allegro-dist deploy {output})")
    return 0


def _write_archive(imported: Imported, output: Path, tolerance: float) -> None:
    probes = probes_of(graphs_of(imported.potential, imported.peer.frames))
    said = export(output, imported.potential, imported.origin, probes, tolerance)
    try:
        for evaluator, differences in compare_archive(imported, output, tolerance) if is_built() else ():
            print(f"  {evaluator:26}  {differences}")
    except ImportModelError:
        output.unlink()
        raise
    print(said)
