"""The compiled engine through its C API: both evaluators against the archive in Python, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from allegro_dist.compiled import is_built
from allegro_dist.deploy import archive as module
from allegro_dist.deploy.archive import load_archive, save_archive
from allegro_dist.engine import Engine
from allegro_dist.simulate.calculator import AllegroCalculator
from tests.conftest import edges_of, make_potential, silica

pytestmark = pytest.mark.skipif(not is_built(), reason="the compiled engine is not built")
EVALUATORS = ("torchscript", "fused")
PAIR = ([0], [0, 2], [[2.0, 0.0, 0.0], [0.0, 2.1, 0.0]], [1, 2])  # a silicon with an oxygen and a hydrogen


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("engine") / "model.pth"
    save_archive(path, make_potential())
    return path


@pytest.fixture(params=EVALUATORS)
def engine(path, request):
    return Engine(path, evaluator=request.param)


@pytest.fixture(scope="module")
def block():
    """Every atom of a disordered cell as center: the engine's arrays, and the same for the archive."""
    vectors, index, types = edges_of(silica())
    offsets = np.concatenate([[0], np.cumsum(np.bincount(index[0], minlength=len(types)))])
    arrays = (types.numpy(), offsets, vectors.numpy(), types[index[1]].numpy())
    return arrays, (vectors, index, types)


def test_engine_equals_the_archive_in_python(engine, path, block):
    arrays, tensors = block
    energy, gradient = (t.double().numpy() for t in load_archive(path)(*tensors))
    got_energy, got_gradient = engine.evaluate(*arrays)
    # shifts of hundreds of eV: relative for energies; gradients relative to the largest
    np.testing.assert_allclose(got_energy, energy, rtol=1e-13, atol=0)
    np.testing.assert_allclose(got_gradient, gradient, rtol=0, atol=1e-13 * max(1.0, np.abs(gradient).max()))


def test_atoms_are_evaluated_as_their_block_is(engine, block):
    arrays, tensors = block
    for a, b in zip(engine.evaluate_atoms(*tensors), engine.evaluate(*arrays), strict=True):
        assert np.array_equal(a, b)


def test_arrays_of_other_types_and_strides_are_taken(engine, block):
    (types, offsets, vectors, neighbors), _ = block
    expected = engine.evaluate(types, offsets, vectors, neighbors)
    strided = np.asfortranarray(vectors)
    got = engine.evaluate(types.tolist(), offsets.astype(np.int32), strided, neighbors.astype(np.int16))
    for a, b in zip(got, expected, strict=True):
        assert np.array_equal(a, b)


def test_no_centers_give_nothing(engine):
    energy, gradient = engine.evaluate([], [0], np.zeros((0, 3)), [])
    assert energy.shape == (0,) and gradient.shape == (0, 3)


def test_auto_takes_the_fused_evaluator_on_the_cpu(path):
    assert Engine(path).evaluator.startswith("fused")
    assert Engine(path, evaluator="torchscript").evaluator == "TorchScript"


@pytest.mark.parametrize("which", ["center_types", "neighbor_types"])
@pytest.mark.parametrize("type_", [-1, 3, 10**8])
def test_type_outside_the_model_is_named(engine, which, type_):
    types, offsets, vectors, neighbors = PAIR
    wrong = ([type_], neighbors) if which == "center_types" else (types, [1, type_])
    with pytest.raises(RuntimeError, match=rf"{which}\[\d\] is {type_}, expected 0 to 2"):
        engine.evaluate(wrong[0], offsets, vectors, wrong[1])


def test_decreasing_offsets_are_refused(engine):
    _, _, vectors, neighbors = PAIR
    with pytest.raises(RuntimeError, match="edge_offsets decrease from 1000000 to 1 at center 1"):
        engine.evaluate([0, 0, 0], [0, 10**6, 1, 2], vectors, neighbors)


def test_arrays_that_do_not_fit_together_are_refused(engine):
    types, offsets, vectors, neighbors = PAIR
    with pytest.raises(ValueError, match="edge_offsets: expected 2 values from 0 to 2"):
        engine.evaluate(types, [0, 3], vectors, neighbors)
    with pytest.raises(ValueError, match="neighbor_types: expected 2 values"):
        engine.evaluate(types, offsets, vectors, neighbors[:1])


def test_result_that_is_not_finite_names_the_center(engine):
    with pytest.raises(RuntimeError, match="not finite for a center of type O with 1 neighbors"):
        engine.evaluate([1], [0, 1], np.zeros((1, 3)), [0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(evaluator="fast"), "evaluator 'fast': expected auto, fused or torchscript"),
        (dict(dtype="float16"), "dtype 'float16': expected auto, float32 or float64"),
        (dict(device="gpu"), "device 'gpu': expected auto, cpu, cuda or cuda:N"),
        (dict(instruction_set="mmx"), "instruction_set 'mmx': expected auto, avx512, avx2 or baseline"),
        (dict(table_intervals=10**6), "table_intervals 1000000: expected up to 16384"),
        (dict(evaluator="torchscript", dtype="float32"), "evaluator torchscript runs in the archive's, float64"),
    ],
)
def test_option_that_cannot_be_met_is_a_value_error(path, options, message):
    with pytest.raises(ValueError, match=message):
        Engine(path, **options)


def test_calculator_refuses_an_unknown_evaluator(path):
    with pytest.raises(ValueError, match="evaluator 'fast': expected auto, fused or torchscript"):
        AllegroCalculator(path, evaluator="fast")  # type: ignore[arg-type]


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_file_that_is_no_archive_is_a_runtime_error(evaluator, tmp_path):
    with pytest.raises(RuntimeError, match="does not exist"):
        Engine(tmp_path / "nowhere.pth", evaluator=evaluator)
    (tmp_path / "notes.pth").write_text("not an archive\n" * 100)
    with pytest.raises(RuntimeError, match="cannot be read"):
        Engine(tmp_path / "notes.pth", evaluator=evaluator)


def test_archive_without_program_runs_in_torchscript_and_refuses_fused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "fused_program", lambda potential: {})
    save_archive(tmp_path / "model.pth", make_potential())
    assert Engine(tmp_path / "model.pth").evaluator == "TorchScript"
    with pytest.raises(ValueError, match="holds no program for it"):
        Engine(tmp_path / "model.pth", evaluator="fused")
