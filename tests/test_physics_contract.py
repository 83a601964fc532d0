"""The physics contract, for every model in the registry, in both dtypes.

float64 tolerances are 1e-10 of the size of the quantity, float32 ones a few hundred roundings of it: an energy is a
sum of some 100 edges, each of a chain of about ten matrix products.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from ase import Atoms
from e3nn import o3

from allegro_dist.models.registry import FAMILIES
from allegro_dist.potential import assemble_forces, assemble_virial
from tests.conftest import MIXED_CUTOFFS, TYPE_NAMES, edges_of, make_potential, silica

TOLERANCE = {"float64": 1e-10, "float32": 2e-5}
VARIANTS = {
    "plain": {},
    "three layers, l_max 3": {"num_layers": 3, "l_max": 3, "num_tensor_features": 8, "num_scalar_features": 16},
    "no parity, uncoupled": {
        "parity": False,
        "num_layers": 3,
        "path_channel_coupling": False,
        "num_tensor_features": 8,
    },
    "spline, zbl": {"radial_basis": "spline", "num_radial": 10, "zbl": True},
}
VARIANTS_2022 = {
    "plain": {},
    "three layers, l_max 3, no parity": {
        "parity": False, "num_layers": 3, "l_max": 3, "num_tensor_features": 8, "num_scalar_features": 16,
    },
    "three layers, zbl": {"num_layers": 3, "zbl": True, "num_tensor_features": 8},
}  # fmt: skip
EVERY = [(f, v, VARIANTS[v]) for f in FAMILIES if f != "allegro-2022" for v in VARIANTS]
EVERY += [("allegro-2022", v, VARIANTS_2022[v]) for v in VARIANTS_2022]


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    return request.param


@pytest.fixture(params=EVERY, ids=lambda p: f"{p[0]}, {p[1]}")
def potential(request, dtype):
    family, _, options = request.param
    return make_potential(family=family, dtype=dtype, pair_cutoffs=MIXED_CUTOFFS, **options)


@pytest.fixture(params=EVERY, ids=lambda p: f"{p[0]}, {p[1]}")
def exact_potential(request):
    """In float64 only, for derivatives by differences, which float32 energies hold to three digits at most."""
    family, _, options = request.param
    return make_potential(family=family, dtype="float64", pair_cutoffs=MIXED_CUTOFFS, **options)


def evaluate(potential, atoms: Atoms):
    """(interaction energies of atoms, forces, virial, edges) with ASE's neighbor list."""
    vectors, edge_index, types = edges_of(atoms, cutoffs=MIXED_CUTOFFS)
    energy, gradient = potential(vectors, edge_index, types)
    forces = assemble_forces(gradient, edge_index, len(atoms))
    virial = assemble_virial(gradient, vectors, torch.zeros(len(vectors), dtype=torch.long), 1)[0]
    return energy - potential.shift[types], forces, virial


def assert_equal(result, expected, dtype, scale=None):
    scale = float(expected.abs().max()) if scale is None else scale
    torch.testing.assert_close(result, expected, rtol=0, atol=TOLERANCE[dtype] * max(scale, 1e-3), check_dtype=False)


@pytest.mark.parametrize("improper", [False, True], ids=["rotation", "reflection"])
def test_energy_is_invariant_and_forces_turn_with_rotation(potential, crystal, dtype, improper):
    torch.manual_seed(3)
    matrix = o3.rand_matrix(dtype=torch.float64) * (-1 if improper else 1)
    energy, forces, virial = evaluate(potential, crystal)
    turned = crystal.copy()
    turned.set_cell(crystal.cell.array @ matrix.T.numpy())
    turned.positions = crystal.positions @ matrix.T.numpy()
    energy_t, forces_t, virial_t = evaluate(potential, turned)
    assert_equal(energy_t, energy, dtype)
    assert_equal(forces_t, forces.double() @ matrix.T, dtype)
    assert_equal(virial_t, matrix @ virial.double() @ matrix.T, dtype)


