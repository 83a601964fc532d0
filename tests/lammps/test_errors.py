"""Bad input ends the run on every rank, with a message that names the thing, what was expected and what came."""

from __future__ import annotations

import pytest

from tests.lammps import lennard_jones
from tests.lammps.lammps_run import start_lmp

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
    assert "pair" in failure(tmp_path, coeff(lj_archive, "Ar NULL")).lower()


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
