"""What the compiled engine reads of an archive: whatever is wrong in it is refused by name, and nothing crashes."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from allegro_dist.compiled import is_built
from allegro_dist.deploy.archive import load_archive, save_archive
from allegro_dist.deploy.archive_file import ArchiveError
from allegro_dist.deploy.engine_data import read_engine_data
from allegro_dist.engine import Engine
from tests.conftest import make_potential

pytestmark = pytest.mark.skipif(not is_built(), reason="needs the compiled engine (scripts/setup.sh)")
MEMBER = "extra/engine.safetensors"
TEXTS = {"type_names": "Si O H", "dtype": "float64"}


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "model.pth"
    save_archive(path, make_potential(3))
    return path


def content_of(path: Path) -> bytes:
    with zipfile.ZipFile(path) as members:
        return members.read(f"{path.stem}/{MEMBER}")


def with_content(path: Path, folder: Path, content: bytes | None) -> Path:
    """The archive with another content of the engine's member, whose checksum is right; None: without it."""
    out = folder / "changed.pth"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            if not name.endswith(MEMBER):
                target.writestr(name, source.read(name))
            elif content is not None:
                target.writestr(name, content)
    return out


def test_rewritten_archive_still_opens(path, tmp_path):
    assert Engine(with_content(path, tmp_path, content_of(path))).evaluator.startswith("fused")


def changed(name: str, value: float):
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[name] = tensors[name].clone()
        tensors[name].view(-1)[-1] = value

    return change


def at(name: str, place: int | tuple[int, int], value: float):
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[name][place] = value

    return change


def shortened(name: str):
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[name] = tensors[name][:-1].clone()

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.pop("fused.projection"), "lacks 'fused.projection'"),
        (lambda t: t.pop("check.edge_index"), "lacks 'check.edge_index'"),
        (changed("check.atom_types", 3), r"'check.atom_types' holds 3\.\d+, expected an index from 0 to 2"),
        (changed("check.edge_index", 1000), "'check.edge_index' holds 1000"),
        (changed("fused.dense.sources", 99), "'fused.dense.sources' holds 99"),
        (changed("fused.environment.sources", -1), "'fused.environment.sources' holds -1"),
        (changed("fused.product.0.proceed.index", 10**6), "'fused.product.0.proceed.index' holds 1000000"),
        (changed("fused.sizes", 50), "'fused.sizes' holds 50"),
        (at("fused.sizes", 1, 0), "number of channels is 0"),
        (at("fused.dense.layers", (2, 0), 0), "dense layer's width is 0"),
        (at("fused.dense.sources", (1, 2), 1), "layer 1 reads projection 1"),
        (at("fused.dense.sources", (3, 2), 0), "layer 2 reads layer 0"),
        (at("fused.environment.sources", 0, 1), "environment 0 reads layer 1"),
        (at("fused.environment.sources", 1, 2), "layer 2 reads projection 1"),
        (changed("fused.product.1.dim", 10**8), "'fused.product.1.dim' holds 100000000"),
        (changed("tables.intervals", 10**9), "'tables.intervals' holds 1000000000"),
        (shortened("fused.readout"), "readout has size"),
        (shortened("fused.radial.weights"), r"radial weights \(pairs\) has size 8, expected 9"),
        (shortened("cutoffs"), r"'cutoffs' has shape \[2, 3\], expected \[3, 3\]"),
        (lambda t: t.update(cutoffs=t["cutoffs"].float()), "'cutoffs' has dtype 'F32', expected F64 or I64"),
        (at("cutoffs", (0, 1), -5.0), r"'cutoffs' holds -5\.\d+, expected above 0"),
        (at("cutoffs", (0, 1), 4.0), "'fused.cutoffs' differs from 'cutoffs'"),
        (lambda t: t.update({"check.atom_types": torch.zeros(0, dtype=torch.int64)}), "self-check holds no atoms"),
        (changed("fused.readout", float("nan")), "'fused.readout' holds a value that is not finite"),
        (changed("check.atomic_energy", 1.0), "self-check of archive"),
    ],
)
def test_wrong_part_is_named(path, tmp_path, change, message):
    tensors = load(content_of(path))
    change(tensors)
    with pytest.raises(RuntimeError, match=message):
        Engine(with_content(path, tmp_path, save(tensors, metadata=TEXTS)))


def test_archive_without_the_member_is_refused(path, tmp_path):
    without = with_content(path, tmp_path, None)
    with pytest.raises(RuntimeError, match=r"lacks engine\.safetensors"):
        Engine(without)
    with pytest.raises(ArchiveError, match=r"changed\.pth: engine\.safetensors is damaged or incomplete"):
        load_archive(without)


def test_python_names_what_the_member_lacks(path, tmp_path):
    tensors = load(content_of(path))
    del tensors["check.edge_vectors"]
    with pytest.raises(ArchiveError, match=r"engine\.safetensors is damaged or incomplete: .*'edge_vectors'"):
        load_archive(with_content(path, tmp_path, save(tensors, metadata=TEXTS)))


def test_types_that_do_not_fit_the_program_are_refused(path, tmp_path):
    content = save(load(content_of(path)), metadata=TEXTS | {"type_names": "Si O"})
    with pytest.raises(RuntimeError, match=r"'cutoffs' has shape \[3, 3\], expected \[2, 2\]|expected an index"):
        Engine(with_content(path, tmp_path, content))


def test_member_reads_back_what_was_written(path):
    check, program, tables = read_engine_data(content_of(path))
    assert check.edge_vectors.dtype == torch.float64 and tables.intervals == 0
    assert int(program["sizes"][3]) == 3


@pytest.mark.parametrize("part", ("header", "integers", "anywhere"))
def test_random_damage_with_right_checksums_never_crashes(path, tmp_path, part):
    """Either an error or, where the damage changes nothing that is used, an engine."""
    rng = np.random.default_rng(0)
    content = content_of(path)
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(100):
        if part == "integers":
            tensors = load(content)
            names = sorted(name for name, tensor in tensors.items() if tensor.dtype == torch.int64 and tensor.numel())
            name = names[rng.integers(len(names))]
            tensors[name].view(-1)[rng.integers(tensors[name].numel())] = int(rng.integers(-3, 40))
            damaged = save(tensors, metadata=TEXTS)
        else:
            raw = bytearray(content)
            for place in rng.integers(0, header if part == "header" else len(raw), 3):
                raw[place] = rng.integers(256)
            damaged = bytes(raw)
        try:
            Engine(with_content(path, tmp_path, damaged))
        except RuntimeError as error:
            assert "changed.pth" in str(error) or "fused evaluator" in str(error)
