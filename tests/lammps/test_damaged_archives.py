"""Random damage to an archive: LAMMPS refuses it by name, or, where nothing that is used was hit, computes rightly."""

from __future__ import annotations

import random

import pytest

from tests.conftest import TYPE_NAMES
from tests.lammps.damaged_input import Case, energies_or_messages
from tests.lammps.lammps_run import pair_allegro, run_lammps, write_data


def splices(rng: random.Random, size: int) -> list[tuple[int, int, str]]:
    """What happens to files: bytes changed or zeroed, the end lost, a part lost, doubled, or filled with noise."""
    begin = rng.randrange(size)
    end = min(size, begin + rng.choice((1, 8, 64, 512, 4096, 65536)))
    noise = rng.randbytes(end - begin).hex()
    match rng.randrange(6):
        case 0:
            places = sorted(rng.randrange(size) for _ in range(rng.randint(1, 4)))
            return [(place, place + 1, rng.randbytes(1).hex()) for place in places]
        case 1:
            return [(begin, end, "00" * (end - begin))]
        case 2:
            return [(begin, size, "")]
        case 3:
            return [(begin, end, "")]
        case 4:
            return [(begin, begin, noise)]
        case _:
            return [(begin, end, noise)]


def assert_refused_or_right(folder, archive, atoms, evaluator: str, num_cases: int, ranks: int) -> None:
    sound = run_lammps(folder, atoms, TYPE_NAMES, pair_allegro(archive, TYPE_NAMES)).energy
    write_data(folder / "structure.data", atoms, TYPE_NAMES)
    pair = pair_allegro("damaged.pth", TYPE_NAMES, f"evaluator {evaluator}").splitlines()
    commands = ["newton on", *pair, "neighbor 1.0 bin", "run 0 post no"]
    rng, size = random.Random(num_cases), archive.stat().st_size
    damaged = [Case(commands, str(archive), splices(rng, size)) for _ in range(num_cases)]
    outcomes = energies_or_messages(folder, [Case(commands, str(archive)), *damaged], ranks, timeout=num_cases)
    assert isinstance(outcomes[0], float)
    for case, outcome in zip(damaged, outcomes[1:], strict=True):
        if isinstance(outcome, float):
            assert outcome == pytest.approx(sound, rel=1e-10), case
        else:
            assert "archive 'damaged.pth'" in outcome, (case, outcome)
    assert sum(isinstance(outcome, str) for outcome in outcomes) > 0.8 * num_cases


def test_damaged_archive_is_refused_or_right(archives, triclinic_silica, tmp_path):
    assert_refused_or_right(tmp_path, archives["float64"], triclinic_silica, "fused", num_cases=100, ranks=2)


@pytest.mark.slow
@pytest.mark.parametrize("evaluator, ranks", [("fused", 1), ("fused", 2), ("torchscript", 1)])
def test_a_thousand_damaged_archives_are_refused_or_right(evaluator, ranks, archives, triclinic_silica, tmp_path):
    assert_refused_or_right(tmp_path, archives["float64"], triclinic_silica, evaluator, num_cases=1000, ranks=ranks)
