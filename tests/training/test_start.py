"""Fine-tuning: what a run takes over from a trained potential, what it keeps, and what it fits first."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from allegro_dist.cli import main
from allegro_dist.commands.train import load_potential
from allegro_dist.config import ConfigError, dump
from allegro_dist.data.dataset import build_graphs
from allegro_dist.data.structure import read_structures
from allegro_dist.deploy.archive import save_archive
from allegro_dist.deploy.archive_file import ArchiveError
from allegro_dist.potential import in_dtype, pair_cutoffs
from allegro_dist.training import checkpoint
from allegro_dist.training.run import train
from tests.data.frames import labelled_atoms
from tests.training.runs import small_run

STILL = {"max_epochs": 1, "learning_rate": 1e-30, "weight_decay": 0.0}
"""A run whose steps change no weight."""


@pytest.fixture(scope="module")
def silica(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "silica.xyz"
    write(path, [labelled_atoms(n, symbols=s) for n, s in enumerate(("Si4O3", "SiO2", "Si3O2", "SiO4", "Si2O3"))])
    return str(path)


@pytest.fixture(scope="module")
def wet(tmp_path_factory):
    """Frames that hold hydrogen, too."""
    path = tmp_path_factory.mktemp("data") / "wet.xyz"
    write(path, [labelled_atoms(9 + n, symbols=s) for n, s in enumerate(("Si2O3H", "SiO2H4", "Si3O2", "OH2", "SiOH"))])
    return str(path)


@pytest.fixture(scope="module")
def source(silica, tmp_path_factory):
    """A trained run of two types."""
    folder = tmp_path_factory.mktemp("source")
    train(small_run(folder, silica, {"max_epochs": 3, "learning_rate": 0.01}))
    return folder


def fine_tuning(folder, frames, source, training=STILL, start=None, **sections):
    return small_run(folder, frames, training, start={"model": str(source), **(start or {})}, **sections)


def results(potential, frames):
    used = potential.parameters_used
    cutoffs = pair_cutoffs(used.config, used.type_names)
    graphs = build_graphs(read_structures(frames), used.type_names, cutoffs, potential.dtype)
    return [tensor for g in graphs for tensor in potential.eval()(g.edge_vectors, g.edge_index, g.atom_types)]


def assert_same_results(one, two, frames):
    for a, b in zip(results(one, frames), results(two, frames), strict=True):
        assert torch.equal(a, b)


def relabelled(path, potential, frames, energy=lambda atoms, e: e, force_factor=1.0):
    """The frames with a potential's own labels, changed."""
    out = []
    for atoms, structure in zip(read(frames, ":"), read_structures(frames), strict=True):
        used = potential.parameters_used
        (graph,) = build_graphs([structure], used.type_names, pair_cutoffs(used.config, used.type_names), torch.float64)
        energies, gradient = potential.eval()(graph.edge_vectors, graph.edge_index, graph.atom_types)
        forces = torch.zeros(len(atoms), 3, dtype=torch.float64)
        forces.index_add_(0, graph.edge_index[0], gradient).index_add_(0, graph.edge_index[1], -gradient)
        atoms.calc = SinglePointCalculator(
            atoms, energy=energy(atoms, float(energies.sum())), forces=force_factor * forces.numpy(), stress=np.zeros(6)
        )
        out.append(atoms)
    write(path, out)
    return str(path)


# --- what is taken over ----------------------------------------------------------------------------------------------


def test_run_without_a_step_is_its_source_to_the_bit(source, silica, tmp_path):
    train(fine_tuning(tmp_path, silica, source))
    assert_same_results(checkpoint.load_run(source), checkpoint.load_run(tmp_path), silica)


def test_archive_is_as_good_a_start_as_its_run(source, silica, tmp_path):
    save_archive(tmp_path / "m.pth", checkpoint.load_run(source))
    train(fine_tuning(tmp_path / "run", silica, tmp_path / "m.pth"), load_potential)
    assert_same_results(checkpoint.load_run(source), checkpoint.load_run(tmp_path / "run"), silica)


def test_start_in_another_precision_has_the_weights_in_it(source, silica, tmp_path):
    train(fine_tuning(tmp_path, silica, source, model={"dtype": "float32"}))
    assert_same_results(in_dtype(checkpoint.load_run(source), "float32"), checkpoint.load_run(tmp_path), silica)


