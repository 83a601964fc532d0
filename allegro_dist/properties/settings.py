"""Every setting of `allegro-dist properties`, as frozen dataclasses; units as in a simulation's: times are fs."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from allegro_dist.config import STRICT, Count, Fraction, Positive, from_dict
from allegro_dist.simulate.settings import Seed

Repeats = tuple[Count, Count, Count]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CrystalSettings:
    """The crystal at rest: cell, equation of state, elastic constants, phonons."""

    data: tuple[str, ...] = ()
    """Files of labelled frames; those that are this crystal, in whatever cell, stand beside its equation of state."""
    supercell: Positive | None = None
    """Least width of the supercell for phonons, Angstrom; null: twice the archive's cutoff."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ExpansionSettings:
    """Lengths of the cell over temperature, each by NPT dynamics, and the coefficient of thermal expansion."""

    temperatures: tuple[Positive, ...]
    """K, ascending."""
    replicate: Repeats
    """How often the cell is repeated along each of its vectors."""
    steps: Count = 20_000
    """At each temperature."""
    discard: Fraction = 0.2
    """Part of these that is left out at the beginning."""
    coupling: Literal["iso", "aniso"] = "iso"
    """How the cell may change: its volume, or its three lengths."""

    @model_validator(mode="after")
    def _check(self) -> ExpansionSettings:
        t = self.temperatures
        if not t or any(low >= high for low, high in zip(t, t[1:])):
            raise ValueError("temperatures: one or more are needed, each above the one before")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MeltingSettings:
    """Melting point by coexistence: one half of a crystal, cut across z, is molten, then both evolve."""

    guess: Positive
    """Of the melting point, K; a hundred off does no harm where the cell is long."""
    replicate: Repeats
    """How often the cell is repeated: long along z. Its third vector must be perpendicular to the others."""
    hot: Positive | None = None
    """Temperature at which one half is molten, K; null: 2.5 times the guess."""
    warm_steps: Count = 5_000
    """The crystal at the guess, finding its volume."""
    melt_steps: Count = 5_000
    """One half at the high temperature, while the atoms of the other one stand still."""
    cool_steps: Count = 5_000
    """That half back to the guess."""
    settle_steps: Count = 5_000
    """Both at the guess, the cell free along z."""
    steps: Count = 100_000
    """Both at constant enthalpy, the cell free along z."""
    discard: Fraction = 0.5
    """Part of these that is left out of the mean temperature at the beginning."""
    coupling: Literal["iso", "aniso"] = "iso"
    """How the crystal's cell may change in warm_steps."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PropertiesConfig:
    """The whole of a study: sections that are null are not done."""

    structure: str
    """The crystal's cell, in anything that ASE reads; its lengths are relaxed."""
    model: str | None
    """Archive; null: `commands` name a pair style of LAMMPS's own."""
    dir: str = "properties"
    """Folder of the outputs; what is found in it is not done again."""
    crystal: CrystalSettings | None = field(default_factory=CrystalSettings)
    """The crystal at rest."""
    expansion: ExpansionSettings | None = None
    """Thermal expansion."""
    melting: MeltingSettings | None = None
    """Melting point."""
    timestep: Positive = 1.0
    """fs."""
    checkpoint_every: Count = 5_000
    """Steps between checkpoints of the simulations."""
    seed: Seed = 4928459
    """Of velocities and random forces."""
    pair_options: str = ""
    """Words behind `pair_style allegro`, such as `device cuda`."""
    commands: tuple[str, ...] = ()
    """LAMMPS commands behind the pair style, verbatim."""

    @model_validator(mode="after")
    def _check(self) -> PropertiesConfig:
        has_pair_style = any(command.split()[:1] == ["pair_style"] for command in self.commands)
        if has_pair_style == (self.model is not None):
            raise ValueError("expected either an archive as model, or a pair_style among commands")
        if self.crystal is not None and self.model is None and self.crystal.supercell is None:
            raise ValueError("crystal.supercell: needed where no archive says how far atoms see each other")
        return self


def read_properties(values: dict[str, Any], source: str) -> PropertiesConfig:
    """Check nested plain values; raises ConfigError that names each bad key."""
    config: PropertiesConfig = from_dict(PropertiesConfig, values, source)
    return config
