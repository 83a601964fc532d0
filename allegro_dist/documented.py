"""A configuration as YAML in which every key stands below its documentation, generated from its dataclasses.

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
    fields = fields_of(type(section)).items()
    for name, field in sorted(fields, key=lambda item: not is_kind(item[1])):
        value = getattr(section, name)
        if dataclasses.is_dataclass(value):
            lines += ["", *_comment(type(value).__doc__, "", indent), f"{indent}{name}:"]
            lines += _lines(value, indent + INDENT)
            continue
        if _is_list_of_sections(value):
            lines += ["", *_comment(field.description, "", indent), f"{indent}{name}:"]
            for entry in value:
                lines += ["", *_comment(type(entry).__doc__, "", indent + INDENT), *_entry(entry, indent + INDENT)]
            lines.append("")
            continue
        notes = "" if is_kind(field) else " | ".join(_choices(field.annotation))
        default = value if field.is_required() else field.get_default(call_default_factory=True)
        if default != value:
            notes += f"{'; ' if notes else ''}default {_yaml(default)}"
        lines += [*_comment(field.description, notes, indent), f"{indent}{name}: {_yaml(value)}"]
    return lines


def _entry(section: Any, indent: str) -> list[str]:
    """A section of a list; the key that tells its kind, if it has one, stands behind the dash."""
    first, *others = _lines(section, indent + INDENT)
    return [f"{indent}- {first.strip()}", *others]


def is_kind(field: FieldInfo) -> bool:
    """Whether a field tells only which section of several this is."""
    return len(_choices(field.annotation)) == 1


def _is_list_of_sections(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and dataclasses.is_dataclass(value[0])


def fields_of(section: type) -> dict[str, FieldInfo]:
    """The fields of a section; `description` is the docstring below a field, in the section or in one it extends."""
    fields: dict[str, FieldInfo] = dict(section.__pydantic_fields__)  # type: ignore[attr-defined]
    for base in section.__mro__[1:]:  # pydantic reads no docstrings of inherited fields
        for name, field in getattr(base, "__pydantic_fields__", {}).items():
            if fields[name].description is None:
                fields[name] = field
    return fields


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
