"""A trained Allegro model of nequip-allegro as a potential of ours.

Both packages implement the same equations (models/allegro.py), so a model is its weights in another order.  What
differs, folded in float64:

    constant factors       theirs beside each matrix, ours in it (the worker has multiplied them in)
    layers without activation in a row      one matrix
    weights of the tensor track             theirs [channel, order], ours [order, channel]
    one weight for all orders               repeated
    norm of the sum of edge energies        ours follows from avg_num_neighbors; what is left goes into the readout

`importing/nequip_worker.py` reads the file; its `model.json` is called facts here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers
from numpy.typing import NDArray
from torch import Tensor, nn

from allegro_dist.config import AllegroConfig, from_dict
from allegro_dist.importing.errors import ImportModelError
from allegro_dist.models.allegro import Allegro
from allegro_dist.nn.mlp import ScalarMLP
from allegro_dist.nn.radial import BesselEmbedding, SplineEmbedding
from allegro_dist.nn.tensor_track import AdjointProduct, layer_irreps
from allegro_dist.potential import DTYPES, Potential, build_potential

Array = NDArray[np.float64]
Facts = Mapping[str, Any]
Weights = Mapping[str, Array]

ZBL_PREFACTOR = 0.5 * 14.399645  # eV Angstrom, halved between the two ends of an edge
MLP_OPTIONS = {"two_body": "scalar_embed_mlp", "latents": "allegro_mlp", "readout": "readout_mlp"}
EMBEDDINGS = {"TwoBodyBesselScalarEmbed": "bessel", "TwoBodySplineScalarEmbed": "spline"}


def convert(facts: Facts, weights: Weights) -> Potential:
    """The potential that a model of nequip-allegro is, in eval mode.

    Raises ImportModelError, ConfigError that name every option that ours lacks.
    """
    refusals = list(unsupported(facts))
    if refusals:
        raise ImportModelError(f"options of nequip-allegro that allegro_dist lacks: {'; '.join(refusals)}")
    num_types = len(facts["type_names"])
    statistics = {
        "avg_num_neighbors": _per_type(weights["environment_norm"], num_types) ** -2,
        "per_type_scale": _per_type(weights["scale"], num_types),
        "per_type_shift": _per_type(weights["shift"], num_types),
    }
    values = {name: [float(v) for v in array] for name, array in statistics.items()}
    config = model_config(facts, weights, values)
    potential = build_potential(config, type_names=facts["type_names"], **values)
    with torch.no_grad():
        _fill(potential.model, weights)
    return potential.eval()


# --- options -------------------------------------------------------------------------------------------------------


def unsupported(facts: Facts) -> Iterator[str]:
    """What ours lacks, in the peer's words."""
    embedding, pair = facts["embedding"], facts["pair_potential"]
    if facts["dtype"] not in DTYPES:
        yield f"model_dtype {facts['dtype']}"
    if embedding["class"] not in EMBEDDINGS:
        yield f"radial_chemical_embed {embedding['class']} (expected {' or '.join(EMBEDDINGS)})"
    yield from _unsupported_power("radial_chemical_embed", embedding)
    for name, activations in facts["activations"].items():
        for other in sorted({a for a in activations if a != "SiLU"}):
            option = MLP_OPTIONS.get(name.split(".")[0], name)
            yield f"{option}_nonlinearity {other.lower()} (expected silu, or none)"
    if len({len(a) for name, a in facts["activations"].items() if name.startswith("latents")}) > 1:
        yield "allegro_mlp of different depths"
    for name in facts["biases"]:
        yield f"a bias in {MLP_OPTIONS.get(name.split('.')[0], name)}"
    if _shape_of(facts["irreps"]) is None:
        yield f"irreps_edge_sh and tensor_track_allowed_irreps {facts['irreps']} (expected those of l_max and parity)"
    if pair is not None:
        yield from _unsupported_pair_potential(pair, facts["type_names"])


