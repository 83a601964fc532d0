"""Bad input ends the run on every rank, with a message that names the thing, what was expected and what came."""

from __future__ import annotations

import os

import pytest

from tests.lammps import lennard_jones
from tests.lammps.lammps_run import start_lmp
from tests.lammps.test_shared_processes import run_python

BOX = """\
{head}
boundary p p p
region box block 0 12 0 12 0 12
create_box 2 box
create_atoms 1 single 3 3 3
create_atoms 2 single 3 3 7
mass * 40.0
{pair}
run 0
"""


def failure(folder, pair: str, head: str = "units metal") -> str:
    """The error of a two-rank run that must fail, on one line."""
    run = start_lmp(folder, BOX.format(head=head, pair=pair), ranks=2)
    assert run.returncode != 0
    return " ".join((run.stdout + run.stderr).split())


def coeff(archive, elements: str = "Ar Kr", options: str = "") -> str:
    return f"pair_style allegro {options}\npair_coeff * * {archive} {elements}"


def test_wrong_element_names_the_archives_types(lj_archive, tmp_path):
    text = failure(tmp_path, coeff(lj_archive, "Ar Xe"))
    assert "element 'Xe' of LAMMPS type 2 is not in archive" in text
    assert "whose types are: Ar Kr" in text


def test_wrong_number_of_elements_is_told(lj_archive, tmp_path):
    assert "each of the 2 LAMMPS types, got 1" in failure(tmp_path, coeff(lj_archive, "Ar"))


def test_null_element_without_hybrid_is_refused(lj_archive, tmp_path):
    text = failure(tmp_path, coeff(lj_archive, "Ar NULL"))
    assert "NULL leaves a LAMMPS type to another style of pair_style hybrid" in text and "each of the 2" in text


def test_null_for_all_types_is_refused(lj_archive, tmp_path):
    pair = f"pair_style hybrid/overlay allegro zero 5.0\npair_coeff * * zero\npair_coeff * * allegro {lj_archive}"
    assert "an element for one LAMMPS type at least, got NULL for all" in failure(tmp_path, f"{pair} NULL NULL")


def test_unknown_keyword_names_the_known(lj_archive, tmp_path):
    assert "unknown keyword 'devise'; known are device, evaluator, block, memory and committee" in failure(
        tmp_path, coeff(lj_archive, options="devise cpu")
    )


@pytest.mark.parametrize(
    "options", ["block 0", "block 600000000", "memory 2T", "memory much", "memory -1G", "memory 0"]
)
def test_sizes_that_make_no_sense_are_refused(options, lj_archive, tmp_path):
    keyword, value = options.split()
    text = failure(tmp_path, coeff(lj_archive, options=options))
    assert f"pair_style allegro: {keyword} must be a number of" in text and f"got {value}" in text


def test_unknown_device_names_the_known(lj_archive, tmp_path):
    assert "device 'gpu': expected auto, cpu, cuda or cuda:N" in failure(
        tmp_path, coeff(lj_archive, options="device gpu")
    )


def test_gpu_that_is_not_there_is_told(lj_archive, tmp_path):
    text = failure(tmp_path, coeff(lj_archive, options="device cuda:4096"))
    assert "device 'cuda:4096' asked for, but this process sees" in text and text.count("ERROR") == 1


def test_evaluator_that_cannot_run_the_archive_is_told(lj_archive, tmp_path):
    assert "expected auto, fused or torchscript" in failure(tmp_path, coeff(lj_archive, options="evaluator fast"))
    assert "holds no program for it" in failure(tmp_path, coeff(lj_archive, options="evaluator fused"))


def test_missing_archive_is_told(tmp_path):
    assert "archive 'nowhere.pth' does not exist" in failure(tmp_path, coeff("nowhere.pth"))


def test_folder_in_the_place_of_an_archive_is_told(tmp_path):
    (tmp_path / "run.pth").mkdir()
    assert "archive 'run.pth' is a folder, expected a file written by" in failure(tmp_path, coeff("run.pth"))


def test_pipe_in_the_place_of_an_archive_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    assert "archive 'pipe.pth' is no regular file" in failure(tmp_path, coeff("pipe.pth"))


