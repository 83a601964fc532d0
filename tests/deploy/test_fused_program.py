"""The fused program against the Python model, by a plain interpreter: what it says, whoever compiles it.

test_fused_evaluator.py tests the compiled evaluator; when both fail, the program is at fault, else the evaluator.
"""

from __future__ import annotations

import math
import zipfile
from itertools import product

import pytest
import torch
from e3nn import o3
from torch import Tensor
from torch.nn.functional import silu

from allegro_dist.config import AllegroConfig
from allegro_dist.deploy import archive as module
from allegro_dist.deploy.archive import load_archive, save_archive
from allegro_dist.deploy.engine_data import Tables, read_engine_data
from allegro_dist.deploy.self_check import make_self_check
from allegro_dist.fused_program import fused_program
from allegro_dist.nn.zbl import zbl_energy
from allegro_dist.potential import Potential, build_potential
from tests.conftest import MIXED_CUTOFFS, TYPE_NAMES, make_potential

SMALL = dict(
    num_scalar_features=10,
    num_tensor_features=6,
    two_body_mlp_width=12,
    latent_mlp_width=14,
    readout_mlp_width=8,
)
EVERYTHING = dict(
    num_layers=3, radial_basis="spline", num_radial=9, path_channel_coupling=False, latent_mlp_depth=0, zbl=True
)


def small_potential(num_types: int = 3, dtype: str = "float64", **options) -> Potential:
    """Few channels, every number different for each type, and shifts too small to hide errors of the interaction."""
    torch.manual_seed(3)
    cutoffs = {"pair_cutoffs": MIXED_CUTOFFS} if num_types == 3 else {}
    return build_potential(
        AllegroConfig(**{"dtype": dtype, **SMALL, **cutoffs, **options}),
        type_names=TYPE_NAMES[:num_types],
        avg_num_neighbors=(9.0, 20.0, 14.0)[:num_types],
        per_type_scale=(1.3, 0.8, 0.6)[:num_types],
        per_type_shift=(-0.1, 0.2, -0.3)[:num_types],
    ).eval()


def envelope(x: Tensor, power: int) -> Tensor:
    """As DimeNet writes it."""
    p = power
    outer = (p + 1) * (p + 2) / 2 * x**p - p * (p + 2) * x ** (p + 1) + p * (p + 1) / 2 * x ** (p + 2)
    return torch.where(x < 1, 1 - outer, 0.0)


def radial_basis(program: dict[str, Tensor], x: Tensor) -> Tensor:
    """[E, NB]."""
    parameter = int(program["radial.parameter"])
    if int(program["radial.kind"]) == 0:
        bessel = torch.sin(math.pi * torch.outer(x, program["radial.wavenumbers"])) / (math.pi * x[:, None])
        return bessel * envelope(x, parameter)[:, None]
    num_splines = program["radial.weights"].shape[1]
    phase = (x[:, None] * num_splines - torch.arange(num_splines) + parameter) / (parameter + 1)
    return torch.where((phase > 0) & (phase < 1), torch.sin(math.pi * phase) ** 4, 0.0)