def _unsupported_power(name: str, facts: Facts) -> Iterator[str]:
    power = facts.get("envelope_power", 6.0)
    if power != int(power):
        yield f"{name} polynomial_cutoff_p {power} (expected a whole number)"


def _unsupported_pair_potential(pair: Facts, type_names: list[str]) -> Iterator[str]:
    if pair["class"] != "ZBL":
        yield f"pair_potential {pair['class']} (expected ZBL)"
        return
    yield from _unsupported_power("pair_potential", pair)
    if not math.isclose(pair["prefactor"], ZBL_PREFACTOR, rel_tol=1e-6):
        yield "pair_potential ZBL in other units than metal (eV and Angstrom)"
    for name, charge in zip(type_names, pair["charges"], strict=True):
        if atomic_numbers.get(name) != charge:
            yield f"pair_potential ZBL with nuclear charge {charge:g} for type '{name}' (expected that of the element)"


def _shape_of(irreps: list[list[str]]) -> tuple[int, bool] | None:
    """l_max and parity of tensor products' irreps (first, second, output for each layer); None: of no such pair."""
    harmonics = irreps[0][1]
    for l_max in range(len(harmonics.split("+"))):
        for parity in (True, False):
            layers = [str(layer) for layer in layer_irreps(l_max, parity, len(irreps))]
            if irreps == [[first, layers[0], last] for first, last in zip(layers, layers[1:], strict=False)]:
                return l_max, parity
    return None


def model_config(facts: Facts, weights: Weights, statistics: Mapping[str, list[float]]) -> AllegroConfig:
    """Our configuration of the model; raises ConfigError where a value is out of our range."""
    shape, embedding, pair = _shape_of(facts["irreps"]), facts["embedding"], facts["pair_potential"]
    assert shape is not None
    names, r_max = facts["type_names"], facts["r_max"]
    values: dict[str, Any] = {
        "type_names": names,
        "r_max": r_max,
        "pair_cutoffs": {
            f"{center}-{neighbor}": cutoff
            for center, row in zip(names, facts["cutoffs"], strict=True)
            for neighbor, cutoff in zip(names, row, strict=True)
            if cutoff != r_max
        },
        "l_max": shape[0],
        "parity": shape[1],
        "num_layers": len(facts["irreps"]),
        "num_scalar_features": facts["num_scalar_features"],
        "num_tensor_features": facts["num_tensor_features"],
        "radial_basis": EMBEDDINGS[embedding["class"]],
        "num_radial": embedding["num_radial"],
        "bessel_trainable": embedding.get("trainable", False),
        "envelope_power": int(embedding.get("envelope_power", 6)),
        "path_channel_coupling": facts["path_channel_coupling"],
        "train_scale_shift": facts["train_scale_shift"],
        "zbl": pair is not None,
        "dtype": facts["dtype"],
    }
    if "span" in embedding:
        values["spline_span"] = embedding["span"]
    if pair is not None:
        values["zbl_envelope_power"] = int(pair["envelope_power"])
    if weights["two_body.0"].shape[0] != facts["num_scalar_features"]:
        values["num_embedding_features"] = weights["two_body.0"].shape[0]
    for ours, theirs in (("two_body_mlp", "two_body"), ("latent_mlp", "latents.0"), ("readout_mlp", "readout")):
        values[f"{ours}_depth"] = depth = len(facts["activations"][theirs])
        if depth:
            values[f"{ours}_width"] = weights[f"{theirs}.0"].shape[1]
    for name, per_type in statistics.items():
        values[name] = dict(zip(names, per_type, strict=True))
    return from_dict(AllegroConfig, values, "nequip-allegro's model in our terms")


# --- weights -------------------------------------------------------------------------------------------------------


