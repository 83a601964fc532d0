"""The tables of a simulation's folder: their columns, and how LAMMPS writes what they are made from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from allegro_dist.simulate.settings import SimulationConfig

LOG = "log.lammps"
THERMO_FILE, STRESS_FILE, HEAT_FLUX_FILE = "thermo.csv", "stress.csv", "heat_flux.csv"
JSON_LINES = ".jsonl"
"""Ending of the tables whose lines are JSON objects."""
THERMO = {
    "step": "step", "time_ps": "time", "temperature_K": "temp", "potential_energy_eV": "pe", "kinetic_energy_eV": "ke",
    "total_energy_eV": "etotal", "pressure_bar": "press", "volume_A3": "vol", "lx_A": "lx", "ly_A": "ly", "lz_A": "lz",
    "xy_A": "xy", "xz_A": "xz", "yz_A": "yz", "pxx_bar": "pxx", "pyy_bar": "pyy", "pzz_bar": "pzz", "pxy_bar": "pxy",
    "pxz_bar": "pxz", "pyz_bar": "pyz",
}  # fmt: skip
"""Columns of thermo.csv and the words for them in LAMMPS."""
SPREAD = {"largest_deviation_eV_A": "c_spread[1]", "mean_deviation_eV_A": "c_spread[2]"}
"""Those of a committee."""
STRESS = {f"p{pair}_bar": f"c_thermo_press[{n}]" for n, pair in enumerate(("xx", "yy", "zz", "xy", "xz", "yz"), 1)}
HEAT_FLUX = {f"q{direction}_eV_A_ps": f"c_heat_flux[{n}]" for n, direction in enumerate("xyz", 1)}
"""The energy current of the whole cell: LAMMPS does not divide it by the volume."""
HEAT_FLUX_COMPUTES = (
    "compute      atom_kinetic all ke/atom",
    "compute      atom_virial all centroid/stress/atom NULL virial",  # with stress/atom the current is not exact
    "compute      heat_flux all heat/flux atom_kinetic atom_energy atom_virial",
)


@dataclass(frozen=True)
class Table:
    """A file with a line every so many steps."""

    file: str
    source: str  # where LAMMPS writes its lines, each behind the step
    columns: dict[str, str]  # names and words in LAMMPS
    every: int

    @property
    def head(self) -> tuple[str, ...]:
        return ("step", *(name for name in self.columns if name != "step"))

    @property
    def first_line(self) -> str:
        """Names of the columns, where each line does not have them."""
        return "" if self.file.endswith(JSON_LINES) else ",".join(self.head) + "\n"

    def line(self, row: Sequence[str]) -> str:
        """A row of LAMMPS's, as it stands in the file."""
        if not self.file.endswith(JSON_LINES):
            return ",".join(row) + "\n"
        return json.dumps(dict(zip(self.head, (int(row[0]), *map(float, row[1:])), strict=True))) + "\n"

    def behind(self, last: int, rows: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
        """Rows of LAMMPS's behind a step, each once: a run also prints its first and last step, whatever they are."""
        for row in rows:
            if int(row[0]) > last and int(row[0]) % self.every == 0:
                yield row
                last = int(row[0])


def tables(config: SimulationConfig) -> list[Table]:
    """All that a simulation has."""
    columns = THERMO | (SPREAD if len(config.models) > 1 else {})
    found = [Table(THERMO_FILE, LOG, columns, config.thermo_every)]
    if config.json_lines:
        found.append(replace(found[0], file=str(Path(THERMO_FILE).with_suffix(JSON_LINES))))
    if config.record.stress:
        found.append(Table(STRESS_FILE, "stress.part", STRESS, config.record.stress))
    if config.record.heat_flux:
        found.append(Table(HEAT_FLUX_FILE, "heat_flux.part", HEAT_FLUX, config.record.heat_flux))
    return found


def table_commands(config: SimulationConfig) -> list[str]:
    """Thermo output, and fixes that write the other tables."""
    thermo, *others = tables(config)
    lines = [
        f"thermo_style custom {' '.join(thermo.columns.values())}",
        "thermo_modify format float %.15g flush yes lost error norm no",
        f"thermo       {thermo.every}",
        *(HEAT_FLUX_COMPUTES if config.record.heat_flux else ()),
    ]
    for t in (t for t in others if t.source != LOG):
        words = " ".join(t.columns.values())
        name = t.source.removesuffix(".part")
        lines.append(f'fix          {name} all ave/time {t.every} 1 {t.every} {words} file {t.source} format " %.15g"')
    return lines