class Center:
    """The edges of one center; environments G, scalars s and dense activations h as the program defines them."""

    def __init__(self, program: dict[str, Tensor], vectors: Tensor, center: int, neighbors: Tensor) -> None:
        self.program = program
        self.l_max, self.num_channels, _, num_types, self.num_two_body = program["sizes"].tolist()
        self.norm = program["norm"][center]
        self.harmonics = o3.spherical_harmonics(
            list(range(self.l_max + 1)), vectors, normalize=True, normalization="component"
        )
        x = vectors.norm(dim=1) / program["cutoffs"][center, neighbors]
        weights = program["radial.weights"][center * num_types + neighbors]
        self.first = torch.einsum("en,enw->ew", radial_basis(program, x), weights)
        self.hidden: list[Tensor] = []

    def by_component(self, weights: Tensor) -> Tensor:
        """[E, (l, u)] -> [E, lm, u]."""
        order_of = [l for l in range(self.l_max + 1) for _ in range(2 * l + 1)]
        return weights.view(len(weights), self.l_max + 1, self.num_channels)[:, order_of]

    def environment(self, t: int) -> Tensor:
        source = int(self.program["environment.sources"][t])
        weights = self.by_component(self.hidden[source] @ self.program[f"environment.{t}"])
        return self.norm * torch.einsum("eju,ej->ju", weights, self.harmonics)

    def contract(self, k: int, step: str, g: Tensor, q: Tensor | None) -> Tensor:
        index, value = (self.program[f"product.{k}.{step}.{part}"] for part in ("index", "value"))
        a, b, path = index[:, 0], index[:, 1], index[:, -1]
        terms = value[:, None] * self.program[f"product.{k}.weights"][path] * g[b]
        if q is not None:
            terms = terms * q[index[:, 2]]
        return g.new_zeros(int(self.program[f"product.{k}.dim"]), self.num_channels).index_add(0, a, terms)

    def projection(self, t: int) -> Tensor:
        """s_t [E, U]."""
        q = self.contract(t, "start", self.environment(t), None)
        for m in reversed(range(t)):
            q = self.contract(m, "proceed", self.environment(m), q)
        weights = self.by_component(self.hidden[self.num_two_body - 1] @ self.program["projection"])
        return torch.einsum("eju,ej,ju->eu", weights, self.harmonics, q)

    def energy(self) -> Tensor:
        """Sum of the last layer's readout over edges."""
        sources = list(enumerate(self.program["dense.sources"].tolist()))
        for k, (width, is_silu) in enumerate(self.program["dense.layers"].tolist()):
            a = self.first if k == 0 else torch.zeros(len(self.first), width, dtype=torch.float64)
            for s, (_, kind, index) in (entry for entry in sources if entry[1][0] == k):
                assert kind == 0 or k >= self.num_two_body  # two-body layers know no other edges
                read = self.projection(index) if kind else self.hidden[index]
                a = a + read @ self.program[f"dense.source.{s}"]
            assert a.shape[1] == width
            self.hidden.append(silu(a) if is_silu else a)
        return (self.hidden[-1] @ self.program["readout"]).sum()


def interpret(program: dict[str, Tensor], vectors: Tensor, edge_index: Tensor, types: Tensor) -> Tensor:
    """Atomic energies without their shifts."""
    energies = []
    for i, center in enumerate(types.tolist()):
        mine = edge_index[0] == i
        edges, neighbors = vectors[mine], types[edge_index[1, mine]]
        energy = Center(program, edges, center, neighbors).energy()
        energy = program["scale"][center] * program["norm"][center] / math.sqrt(2) * energy
        charges = program["charges"]
        if len(charges):
            r = edges.norm(dim=1)
            pair = zbl_energy(r, charges[center].expand(len(r)), charges[neighbors])
            cutoff = envelope(r / program["cutoffs"][center, neighbors], int(program["zbl_envelope_power"]))
            energy = energy + 0.5 * (pair * cutoff).sum()
        energies.append(energy)
    return torch.stack(energies)


def assert_program_is_the_model(potential: Potential) -> None:
    program = fused_program(potential)
    assert {t.dtype for t in program.values()} <= {torch.float64, torch.int64}
    assert not any(t.requires_grad for t in program.values())
    for seed in (1, 2):
        check = make_self_check(potential, num_atoms=10, seed=seed)
        expected = check.atomic_energy - potential.shift[check.atom_types]
        energy = interpret(program, check.edge_vectors, check.edge_index, check.atom_types)
        assert (energy - expected).abs().max() < 1e-12 * expected.abs().max()
        assert torch.equal(program["shift"], potential.shift)


@pytest.mark.parametrize("l_max, num_layers, parity", list(product(range(4), (1, 2, 3), (True, False))))
def test_program_of_every_tensor_track(l_max, num_layers, parity):
    assert_program_is_the_model(small_potential(l_max=l_max, num_layers=num_layers, parity=parity))


@pytest.mark.parametrize("two_body, latent, readout", list(product(range(3), repeat=3)))
def test_program_of_every_depth(two_body, latent, readout):
    depths = dict(two_body_mlp_depth=two_body, latent_mlp_depth=latent, readout_mlp_depth=readout)
    assert_program_is_the_model(small_potential(l_max=1, **depths))
    assert_program_is_the_model(small_potential(l_max=1, num_layers=3, **depths))


