"""The report as a whole, by the command line: a committee of two runs, the silicon archive and its crystal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read, write
from numpy.testing import assert_allclose

from allegro_dist.cli import main
from allegro_dist.data.structure import read_structures
from allegro_dist.deploy.archive import load_archive, save_archive
from allegro_dist.report.committee import Committee, open_committee
from allegro_dist.report.crystals import CrystalProperties, crystal_properties
from allegro_dist.report.predictions import predict, read_frames
from allegro_dist.report.sections.crystal import crystal_part
from allegro_dist.training.evaluate import evaluate
from allegro_dist.training.run import train
from tests.conftest import make_potential
from tests.data.frames import labelled_atoms
from tests.training.runs import small_run, write_frames

SILICON = Path(__file__).parents[2] / "examples" / "silicon"


def report(folder: Path, *arguments: object) -> tuple[dict[str, Any], str]:
    """The JSON and the page."""
    files = folder / "report.json", folder / "report.html"
    assert main(["report", *map(str, arguments), "--json", str(files[0]), "-o", str(files[1])]) == 0
    return json.loads(files[0].read_text()), files[1].read_text()


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[str, str, str]:
    """Two short runs, on 6 and 9 frames, and a file of other frames in two groups, one of them without stress."""
    folder = tmp_path_factory.mktemp("runs")
    frames = write_frames(folder / "train.xyz", 12)
    for name, size in (("small", 6), ("large", 9)):
        data = {"max_frames": size, "val": 0.2}
        train(
            small_run(
                folder / name, frames, training={"max_epochs": 2}, model={"type_names": ["H", "O", "Si"]}, data=data
            )
        )
    test = [labelled_atoms(50 + n, symbols=s) for n, s in enumerate(["Si4O3H", "SiO2H4", "SiO2H4"])]
    test.append(labelled_atoms(60, pbc=False))
    for number, atoms in enumerate(test):
        atoms.info["kind"] = "even" if number % 2 == 0 else "odd"
    write(folder / "test.xyz", test)
    return str(folder / "small"), str(folder / "large"), str(folder / "test.xyz")


@pytest.fixture(scope="module")
def committee(runs, tmp_path_factory) -> tuple[dict[str, Any], str]:
    small, large, frames = runs
    folder = tmp_path_factory.mktemp("committee")
    return report(folder, small, large, "--data", frames, "--learning-curve", small, large, "--group", "kind")


@pytest.fixture(scope="module")
def silicon() -> Committee:
    return open_committee([SILICON / "si.pth"])


@pytest.fixture(scope="module")
def diamond(silicon) -> CrystalProperties:
    frames = read_frames([str(SILICON / "data" / name) for name in ("test.xyz", "train.xyz")])
    width = 2 * float(silicon.cutoffs.max())
    return crystal_properties("diamond", bulk("Si", "diamond", a=5.43), silicon.members, frames, width)


@pytest.fixture(scope="module")
def archive_alone(tmp_path_factory) -> tuple[dict[str, Any], str]:
    return report(tmp_path_factory.mktemp("alone"), SILICON / "si.pth", "--data", SILICON / "data" / "test.xyz")


def test_one_model_leaves_calibration_out_and_says_why(archive_alone):
    numbers, page = archive_alone
    assert "calibration" not in numbers and "one model has no spread" in numbers["left_out"]["calibration"]
    assert "one model has no spread" in page


def test_errors_of_an_archive_are_those_of_evaluate(archive_alone):
    numbers, path = archive_alone[0], SILICON / "data" / "test.xyz"
    archive = load_archive(SILICON / "si.pth")
    expected = evaluate(archive, read_structures(path), type_names=archive.type_names, cutoffs=archive.cutoffs())
    for name in ("energy_per_atom", "forces", "stress"):
        for kind in ("mae", "rmse"):
            assert numbers["parity"]["errors"][name][kind] == pytest.approx(expected[name][kind], rel=1e-3)
    assert {group["name"] for group in numbers["by_group"]} == {a.info["group"] for a in read(path, ":")}


def test_report_of_a_committee_has_every_part_that_applies(committee):
    numbers, page = committee
    parts = "parity by_type by_force_magnitude by_composition by_group worst_frames calibration learning_curve dimers"
    assert set(parts.split()) <= set(numbers)
    assert list(numbers["left_out"]) == ["crystal"] and "need a structure (--crystal FILE)" in page
    assert [g["name"] for g in numbers["by_group"]] == ["even", "odd"]
    assert {g["name"] for g in numbers["by_composition"]} == {"H4O2Si", "HO3Si4"}
    assert len(numbers["dimers"]) == 6


def test_page_of_a_committee_needs_no_other_file(committee):
    _, page = committee
    assert page.count("data:image/png;base64,") == page.count("<img") >= 12
    assert "http" not in page and 'src="/' not in page


def test_prediction_of_a_committee_is_the_mean_of_its_members(runs, committee):
    small, large, files = runs
    frames, opened = read_frames([files]), open_committee([small, large])
    forces = [
        predict(Committee((name,), (member,)), frames).forces[0] for name, member in zip(opened.names, opened.members)
    ]
    labelled = np.array(committee[0]["parity"]["values"]["forces"])
    assert_allclose(labelled[:, 1], np.mean(forces, axis=0).ravel(), rtol=1e-9, atol=1e-12)


def test_learning_curve_has_each_run_at_its_number_of_frames(committee):
    points = committee[0]["learning_curve"]["points"]
    assert [(Path(p["run"]).name, p["num_frames"]) for p in points] == [("small", 5), ("large", 7)]


def test_frames_without_stress_have_none_in_the_errors(committee):
    assert committee[0]["parity"]["errors"]["stress"]["count"] == 3 * 9


def test_crystal_of_the_silicon_archive_is_that_of_its_data(diamond):
    """PBE: 5.47 Angstrom, 88.5 GPa; C11, C12, C44: 153, 57, 75 GPa, the mode at the center 15.1 THz."""
    (curve,), (elastic,), (phonons,) = diamond.equations_of_state, diamond.elastic, diamond.phonons
    assert curve.lattice_constant() == pytest.approx(5.47, abs=0.01)
    assert curve.bulk_modulus == pytest.approx(88.5, rel=0.04)
    c = elastic.relaxed
    assert_allclose([c[0, 0], c[0, 1], c[3, 3]], [153, 57, 75], rtol=0.06)
    assert phonons.at_gamma[-1] == pytest.approx(15.1, rel=0.03)
    assert len(diamond.in_data) == 17  # the frames of group eos


def test_section_of_a_crystal_has_all_its_properties(diamond):
    html = crystal_part(diamond).section.html()
    for text in ("C44, GPa", "bulk modulus, GPa", "Phonon dispersion", "Data: 17 frames", "<th>data</th>"):
        assert text in html


def test_phonons_are_left_out_without_phonopy(silicon, monkeypatch):
    monkeypatch.setattr("allegro_dist.report.crystals.phonopy_is_installed", lambda: False)
    found = crystal_properties("diamond", bulk("Si", "diamond", a=5.43), silicon.members, [], 10.0)
    assert found.elastic and not found.phonons
    assert "pip install &#x27;allegro-dist[report]&#x27;" in crystal_part(found).section.html()


def test_crystal_that_comes_not_to_rest_is_left_out_with_the_reason(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("allegro_dist.analysis.crystal.MAX_STEPS", 1)
    small, _, frames = runs
    bulk("Si", "diamond", a=4.0).write(tmp_path / "dense.xyz")
    numbers, page = report(tmp_path, small, "--data", frames, "--crystal", tmp_path / "dense.xyz")
    crystal = numbers[f"crystal {tmp_path / 'dense.xyz'}"]
    assert "not at rest after 1 steps" in crystal["left_out"]["relaxed cell"] and crystal["elastic"] == []
    assert "not at rest after 1 steps" in page


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["{other}", "{small}", "--data", "{frames}"], "same types in the same order, but this one has H O Si"),
        (["{small}", "--data", "{frames}", "--group", "king"], "no frame has 'king' to group by; found: kind"),
        (["{small}", "--data", "{crystal}"], "none of the 1 frames has energy, forces or stress"),
        (["{small}", "--data", "{frames}", "--crystal", "{crystal}"], "atom of type 'Cu', but the model has H, O, Si"),
        (["{small}", "--data", "{frames}", "--crystal", "nowhere.xyz"], "nowhere.xyz: no such file"),
        (["{small}", "--data", "{frames}", "--learning-curve", "{folder}"], "results.json is missing"),
    ],
)
def test_what_cannot_be_reported_is_named(runs, tmp_path, capsys, arguments, message):
    small, _, frames = runs
    names = {"small": small, "frames": frames, "other": tmp_path / "other.pth", "crystal": tmp_path / "copper.xyz",
             "folder": tmp_path}  # fmt: skip
    bulk("Cu").write(names["crystal"])
    if "{other}" in arguments:
        save_archive(names["other"], make_potential(num_scalar_features=8, num_tensor_features=4, l_max=1))
    assert main(["report", *(a.format(**names) for a in arguments), "-o", str(tmp_path / "page.html")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
