"""Converted models equal the form that they come from; what ours lacks is refused by its name."""

from __future__ import annotations

import copy

import pytest
import torch

from allegro_dist.config import ConfigError
from allegro_dist.importing.errors import ImportModelError
from allegro_dist.importing.nequip_allegro import convert
from allegro_dist.potential import pair_cutoffs
from tests.conftest import edges_of, silica
from tests.importing.peer_form import TYPE_NAMES, PeerForm, random_model

PLAIN = dict(l_max=2, parity=True, num_layers=2, coupled=True, shared=False, spline=False, silus=1)
CASES = {
    "plain": {},
    "one layer of scalars": dict(l_max=0, num_layers=1),
    "three layers": dict(num_layers=3),
    "no parity": dict(num_layers=3, parity=False),
    "uncoupled paths": dict(coupled=False, l_max=1),
    "weights shared by orders": dict(shared=True),
    "splines": dict(spline=True),
    "linear": dict(silus=0),
    "deep": dict(silus=3),
}


@pytest.mark.parametrize("case", CASES)
def test_converted_model_equals_the_peer_form(case):
    facts, weights = random_model(**PLAIN | CASES[case])
    potential = convert(facts, weights)
    cutoffs = pair_cutoffs(potential.parameters_used.config, TYPE_NAMES)
    vectors, index, types = edges_of(silica(), TYPE_NAMES)
    keep = vectors.norm(dim=1) < cutoffs[types[index[0]], types[index[1]]]
    vectors, index = vectors[keep].requires_grad_(True), index[:, keep]
    expected = PeerForm(facts, weights).energies(vectors, index, types)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), vectors)
    energy, gradient = potential(vectors, index, types)
    torch.testing.assert_close(energy, expected.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-12 * expected_gradient.abs().max().item())


def changed(facts, path, value):
    """Facts with another value at a path of keys."""
    facts = copy.deepcopy(facts)
    *parents, last = path
    node = facts
    for key in parents:
        node = node[key]
    node[last] = value
    return facts


@pytest.mark.parametrize(
    "path, value, message",
    [
        (("dtype",), "bfloat16", "model_dtype bfloat16"),
        (("embedding", "class"), "FourierEmbed", "radial_chemical_embed FourierEmbed"),
        (("embedding", "envelope_power"), 5.5, "radial_chemical_embed polynomial_cutoff_p 5.5"),
        (("activations", "two_body"), ["Mish"], "scalar_embed_mlp_nonlinearity mish"),
        (("activations", "latents.1"), ["GELU"], "allegro_mlp_nonlinearity gelu"),
        (("activations", "readout"), ["Tanh"], "readout_mlp_nonlinearity tanh"),
        (("activations", "latents.1"), [], "allegro_mlp of different depths"),
        (("biases",), ["readout"], "a bias in readout_mlp"),
        (("irreps", 0, 2), "1x0e+1x1o", "tensor_track_allowed_irreps"),
        (("pair_potential", "class"), "LennardJones", "pair_potential LennardJones"),
        (("pair_potential", "prefactor"), 166.03, "pair_potential ZBL in other units than metal"),
        (("pair_potential", "charges"), [14.0, 8.0, 2.0], "nuclear charge 2 for type 'H'"),
        (("pair_potential", "envelope_power"), 6.5, "pair_potential polynomial_cutoff_p 6.5"),
    ],
)
def test_option_that_ours_lacks_is_named(path, value, message):
    facts, weights = random_model(**PLAIN)
    with pytest.raises(ImportModelError, match=message):
        convert(changed(facts, path, value), weights)


def test_all_options_that_ours_lacks_are_named_at_once():
    facts, weights = random_model(**PLAIN)
    facts = changed(changed(facts, ("activations", "readout"), ["Mish"]), ("pair_potential", "class"), "LennardJones")
    with pytest.raises(ImportModelError, match=r"readout_mlp_nonlinearity mish.*; pair_potential LennardJones"):
        convert(facts, weights)


def test_value_out_of_our_range_is_named_in_our_words():
    facts, weights = random_model(**PLAIN | dict(spline=True))
    with pytest.raises(ConfigError, match="spline_span"):
        convert(changed(facts, ("embedding", "span"), 0), weights)


def test_energies_summed_by_another_norm_for_each_type_are_refused():
    facts, weights = random_model(**PLAIN)
    weights["energy_norm"] = weights["energy_norm"] * [1.0, 1.0, 1.01]
    with pytest.raises(ImportModelError, match="other norms than environments"):
        convert(facts, weights)
