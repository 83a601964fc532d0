"""The command `allegro-dist`: finds the subcommand (commands/), runs it, and turns its errors into exit codes.

Errors that a user can mend (configuration, data, checkpoint, archive; what the system says of a file) are one line on
stderr and exit code 2, or the error's own; anything else is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from allegro_dist.one_voice import in_one_line, tell

DESCRIPTION = "Strictly local E(3)-equivariant interatomic potentials, from training data to LAMMPS."


class Command(NamedTuple):
    module: str  # in allegro_dist/commands
    help: str
    mixed: bool = False  # options may stand anywhere among its arguments (argparse can't for commands with subcommands)
    together: bool = False  # processes that mpiexec starts do it together


COMMANDS = {
    "train": Command("train", "train a potential, or go on with an interrupted run", mixed=True, together=True),
    "dataset": Command("dataset", "make a set of frames on disk for training, or look at one"),
    "evaluate": Command("evaluate", "errors of a run's best weights, or of an archive, on labelled frames"),
    "report": Command("report", "one HTML page on a potential or a committee: errors, uncertainty, dimers, crystals"),
    "deploy": Command("deploy", "export a run's best weights as an archive for LAMMPS and ASE"),
    "import": Command("import_model", "rewrite a trained model of nequip-allegro as a run or an archive of ours"),
    "inspect": Command("inspect", "print the model card of an archive"),
    "simulate": Command(
        "simulate",
        "run a simulation in LAMMPS from a YAML file, or go on with one; also under mpiexec",
        mixed=True,
        together=True,
    ),
    "learn": Command("learn", "active learning: simulate, label what a committee is unsure of, train on", mixed=True),
    "analyse": Command("analyse", "one HTML page on a simulation: temperature, drift, pairs, diffusion, vibrations"),
    "properties": Command(
        "properties",
        "a crystal's properties: at rest, thermal expansion, melting point; also under mpiexec",
        mixed=True,
        together=True,
    ),
    "plan": Command("plan", "predict time per step, efficiency and memory on many nodes"),
    "lmp": Command("lmp", "start the installed LAMMPS with pair style allegro loaded; also under mpiexec"),
}


def overview() -> argparse.ArgumentParser:
    """Knows the subcommands by name: for help, and for what is none of them."""
    root = argparse.ArgumentParser(prog="allegro-dist", description=DESCRIPTION)
    commands = root.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.help)
    return root


def parse(called: str, arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments of a subcommand, whose module is imported for that; `function` is what runs it."""
    command = COMMANDS[called]
    module = importlib.import_module(f"allegro_dist.commands.{command.module}")
    if called == "lmp":  # all that follows is lmp's, options included
        return argparse.Namespace(function=module.run, foreign=arguments)
    parser = argparse.ArgumentParser(prog=f"allegro-dist {called}", description=command.help)
    module.add_arguments(parser)
    parser.set_defaults(function=module.run)
    return parser.parse_intermixed_args(arguments) if command.mixed else parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] not in COMMANDS:
        overview().parse_args(arguments[:1])  # ends with help, or the error
    args = parse(arguments[0], arguments[1:])
    try:
        return int(args.function(args))
    except (ValueError, RuntimeError, OSError) as error:
        if (told := in_one_line(error)) is None:
            raise
        code = int(getattr(error, "exit_code", 2))
        tell(told, code, together=_works_together(arguments[0], args))
        return code


def _works_together(called: str, args: argparse.Namespace) -> bool:
    """Whether processes that were started together join; what only prints does not."""
    return COMMANDS[called].together and not args.print_config and not getattr(args, "dry_run", False)


if __name__ == "__main__":
    sys.exit(main())
