"""The archive: round trip, bare torch.jit.load, and refusal of what is damaged, foreign or newer."""

import json
import subprocess
import sys
import zipfile

import pytest
import torch

from allegro_dist.deploy import archive as module
from allegro_dist.deploy.archive import load_archive, save_archive
from allegro_dist.deploy.archive_file import ArchiveError, read_model_card
from allegro_dist.deploy.self_check import SelfCheckError, make_self_check, run_self_check
from tests.conftest import MIXED_CUTOFFS, edges_of, make_potential, silica


@pytest.fixture(scope="module")
def potential():
    return make_potential(pair_cutoffs=MIXED_CUTOFFS, zbl=True)


@pytest.fixture(scope="module")
def path(potential, tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "model.pth"
    save_archive(path, potential, {"data": "random weights"})
    return path


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-13), ("float32", 1e-5)])
def test_loaded_archive_gives_the_potential_s_results(tmp_path, dtype, tolerance):
    potential = make_potential(dtype=dtype, num_layers=3, l_max=1)
    save_archive(tmp_path / "m.pth", potential)
    edges = edges_of(silica())
    for result, expected in zip(load_archive(tmp_path / "m.pth")(*edges), potential(*edges), strict=True):
        torch.testing.assert_close(result, expected, rtol=tolerance, atol=tolerance)
        assert not result.requires_grad


def test_bare_torch_loads_it_without_our_package(path, tmp_path):
    script = (
        "import sys, torch\n"
        "card = {'model_card.json': ''}\n"
        f"m = torch.jit.load({str(path)!r}, _extra_files=card)\n"
        "v = torch.tensor([[1.0, 0.5, 0.2], [-1.0, -0.5, -0.2]]); i = torch.tensor([[0, 1], [1, 0]])\n"
        "e, g = m(v, i, torch.tensor([0, 1]))\nassert e.shape == (2,) and g.shape == (2, 3)\n"
        "assert not v.requires_grad\n"
        "assert 'allegro_dist' not in sys.modules\n"
        "import json; card = json.loads(card['model_card.json']); print(card['type_names'], card['r_max'])"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.stdout.strip() == "['Si', 'O', 'H'] 5.0", result.stderr


def test_model_card_tells_what_it_is(path):
    card = read_model_card(path)
    assert card["type_names"] == ["Si", "O", "H"] and card["format_version"] == 2
    assert card["pair_cutoffs"] == [[5.0, 5.0, 5.0], [5.0, 5.0, 3.5], [5.0, 4.0, 3.0]]
    assert card["config"]["zbl"] is True and card["units"]["energy"] == "eV"
    assert card["interaction_range"] == 5.0 and card["training"] == {"data": "random weights"}


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ArchiveError, match=r"nothing\.pth: no such file"):
        load_archive(tmp_path / "nothing.pth")


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_truncated_archive_is_refused(path, tmp_path, keep):
    content = path.read_bytes()
    bad = tmp_path / "bad.pth"
    bad.write_bytes(content[: int(keep if keep > 1 else keep * len(content))])
    with pytest.raises(ArchiveError, match=r"bad\.pth: not a readable archive"):
        load_archive(bad)


def test_every_flipped_byte_of_the_weights_is_found(path, tmp_path):
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as members:
        largest = max(members.infolist(), key=lambda m: m.file_size)
    content[largest.header_offset + 200 + largest.file_size // 2] ^= 1
    bad = tmp_path / "bad.pth"
    bad.write_bytes(content)
    with pytest.raises(ArchiveError, match="damaged"):
        load_archive(bad)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_damage_of_the_compressed_code_is_found(path, tmp_path, share):
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as members:
        code = max(members.infolist(), key=lambda m: m.compress_size if m.compress_type else 0)
    content[code.header_offset + 200 + int(share * (code.compress_size - 200))] ^= 255
    bad = tmp_path / "bad.pth"
    bad.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"bad\.pth: (the archive is damaged|not a readable archive)"):
        load_archive(bad)


def test_other_torch_file_is_refused(tmp_path):
    torch.save({"a": 1}, tmp_path / "other.pth")
    with pytest.raises(ArchiveError, match="not an allegro_dist archive"):
        load_archive(tmp_path / "other.pth")


@pytest.mark.parametrize("version, remedy", [(7, "install a newer allegro_dist or deploy"), (1, "deploy")])
def test_another_format_is_refused_with_both_versions(tmp_path, potential, monkeypatch, version, remedy):
    monkeypatch.setattr(module, "FORMAT_VERSION", version)
    save_archive(tmp_path / "new.pth", potential)
    monkeypatch.undo()
    with pytest.raises(ArchiveError, match=rf"new\.pth: archive format {version}.*reads 2; {remedy} the model"):
        load_archive(tmp_path / "new.pth")


def test_failed_write_leaves_the_old_archive_whole(path, potential, monkeypatch):
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.torch.jit, "save", full)
    with pytest.raises(ArchiveError, match="No space left"):
        save_archive(path, potential)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_self_check_names_error_and_tolerance(potential):
    check = make_self_check(potential)
    run_self_check(check, potential)
    with pytest.raises(SelfCheckError, match=r"gradient error .* eV/Angstrom \(tolerance"):
        run_self_check(check, lambda *edges: (potential(*edges)[0], potential(*edges)[1] * (1 + 1e-6)))
    with pytest.raises(SelfCheckError):
        run_self_check(check, lambda *edges: (potential(*edges)[0] * float("nan"), potential(*edges)[1]))


def test_self_check_holds_every_type_pair(potential):
    check = make_self_check(potential)
    pairs = {tuple(check.atom_types[e].tolist()) for e in check.edge_index.T}
    assert len(pairs) == 9


def test_card_is_plain_json(path):
    assert json.loads(json.dumps(read_model_card(path)))["config"]["family"] == "allegro"


def test_self_check_allows_for_what_float32_loses_in_a_model_of_large_weights(tmp_path):
    potential = make_potential(dtype="float32", num_layers=3, l_max=2)
    with torch.no_grad():
        for name, weight in potential.named_parameters():
            if "latents" in name or "readout" in name:
                weight.mul_(4.0)  # large terms that cancel
    check = make_self_check(potential)
    _, gradient = potential.eval()(check.edge_vectors, check.edge_index, check.atom_types)
    lost = float((gradient.double() - check.edge_gradient).abs().max())
    assert lost > 5e-5 / 10 * float(check.edge_gradient.square().mean().sqrt())  # more than usual
    assert check.gradient_tolerance == pytest.approx(10 * lost, rel=1e-6)
    save_archive(tmp_path / "m.pth", potential)
    load_archive(tmp_path / "m.pth")