def test_energy_is_invariant_under_translation_and_wrapping(potential, crystal, dtype):
    energy, forces, _ = evaluate(potential, crystal)
    moved = crystal.copy()
    moved.positions += [1.3, -7.1, 2.9]
    moved.wrap()
    energy_m, forces_m, _ = evaluate(potential, moved)
    assert_equal(energy_m, energy, dtype)
    assert_equal(forces_m, forces, dtype)


def test_permutation_of_atoms_permutes_results(potential, crystal, dtype):
    order = np.random.default_rng(1).permutation(len(crystal))
    energy, forces, virial = evaluate(potential, crystal)
    energy_p, forces_p, virial_p = evaluate(potential, crystal[order])
    assert_equal(energy_p, energy[order], dtype)
    assert_equal(forces_p, forces[order], dtype)
    assert_equal(virial_p, virial, dtype)


def test_atomic_energy_has_exactly_zero_gradient_beyond_its_cutoff(potential, crystal):
    vectors, edge_index, types = edges_of(crystal)  # edges up to r_max, also beyond the pairs' smaller cutoffs
    vectors = vectors.requires_grad_(True)
    energy = potential.atomic_energy(vectors, edge_index, types)
    (gradient,) = torch.autograd.grad(energy[0], vectors)
    cutoff = torch.full((3, 3), 5.0, dtype=torch.float64)
    for pair, value in MIXED_CUTOFFS.items():
        a, b = (TYPE_NAMES.index(name) for name in pair.split("-"))
        cutoff[a, b] = value
    limit = cutoff[types[edge_index[0]], types[edge_index[1]]]
    mine = (edge_index[0] == 0) & (vectors.norm(dim=1) < limit)
    assert (gradient[mine].abs().sum(dim=1) > 0).all()
    assert (gradient[~mine] == 0).all()


def test_edges_beyond_the_cutoff_change_nothing(potential, crystal, dtype):
    vectors, edge_index, types = edges_of(crystal, r_max=7.0)
    extended, _ = potential(vectors, edge_index, types)
    energy, _, _ = evaluate(potential, crystal)
    assert_equal(extended - potential.shift[types], energy, dtype)


def test_forces_are_the_finite_difference_of_the_energy(exact_potential, crystal):
    _, forces, _ = evaluate(exact_potential, crystal)
    rng = np.random.default_rng(2)
    step = 1e-3
    for atom, axis in zip(rng.integers(len(crystal), size=3), rng.integers(3, size=3), strict=True):
        energies = []
        for k in (-2, -1, 1, 2):
            moved = crystal.copy()
            moved.positions[atom, axis] += k * step
            energies.append(evaluate(exact_potential, moved)[0].sum().item())
        derivative = (energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * step)
        # fourth order: the error is step^4 / 30 times the fifth derivative, here about 1e-9
        assert -derivative == pytest.approx(forces[atom, axis].item(), abs=2e-7 * float(forces.abs().max()))


def test_virial_is_the_derivative_with_strain(exact_potential, crystal):
    _, _, virial = evaluate(exact_potential, crystal)
    step = 1e-4
    for a, b in ((0, 0), (1, 2), (0, 2)):
        energies = []
        for k in (-2, -1, 1, 2):
            strain = np.eye(3)
            strain[a, b] += k * step / 2
            strain[b, a] += k * step / 2
            moved = crystal.copy()
            moved.set_cell(crystal.cell.array @ strain, scale_atoms=True)
            energies.append(evaluate(exact_potential, moved)[0].sum().item())
        derivative = (energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * step)
        assert -derivative == pytest.approx(virial[a, b].item(), abs=1e-6 * float(virial.abs().max()))


