"""A part of the evaluation report: its section of the page, and the same numbers for programs."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from allegro_dist.report.page import Section


@dataclass(frozen=True)
class Part:
    section: Section
    numbers: Any  # dataclasses, arrays, lists and dictionaries of them


class LeftOut(RuntimeError):  # noqa: N818 (nothing went wrong)
    """A part that does not apply; the message, which the report shows, says why."""


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