@pytest.mark.parametrize("zbl", (False, True))
@pytest.mark.parametrize("basis", ("bessel", "spline"))
@pytest.mark.parametrize("coupled", (True, False))
@pytest.mark.parametrize("num_types", (1, 3))
def test_program_of_every_option(num_types, coupled, basis, zbl):
    options = dict(path_channel_coupling=coupled, radial_basis=basis, zbl=zbl)
    assert_program_is_the_model(small_potential(num_types, **options))


@pytest.mark.parametrize("zbl_envelope_power", (None, 8))
def test_program_of_trained_wavenumbers_and_other_envelopes(zbl_envelope_power):
    powers = {"envelope_power": 4, "zbl_envelope_power": zbl_envelope_power}
    potential = small_potential(bessel_trainable=True, zbl=True, **powers)
    with torch.no_grad():
        potential.model.embedding.wavenumbers += 0.1 * torch.rand(8)
    assert_program_is_the_model(potential)


@pytest.mark.parametrize("options", ({}, EVERYTHING), ids=("defaults", "everything"))
def test_the_program_holds_nothing_idle(options):
    """Every real number in it changes some energy, or the witness reads less than there is."""
    potential = small_potential(**options)
    program = fused_program(potential)
    check = make_self_check(potential, num_atoms=10)
    edges = (check.edge_vectors, check.edge_index, check.atom_types)
    energy = interpret(program, *edges)
    for name, tensor in program.items():
        if tensor.is_floating_point() and len(tensor) and name != "shift" and not _never_proceeds(name, program):
            changed = interpret(program | {name: tensor * 1.001}, *edges)
            assert not torch.equal(changed, energy), name


def _never_proceeds(name: str, program: dict[str, Tensor]) -> bool:
    """The last product is only ever a start."""
    return name == f"product.{int(program['sizes'][2]) - 1}.proceed.value"


def test_program_of_a_float32_model_is_merged_in_float64():
    single = small_potential(dtype="float32", latent_mlp_depth=0)
    double = small_potential(latent_mlp_depth=0)
    double.load_state_dict(single.state_dict())
    expected = fused_program(double)
    for name, tensor in fused_program(single).items():
        if not name.endswith(".value"):  # Clebsch-Gordan coefficients are the model's own, rounded ones
            assert torch.equal(tensor, expected[name]), name
        else:
            torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=0)


@pytest.mark.parametrize("options", ({}, EVERYTHING), ids=("defaults", "everything"))
def test_archive_holds_the_program(options, tmp_path):
    potential = small_potential(**options)
    save_archive(tmp_path / "m.pth", potential, tables=(Tables(128, 1e-3), {}))
    with zipfile.ZipFile(tmp_path / "m.pth") as members:
        _, program, tables = read_engine_data(members.read("m/extra/engine.safetensors"))
    expected = fused_program(potential)
    assert load_archive(tmp_path / "m.pth").has_fused_program and tables == Tables(128, 1e-3)
    assert program.keys() == expected.keys()
    for name, tensor in program.items():
        assert tensor.dtype == expected[name].dtype and torch.equal(tensor, expected[name]), name


def test_other_families_have_no_program(tmp_path):
    potential = make_potential(family="allegro-2022")
    assert fused_program(potential) == {}
    save_archive(tmp_path / "m.pth", potential)
    assert not load_archive(tmp_path / "m.pth").has_fused_program


def test_archive_grows_by_the_merged_weights(tmp_path, monkeypatch):
    potential = build_potential(
        AllegroConfig(), type_names=("Si",), avg_num_neighbors=28.0, per_type_scale=(1.0,), per_type_shift=(0.0,)
    )
    save_archive(tmp_path / "with.pth", potential)
    program = fused_program(potential)
    monkeypatch.setattr(module, "fused_program", lambda potential: {})
    save_archive(tmp_path / "without.pth", potential)
    grown = (tmp_path / "with.pth").stat().st_size - (tmp_path / "without.pth").stat().st_size
    weights = sum(t.numel() * t.element_size() for t in program.values())
    assert grown < weights + 500 * len(program)  # and what the format adds to a tensor
