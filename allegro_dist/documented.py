"""A configuration as YAML in which every key stands below its documentation, generated from config.py.

    # Cutoff radius, Angstrom.  [5.0]
    r_max: 6.5

In brackets: the values to choose from, and the default where the value is another one.
"""

from __future__ import annotations

import dataclasses
import textwrap
import types
import typing
from typing import Any, Literal

import yaml
from pydantic.fields import FieldInfo

WIDTH = 110
INDENT = "  "


def documented(config: Any) -> str:
    """The complete configuration; reading it gives the same one."""
    return "\n".join(_lines(config, "")) + "\n"


def _lines(section: Any, indent: str) -> list[str]:
    """The keys of a section, each below its comment."""
    lines: list[str] = []
    for name, field in fields_of(type(section)).items():
        value = getattr(section, name)
        if dataclasses.is_dataclass(value):
            lines += ["", *_comment(type(value).__doc__, "", indent), f"{indent}{name}:"]
            lines += _lines(value, indent + INDENT)
            continue
        notes = " | ".join(_choices(field.annotation))
        default = value if field.is_required() else field.get_default(call_default_factory=True)
        if default != value:
            notes += f"{'; ' if notes else ''}default {_yaml(default)}"
        lines += [*_comment(field.description, notes, indent), f"{indent}{name}: {_yaml(value)}"]
    return lines


def fields_of(section: type) -> dict[str, FieldInfo]:
    """The fields of a section of config.py; `description` is the docstring below a field."""
    return section.__pydantic_fields__  # type: ignore[attr-defined]


def _choices(hint: Any) -> list[str]:
    """The words that a type allows."""
    if typing.get_origin(hint) is Literal:
        return [str(word) for word in typing.get_args(hint)]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [word for part in typing.get_args(hint) for word in _choices(part)]
    return []


def _comment(text: str | None, notes: str, indent: str) -> list[str]:
    words = " ".join((text or "").split()) + (f"  [{notes}]" if notes else "")
    return textwrap.wrap(words, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _yaml(value: Any) -> str:
    """A value in one line."""
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, width=10**6, sort_keys=False).removesuffix("\n...\n").strip()
