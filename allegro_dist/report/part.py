"""A part of a report: its section of the page, and the same numbers for programs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from allegro_dist.files import write_json
from allegro_dist.report.page import Section, Table


@dataclass(frozen=True)
class Part:
    section: Section
    numbers: Any  # dataclasses, arrays, lists and dictionaries of them


class LeftOut(RuntimeError):  # noqa: N818 (nothing went wrong)
    """A part that does not apply; the message, which the report shows, says why."""


@dataclass(frozen=True)
class Parts:
    """What became of the parts of a report, by their keys."""

    sections: list[Section]
    numbers: dict[str, Any]  # as JSON has them
    left_out: dict[str, str]  # and why

    def write_json(self, path: Path, about: dict[str, Any]) -> None:
        """Write the numbers, after what they are about (plain values); raises FileError."""
        write_json(path, {**about, **self.numbers, "left_out": self.left_out})


def build_parts(parts: Iterable[tuple[str, Callable[[], Part]]]) -> Parts:
    """Build parts one after another; those that do not apply end in a last section that says why."""
    found = Parts([], {}, {})
    for key, build in parts:
        try:
            part = build()
        except LeftOut as reason:
            found.left_out[key] = str(reason)
        else:
            found.sections.append(part.section)
            found.numbers[key] = plain(part.numbers)
    if found.left_out:
        found.sections.append(Section("Left out", [Table(("part", "why"), list(found.left_out.items()))]))
    return found


def plain(value: Any) -> Any:
    """Numbers as JSON has them: lists for arrays, dictionaries for dataclasses, null for what is not finite."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.generic):
        return value.item()
    return value
