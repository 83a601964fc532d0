import json
import math

import numpy as np
import pytest
import torch
from ase import Atoms
from rich.console import Console

from allegro_dist.config import AllegroConfig, LossConfig, ScheduleConfig, TrainingConfig
from allegro_dist.data.dataset import build_graphs, find_type_names
from allegro_dist.data.frames import GraphList
from allegro_dist.data.graph import collate
from allegro_dist.data.structure import from_atoms
from allegro_dist.files import FileError, write_atomically
from allegro_dist.potential import build_potential, pair_cutoffs
from allegro_dist.training.averaging import MovingAverage
from allegro_dist.training.distributed import start_ranks
from allegro_dist.training.evaluate import evaluate_potential
from allegro_dist.training.flat import FlatParameters
from allegro_dist.training.launch import LaunchError
from allegro_dist.training.loss import batch_loss, loss_weights
from allegro_dist.training.optimizer import make_optimizer
from allegro_dist.training.prediction import errors_of, predict
from allegro_dist.training.progress import ProgressDisplay
from allegro_dist.training.relative import RelativeSteps
from allegro_dist.training.sampler import balanced_shares, epoch_batches
from allegro_dist.training.schedule import Schedule, run_progress
from tests.data.frames import labelled_atoms

FORMULAS = ("Si4O3H", "SiO2H4", "Si3O2", "Si6", "SiO4")
STRUCTURES = [from_atoms(labelled_atoms(n, symbols=s)) for n, s in enumerate(FORMULAS)]
STRUCTURES[3] = STRUCTURES[3]._replace(stress=None)
STRUCTURES[4] = STRUCTURES[4]._replace(forces=None, stress=None)
TYPE_NAMES = find_type_names(STRUCTURES)
CONFIG = AllegroConfig(r_max=3.5, dtype="float64", num_scalar_features=16, num_tensor_features=8)


@pytest.fixture(scope="module")
def potential():
    torch.manual_seed(0)
    return build_potential(CONFIG, type_names=TYPE_NAMES, avg_num_neighbors=10.0, per_type_scale=[0.5] * 3,
                           per_type_shift=[-1.0] * 3)  # fmt: skip


@pytest.fixture(scope="module")
def graphs():
    return build_graphs(STRUCTURES, TYPE_NAMES, pair_cutoffs(CONFIG, TYPE_NAMES), torch.float64)


def gradients(potential, graphs, counts, weights):
    potential.train().zero_grad()
    batch = collate(graphs)
    errors = errors_of(predict(potential, batch, stress=True), batch)
    batch_loss(errors, batch, (weights / counts).tolist()).backward()
    return torch.cat([p.grad.flatten() for p in potential.parameters() if p.requires_grad])


def test_loss_gradients_of_shares_add_up_to_that_of_the_batch(potential, graphs):
    weights, counts = loss_weights(LossConfig(energy=1, forces=2, stress=30)), GraphList(graphs).label_counts.sum(0)
    whole = gradients(potential, graphs, counts, weights)
    parts = sum(gradients(potential, graphs[r::2], counts, weights) for r in range(2))
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-14)


def test_error_of_an_isolated_atom_is_that_of_its_shift(potential):
    atom = from_atoms(Atoms("Si"))._replace(energy=-3.0)
    assert evaluate_potential(potential, [atom])["energy"]["mae"] == pytest.approx(2.0, rel=1e-12)


