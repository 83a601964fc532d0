"""The fused training step against eager double backward: the same energies, edge gradients, and weight gradients."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from allegro_dist.compiled import is_built
from allegro_dist.config import AllegroConfig, ConfigError
from allegro_dist.potential import (
    Potential,
    assemble_forces,
    assemble_virial,
    build_potential,
    in_dtype,
    pair_cutoffs,
)
from allegro_dist.training.fused_step import FusedStep, make_evaluator
from allegro_dist.training.prediction import Evaluator
from tests.conftest import edges_of, silica
from tests.deploy.test_fused_program import EVERYTHING, small_potential

pytestmark = pytest.mark.skipif(not is_built(), reason="the compiled training step is not built")

WIDTHS = dict(num_scalar_features=10, num_tensor_features=3, two_body_mlp_width=9, latent_mlp_width=11)
"""No multiple of any vector's length, so that padding takes part."""


def graph_of(potential: Potential, repeat: tuple[int, int, int] = (1, 1, 1)) -> tuple[Tensor, Tensor, Tensor]:
    """Edges of disordered silica within the potential's cutoffs."""
    atoms = silica(repeat=repeat)
    if len(potential.parameters_used.type_names) == 1:
        atoms.set_chemical_symbols(["Si"] * len(atoms))
    vectors, edge_index, types = edges_of(atoms, cutoffs=potential.parameters_used.config.pair_cutoffs)
    return vectors.to(potential.dtype), edge_index, types


