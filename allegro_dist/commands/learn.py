"""`allegro-dist learn`: active learning, or going on with it; `learn label` labels frames, for job arrays."""

from __future__ import annotations

import argparse
from pathlib import Path

from allegro_dist.config import ConfigError, read_values
from allegro_dist.learn.labeller import label_frame
from allegro_dist.learn.labels import open_batch
from allegro_dist.learn.settings import read_learning

LABEL = "label"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="+", metavar="[label] CONFIG [key=value]",
        help="YAML file (docs/learning.md), and changes of it, for example harvest.per_round=10; `label`: only label "
        "some of the frames that wait for it",
    )  # fmt: skip
    parser.add_argument("--index", type=int, nargs="+", metavar="I", help="numbers of the frames to label, from 0")


def run(args: argparse.Namespace) -> int:
    is_label = args.words[0] == LABEL and len(args.words) > 1
    if is_label != (args.index is not None):
        raise ConfigError("`allegro-dist learn label CONFIG --index I`: 'label' and '--index' go together")
    path, *overrides = args.words[is_label:]
    config = read_learning(read_values(path, overrides), path)
    if is_label:
        batch = open_batch(Path(config.dir))
        for number in args.index:
            label_frame(config.label, batch, number)
        return 0
    from allegro_dist.learn.loop import learn  # draws, which those that only label need not wait for

    learn(config, ["learn", LABEL, path, *overrides])
    return 0