def test_errors_equal_those_computed_frame_by_frame(potential, graphs):
    errors = evaluate_potential(potential, STRUCTURES)
    energy, per_atom, forces, stress = [], [], [], []
    for structure, graph in zip(STRUCTURES, graphs, strict=True):
        prediction = predict(potential.eval(), collate([graph]), stress=True)
        energy.append(float(prediction.energy) - structure.energy)
        per_atom.append(energy[-1] / len(structure.symbols))
        if structure.forces is not None:
            forces.append(prediction.forces.numpy() - structure.forces)
        if structure.stress is not None:
            stress.append(prediction.stress[0].numpy() - structure.stress)
    force_errors = np.concatenate(forces)
    quantities = {"energy": energy, "energy_per_atom": per_atom, "forces": force_errors, "stress": stress}
    for name, values in quantities.items():
        values = np.array(values)
        assert errors[name]["mae"] == pytest.approx(np.abs(values).mean(), rel=1e-12)
        assert errors[name]["rmse"] == pytest.approx(np.sqrt((values**2).mean()), rel=1e-12)
    symbols = np.concatenate([s.symbols for s in STRUCTURES if s.forces is not None])
    for name in TYPE_NAMES:
        expected = np.abs(force_errors[symbols == name]).mean()
        assert errors["forces"]["per_type"][name]["mae"] == pytest.approx(expected, rel=1e-12)


def test_evaluation_leaves_out_quantities_without_labels(potential):
    errors = evaluate_potential(potential, [s._replace(stress=None) for s in STRUCTURES])
    assert "stress" not in errors and errors["num_frames"] == 5
    json.dumps(errors)


def test_predicted_stress_is_the_strain_derivative_of_the_energy(potential):
    structure, h = STRUCTURES[0], 1e-5

    def energy(strain):
        deformation = np.eye(3) + strain
        strained = structure._replace(positions=structure.positions @ deformation, cell=structure.cell @ deformation)
        graph = build_graphs([strained], TYPE_NAMES, pair_cutoffs(CONFIG, TYPE_NAMES), torch.float64)
        return predict(potential.eval(), collate(graph), stress=True)

    stress = energy(np.zeros((3, 3))).stress[0]
    for a, b in ((0, 0), (1, 2)):
        strain = np.zeros((3, 3))
        strain[a, b] += h / 2
        strain[b, a] += h / 2
        slope = float(energy(strain).energy - energy(-strain).energy) / (2 * h * structure.volume)
        assert float(stress[a, b]) == pytest.approx(slope, abs=1e-8)


def test_epoch_batches_take_every_frame_once():
    batches = list(epoch_batches(11, 4, seed=5, epoch=2))
    assert [len(b) for b in batches] == [4, 4, 3]
    assert sorted(sum(batches, [])) == list(range(11))


def test_epoch_batches_follow_seed_and_epoch():
    draws = [list(epoch_batches(11, 4, seed, epoch)) for seed, epoch in ((5, 2), (5, 2), (5, 3), (6, 2))]
    assert draws[0] == draws[1] and draws[0] != draws[2] != draws[3] != draws[0]


def test_epoch_batches_go_on_from_a_position():
    assert list(epoch_batches(11, 4, 5, 2, first=1)) == list(epoch_batches(11, 4, 5, 2))[1:]


def test_shares_are_a_partition_with_empty_parts():
    shares = balanced_shares([7, 3, 5], [1, 1, 1], 4)
    assert sorted(sum(shares, [])) == [3, 5, 7] and [] in shares


def test_shares_of_one_keep_the_order():
    assert balanced_shares([7, 3, 5], [1, 9, 4], 1) == [[7, 3, 5]]


@pytest.mark.parametrize("size", [2, 3, 4])
def test_shares_have_nearly_equal_edges(size):
    costs = np.random.default_rng(0).integers(20, 4000, 32).tolist()  # molecules and cells in one batch
    sums = [sum(costs[i] for i in share) for share in balanced_shares(range(32), costs, size)]
    assert max(sums) < 1.02 * sum(costs) / size


def test_frames_without_edges_are_shared_out_too():
    assert sorted(map(len, balanced_shares(range(8), [0] * 8, 4))) == [2, 2, 2, 2]


def test_moving_average_follows_its_recursion_and_gives_the_weights_back():
    weight = torch.tensor([1.0, 2.0], dtype=torch.float64)
    average, expected = MovingAverage([weight], 0.9), weight.clone()
    for n in range(200):
        weight.add_(0.1)
        average.update()
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * weight
    own = weight.clone()
    with average.applied():
        torch.testing.assert_close(weight, expected, rtol=1e-13, atol=0)
    assert torch.equal(weight, own)


