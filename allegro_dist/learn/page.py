"""The page of a loop: what each round was trained on, found, chose and cost, and how errors fell; and its picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.ticker import MaxNLocator

from allegro_dist.drawing import MODEL, QUIET, REFERENCE, add_axes, logarithmic, new_figure, png
from allegro_dist.files import write_atomically
from allegro_dist.learn.records import Record, Records, in_words
from allegro_dist.learn.settings import LearningConfig
from allegro_dist.report.page import Block, Picture, Section, Table, Text, write_page

PAGE, PICTURE = "learning.html", "learning.png"


def write_report(config: LearningConfig, records: Records, ended: str = "") -> None:
    """Write learning.html and learning.png into the loop's folder; `ended` says why it has."""
    steps = records.all()
    picture = draw(steps, config)
    write_atomically(records.folder / PICTURE, picture)
    write_page(
        records.folder / PAGE,
        f"Learning loop {Path(config.dir).resolve().name}",
        f"{config.members} members, labels by {config.label.calculator}; {ended or 'not ended'}.",
        list(_sections(steps, picture, config)),
    )


def draw(steps: Sequence[Record], config: LearningConfig) -> bytes:
    """Errors on the test frames over labelled frames, and the deviations of the chosen frames, as PNG."""
    figure = new_figure(10.0, 3.5)
    errors = add_axes(figure, 1, 2, 1)
    trained = [step for step in steps if step["step"] == "train" and "test" in step]
    for quantity, unit, color in (
        ("forces", "forces, meV/Å", MODEL),
        ("energy_per_atom", "energy, meV/atom", REFERENCE),
    ):
        points = [(step["frames"], 1e3 * step["test"][quantity]["mae"]) for step in trained]
        if points:
            errors.plot(*zip(*points, strict=True), "o-", color=color, markersize=4, label=unit)
        for step in (s for s in steps if s["step"] == "final" and "test" in s):
            errors.plot([step["frames"]], [1e3 * step["test"][quantity]["mae"]], "*", color=color, markersize=9)
    if trained:
        logarithmic(errors, "x", "y")
        errors.legend(frameon=False)
    errors.set(xlabel="labelled frames", ylabel="MAE on the test frames")
    chosen = add_axes(figure, 1, 2, 2)
    for number, step in enumerate(s for s in steps if s["step"] == "harvest"):
        deviations = [choice["deviation"] for choice in step["chosen"]]
        chosen.plot([number] * len(deviations), deviations, "o", color=MODEL, markersize=3, alpha=0.5)
        chosen.plot([number], [max(step["largest"], 1e-6)], "_", color=REFERENCE, markersize=12)
    for line in (config.harvest.threshold, config.harvest.ceiling):
        chosen.axhline(line, color=QUIET, linewidth=0.8)
    logarithmic(chosen, "y")
    chosen.xaxis.set_major_locator(MaxNLocator(integer=True))
    chosen.set(xlabel="round", ylabel="deviation of chosen frames, eV/Å")
    return png(figure)


def _sections(steps: Sequence[Record], picture: bytes, config: LearningConfig) -> Iterable[Section]:
    lines = f"{config.harvest.threshold:g} and {config.harvest.ceiling:g}"
    caption = (
        "Left: mean absolute errors of the committee's mean (stars: after the last training). Right: the largest "
        "deviation of each chosen frame, and of all frames before the ceiling (bars); threshold and ceiling are "
        f"{lines} eV/Å."
    )
    yield Section("Rounds", [_rounds(steps), Picture(picture, caption, wide=True)])
    yield Section("Chosen frames", list(_chosen(steps)))
    if failures := [(s["round"], *map(str, f.values())) for s in steps if s["step"] == "label"
                    for f in s["without_label"]]:  # fmt: skip
        yield Section("Frames without label", [Table(("round", "frame", "state", "reason"), failures)])
    yield Section("Steps", [Text(in_words(step)) for step in steps])


def _rounds(steps: Sequence[Record]) -> Table:
    """A line for each round."""
    head = ("round", "frames", "force MAE, meV/Å", "energy MAE, meV/atom", "rank correlation of deviation and error",
            "training, min", "simulated, ps", "chosen", "labelled", "labels, min")  # fmt: skip
    found: dict[str, dict[str, Record]] = {}
    for step in steps:
        name = f"{step['round']}, last training" if step["step"] == "final" else step["round"]
        found.setdefault(name, {})[step["step"]] = step
    return Table(head, [(name, *_cells(by_step)) for name, by_step in found.items()])


def _cells(found: dict[str, Record]) -> Iterable[str]:
    train, label = found.get("train") or found.get("final"), found.get("label")
    test = train.get("test") if train else None
    calibration = train.get("calibration") if train else None
    yield str(train["frames"]) if train else ""
    for quantity in ("forces", "energy_per_atom"):
        yield f"{1e3 * test[quantity]['mae']:.2f}" if test else ""
    yield f"{calibration['spearman']:.2f}" if isinstance(calibration, dict) else ""
    yield f"{train['minutes']:.1f}" if train else ""
    simulated = found.get("simulate")
    yield f"{sum(s['time'] for s in simulated['simulations']) / 1000:.1f}" if simulated else ""
    yield str(len(found["harvest"]["chosen"])) if "harvest" in found else ""
    yield str(label["labelled"]) if label else ""
    yield f"{label['seconds'] / 60:.1f}" if label else ""


def _chosen(steps: Sequence[Record]) -> Iterable[Block]:
    """A table for each round: which frames, in the order in which they were chosen, and why."""
    head = ("simulation", "step", "time, fs", "deviation, eV/Å", "from the nearest chosen before, fs")
    for step in steps:
        if step["step"] != "harvest":
            continue
        rows = [
            (str(c["simulation"]), str(c["step"]), f"{c['time']:.0f}", f"{c['deviation']:.3f}",
             "" if c["apart"] is None else f"{c['apart']:.0f}")
            for c in step["chosen"]
        ]  # fmt: skip
        yield Table(head, rows, caption=in_words(step))
