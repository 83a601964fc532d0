"""What several commands take: a YAML file, key=value changes of it and --print-config; checked numbers; a device."""

from __future__ import annotations

import argparse
import math
from pathlib import Path


def add_configuration(parser: argparse.ArgumentParser, change: str) -> None:
    """`change`: an example of key=value."""
    parser.add_argument("config", nargs="?", help="YAML file; may be left out where key=value give all that is needed")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=f"for example {change}")
    parser.add_argument(
        "--print-config", action="store_true", help="print the complete configuration with its documentation, and stop"
    )


def file_and_changes(args: argparse.Namespace) -> tuple[str | None, list[str]]:
    """The YAML file, if there is one, and the key=value words."""
    if args.config and "=" in args.config and not Path(args.config).exists():
        return None, [args.config, *args.overrides]
    return args.config, args.overrides


def positive(text: str) -> float:
    """Type of an argument."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    return value


def not_negative(text: str) -> float:
    """Type of an argument."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number from 0, got {text}")
    return value


def device(text: str) -> str:
    """Type of an argument: where torch is to compute."""
    import torch

    if text != "cpu" and not (text.split(":")[0] == "cuda" and torch.cuda.is_available()):
        raise argparse.ArgumentTypeError(f"expected cpu, or cuda where torch finds a CUDA device, got {text}")
    return text
