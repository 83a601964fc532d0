"""The end of `train --members`: errors of a committee's members and of their mean, and how its deviation tells them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from allegro_dist.report.calibration import Calibration, calibrations
from allegro_dist.report.committee import open_committee
from allegro_dist.report.errors import overall
from allegro_dist.report.part import plain
from allegro_dist.report.predictions import predict, read_frames
from allegro_dist.tables import Table
from allegro_dist.training.outcomes import error_cells, error_columns, outcome_of, write_tables
from allegro_dist.training.several import PlannedRun

TITLES = {"forces": "forces on atoms", "energy_per_atom": "energy per atom"}


def write_committee(runs: Sequence[PlannedRun]) -> list[Table]:
    """Write committee.json and committee.md into the folder that holds those of the members; returns the tables.

    Measures the mean on the test frames; without any, the validation errors of the members are all there is.
    """
    outcomes = [outcome_of(run) for run in runs]
    summary: dict[str, Any] = {"members": outcomes}
    tables = []
    if (test := runs[0].config.data.test) is not None:
        committee = open_committee([run.config.run.dir for run in runs])
        predictions = predict(committee, read_frames([test] if isinstance(test, str) else test))
        every = replace(overall(predictions), name="mean of all")
        told = calibrations(predictions)
        summary |= {"mean": plain(every), "calibration": plain(told)}
        outcomes = [*outcomes, {"name": every.name, "test": summary["mean"]}]
        tables = [calibration_table(told)]
    present = error_columns(outcomes)
    rows = [[outcome["name"], *error_cells(outcome, present)] for outcome in outcomes]
    tables = [Table("Mean absolute errors", ["member", *present], rows), *tables]
    write_tables(runs, "committee", summary, tables)
    return tables


def calibration_table(told: dict[str, Calibration | str]) -> Table:
    """A row for each quantity, or why it has none."""
    rows = []
    for name, found in told.items():
        title = TITLES[name]
        if isinstance(found, str):
            rows.append([title, f"left out: {found}", "", "", "", ""])
            continue
        numbers = (found.spearman, found.pearson, found.scale, found.ence_scaled)
        rows.append([title, str(found.count), *(f"{number:.2f}" for number in numbers)])
    columns = ["deviation and error", "number", "rank correlation", "correlation", "error/deviation", "ENCE, scaled"]
    return Table("How the members' deviation tells the error of their mean (docs/training.md)", columns, rows)
