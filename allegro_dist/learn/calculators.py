"""ASE calculators by name, made from plain settings."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from typing import Any

from ase.calculators.calculator import get_calculator_class
from ase.calculators.names import names as ase_names

from allegro_dist.config import ConfigError

Maker = Callable[..., Any]


def make_calculator(name: str, settings: dict[str, Any]) -> Any:
    """An ASE calculator; raises ConfigError for a name or settings that make none."""
    maker = find_calculator(name)
    try:
        return maker(**settings)
    except (TypeError, ValueError, KeyError) as error:
        raise ConfigError(f"label.settings: {name} can't be made of {sorted(settings)}: {error}") from error


def find_calculator(name: str) -> Maker:
    """What makes a calculator of its settings; raises ConfigError for an unknown name and a package that is missing."""
    if ":" in name:
        return _by_path(name)
    known = sorted({*OURS, *ase_names})
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "expected a name of ASE's or module:Class"
        raise ConfigError(f"label.calculator: unknown calculator '{name}'; {hint}")
    try:
        maker: Maker = OURS[name]() if name in OURS else get_calculator_class(name)
    except ImportError as error:
        raise ConfigError(f"label.calculator: {name} needs a package that is not installed: {error}") from error
    return maker


def _by_path(path: str) -> Maker:
    module, _, name = path.partition(":")
    try:
        return _by_import(module, name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"label.calculator: '{path}': {error}") from error


def _lammps() -> Maker:
    """ASE's LAMMPSlib: settings `commands` (lmpcmds), and what else it takes."""
    return _by_import("allegro_dist.simulate.lammps_calculator", "lammps_calculator")


def _espresso() -> Maker:
    """Quantum ESPRESSO: settings `command` (pw.x as it is started) and `pseudo_dir`, and what else ASE's takes."""
    from ase.calculators.espresso import Espresso, EspressoProfile

    def make(pseudo_dir: str, command: str = "pw.x", **settings: Any) -> Any:
        return Espresso(profile=EspressoProfile(command=command, pseudo_dir=pseudo_dir), **settings)

    return make


def _tblite() -> Maker:
    return _by_import("tblite.ase", "TBLite")


def _xtb() -> Maker:
    return _by_import("xtb.ase.calculator", "XTB")


def _allegro() -> Maker:
    """One of our own archives: settings `path`, ..."""
    return _by_import("allegro_dist.simulate.calculator", "AllegroCalculator")


def _by_import(module: str, name: str) -> Maker:
    maker: Maker = getattr(importlib.import_module(module), name)
    return maker


OURS: dict[str, Callable[[], Maker]] = {
    "lammps": _lammps, "espresso": _espresso, "tblite": _tblite, "xtb": _xtb, "allegro": _allegro,
}  # fmt: skip
"""Names that ASE does not know, or knows with other settings."""