def loss_of(evaluator: Evaluator, graph: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Energies, forces and stress against labels that are far from them."""
    vectors, edge_index, types = graph
    energy, gradient = evaluator(*graph)
    generator = torch.Generator().manual_seed(7)
    labels = torch.randn(len(types), 3, generator=generator).to(gradient.dtype)
    forces = assemble_forces(gradient, edge_index, len(types)) - labels
    stress = assemble_virial(gradient, vectors, torch.zeros(len(vectors), dtype=torch.long), 1) / 100
    weights = torch.linspace(0.5, 2, len(types), dtype=torch.float64)
    return (weights * (energy + 0.3)).square().sum() + forces.square().sum().double() + stress.square().sum().double()


def results(evaluator: Evaluator, potential: Potential, graph: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
    """Loss, energies, edge gradients, and the loss's derivative with respect to each weight."""
    energy, gradient = evaluator(*graph)
    loss = loss_of(evaluator, graph)
    weights = {name: p for name, p in potential.named_parameters() if p.requires_grad}
    derivatives = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    found = {f"d/d({n})": torch.zeros_like(p) if d is None else d for (n, p), d in zip(weights.items(), derivatives)}
    return {"energy": energy, "edge_gradient": gradient, "loss": loss} | found


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape, name
        scale = value.detach().abs().max().item()
        deviation = (found[name] - value).detach().abs().max().item() if value.numel() else 0.0
        assert deviation <= tolerance * scale, f"{name}: {deviation:.1e} of {scale:.1e}"


def assert_fused_equals_eager(potential: Potential, tolerance: float = 1e-10, **arguments) -> None:
    potential.train()
    graph = graph_of(potential, **arguments)
    assert_same(results(FusedStep(potential), potential, graph), results(potential, potential, graph), tolerance)


@pytest.mark.parametrize("l_max, num_layers, parity", list(product(range(4), (1, 2, 3), (True, False))))
def test_every_tensor_track(l_max, num_layers, parity):
    assert_fused_equals_eager(small_potential(l_max=l_max, num_layers=num_layers, parity=parity, **WIDTHS))


@pytest.mark.parametrize("num_layers, parity", list(product((1, 2, 3), (True, False))))
def test_highest_order(num_layers, parity):
    assert_fused_equals_eager(small_potential(l_max=4, num_layers=num_layers, parity=parity, **WIDTHS))


@pytest.mark.parametrize("l_max, parity", list(product((0, 1, 2), (True, False))))
def test_four_layers(l_max, parity):
    assert_fused_equals_eager(small_potential(l_max=l_max, num_layers=4, parity=parity, **WIDTHS))


@pytest.mark.parametrize("two_body, latent, readout", list(product(range(3), repeat=3)))
def test_every_depth(two_body, latent, readout):
    depths = dict(two_body_mlp_depth=two_body, latent_mlp_depth=latent, readout_mlp_depth=readout)
    assert_fused_equals_eager(small_potential(l_max=1, num_layers=3, **depths, **WIDTHS))


@pytest.mark.parametrize("zbl", (False, True))
@pytest.mark.parametrize("basis", ("bessel", "spline"))
@pytest.mark.parametrize("coupled", (True, False))
@pytest.mark.parametrize("num_types", (1, 3))
def test_every_option(num_types, coupled, basis, zbl):
    options = dict(path_channel_coupling=coupled, radial_basis=basis, zbl=zbl, train_scale_shift=zbl)
    assert_fused_equals_eager(small_potential(num_types, **options))


@pytest.mark.parametrize("two_body_mlp_depth", (0, 1))
def test_trained_wavenumbers(two_body_mlp_depth):
    potential = small_potential(bessel_trainable=True, envelope_power=4, two_body_mlp_depth=two_body_mlp_depth)
    with torch.no_grad():
        potential.model.embedding.wavenumbers += 0.1 * torch.rand(8)
    assert_fused_equals_eager(potential)


@pytest.mark.parametrize("channels, width", ((1, 2), (16, 16), (33, 70), (32, 128)))
def test_every_width(channels, width):
    widths = {name: width for name in ("two_body_mlp_width", "latent_mlp_width", "readout_mlp_width")}
    assert_fused_equals_eager(small_potential(num_tensor_features=channels, num_scalar_features=width, **widths))


@pytest.mark.parametrize("two_body_mlp_depth", (0, 1))
def test_width_of_the_embedding(two_body_mlp_depth):
    assert_fused_equals_eager(small_potential(num_embedding_features=14, two_body_mlp_depth=two_body_mlp_depth))


def test_everything_at_once():
    assert_fused_equals_eager(small_potential(**EVERYTHING))


def test_float32_is_no_less_exact_than_eager():
    potential = small_potential(dtype="float32", num_tensor_features=32, num_scalar_features=64).train()
    graph = graph_of(potential)
    exact = in_dtype(potential, "float64").train()
    expected = results(exact, exact, (graph[0].double(), *graph[1:]))
    fused, eager = results(FusedStep(potential), potential, graph), results(potential, potential, graph)
    for name, value in expected.items():
        deviations = [(found[name].double() - value).norm() / value.norm() for found in (fused, eager)]
        assert fused[name].dtype == eager[name].dtype and deviations[0] < 1.5 * deviations[1] + 1e-7, name


@pytest.mark.parametrize("instruction_set", ("baseline", "avx2", "avx512"))
def test_every_instruction_set(instruction_set):
    potential = small_potential(num_tensor_features=20).train()
    try:
        step = FusedStep(potential, instruction_set=instruction_set)
    except RuntimeError as error:
        pytest.skip(str(error))
    graph = graph_of(potential)
    assert_same(results(step, potential, graph), results(potential, potential, graph), 1e-10)


def test_batches_of_several_chunks():
    assert_fused_equals_eager(small_potential(1, num_tensor_features=32, num_scalar_features=64), repeat=(3, 2, 2))


def test_threads_give_the_same_derivatives_on_every_run():
    potential = small_potential(num_tensor_features=32).train()
    graph = graph_of(potential, repeat=(3, 2, 2))
    alone, first, second = (results(FusedStep(potential, n), potential, graph) for n in (1, 3, 3))
    assert_same(first, alone, 1e-13)
    assert_same(second, first, 0.0)


def test_derivatives_of_the_loss_are_its_finite_differences():
    potential = small_potential(num_types=1, bessel_trainable=True).train()
    step, graph = FusedStep(potential), graph_of(potential)
    derivatives = results(step, potential, graph)
    torch.manual_seed(0)
    for name, weight in potential.named_parameters():
        direction, delta = torch.randn_like(weight), 1e-5
        losses = []
        for sign in (1, -1):
            with torch.no_grad():
                weight += sign * delta * direction
                losses.append(loss_of(step, graph))
                weight -= sign * delta * direction
        slope = (losses[0] - losses[1]) / (2 * delta)
        torch.testing.assert_close((derivatives[f"d/d({name})"] * direction).sum(), slope, rtol=1e-6, atol=1e-6)


def test_weights_may_change_between_calls():
    potential = small_potential().train()
    step, graph = FusedStep(potential), graph_of(potential)
    results(step, potential, graph)
    with torch.no_grad():
        for weight in potential.parameters():
            weight *= 1.1
    assert_same(results(step, potential, graph), results(potential, potential, graph), 1e-10)


def test_evaluations_may_wait_for_their_derivatives():
    """A forward pass with other weights and on fewer, then on more atoms, before the first one's backward pass."""
    potential = small_potential().train()
    step = FusedStep(potential)
    weights = step._merged_weights(step.all_types).detach()
    graphs = [graph_of(potential, repeat) for repeat in ((2, 1, 1), (1, 1, 1), (2, 2, 2))]
    inputs = [(scale * weights, graph) for scale, graph in zip((1.0, 1.1, 0.9), graphs, strict=True)]

    def loss(weights: Tensor, graph: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        energy, gradient = step.kernel(weights.requires_grad_(), step.all_types, *graph)
        return energy.square().sum() + gradient.square().sum()

    expected = [torch.autograd.grad(loss(*given), given[0])[0] for given in inputs]
    step = FusedStep(potential)
    losses = [loss(*given) for given in inputs]
    for waiting, given, derivative in zip(losses, inputs, expected, strict=True):
        assert torch.equal(torch.autograd.grad(waiting, given[0])[0], derivative)


@pytest.mark.parametrize("basis", ("bessel", "spline"))
def test_many_types_of_which_few_are_present(basis):
    torch.manual_seed(0)
    names = ("C", "H", "Si", "B", "O", "N", "F", "P", "Cl", "S", "Ge")
    cutoffs = {"O-Si": 4.0, "Si-O": 3.5, "O-O": 3.0}
    potential = build_potential(
        AllegroConfig(dtype="float64", radial_basis=basis, pair_cutoffs=cutoffs, bessel_trainable=True, **WIDTHS),
        type_names=names, avg_num_neighbors=[10.0 + t for t in range(11)], per_type_scale=[1.0 + t for t in range(11)],
        per_type_shift=[0.0] * 11,
    ).train()  # fmt: skip
    vectors, edge_index, types = edges_of(silica())
    types = torch.tensor([2, 4, 4])[types]
    center, neighbor = types[edge_index]
    limits = pair_cutoffs(potential.parameters_used.config, names)[center, neighbor]
    keep = vectors.norm(dim=1) < limits
    graph = (vectors[keep], edge_index[:, keep], types)
    assert_same(results(FusedStep(potential), potential, graph), results(potential, potential, graph), 1e-10)


@pytest.mark.parametrize("num_atoms", (0, 1, 3))
def test_atoms_without_edges_have_their_shifts(num_atoms):
    potential = small_potential().train()
    types = torch.arange(num_atoms) % 3
    graph = (torch.zeros(0, 3, dtype=torch.float64), torch.zeros(2, 0, dtype=torch.long), types)
    energy, gradient = FusedStep(potential)(*graph)
    assert torch.equal(energy, potential.shift[types]) and gradient.shape == (0, 3)
    if num_atoms:
        energy.sum().backward()
        assert all(p.grad is None or not p.grad.any() for p in potential.model.parameters())


def test_atoms_without_edges_change_nothing():
    potential = small_potential().train()
    vectors, edge_index, types = graph_of(potential)
    wider = (vectors, 2 * edge_index + 1, torch.zeros(2 * len(types) + 1, dtype=torch.long))
    wider[2][1::2] = types
    found, expected = FusedStep(potential)(*wider), FusedStep(potential)(vectors, edge_index, types)
    assert torch.equal(found[0][1::2], expected[0]) and torch.equal(found[1], expected[1])


def test_evaluation_mode_keeps_no_graph():
    potential = small_potential().eval()
    energy, gradient = FusedStep(potential)(*graph_of(potential))
    assert not energy.requires_grad and not gradient.requires_grad


def test_second_derivatives_are_refused():
    potential = small_potential().train()
    loss = loss_of(FusedStep(potential), graph_of(potential))
    weights = [p for p in potential.parameters() if p.requires_grad]
    first = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        sum(d.sum() for d in first if d is not None).backward()


def test_graphs_that_cannot_be_are_refused():
    potential = small_potential().train()
    step, (vectors, edge_index, types) = FusedStep(potential), graph_of(potential)
    weights = (step._merged_weights(step.all_types), step.all_types)
    with pytest.raises(ValueError, match="not sorted by center at edge 1"):
        step(vectors, edge_index.flip(1), types)
    with pytest.raises(ValueError, match="no such type at atom 0"):
        step.kernel(*weights, vectors, edge_index, types + 3)
    with pytest.raises(ValueError, match="no such atom at edge"):
        step.kernel(*weights, vectors, edge_index + 1, types)
    with pytest.raises(ValueError, match="edge_vectors: expected torch.float64"):
        step.kernel(*weights, vectors.float(), edge_index, types)
    with pytest.raises(ValueError, match=r"expected \d+ weights"):
        step.kernel(weights[0][1:], step.all_types, vectors, edge_index, types)
    with pytest.raises(ValueError, match="present: no such type at 2"):
        step.kernel(weights[0], step.all_types + 1, vectors, edge_index, types)


def test_step_is_chosen_by_name():
    potential = small_potential()
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert isinstance(make_evaluator(potential, "auto", cpu, 1), FusedStep)
    assert isinstance(make_evaluator(potential, "fused", cpu, 1), FusedStep)
    assert make_evaluator(potential, "eager", cpu, 1) is potential
    assert make_evaluator(potential, "auto", gpu, 1) is potential
    with pytest.raises(ConfigError, match="training.step: fused: it runs on CPUs, not on cuda"):
        make_evaluator(potential, "fused", gpu, 1)
