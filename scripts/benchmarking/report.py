"""What a benchmark says: rows for JSON, a Markdown table, bars, a roofline."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from benchmarking.lammps_runs import LammpsRun
from benchmarking.results import Result


class Limits(NamedTuple):
    """What the machine could do on one thread, measured in the same run."""

    cpu: str
    sgemm: float  # FLOP/s
    stream: float  # bytes/s


def make_rows(results: list[Result], limits: Limits) -> list[dict[str, Any]]:
    """One row per contestant; rates are medians of the rounds."""
    rows = []
    for contestant, rates, memory in ((r.contestant, r.rates, r.memory) for r in results):
        rate = statistics.median(rates)
        row: dict[str, Any] = {"model": contestant.model, "evaluator": contestant.evaluator}
        row |= {"engine": contestant.engine, "atoms": contestant.atoms}
        settings = contestant.settings if isinstance(contestant, LammpsRun) else None
        row |= {"ranks": settings.ranks if settings else 1, "threads": settings.threads if settings else 1}
        row |= {"atom_steps_per_s": rate, "slowest": min(rates), "fastest": max(rates), "bytes_per_atom": memory}
        if work := contestant.work:
            per_core = rate / contestant.cores
            row |= {"fraction_of_sgemm": work.dense * per_core / limits.sgemm, "flops_per_atom": work.total}
            row |= {"flops_per_s": work.total * per_core}
        else:
            row |= {"fraction_of_sgemm": None, "flops_per_atom": None, "flops_per_s": None}
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown; a ratio is that of the fastest row of the same model, where several evaluators share one."""
    rates: dict[str, list[float]] = {}
    for row in rows:
        rates.setdefault(row["model"], []).append(row["atom_steps_per_s"])
    lines = [
        "| model | evaluator | atom-steps/s | spread | fastest is faster by | dense / SGEMM | GFLOP/s | bytes/atom |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        rate, same = row["atom_steps_per_s"], rates[row["model"]]
        ratio = f"{max(same) / rate:.3g}" if len(same) > 1 else ""
        spread = f"{row['slowest']:,.0f} .. {row['fastest']:,.0f}"
        fraction = "" if row["fraction_of_sgemm"] is None else f"{row['fraction_of_sgemm']:.2f}"
        speed = "" if row["flops_per_s"] is None else f"{row['flops_per_s'] / 1e9:.0f}"
        size = "" if row["bytes_per_atom"] is None else f"{row['bytes_per_atom']:.0f}"
        cells = (row["model"], row["evaluator"], f"{rate:,.0f}", spread, ratio, fraction, speed, size)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot_bars(rows: list[dict[str, Any]], path: Path) -> None:
    """Atom-steps/s on a logarithmic scale, with the spread of the rounds."""
    figure = Figure(figsize=(8, 1 + 0.35 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    rate = [row["atom_steps_per_s"] for row in rows]
    spread = [[r - row["slowest"] for r, row in zip(rate, rows)], [row["fastest"] - r for r, row in zip(rate, rows)]]
    axes.barh([f"{row['model']}: {row['evaluator']}" for row in rows], rate, xerr=spread)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("atom-steps per second")
    figure.savefig(path, dpi=150)