@pytest.mark.parametrize("model", [{}, {"radial_basis": "spline"}, {"family": "allegro-2022"}])
def test_known_types_keep_their_energies_and_forces_beside_new_ones(silica, wet, tmp_path, model):
    train(small_run(tmp_path / "old", silica, {"max_epochs": 1}, model={**model}))
    train(fine_tuning(tmp_path / "new", wet, tmp_path / "old", model={**model}))
    tuned = checkpoint.load_run(tmp_path / "new")
    assert tuned.parameters_used.type_names == ("O", "Si", "H")
    assert_same_results(checkpoint.load_run(tmp_path / "old"), tuned, silica)


def test_types_may_come_in_another_order_or_be_left_out(source, silica, tmp_path):
    write(tmp_path / "si.xyz", [labelled_atoms(n, symbols="Si5") for n in range(3)])
    for name, types in (("turned", ["Si", "O"]), ("fewer", ["Si"])):
        frames = silica if name == "turned" else str(tmp_path / "si.xyz")
        train(fine_tuning(tmp_path / name, frames, source, model={"type_names": types}))
    old = checkpoint.load_run(source)
    assert_same_results(old, checkpoint.load_run(tmp_path / "turned"), silica)
    # a single type has its embedding folded into the radial map: the same to rounding
    fewer = results(checkpoint.load_run(tmp_path / "fewer"), str(tmp_path / "si.xyz"))
    for a, b in zip(results(old, str(tmp_path / "si.xyz")), fewer, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_types_that_a_model_cannot_tell_apart_by_rows_are_refused(silica, wet, tmp_path):
    model = {"family": "allegro-2022", "two_body_mlp_depth": 0}
    train(small_run(tmp_path / "old", silica, {"max_epochs": 1}, model={**model}))
    with pytest.raises(ConfigError, match="start.model: its weights two_body.write.0 do not say which type"):
        train(fine_tuning(tmp_path / "new", wet, tmp_path / "old", model={**model}))


def test_new_types_get_shifts_that_fit_what_the_others_leave(source, wet, tmp_path):
    train(fine_tuning(tmp_path, wet, source, data={"val": wet}))
    tuned = checkpoint.load_run(tmp_path)
    hydrogen = tuned.parameters_used.type_names.index("H")
    missing, counts = [], []
    for n, structure in enumerate(read_structures(wet)):
        counts.append(structure.symbols.count("H"))
        missing.append(structure.energy - float(results(tuned, wet)[2 * n].sum()))
    share = np.array(counts) > 0
    left = np.array(missing)[share] / np.array(counts)[share]
    assert np.mean(left) == pytest.approx(0.0, abs=1e-9)  # least squares of one number: the mean is zero
    assert float(tuned.shift[hydrogen]) != 0.0


# --- what is kept ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["fused", "eager"])
def test_frozen_parts_keep_their_weights_to_the_bit_while_others_move(source, silica, tmp_path, step):
    training = {"max_epochs": 2, "learning_rate": 0.01, "step": step, "schedule": {"name": "constant", "warmup": 0.0}}
    config = fine_tuning(tmp_path, silica, source, training, {"freeze": ["embedding", "latents.0", "prod*"]})
    train(config)
    train(replace(config, training=replace(config.training, max_epochs=4)))
    for which in ("best", "last"):
        old = dict(checkpoint.load_run(source).named_parameters())
        for name, weight in checkpoint.load_run(tmp_path, which).named_parameters():
            frozen = name.startswith(("model.embedding.", "model.latents.0.", "model.products."))
            assert torch.equal(weight, old[name]) == frozen, name


def test_frozen_run_goes_on_to_the_bit_without_its_source(source, silica, tmp_path):
    training = {"learning_rate": 0.01, "schedule": {"name": "constant", "warmup": 0.0}}
    start = {"freeze": ["latents"], "refit_shifts": True}
    copy = shutil.copytree(source, tmp_path / "source")
    whole, parts = (fine_tuning(tmp_path / n, silica, copy, {**training, "max_epochs": 4}, start) for n in "ab")
    train(whole)
    train(replace(parts, training=replace(parts.training, max_epochs=2)))
    shutil.rmtree(copy)
    train(parts)
    weights = [checkpoint.read(tmp_path / n / "last.ckpt")["weights"] for n in "ab"]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_scales_alone_can_be_trained(source, silica, tmp_path):
    parts = ["embedding", "two_body", "start", "products", "latents", "readout"]
    model = {"train_scale_shift": True}
    train(fine_tuning(tmp_path, silica, source, {"max_epochs": 1}, {"freeze": parts}, model=model))
    old, new = checkpoint.load_run(source), checkpoint.load_run(tmp_path)
    assert torch.equal(old.model.readout.write[0], new.model.readout.write[0])
    assert not torch.equal(old.scale, new.scale)


# --- what is fitted first --------------------------------------------------------------------------------------------


def test_refitted_shifts_recover_another_zero_of_energy(source, silica, tmp_path):
    zero = {"Si": 11.5, "O": -3.25}
    old = checkpoint.load_run(source)
    moved = relabelled(tmp_path / "m.xyz", old, silica, lambda atoms, e: e + sum(zero[s] for s in atoms.symbols))
    train(fine_tuning(tmp_path / "run", moved, source, start={"refit_shifts": True}))
    change = checkpoint.load_run(tmp_path / "run").shift - old.shift
    assert change.tolist() == pytest.approx([zero[n] for n in old.parameters_used.type_names], abs=1e-9)


def test_refitted_scale_recovers_a_factor_of_the_forces(source, silica, tmp_path):
    old = checkpoint.load_run(source)
    stiffer = relabelled(tmp_path / "m.xyz", old, silica, force_factor=1.75)
    train(fine_tuning(tmp_path / "run", stiffer, source, start={"refit_scale": True}))
    assert (checkpoint.load_run(tmp_path / "run").scale / old.scale).tolist() == pytest.approx([1.75] * 2, rel=1e-7)


def test_forces_unlike_the_model_s_are_no_scale(source, silica, tmp_path):
    turned = relabelled(tmp_path / "m.xyz", checkpoint.load_run(source), silica, force_factor=-1.0)
    with pytest.raises(ValueError, match="start.refit_scale: the training frames have no forces that resemble"):
        train(fine_tuning(tmp_path / "run", turned, source, start={"refit_scale": True}))


# --- the command and bad input ---------------------------------------------------------------------------------------


def test_command_takes_over_the_model_s_settings(source, silica, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(f"data: {{train: {silica}}}\nstart: {{model: {source}}}\n"
                                     f"run: {{dir: {tmp_path / 'run'}}}\ntraining: {{max_epochs: 1}}\n")  # fmt: skip
    for epochs in (1, 2):  # the second goes on with the run
        assert main(["train", str(tmp_path / "c.yaml"), f"training.max_epochs={epochs}"]) == 0
    assert checkpoint.load_run(tmp_path / "run").parameters_used.config == load_potential(source).parameters_used.config


@pytest.mark.parametrize("section", ["model", "data", "run"])
def test_section_that_is_no_mapping_is_refused(source, silica, section, capsys):
    values = [f"data.train={silica}", f"start.model={source}", f"{section}=7"]
    assert main(["train", *sorted(values, key=lambda v: "." not in v)]) == 2
    assert f"'{section}'" in capsys.readouterr().err


def test_other_settings_of_the_model_are_refused_by_name(source, silica, tmp_path):
    with pytest.raises(ConfigError, match=r"other settings of model: l_max \(there 2, here 1\), cutoff of O-O \(there"):
        train(fine_tuning(tmp_path, silica, source, model={"l_max": 1, "pair_cutoffs": {"O-O": 3.0}}))


@pytest.mark.parametrize(
    "freeze, message",
    [
        (["embeding"], "no part matches 'embeding'; did you mean 'embedding'[?] The parts are embedding, two_body"),
        (["layers.*"], r"no part matches 'layers.\*'.* products.0, products.1, latents.0, latents.1, readout$"),
        (["*"], r"\* leave no weights to train"),
    ],
)
def test_pattern_that_freezes_nothing_or_everything_is_refused(source, silica, tmp_path, freeze, message):
    with pytest.raises(ConfigError, match=message):
        train(fine_tuning(tmp_path, silica, source, start={"freeze": freeze}))


def test_freezing_without_a_start_is_refused(silica, tmp_path):
    with pytest.raises(ConfigError, match="start: freeze: needs start.model"):
        small_run(tmp_path, silica, start={"freeze": ["embedding"]})


def test_archive_without_weights_says_where_they_are(source, silica, tmp_path):
    save_archive(tmp_path / "m.pth", checkpoint.load_run(source))
    with zipfile.ZipFile(tmp_path / "m.pth") as whole, zipfile.ZipFile(tmp_path / "old.pth", "w") as old:
        for name in whole.namelist():
            if not name.endswith("weights.safetensors"):
                old.writestr(name, whole.read(name))
    with pytest.raises(ArchiveError, match="not its weights as they are trained .* take its run folder"):
        train(fine_tuning(tmp_path / "run", silica, source, start={"model": str(tmp_path / "old.pth")}), load_potential)


def test_missing_start_is_named(silica, tmp_path, capsys):
    dump(small_run(tmp_path / "run", silica, start={"model": str(tmp_path / "nowhere")}), tmp_path / "c.yaml")
    assert main(["train", str(tmp_path / "c.yaml")]) == 2
    assert "nowhere: no such file" in capsys.readouterr().err