def test_truncated_archive_is_told(lj_archive, tmp_path):
    whole = lj_archive.read_bytes()
    (tmp_path / "half.pth").write_bytes(whole[: len(whole) // 2])
    assert "archive 'half.pth' cannot be read: it is truncated, corrupt" in failure(tmp_path, coeff("half.pth"))


def test_file_of_another_kind_is_told(tmp_path):
    (tmp_path / "notes.pth").write_text("not an archive\n" * 100)
    assert "archive 'notes.pth' cannot be read" in failure(tmp_path, coeff("notes.pth"))


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_damaged_archive_is_told(place, archives, tmp_path):
    damaged = bytearray(archives["float64"].read_bytes())
    start = int(place * len(damaged))
    damaged[start : start + 64] = bytes(255 - b for b in damaged[start : start + 64])
    (tmp_path / "damaged.pth").write_bytes(damaged)
    text = failure(tmp_path, coeff("damaged.pth", "Si O"))
    assert "archive 'damaged.pth'" in text


def test_scripted_module_without_format_is_told(tmp_path):
    lennard_jones.write_archive(tmp_path / "other.pth", format_version=None)
    assert "archive 'other.pth' has no format_version" in failure(tmp_path, coeff("other.pth"))


def test_newer_format_names_both_versions(tmp_path):
    lennard_jones.write_archive(tmp_path / "newer.pth", format_version="7")
    assert "has format version 7, this allegro_dist reads version 2" in failure(tmp_path, coeff("newer.pth"))


def test_failed_self_check_names_error_and_tolerance(tmp_path):
    lennard_jones.write_archive(tmp_path / "wrong.pth", energy_error=1e-3)
    text = failure(tmp_path, coeff("wrong.pth"))
    assert "self-check of archive 'wrong.pth' failed on cpu" in text
    assert "deviate by 0.001 eV (tolerance 1e-12)" in text


AGAIN = "write_restart r.restart\nclear\nread_restart r.restart\n"


@pytest.mark.parametrize(
    "pair, message",
    [
        ("pair_style allegro block\n", "pair_style allegro: keyword 'block' needs a value"),
        ("pair_style allegro committee median\n", "committee must be mean or first, got median"),
        ("pair_coeff * * {} Si O", "Pair_coeff command without a pair style"),
        ("pair_style allegro", "All pair coeffs are not set"),
        ("pair_style allegro\npair_coeff * *", "pair style allegro expects * * archive ... element ..."),
        ("pair_style allegro\npair_coeff 1 2 {} Si O", "must start with * * for pair style allegro"),
        ("pair_style allegro\npair_coeff * * {} Si O\npair_style allegro device cpu", "All pair coeffs are not set"),
        ("pair_style allegro\npair_coeff * * {} Si O\n" + AGAIN, "Must re-specify non-restarted pair style (allegro)"),
        ("pair_style hybrid allegro zero 5\npair_coeff * * {} Si O", "Expected hybrid sub-style instead of"),
        ("pair_style allegro\npair_coeff * * {} Si O\npair_write 1 1 9 r 1 5 a b", "does not support pair_write"),
        (
            "pair_style allegro\npair_coeff * * {} Si O\nfix spread all pair 1 allegro deviation 1",
            "a deviation is that of several archives' forces, but pair_coeff names one",
        ),
    ],
)
def test_command_that_makes_no_sense_is_refused(pair, message, archives, tmp_path):
    text = failure(tmp_path, pair.format(archives["float64"]))
    assert message in text and text.count("ERROR") == 1


ON_AFTER_AN_ERROR = """\
def error(command):
    try:
        lmp.command(command)
    except Exception as error:
        return str(error)

lmp = start(world)
lmp.commands_string(open("in.box").read())
for archive, elements in (("nowhere.pth", "Si O"), ("{archive}", "Si Xx")):
    assert error("pair_coeff * * {archive} Si O") is None and error("run 0") is None
    assert "pair_coeff" in error(f"pair_coeff * * {{archive}} {{elements}}")
    assert "pair coeffs are not set" in error("run 0")
"""


def test_program_that_goes_on_after_an_error_has_no_coefficients(archives, tmp_path):
    """It crashed: the archive before was closed, its coefficients still said to be set."""
    box = BOX.format(head="units metal", pair="pair_style allegro").removesuffix("run 0\n")
    (tmp_path / "in.box").write_text(box)
    run_python(tmp_path, ON_AFTER_AN_ERROR.format(archive=archives["float64"]), 2)


def test_newton_off_is_refused(lj_archive, tmp_path):
    text = failure(tmp_path, coeff(lj_archive), head="units metal\nnewton off")
    assert "requires newton pair on, found newton pair off" in text


def test_units_without_an_absolute_scale_are_refused(lj_archive, tmp_path):
    assert "requires units metal, real, electron, si, cgs, micro or nano, found units lj" in failure(
        tmp_path, coeff(lj_archive), head="units lj"
    )


def test_result_that_is_not_finite_ends_the_run(lj_archive, tmp_path):
    pair = coeff(lj_archive) + "\nset atom 2 z 3.0"  # on top of atom 1
    text = failure(tmp_path, pair)
    assert "not finite for a center of type Ar with 1 neighbors" in text and "(atom ID 1)" in text
    assert text.count("ERROR") == 1