@pytest.mark.parametrize("center", TYPE_NAMES)
@pytest.mark.parametrize("neighbor", TYPE_NAMES)
def test_energy_and_force_vanish_smoothly_at_each_pair_cutoff(exact_potential, center, neighbor):
    cutoff = MIXED_CUTOFFS.get(f"{center}-{neighbor}", 5.0)
    types = torch.tensor([TYPE_NAMES.index(center), TYPE_NAMES.index(neighbor)])
    edge_index = torch.tensor([[0], [1]])

    def at(r):
        energy, gradient = exact_potential(torch.tensor([[r, 0.0, 0.0]], dtype=torch.float64), edge_index, types)
        return (energy[0] - exact_potential.shift[types[0]]).item(), gradient[0, 0].item()

    typical, _ = at(0.6 * cutoff)
    for gap in (1e-2, 1e-3):  # energy ~ gap^3, force ~ gap^2
        energy, force = at(cutoff - gap)
        assert abs(energy) < 100 * abs(typical) * gap**3
        assert abs(force) < 300 * abs(typical) * gap**2
    assert at(cutoff) == (0.0, 0.0)
    assert at(cutoff + 1e-9) == (0.0, 0.0)


def test_isolated_atom_has_the_energy_of_its_shift(potential):
    types = torch.tensor([2, 0])
    nothing = torch.zeros(0, 3, dtype=torch.float64), torch.zeros(2, 0, dtype=torch.long)
    energy, gradient = potential(*nothing, types)
    assert torch.equal(energy, potential.shift[types])
    assert gradient.shape == (0, 3)


def test_batch_of_structures_equals_single_structures(potential, dtype):
    singles = [silica(seed) for seed in range(3)]
    results = [evaluate(potential, atoms)[0] for atoms in singles]
    parts = [edges_of(atoms, cutoffs=MIXED_CUTOFFS) for atoms in singles]
    offsets = np.cumsum([0] + [len(a) for a in singles[:-1]]).tolist()
    energy, _ = potential(
        torch.cat([p[0] for p in parts]),
        torch.cat([p[1] + o for p, o in zip(parts, offsets, strict=True)], dim=1),
        torch.cat([p[2] for p in parts]),
    )
    types = torch.cat([p[2] for p in parts])
    assert_equal(energy - potential.shift[types], torch.cat(results), dtype)


def test_two_far_clusters_have_the_sum_of_their_energies(potential, dtype):
    rng = np.random.default_rng(5)
    one = Atoms("Si2OH", positions=rng.uniform(0, 3, (4, 3)) + np.arange(4)[:, None])
    two = Atoms("HOSi", positions=rng.uniform(0, 3, (3, 3)) + np.arange(3)[:, None])
    far = two.copy()
    far.positions += 100.0
    together = evaluate(potential, one + far)[0]
    assert_equal(together, torch.cat((evaluate(potential, one)[0], evaluate(potential, two)[0])), dtype)


def test_blocks_of_centers_give_the_same_energies_and_gradients(potential, crystal, dtype):
    vectors, edge_index, types = edges_of(crystal, cutoffs=MIXED_CUTOFFS)
    energy, gradient = potential(vectors, edge_index, types)
    for size in (1, 3):
        for first in range(0, len(types), size):
            block = (edge_index[0] >= first) & (edge_index[0] < first + size)
            centers = types[first : first + size]
            local = torch.stack((edge_index[0, block] - first, len(centers) + types[edge_index[1, block]]))
            # strict locality: a neighbor counts by its type alone, so one atom of each type stands for all
            e, g = potential(vectors[block], local, torch.cat((centers, torch.arange(len(TYPE_NAMES)))))
            assert_equal(
                e[: len(centers)] - potential.shift[centers],
                energy[first : first + size] - potential.shift[centers],
                dtype,
                scale=1.0,
            )
            assert_equal(g, gradient[block], dtype, scale=float(gradient.abs().max()))


def test_script_round_trip_keeps_results(potential, crystal, dtype):
    vectors, edge_index, types = edges_of(crystal, cutoffs=MIXED_CUTOFFS)
    buffer = io.BytesIO()
    with pytest.warns(DeprecationWarning):
        torch.jit.save(torch.jit.script(potential), buffer)
        buffer.seek(0)
        loaded = torch.jit.load(buffer)
    for result, expected in zip(loaded(vectors, edge_index, types), potential(vectors, edge_index, types), strict=True):
        assert_equal(result.detach(), expected, dtype)
