"""What came of several runs: a table for people, and the same as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from allegro_dist.files import write_atomically, write_json
from allegro_dist.tables import Table
from allegro_dist.training.checkpoint import run_results
from allegro_dist.training.several import PlannedRun

ERRORS = (("forces", "F", "meV/A"), ("energy_per_atom", "E", "meV/atom"), ("stress", "S", "meV/A^3"))
"""Quantities of results.json, what a column calls them, and a thousandth of their unit."""


def write_sweep(runs: Sequence[PlannedRun], failed: Mapping[str, str]) -> Table:
    """Write sweep.json and sweep.md into the folder that holds those of the runs; returns the table.

    Args:
        failed: what was wrong with runs that did not come to their end, by name.
    """
    outcomes = sorted((outcome_of(run, failed) for run in runs), key=_order)
    table = sweep_table(outcomes)
    write_tables(runs, "sweep", outcomes, [table])
    return table


def sweep_table(outcomes: Sequence[dict[str, Any]]) -> Table:
    """Settings, weights, epochs, minutes and mean absolute errors; what no run has is left out."""
    keys, present = list(outcomes[0]["settings"]), error_columns(outcomes)
    rows = []
    for outcome in outcomes:
        row = [outcome["settings"][key] for key in keys]
        if "failed" in outcome:
            rows.append([*row, "diverged", *[""] * (2 + len(present))])
            continue
        row += [str(outcome["num_weights"]), str(outcome["epochs"]), f"{outcome['minutes']:.1f}"]
        rows.append([*row, *error_cells(outcome, present)])
    columns = [*keys, "weights", "epochs", "minutes", *present]
    return Table("Mean absolute errors, by those of the validation forces", columns, rows)


def error_columns(outcomes: Sequence[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """Titles of the errors that some outcome has: which part, which quantity."""
    return {
        f"{part} {letter}, {unit}": (part, quantity)
        for part in ("val", "test")
        for quantity, letter, unit in ERRORS
        if any(outcome.get(part, {}).get(quantity) for outcome in outcomes)
    }


def error_cells(outcome: Mapping[str, Any], columns: Mapping[str, tuple[str, str]]) -> list[str]:
    """Mean absolute errors for the columns of error_columns; empty where an outcome has none."""
    errors = [outcome.get(part, {}).get(quantity) for part, quantity in columns.values()]
    return ["" if error is None else f"{1e3 * error['mae']:.2f}" for error in errors]


def write_tables(runs: Sequence[PlannedRun], name: str, values: Any, tables: Sequence[Table]) -> None:
    """Values as JSON and tables as Markdown, in the folder that holds those of the runs."""
    folder = Path(runs[0].config.run.dir).parent
    write_json(folder / f"{name}.json", values)
    write_atomically(folder / f"{name}.md", "\n".join(table.markdown() for table in tables))


def outcome_of(run: PlannedRun, failed: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Name, folder, settings, and what results.json says, or why it failed (`failed` has reasons by name)."""
    outcome: dict[str, Any] = {"name": run.name, "folder": run.config.run.dir, "settings": run.settings}
    if failed and run.name in failed:
        return {**outcome, "failed": failed[run.name]}
    results = run_results(run.config.run.dir)
    wanted = ("num_weights", "epochs", "steps", "minutes", "best_epoch", "val", "test")
    return {**outcome, **{key: results[key] for key in wanted if key in results}}


def _order(outcome: dict[str, Any]) -> tuple[float, float]:
    """By the validation forces, then energies; runs that failed come last."""
    errors = outcome.get("val", {})
    forces, energy = (errors.get(name, {}).get("mae", math.inf) for name in ("forces", "energy_per_atom"))
    return forces, energy
