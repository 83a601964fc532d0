"""What came of several runs: a table for people, and the same as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from allegro_dist.data.dataset import open_frames
from allegro_dist.potential import DTYPES, pair_cutoffs
from allegro_dist.tables import Table
from allegro_dist.training.checkpoint import load_run, write_atomically
from allegro_dist.training.evaluate import EvaluationBatches
from allegro_dist.training.fused_step import make_evaluator
from allegro_dist.training.several import PlannedRun
from allegro_dist.training.uncertainty import CommitteeErrors, calibration, committee_errors

ERRORS = (("forces", "F", "meV/A"), ("energy_per_atom", "E", "meV/atom"), ("stress", "S", "meV/A^3"))
"""Quantities of results.json, what a column calls them, and a thousandth of their unit."""


def write_sweep(runs: Sequence[PlannedRun], failed: Mapping[str, str]) -> Table:
    """Write sweep.json and sweep.md into the folder that holds those of the runs; returns the table.

    Args:
        failed: what was wrong with runs that did not come to their end, by name.
    """
    outcomes = sorted((_outcome(run, failed) for run in runs), key=_order)
    table = sweep_table(outcomes)
    _write(runs, "sweep", outcomes, [table])
    return table


def sweep_table(outcomes: Sequence[dict[str, Any]]) -> Table:
    """Settings, weights, epochs, minutes and mean absolute errors; what no run has is left out."""
    keys, present = list(outcomes[0]["settings"]), _columns(outcomes)
    rows = []
    for outcome in outcomes:
        row = [outcome["settings"][key] for key in keys]
        if "failed" in outcome:
            rows.append([*row, "diverged", *[""] * (2 + len(present))])
            continue
        row += [str(outcome["num_weights"]), str(outcome["epochs"]), f"{outcome['minutes']:.1f}"]
        rows.append([*row, *_cells(outcome, present)])
    columns = [*keys, "weights", "epochs", "minutes", *present]
    return Table("Mean absolute errors, by those of the validation forces", columns, rows)


def write_committee(runs: Sequence[PlannedRun]) -> list[Table]:
    """Measure a committee on the test frames; committee.json and committee.md in the folder of its members.

    Returns: errors of the members and of their mean, and how well deviations tell errors; without test frames, the
    validation errors of the members alone.
    """
    outcomes = [_outcome(run, {}) for run in runs]
    summary: dict[str, Any] = {"members": outcomes}
    tables = []
    if runs[0].config.data.test is not None:
        found = _measure(runs)
        outcomes = [*outcomes, {"name": "mean of all", "test": found.mean}]
        pairs = {"forces": found.forces, "energy_per_atom": found.energy_per_atom}
        told = {name: calibration(values) for name, values in pairs.items()}
        summary |= {"mean": found.mean, "calibration": told}
        tables = [_calibration_table({name: values for name, values in told.items() if values})]
    present = _columns(outcomes)
    rows = [[outcome["name"], *_cells(outcome, present)] for outcome in outcomes]
    tables = [Table("Mean absolute errors", ["member", *present], rows), *tables]
    _write(runs, "committee", summary, tables)
    return tables


def _measure(runs: Sequence[PlannedRun]) -> CommitteeErrors:
    potentials = [load_run(run.config.run.dir) for run in runs]
    used, config = potentials[0].parameters_used, runs[0].config
    assert config.data.test is not None
    cutoffs = pair_cutoffs(used.config, used.type_names)
    graphs = open_frames(config.data.test).graphs(used.type_names, cutoffs, DTYPES[used.config.dtype])
    device = potentials[0].shift.device
    members = [make_evaluator(p, config.training.step, device, config.training.threads) for p in potentials]
    return committee_errors(members, EvaluationBatches(graphs, device), used.type_names, device)


def _calibration_table(told: Mapping[str, dict[str, Any]]) -> Table:
    """A row for all pairs of a quantity, and one for each bin by deviation; meV and Angstrom."""
    names = {"forces": "atoms: forces, meV/A", "energy_per_atom": "frames: energy, meV/atom"}
    rows = []
    for name, values in told.items():
        whole = {"deviation": values["rms_deviation"], "error": values["rms_error"], "count": values["count"]}
        correlations = [f"{values[kind]:.2f}" for kind in ("pearson", "spearman")]
        rows.append([names[name], *_bin_cells(whole), *correlations])
        rows += [[f"part {number}", *_bin_cells(part), "", ""] for number, part in enumerate(values["bins"], 1)]
    columns = ["by deviation", "number", "rms deviation", "rms error", "error/deviation", "correlation", "of ranks"]
    return Table("Deviation of the members beside the error of their mean", columns, rows)


def _bin_cells(part: Mapping[str, Any]) -> list[str]:
    deviation, error = part["deviation"], part["error"]
    ratio = f"{error / deviation:.2f}" if deviation else ""
    return [str(part["count"]), f"{1e3 * deviation:.2f}", f"{1e3 * error:.2f}", ratio]


def _columns(outcomes: Sequence[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """Titles of the errors that some outcome has: which part, which quantity."""
    return {
        f"{part} {letter}, {unit}": (part, quantity)
        for part in ("val", "test")
        for quantity, letter, unit in ERRORS
        if any(quantity in outcome.get(part, {}) for outcome in outcomes)
    }


def _cells(outcome: Mapping[str, Any], columns: Mapping[str, tuple[str, str]]) -> list[str]:
    errors = [outcome.get(part, {}).get(quantity) for part, quantity in columns.values()]
    return ["" if error is None else f"{1e3 * error['mae']:.2f}" for error in errors]


def _write(runs: Sequence[PlannedRun], name: str, values: Any, tables: Sequence[Table]) -> None:
    folder = Path(runs[0].config.run.dir).parent
    write_atomically(folder / f"{name}.json", json.dumps(values, indent=1).encode())
    write_atomically(folder / f"{name}.md", "\n".join(table.markdown() for table in tables).encode())


def _outcome(run: PlannedRun, failed: Mapping[str, str]) -> dict[str, Any]:
    outcome: dict[str, Any] = {"name": run.name, "folder": run.config.run.dir, "settings": run.settings}
    if run.name in failed:
        return {**outcome, "failed": failed[run.name]}
    results = json.loads((Path(run.config.run.dir) / "results.json").read_text())
    wanted = ("num_weights", "epochs", "steps", "minutes", "best_epoch", "val", "test")
    return {**outcome, **{key: results[key] for key in wanted if key in results}}


def _order(outcome: dict[str, Any]) -> tuple[float, float]:
    """By the validation forces, then energies; runs that failed come last."""
    errors = outcome.get("val", {})
    forces, energy = (errors.get(name, {}).get("mae", math.inf) for name in ("forces", "energy_per_atom"))
    return forces, energy
