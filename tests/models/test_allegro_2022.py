"""The 2022 form equals e3nn's products, mixing maps and envelopes, to rounding; options that it lacks are refused."""

import pytest
import torch

from allegro_dist.config import AllegroConfig, ConfigError, from_dict
from tests.conftest import MIXED_CUTOFFS, edges_of, make_potential, silica
from tests.models.oracle_2022 import allegro_2022
from tests.models.test_allegro_oracle import energy_and_gradient

SMALL = {"family": "allegro-2022", "num_tensor_features": 5, "num_scalar_features": 12}


@pytest.fixture
def in_float64():
    """e3nn rounds its Clebsch-Gordan coefficients to torch's default dtype."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(default)


def assert_equals_oracle(**options):
    potential = make_potential(pair_cutoffs=MIXED_CUTOFFS, **SMALL | options)
    config, model = potential.parameters_used.config, potential.model
    with torch.no_grad():
        for layer in model.layers:
            layer.update += torch.randn(1)
    vectors, index, types = edges_of(silica(), cutoffs=MIXED_CUTOFFS)
    energy, gradient = energy_and_gradient(lambda v: model(v, index, types), vectors)
    expected, expected_gradient = energy_and_gradient(lambda v: allegro_2022(model, config, v, index, types), vectors)
    torch.testing.assert_close(energy, expected, rtol=0, atol=1e-12 * expected.abs().max().item())
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-12 * expected_gradient.abs().max().item())


@pytest.mark.parametrize("parity", [True, False])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("l_max", [0, 1, 2])
def test_model_equals_e3nn(l_max, num_layers, parity, in_float64):
    assert_equals_oracle(l_max=l_max, num_layers=num_layers, parity=parity)


@pytest.mark.parametrize(
    "options",
    [
        {"l_max": 3, "num_layers": 2},
        {"two_body_mlp_depth": 3, "latent_mlp_depth": 2, "latent_mlp_width": 20, "readout_mlp_depth": 0},
        {"latent_mlp_depth": 0, "bessel_trainable": True, "num_radial": 5, "envelope_power": 4},
    ],
    ids=lambda o: ",".join(o),
)
def test_every_option_equals_e3nn(options, in_float64):
    assert_equals_oracle(**options)


@pytest.mark.parametrize(
    "option, value", [("radial_basis", "spline"), ("path_channel_coupling", False), ("num_embedding_features", 8)]
)
def test_option_of_the_other_form_is_refused(option, value):
    with pytest.raises(ConfigError, match=f"family allegro-2022 has no {option} = {value}"):
        from_dict(AllegroConfig, SMALL | {option: value})
