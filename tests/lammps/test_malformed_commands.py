"""Random damage to a sound input: LAMMPS stops with a message, or the energy is the one that the Python model has."""

from __future__ import annotations

import random

import numpy as np
import pytest

from allegro_dist.deploy.archive import save_archive
from allegro_dist.simulate.calculator import AllegroCalculator
from tests.conftest import MIXED_CUTOFFS, TYPE_NAMES, make_potential, silica
from tests.lammps.damaged_input import Case, energies_or_messages
from tests.lammps.lammps_run import in_lammps_frame, write_data

SOUND = [
    "newton on",
    "pair_style allegro block 50 committee mean evaluator fused",
    "pair_coeff * * a.pth b.pth Si O H",
]
END = ["neighbor 1.0 bin", "run 0 post no"]  # left alone: LAMMPS itself crashes at a bare "neighbor"
WORDS = [
    *(
        "allegro",
        "block",
        "memory",
        "committee",
        "evaluator",
        "device",
        "mean",
        "first",
        "auto",
        "fused",
        "cpu",
        "cuda",
    ),
    *(
        "cuda:0",
        "cuda:-1",
        "cuda:99999999999999999999",
        "emulated",
        "torchscript",
        "emulate",
        "*",
        "1",
        "2",
        "3",
        "1*2",
    ),
    *("0", "-1", "1e3", "1e400", "nan", "inf", "2147483648", "-9223372036854775809", "0x10", "1.5", "5K", "2G", "1T"),
    *("a.pth", "b.pth", "c.pth", "/", ".", "none.pth", "structure.data", "Si", "O", "H", "NULL", "si", "Xx", "si.O"),
    *("hybrid", "hybrid/overlay", "zero", "off", "'", '"', "$x", "${x}", "$(1/0)", "&", "#", "%s%n", "{}", "{:d}"),
    *("\\", "A" * 300, "a.pth/b", "~", "|", "<", "newton", "on", "bin", "run", "5.0", "1 2 3", "\t"),
]


def damaged(rng: random.Random) -> list[str]:
    """The sound input with one to three of its words or lines removed, doubled, exchanged or replaced."""
    lines = [line.split(" ") for line in SOUND]
    for _ in range(rng.randint(1, 3)):
        line = rng.choice([line for line in lines if line])
        k = rng.randrange(len(line))
        match rng.randrange(7):
            case 0:
                del line[k]
            case 1:
                line.insert(k, rng.choice(WORDS))
            case 2 | 3:
                line[k] = rng.choice(WORDS)
            case 4:
                other = rng.randrange(len(line))
                line[k], line[other] = line[other], line[k]
            case 5:
                line.extend(rng.choice(WORDS) for _ in range(rng.randint(1, 3)))
            case 6:
                lines.insert(rng.randrange(1, len(lines)), list(line))
    return [" ".join(line) for line in lines] + END


class Expected:
    """Energies by the Python model, of whatever archives and elements an input ended up with."""

    def __init__(self, folder, atoms) -> None:
        self.folder, self.atoms = folder, atoms
        self.numbers = np.array([TYPE_NAMES.index(name) for name in atoms.get_chemical_symbols()])
        self.known: dict[tuple[str, ...], float] = {}

    def one(self, archive: str, elements: tuple[str, ...]) -> float:
        key = (archive, *elements)
        if key not in self.known:
            atoms = self.atoms.copy()
            atoms.set_chemical_symbols([elements[k] for k in self.numbers])
            atoms.calc = AllegroCalculator(self.folder / archive)
            self.known[key] = atoms.get_potential_energy()
        return self.known[key]

    def of(self, commands: list[str]) -> float:
        def last(name: str) -> list[str]:
            words = [command.split("#")[0].replace('"', "").replace("'", "").split() for command in commands]
            return [line for line in words if line[:1] == [name]][-1]

        settings, coefficients = last("pair_style")[2:], last("pair_coeff")[3:]
        archives, elements = coefficients[:-3], tuple(coefficients[-3:])
        rules = [settings[k + 1] for k in range(0, len(settings), 2) if settings[k] == "committee"]
        if rules[-1:] == ["first"]:
            archives = archives[:1]
        return float(np.mean([self.one(archive, elements) for archive in archives]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("malformed")
    for seed, name in ((3, "a"), (4, "b")):
        save_archive(folder / f"{name}.pth", make_potential(seed, dtype="float64", pair_cutoffs=MIXED_CUTOFFS))
    save_archive(
        folder / "c.pth", make_potential(5, dtype="float64")
    )  # cutoffs of its own: no committee with the others
    return folder


def assert_clean_errors_or_right_energies(folder, seed: int, num_cases: int, ranks: int) -> None:
    rng = random.Random(seed)
    atoms = in_lammps_frame(silica(seed=5))
    write_data(folder / "structure.data", atoms, TYPE_NAMES)
    cases = [SOUND + END, *(damaged(rng) for _ in range(num_cases))]
    outcomes = energies_or_messages(folder, [Case(commands) for commands in cases], ranks, timeout=num_cases)
    expected, num_energies = Expected(folder, atoms), 0
    for commands, outcome in zip(cases, outcomes, strict=True):
        if isinstance(outcome, float):
            num_energies += 1
            assert outcome == pytest.approx(expected.of(commands), rel=1e-10), commands
    assert isinstance(outcomes[0], float)
    assert num_cases // 20 < num_energies < num_cases  # both happen: the damage is neither too mild nor too heavy


def test_damaged_input_is_refused_or_right(folder):
    assert_clean_errors_or_right_energies(folder, seed=1, num_cases=100, ranks=2)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", (1, 2))
def test_a_thousand_damaged_inputs_are_refused_or_right(folder, ranks):
    assert_clean_errors_or_right_energies(folder, seed=2, num_cases=1000, ranks=ranks)
