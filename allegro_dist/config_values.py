"""What every configuration is made of: checked values, from YAML files and command lines, and back."""

from __future__ import annotations

import os
from copy import copy
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from allegro_dist.config_errors import explain
from allegro_dist.files import write_atomically

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]


class ConfigError(ValueError):
    """A configuration that can't be used; the message names the key, what was expected and what came."""


def from_dict(cls: type, values: dict[str, Any], source: str = "configuration") -> Any:
    """Build the dataclass `cls` from nested plain values; raises ConfigError that names each bad key."""
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        lines = [explain(cls, e) for e in error.errors(include_url=False)]
        raise ConfigError(f"{source}: " + "; ".join(dict.fromkeys(lines))) from None


def to_dict(config: Any) -> dict[str, Any]:
    """Plain nested values (lists for tuples), ready for YAML or JSON."""
    return TypeAdapter(type(config)).dump_python(config, mode="json")


def read_values(path: str | os.PathLike[str] | None, overrides: list[str] | None = None) -> dict[str, Any]:
    """The values of a YAML file (of none: no values) under `key.sub=value` overrides, not yet checked."""
    values = {} if path is None else _read_mapping(Path(path))
    for item in overrides or []:
        _override(values, item)
    return values


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Nested values under nested changes."""
    result = dict(values)
    for key, change in changes.items():
        before = result.get(key)
        result[key] = merged(before, change) if isinstance(before, dict) and isinstance(change, dict) else change
    return result


def dump(config: Any, path: str | os.PathLike[str]) -> None:
    """Write the complete configuration as YAML."""
    write_atomically(Path(path), yaml.safe_dump(to_dict(config), sort_keys=False))


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {_one_line(error)}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values, got {type(values).__name__}")
    return values


def _override(values: dict[str, Any], item: str) -> None:
    key, equals, text = item.partition("=")
    if not equals or not key:
        raise ConfigError(f"override '{item}': expected key=value, for example training.max_epochs=100")
    *parents, last = key.split(".")
    node: Any = values
    for name in parents:
        place = _place(node, name, item)
        # A copy, because an anchor of YAML puts one object in several places, of which this one is meant.
        node[place] = copy(node[place] if isinstance(node, list) else node.get(place, {}))
        node = node[place]
        if not isinstance(node, (dict, list)):
            raise ConfigError(f"override '{item}': '{name}' is a value, not a section")
    try:
        node[_place(node, last, item)] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override '{item}': not valid YAML: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _place(entries: dict[str, Any] | list[Any], name: str, item: str) -> Any:
    """A key, or the number of an entry of a list, counted from 0."""
    if isinstance(entries, dict):
        return name
    if not name.isdecimal() or int(name) >= len(entries):
        raise ConfigError(f"override '{item}': '{name}' is not one of the list's {len(entries)} entries, from 0")
    return int(name)