def test_moving_average_ends_with_the_plain_mean_of_the_last_part():
    weight = torch.tensor([1.0, 2.0], dtype=torch.float64)
    average, seen = MovingAverage([weight], 0.9, mean_share=0.25), []
    for n in range(100):
        weight.mul_(1.01)
        average.update(n / 100)
        seen.append(weight.clone())
    torch.testing.assert_close(average.averages[0], torch.stack(seen[76:]).mean(0), rtol=1e-13, atol=0)


def test_schedule_free_average_is_the_mean_of_its_fast_weights():
    pytest.importorskip("schedulefree")
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    config = TrainingConfig(optimizer="schedule_free", learning_rate=0.1, schedule=ScheduleConfig(name="constant"))
    optimizer, average = make_optimizer([weight], config)
    fast = []
    for _ in range(20):
        weight.grad = weight.detach() - 3.0
        optimizer.step()
        fast.append(optimizer.state[weight]["z"].clone())
    own = weight.detach().clone()
    with average.applied():
        torch.testing.assert_close(weight.detach(), torch.stack(fast).mean(0), rtol=1e-12, atol=0)
    assert torch.equal(weight.detach(), own)


def test_relative_steps_are_those_of_adam_on_weights_of_unit_variance():
    torch.manual_seed(0)
    sizes = (0.2, 0.05, 5.0)  # above 1, and at 0 (the fourth), steps are whole ones
    parameters = [torch.nn.Parameter(size * torch.randn(7, dtype=torch.float64)) for size in (*sizes, 0.0)]
    flat = FlatParameters(parameters, num_riders=0)
    factors = [p.detach().square().mean().sqrt().clamp(max=1.0) for p in parameters[:3]] + [torch.tensor(1.0)]
    scaled = [torch.nn.Parameter(p.detach() / f) for p, f in zip(parameters, factors, strict=True)]
    ours, theirs = (torch.optim.Adam(p, lr=0.1, eps=1e-100) for p in (flat.flats, scaled))
    RelativeSteps(ours, flat.sizes())
    for _ in range(20):
        flat.zero_gradients()
        theirs.zero_grad()
        torch.cat(parameters).sub(1.0).square().square().sum().backward()
        torch.cat([f * p for f, p in zip(factors, scaled, strict=True)]).sub(1.0).square().square().sum().backward()
        ours.step()
        theirs.step()
    for ours_, factor, theirs_ in zip(parameters, factors, scaled, strict=True):
        torch.testing.assert_close(ours_.detach(), factor * theirs_.detach(), rtol=1e-10, atol=1e-12)


def test_moving_average_switched_off_is_the_weights():
    weight = torch.tensor([1.0 / 3])
    average = MovingAverage([weight], 0.0)
    weight.mul_(0.7)
    average.update()
    assert torch.equal(average.averages[0], weight)


def test_flat_parameters_are_views_and_clip_as_torch_does():
    torch.manual_seed(0)
    modules = [torch.nn.Linear(5, 4).to(d) for d in (torch.float32, torch.float64) for _ in range(2)]
    parameters = [p for m in modules for p in m.parameters()]
    flat = FlatParameters(parameters, num_riders=2)
    for m in modules:
        m(torch.ones(5, dtype=m.weight.dtype)).square().sum().backward()
    copies = [torch.nn.Parameter(p.detach().clone()) for p in parameters]
    for copy, p in zip(copies, parameters, strict=True):
        copy.grad = p.grad.clone()
    expected = torch.nn.utils.clip_grad_norm_(copies, 0.5)
    assert flat.clip(0.5) == pytest.approx(float(expected), rel=1e-6)
    for copy, p in zip(copies, parameters, strict=True):
        torch.testing.assert_close(p.grad, copy.grad, rtol=1e-5, atol=1e-8)
    with torch.no_grad():
        flat.flats[0].zero_()
    assert not any(p.any() for m in modules[:2] for p in m.parameters())


