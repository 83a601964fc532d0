"""In the manner of LAMMPS's own tests of force styles (unittest/force-styles), with references from the Python model.

Every case of force_styles/ runs from its data file ("plain"), from a restart file and from a data file that LAMMPS
wrote, each held against the same reference at the start and after four steps. LAMMPS's tests do the same with newton
off, which this pair style refuses (test_errors.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from allegro_dist.deploy.archive import save_archive
from tests.lammps.force_case import FOLDER, ForceCase, State, integrate, read_case
from tests.lammps.lammps_run import BAR, pair_allegro, start_lmp, write_data

CASES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
STARTS = {
    "plain": "atom_style atomic\nbox tilt large\nread_data {name}.data",
    "restart": "read_restart {name}.restart",
    "data": "atom_style atomic\nbox tilt large\nread_data {name}.written",
}
WRITE = "write_restart {name}.restart\nwrite_data {name}.written\n"
STAGE = """\
clear
log {name}.{start}.log
units metal
newton on
{read}
{pair}
neighbor 1.0 bin
neigh_modify every 2 delay 0 check no
timestep {timestep}
compute virial all pressure NULL pair
compute energy all pe/atom
compute stress all stress/atom NULL pair
compute energies all reduce sum c_energy
compute stresses all reduce sum c_stress[*]
thermo_style custom pe c_virial[*] c_energies c_stresses[*]
thermo_modify format float %.17g
thermo {steps}
dump atoms all custom {steps} {name}.{start}.dump id fx fy fz xu yu zu vx vy vz
dump_modify atoms sort id format float %.17g
fix move all nve
{write}run {steps}
"""

# Both sides compute in float64 and differ in the order of their sums alone. A force is a sum over some 30 edges, an
# edge's gradient comes through about ten sums of 8 to 64 products: 1e3 roundings of 1e-16 of the largest term, 1e-13 of
# the largest force, if all went one way; a factor of 100 is left for terms that cancel. Four steps change nothing of
# that: an error of 1 eV/A moves an oxygen by 5e-3 A within 4 fs. Positions and velocities are of order 10, of which
# ten roundings are 1e-14; files hold them in binary, or in 17 digits, which are exact.
ROUNDING = 1e-11  # of the largest component
MOTION = 1e-12  # of positions and velocities, with what the forces' ROUNDING does to them
STAGES = [(name, start) for name in CASES for start in STARTS]


class Found(NamedTuple):
    state: State
    sum_of_energies: float
    sum_of_stresses: np.ndarray


@pytest.fixture(scope="module")
def references() -> dict[str, tuple[ForceCase, State, State]]:
    return {name: read_case(name) for name in CASES}


@pytest.fixture(scope="module")
def pairs(references, tmp_path_factory) -> dict[str, str]:
    """The archives' paths, for pair_coeff."""
    folder = tmp_path_factory.mktemp("archives")
    for name, (case, _, _) in references.items():
        for seed, potential in zip(case.seeds, case.potentials()):
            save_archive(folder / f"{name}-{seed}.pth", potential)
    return {
        name: " ".join(str(folder / f"{name}-{seed}.pth") for seed in case.seeds)
        for name, (case, _, _) in references.items()
    }


@pytest.fixture(scope="module", params=[(r, e) for r in (1, 2) for e in ("fused", "torchscript")], ids=str)
def found(request, references, pairs, tmp_path_factory) -> dict[tuple[str, str], tuple[Found, Found]]:
    """By case and start, the first and the last step of LAMMPS's; one program runs them all."""
    ranks, evaluator = request.param
    folder, text = tmp_path_factory.mktemp("force-styles"), ""
    for name, start in STAGES:
        case = references[name][0]
        write_case_data(folder / f"{name}.data", case)
        pair = pair_allegro(pairs[name], case.type_names, f"evaluator {evaluator} device cpu")
        write = WRITE.format(name=name) if start == "plain" else ""
        text += STAGE.format(name=name, start=start, read=STARTS[start].format(name=name), pair=pair, write=write,
                             timestep=case.timestep, steps=case.steps)  # fmt: skip
    run = start_lmp(folder, text, ranks)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return {(name, start): read_stage(folder / f"{name}.{start}", references[name][0]) for name, start in STAGES}


def write_case_data(path: Path, case: ForceCase) -> None:
    write_data(path, case.atoms, case.type_names)
    rows = "\n".join(f"{k} {v[0]:.17g} {v[1]:.17g} {v[2]:.17g}" for k, v in enumerate(case.velocities, 1))
    path.write_text(path.read_text() + f"\nVelocities\n\n{rows}\n")


def read_stage(path: Path, case: ForceCase) -> tuple[Found, Found]:
    lines = path.with_name(path.name + ".log").read_text().splitlines()
    end = next(k for k, line in enumerate(lines) if line.startswith("Loop time"))
    snapshots = path.with_name(path.name + ".dump").read_text().split("ITEM: TIMESTEP\n")[1:]
    assert [int(text.split()[0]) for text in snapshots] == [0, case.steps]
    states = []
    for row, text in zip(lines[end - 2 : end], snapshots):
        thermo = np.array(row.split(), dtype=float)
        table = np.loadtxt(text.splitlines()[-len(case.atoms) :])
        state = State(thermo[0], thermo[1:7] * case.atoms.cell.volume / BAR, *np.hsplit(table[:, 1:], 3))
        states.append(Found(state, thermo[7], -thermo[8:14] / BAR))
    return states[0], states[1]


def assert_same_evaluation(found: State, expected: State) -> None:
    assert found.energy == pytest.approx(expected.energy, rel=ROUNDING)
    for name in ("stress", "forces"):
        value = getattr(expected, name)
        np.testing.assert_allclose(
            getattr(found, name), value, rtol=0, atol=ROUNDING * np.abs(value).max(), err_msg=name
        )


@pytest.mark.parametrize("name", CASES)
def test_references_are_the_python_models(name, references):
    """If this fails, seeds give other weights than they did: scripts/make_force_references.py."""
    case, *expected = references[name]
    for state, reference in zip(integrate(case), expected):
        assert_same_evaluation(state, reference)
        np.testing.assert_allclose(state.positions, reference.positions, rtol=0, atol=MOTION)


@pytest.mark.parametrize("name, start", STAGES)
def test_start_is_the_references(name, start, found, references):
    assert_same_evaluation(found[name, start][0].state, references[name][1])


@pytest.mark.parametrize("name, start", STAGES)
def test_evaluation_after_the_steps_is_the_references(name, start, found, references):
    assert_same_evaluation(found[name, start][1].state, references[name][2])


@pytest.mark.parametrize("name, start", STAGES)
def test_motion_is_the_references(name, start, found, references):
    state, expected = found[name, start][1].state, references[name][2]
    np.testing.assert_allclose(state.positions, expected.positions, rtol=0, atol=MOTION)
    np.testing.assert_allclose(state.velocities, expected.velocities, rtol=0, atol=MOTION)


@pytest.mark.parametrize("name, start", STAGES)
def test_sums_over_atoms_are_the_global_values(name, start, found):
    for at in found[name, start]:
        assert at.sum_of_energies == pytest.approx(at.state.energy, rel=ROUNDING)
        scale = np.abs(at.state.stress).max()
        np.testing.assert_allclose(at.sum_of_stresses, at.state.stress, rtol=0, atol=ROUNDING * scale)
