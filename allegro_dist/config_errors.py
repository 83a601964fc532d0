"""What is wrong with a configuration, in one line each: pydantic's errors in the words of config.py."""

from __future__ import annotations

import dataclasses
import difflib
import reprlib
import typing
from typing import Any


def explain(cls: type, error: Any) -> str:
    """One line for a pydantic error; for an unknown key, the nearest known one."""
    location = [str(part) for part in error["loc"] if not str(part).startswith(("function-", "constrained-"))]
    path = ".".join(location)
    key = path or "(top level)"
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _fields_at(cls, location[:-1])
        near = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else f"; known keys: {', '.join(known)}"
        return f"unknown key '{key}'{hint}"
    if error["type"] in ("missing", "missing_argument"):
        return f"missing key '{key}'"
    if error["type"] == "value_error":  # of a check of ours, which says itself what came
        return ": ".join(filter(None, (path, str(error["ctx"]["error"]))))
    return f"'{key}': {error['msg']}, got {reprlib.repr(error.get('input'))}"


def _fields_at(cls: type, location: list[str]) -> list[str]:
    """Names of the fields of the section at `location` below `cls`."""
    for name in location:
        hint = typing.get_type_hints(cls).get(name)
        sections = [part for part in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(part)]  # or null
        if len(sections) != 1:
            return []
        cls = typing.cast(type, sections[0])
    return [f.name for f in dataclasses.fields(cls)]
