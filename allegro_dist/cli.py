"""The command `allegro-dist`: one function per subcommand, each a few lines over the package.

Errors that a user can mend (configuration, data, checkpoint, archive) are one line on stderr and exit code 2; anything
else is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allegro_dist.deploy.tables import Probe
    from allegro_dist.potential import Potential

DESCRIPTION = "Strictly local E(3)-equivariant interatomic potentials, from training data to LAMMPS."
TABLE_TOLERANCE = {"float32": 2e-6, "float64": 0.0}
"""What `deploy` lets tables add to the forces, as a share of their root mean square; float64 stays exact."""
NUM_PROBES = 16  # training frames on which tables are measured


def train(args: argparse.Namespace) -> int:
    from allegro_dist.config import load
    from allegro_dist.training.run import Interrupted
    from allegro_dist.training.run import train as run_training

    try:
        run_training(load(args.config, args.overrides))
    except Interrupted as interrupted:
        print(f"allegro-dist: {interrupted}", file=sys.stderr)
        return 128 + interrupted.signal
    return 0


def evaluate(args: argparse.Namespace) -> int:
    from allegro_dist.data.structure import read_structures
    from allegro_dist.deploy.archive import load_archive
    from allegro_dist.training.checkpoint import load_run
    from allegro_dist.training.evaluate import evaluate as evaluate_archive
    from allegro_dist.training.evaluate import evaluate_potential

    structures = read_structures(args.data)
    if Path(args.model).is_dir():
        errors = evaluate_potential(load_run(args.model).to(args.device), structures)
    else:
        archive = load_archive(args.model, args.device)
        errors = evaluate_archive(
            archive, structures, type_names=archive.type_names, cutoffs=archive.cutoffs(), device=args.device
        )
    if args.json:
        from allegro_dist.training.checkpoint import write_atomically

        write_atomically(Path(args.json), (json.dumps(errors, indent=2) + "\n").encode())
    _print_errors(errors)
    return 0


def deploy(args: argparse.Namespace) -> int:
    from allegro_dist.compiled import is_built
    from allegro_dist.deploy.archive import load_archive, save_archive
    from allegro_dist.deploy.tables import choose_tables
    from allegro_dist.engine import Engine
    from allegro_dist.potential import in_dtype
    from allegro_dist.training.checkpoint import load_run

    potential = load_run(args.run, args.weights)
    if args.dtype:
        potential = in_dtype(potential, args.dtype)
    output = Path(args.output)
    results = Path(args.run) / "results.json"
    dtype = potential.parameters_used.config.dtype
    tolerance = TABLE_TOLERANCE[dtype] if args.tolerance is None else args.tolerance
    tables = choose_tables(potential, _probes(args.run, potential) if tolerance else [], tolerance)
    card = save_archive(output, potential, json.loads(results.read_text()) if results.exists() else {}, tables)
    load_archive(output)  # its self-checks, here at least: in Python, and as LAMMPS will run it
    if is_built():
        Engine(output)
    print(
        f"{output}: {card['family']}, {' '.join(card['type_names'])}, r_max {card['r_max']} A, {card['dtype']}, "
        f"{card['num_parameters']} weights, {output.stat().st_size / 1e6:.2f} MB; "
        f"{tables[0].intervals or 'no'} table intervals; self-check passed"
    )
    return 0


def _probes(run: str, potential: Potential) -> list[Probe]:
    """Edges of some training frames of a run; none where its data is no longer in its place."""
    import torch

    from allegro_dist.config import load
    from allegro_dist.data.graph import build_graph
    from allegro_dist.data.structure import read_structures
    from allegro_dist.deploy.tables import Probe
    from allegro_dist.potential import pair_cutoffs

    used = potential.parameters_used
    try:
        structures = read_structures(load(Path(run) / "config.yaml").data.train)
    except (FileNotFoundError, ValueError) as error:
        print(f"allegro-dist: tables are measured on a random cluster only ({error})", file=sys.stderr)
        return []
    cutoffs = pair_cutoffs(used.config, used.type_names)
    chosen = [s for s in structures if len(s.symbols) > 1][:: max(1, len(structures) // NUM_PROBES)]
    graphs = [build_graph(s, used.type_names, cutoffs, torch.float64) for s in chosen]
    return [Probe(g.edge_vectors, g.edge_index, g.atom_types) for g in graphs]


def inspect(args: argparse.Namespace) -> int:
    from allegro_dist.deploy.archive import read_model_card

    print(json.dumps(read_model_card(args.archive), indent=2))
    return 0


def lmp(args: argparse.Namespace) -> int:
    from allegro_dist.simulate.lammps_runtime import run_lmp

    run_lmp(args.arguments)


def parser() -> argparse.ArgumentParser:
    """The argument parser of all subcommands."""
    root = argparse.ArgumentParser(prog="allegro-dist", description=DESCRIPTION)
    commands = root.add_subparsers(dest="command", required=True)

    p = commands.add_parser("train", help="train a potential, or go on with an interrupted run")
    p.add_argument("config", help="YAML file")
    p.add_argument("overrides", nargs="*", metavar="key=value", help="for example training.max_minutes=10")
    p.set_defaults(function=train)

    p = commands.add_parser("evaluate", help="errors of a run's best weights, or of an archive, on labelled frames")
    p.add_argument("model", help="run folder or archive")
    p.add_argument("data", nargs="+", help="files that ASE reads")
    p.add_argument("--json", metavar="FILE", help="write the errors there too (eV, eV/A, eV/A^3)")
    p.add_argument("--device", default="cpu")
    p.set_defaults(function=evaluate)

    p = commands.add_parser("deploy", help="export a run's best weights as an archive for LAMMPS and ASE")
    p.add_argument("run", help="run folder")
    p.add_argument("-o", "--output", default="model.pth", help="archive to write (model.pth)")
    p.add_argument("--dtype", choices=("float32", "float64"), help="precision of the archive (that of the run)")
    p.add_argument(
        "--weights",
        choices=("best", "last"),
        default="best",
        help="averaged weights of which epoch, by validation (best)",
    )
    p.add_argument(
        "--tolerance",
        type=float,
        help="error that tabulated two-body functions may add to the forces, as a share of their root mean square "
        "(2e-6 in float32; float64 archives are exact)",
    )
    p.add_argument("--exact", dest="tolerance", action="store_const", const=0.0, help="no tables")
    p.set_defaults(function=deploy)

    p = commands.add_parser("inspect", help="print the model card of an archive")
    p.add_argument("archive")
    p.set_defaults(function=inspect)

    p = commands.add_parser(
        "lmp", help="start the installed LAMMPS with pair style allegro loaded; also under mpiexec", add_help=False
    )
    p.add_argument("arguments", nargs=argparse.REMAINDER, help="of lmp: -in in.si ...")
    p.set_defaults(function=lmp)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["lmp"]:  # all that follows belongs to lmp, options included
        args = argparse.Namespace(function=lmp, arguments=arguments[1:])
    else:
        args = parser().parse_args(arguments)
    try:
        return int(args.function(args))
    except (ValueError, RuntimeError, OSError) as error:
        # our errors say what to do in one line; a fault of ours or of a library keeps its traceback
        if not type(error).__module__.startswith("allegro_dist") and not isinstance(error, FileNotFoundError):
            raise
        print(f"allegro-dist: {error}", file=sys.stderr)
        return 2


def _print_errors(errors: dict[str, Any]) -> None:
    units = {"energy": "eV", "energy_per_atom": "eV/atom", "forces": "eV/A", "stress": "eV/A^3"}
    print(f"{errors['num_frames']} frames, {errors['num_atoms']} atoms")
    for name, unit in units.items():
        if name in errors:
            print(f"{name:16} MAE {errors[name]['mae']:.5g}  RMSE {errors[name]['rmse']:.5g}  {unit}")
    for symbol, error in errors.get("forces", {}).get("per_type", {}).items():
        print(f"  forces on {symbol:4} MAE {error['mae']:.5g}  RMSE {error['rmse']:.5g}  eV/A")


if __name__ == "__main__":
    sys.exit(main())
