"""Parts of a potential that keep their weights in training, by names that follow the model's own structure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from allegro_dist.config import ConfigError
from allegro_dist.potential import Potential


def freeze(potential: Potential, patterns: Sequence[str]) -> None:
    """Exclude from training the weights of all parts that match one of the shell patterns ("latents.*").

    Raises ConfigError that lists the parts for a pattern that matches none, or when no weights are left to train.
    """
    for pattern in patterns:
        matching = [
            weight
            for name, weight in potential.named_parameters()
            if any(fnmatchcase(part, pattern) for part in _parts(name))
        ]
        if not matching:
            known = parts_of(potential)
            near = difflib.get_close_matches(pattern, known, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise ConfigError(f"start.freeze: no part matches '{pattern}'; {hint}The parts are {', '.join(known)}")
        for weight in matching:
            weight.requires_grad_(False)
    if not any(weight.requires_grad for weight in potential.parameters()):
        raise ConfigError(f"start.freeze: {', '.join(patterns)} leave no weights to train")


def parts_of(potential: Potential) -> list[str]:
    """The parts that a user may want to name: embedding, two_body, ..., latents.0, latents.1, ..., readout."""
    parts: dict[str, None] = {}
    for name, _ in potential.named_parameters():
        first, *rest = _parts(name)
        parts[rest[0] if rest and rest[0].removeprefix(f"{first}.").isdigit() else first] = None
    return list(parts)


def _parts(name: str) -> Iterator[str]:
    """All parts that a weight is in: model.latents.0.read.1 is in latents, latents.0, latents.0.read and itself."""
    words = name.removeprefix("model.").split(".")
    for length in range(1, len(words) + 1):
        yield ".".join(words[:length])
