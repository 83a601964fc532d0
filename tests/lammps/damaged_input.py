"""Runs many inputs, each damaged in some way, in one LAMMPS: it must stop with a message, or give an energy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from tests.lammps.test_shared_processes import run_python

WORKER = """\
import json
from pathlib import Path
lmp = start(world)
outcomes = []
for name, splices, commands in json.load(open("cases.json")):
    Path(f"current.{world.rank}").write_text(json.dumps([name, splices, commands]))
    if name and world.rank == 0:
        content = Path(name).read_bytes()
        for begin, end, replacement in splices:
            content = content[:begin] + bytes.fromhex(replacement) + content[end:]
        Path("damaged.pth").write_bytes(content)
    world.Barrier()
    lmp.commands_string("clear\\nunits metal\\nbox tilt large")
    try:
        for command in commands[:1] + ["read_data structure.data"] + commands[1:]:
            lmp.command(command)
        outcomes.append(["energy", lmp.get_thermo("pe")])
    except Exception as error:
        outcomes.append(["error", str(error).replace(f" on proc {world.rank}:", ":")])
gathered = world.gather(outcomes)
if world.rank == 0:
    json.dump(gathered, open("outcomes.json", "w"))
"""


class Case(NamedTuple):
    commands: list[str]  # structure.data is read after the first
    archive: str = ""  # of which damaged.pth is made, if any
    splices: list[tuple[int, int, str]] = []  # bytes begin .. end - 1 give way to these, in hexadecimal


def energies_or_messages(folder: Path, cases: list[Case], ranks: int, timeout: float) -> list[float | str]:
    """What LAMMPS made of each case: alike on all ranks, without a crash, and within the time in all."""
    cases_in_order = [(case.archive, case.splices, case.commands) for case in cases]
    (folder / "cases.json").write_text(json.dumps(cases_in_order))
    try:
        run_python(folder, WORKER, ranks, timeout)
    except Exception as error:
        raise AssertionError("crash or hang at " + (folder / "current.0").read_text()) from error
    outcomes = json.loads((folder / "outcomes.json").read_text())
    assert len(outcomes) == ranks and all(len(of_rank) == len(cases) for of_rank in outcomes)
    for case, *results in zip(cases, *outcomes):
        kind, value = results[0]
        assert all(result == results[0] for result in results), (case, results)
        assert kind == "energy" or ("ERROR" in value and len(value) > 20), (case, value)
    return [value for _, value in outcomes[0]]