def _fill(model: nn.Module, weights: Weights) -> None:
    assert isinstance(model, Allegro)
    scalars, channels, orders = model.start.write[0].shape[1], model.num_channels, model.order_mask.shape[1]

    def latents_and_tensor_weights(matrix: Array) -> list[Array]:
        """The columns of an MLP's last matrix: the latents, and what comes after them."""
        latents, rest = np.split(matrix, [scalars], axis=1)
        return [latents, _by_order(rest, channels, orders)] if rest.shape[1] else [latents]

    _fill_embedding(model.embedding, weights)
    _fill_mlp(model.two_body, _matrices(weights, "two_body"), lambda last: [last])
    latents, environment = latents_and_tensor_weights(weights["start.0"])
    for parameter, values in zip(
        model.start.write, [latents, _by_order(weights["tensor.0"], channels, orders), environment], strict=True
    ):
        _copy(parameter, values)
    for k, (product, latent) in enumerate(zip(model.products, model.latents, strict=True)):
        assert isinstance(product, AdjointProduct) and isinstance(latent, ScalarMLP)
        _copy(product.weight, weights[f"products.{k}"].reshape(product.weight.shape))
        _fill_mlp(latent, _matrices(weights, f"latents.{k}"), latents_and_tensor_weights)
    factor = _energy_factor(weights)
    _fill_mlp(model.readout, _matrices(weights, "readout"), lambda last: [factor * last])


def _fill_embedding(embedding: nn.Module, weights: Weights) -> None:
    if isinstance(embedding, SplineEmbedding):
        _copy(embedding.weight, weights["spline"].transpose(0, 2, 1))
        return
    assert isinstance(embedding, BesselEmbedding)
    _copy(embedding.wavenumbers, weights["wavenumbers"])
    _copy(embedding.mix, weights["mix.0"])
    _copy(embedding.center, weights["center"])
    _copy(embedding.neighbor, weights["neighbor"])


def _fill_mlp(mlp: ScalarMLP, matrices: list[Array], outputs: Callable[[Array], list[Array]]) -> None:
    """One matrix per layer into the blocks of an MLP; `outputs` cuts the last one by output."""
    if mlp.depth:
        heights = [weight.shape[0] for weight in mlp.read]
        for block, values in zip(mlp.read, np.split(matrices[0], np.cumsum(heights)[:-1]), strict=True):
            _copy(block, values)
        for hidden, values in zip(mlp.hidden, matrices[1:-1], strict=True):
            _copy(hidden, values)
    for block, values in zip(mlp.write, outputs(matrices[-1]), strict=True):
        _copy(block, values)


def _matrices(weights: Weights, name: str) -> list[Array]:
    return [weights[f"{name}.{k}"] for k in range(sum(key.rpartition(".")[0] == name for key in weights))]


def _by_order(columns: Array, channels: int, orders: int) -> Array:
    """[F, orders * channels] from the peer's [F, channels * orders], or [F, channels] shared by all orders."""
    rows = len(columns)
    if columns.shape[1] == channels:
        return np.tile(columns, (1, orders))
    return columns.reshape(rows, channels, orders).transpose(0, 2, 1).reshape(rows, -1)


def _energy_factor(weights: Weights) -> float:
    """The peer's norm of a center's sum of edge energies over ours, (2 avg_num_neighbors)^(-1/2)."""
    ratios = math.sqrt(2) * weights["energy_norm"] / weights["environment_norm"]
    if not np.allclose(ratios, ratios[0], rtol=1e-6, atol=0):
        raise ImportModelError(
            f"edge energies are summed with other norms than environments, by type: ratios {ratios.tolist()}"
        )
    return float(ratios[0])


def _per_type(values: Array, num_types: int) -> Array:
    """One value for each type."""
    return np.broadcast_to(values, (num_types,))


def _copy(parameter: Tensor, values: Array) -> None:
    if tuple(parameter.shape) != values.shape:
        raise ImportModelError(f"a weight has shape {list(values.shape)}, expected {list(parameter.shape)}")
    parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))