def test_cosine_schedule_warms_up_and_falls_to_final():
    schedule = Schedule(ScheduleConfig(name="cosine", warmup=0.1, final=0.05))
    assert schedule.factor(0.05) == pytest.approx(0.5)
    assert schedule.factor(0.1) == pytest.approx(1.0)
    assert schedule.factor(0.55) == pytest.approx(0.525)
    assert schedule.factor(1.0) == pytest.approx(0.05)
    factors = [schedule.factor(0.1 + 0.009 * n) for n in range(101)]
    assert factors == sorted(factors, reverse=True)


def test_plateau_schedule_falls_after_patience():
    schedule = Schedule(ScheduleConfig(name="plateau", factor=0.5, patience=2, warmup=0.0))
    seen = []
    for loss in (1.0, 0.9, 0.95, 0.91, 0.8, 0.9, 0.9, 0.9, 0.9):
        schedule.end_epoch(loss)
        seen.append(schedule.factor(0.5))
    assert seen == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_run_progress_counts_epochs_minutes_or_whichever_is_further():
    def progress(unit):
        config = TrainingConfig(max_epochs=100, max_minutes=10.0, schedule=ScheduleConfig(unit=unit))
        return run_progress(config, 25.0, 5.0)

    assert (progress("epochs"), progress("minutes"), progress("auto")) == (0.25, 0.5, 0.5)


def test_write_to_a_full_device_is_a_clear_error(tmp_path):
    try:
        (tmp_path / "out.part").symlink_to("/dev/full")
    except OSError:
        pytest.skip("no symbolic links here")
    with pytest.raises(FileError, match="out: can't be written: No space left on device"):
        write_atomically(tmp_path / "out", b"x" * 100_000)
    assert not list(tmp_path.iterdir())


def test_missing_cuda_device_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(LaunchError, match="training.device: cuda"):
        start_ranks("cuda")


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_shows_current_errors(terminal, tmp_path):
    with open(tmp_path / "out", "w") as file:
        console = Console(file=file, force_terminal=terminal, width=120)
        record = {"epoch": 3, "lr": 1e-3, "train": {}, "val": {"forces": {"mae": 0.0421, "rmse": 0.06}}}
        with ProgressDisplay(shown=True, console=console) as display:
            display.update(3, 0.5, 1e-3)
            display.epoch(record, 1.0)
            display.last_update = -math.inf
            display.update(4, 1.0, 1e-3)
    assert "42.1" in (tmp_path / "out").read_text()


def test_energy_gets_its_final_weight_over_the_last_share_of_the_run():
    config = LossConfig(energy=1.0, forces=2.0, stress=3.0, final_energy=20.0, final_share=0.25)
    assert loss_weights(config, progress=0.74).tolist() == [1.0, 2.0, 3.0]
    assert loss_weights(config, progress=0.76).tolist() == [20.0, 2.0, 3.0]
    assert loss_weights(config).tolist() == [20.0, 2.0, 3.0]  # validation: one measure for the whole run
    assert loss_weights(LossConfig(energy=5.0), progress=1.0).tolist() == [5.0, 1.0, 0.0]


def test_weights_go_evenly_to_their_final_ones_when_asked():
    config = LossConfig(energy=1.0, forces=4.0, stress=0.0, final_energy=11.0, final_forces=2.0, final_stress=8.0,
                        final_share=0.5, transition="linear")  # fmt: skip
    for progress, expected in ((0.3, [1, 4, 0]), (0.5, [1, 4, 0]), (0.75, [6, 3, 4]), (1.0, [11, 2, 8])):
        assert loss_weights(config, progress).tolist() == pytest.approx(expected, rel=1e-14)


def test_stress_is_weighed_when_its_final_weight_is_all_it_has():
    assert LossConfig(final_stress=1.0).weighs("stress") and not LossConfig().weighs("stress")
