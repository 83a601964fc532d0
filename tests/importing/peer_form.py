"""Allegro as nequip-allegro writes it, with random weights: the witness of the conversion where that package is not.

A tensor on every edge, [channel, component]; every path by its Wigner 3j symbols.  Facts and weights are named as
importing/nequip_worker.py names them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from e3nn import o3
from torch import Tensor
from torch.nn.functional import silu

from allegro_dist.nn.tensor_track import layer_irreps
from allegro_dist.nn.zbl import zbl_energy

TYPE_NAMES = ["Si", "O", "H"]
CUTOFFS = [[5.0, 4.5, 4.0], [5.0, 5.0, 3.5], [4.0, 3.5, 3.0]]
CHARGES = [14.0, 8.0, 1.0]
S, U, F, HIDDEN = 6, 4, 10, 12  # widths: latents, tensor channels, embedding, hidden layers


def random_model(
    l_max: int, parity: bool, num_layers: int, *, coupled: bool, shared: bool, spline: bool, silus: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Facts and weights.

    Args:
        coupled: a weight for each path and channel, or one for each path.
        shared: one tensor weight for all orders (weight_individual_irreps: false).
        silus: hidden layers of every MLP.
    """
    rng = np.random.default_rng(5)
    irreps = [str(layer) for layer in layer_irreps(l_max, parity, num_layers)]
    tensor = U if shared else U * (l_max + 1)
    weights: dict[str, np.ndarray] = {}
    activations: dict[str, list[str]] = {"mix": []}

    def add_mlp(name: str, num_in: int, num_out: int, hidden: int) -> None:
        sizes = [num_in, *[HIDDEN] * hidden, num_out]
        for k, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False)):
            weights[f"{name}.{k}"] = rng.normal(size=(a, b)) / math.sqrt(a)
        activations[name] = ["SiLU"] * hidden

    add_mlp("two_body", F, S, silus)
    add_mlp("tensor", S, tensor, 0)
    add_mlp("start", S, S + tensor, 0)
    products = [[first, irreps[0], last] for first, last in zip(irreps, irreps[1:], strict=False)]
    for k, product in enumerate(products):
        add_mlp(f"latents.{k}", S * (k + 1) + U, S + (tensor if k < num_layers - 1 else 0), silus)
        num_paths = len(list(paths(product)))
        shape = () if num_paths == 1 else (num_paths,)
        weights[f"products.{k}"] = rng.normal(size=(U, *shape) if coupled else shape)
    add_mlp("readout", S * (num_layers + 1), 1, silus)
    embedding: dict[str, Any] = {"class": "TwoBodyBesselScalarEmbed", "num_radial": 8, "trainable": False}
    embedding["envelope_power"] = 5.0
    if spline:
        embedding = {"class": "TwoBodySplineScalarEmbed", "num_radial": 9, "span": 6}
        weights["spline"] = rng.normal(size=(9, F, 9))
    else:
        weights |= {"wavenumbers": np.arange(1.0, 9.0), "mix.0": rng.normal(size=(8, F))}
        weights |= {name: rng.normal(size=(3, F // 2)) for name in ("center", "neighbor")}
    weights |= {
        "environment_norm": np.array([0.2, 0.25, 0.3]), "energy_norm": 1.7 * np.array([0.2, 0.25, 0.3]),
        "scale": np.array([1.3]), "shift": np.array([-7.0, -5.0, -3.0]),
    }  # fmt: skip
    facts = {
        "dtype": "float64", "type_names": TYPE_NAMES, "r_max": 5.0, "cutoffs": CUTOFFS, "embedding": embedding,
        "activations": activations, "biases": [], "num_scalar_features": S, "num_tensor_features": U,
        "irreps": products, "path_channel_coupling": coupled, "train_scale_shift": False,
        "pair_potential": {"class": "ZBL", "charges": CHARGES, "prefactor": 7.1998225, "envelope_power": 8.0},
    }  # fmt: skip
    return facts, weights


def paths(product: list[str]):
    """(output, first, second) irrep of every path, each with its slice of components."""
    first, second, last = (o3.Irreps(irreps) for irreps in product)
    for c, (_, ir_c) in zip(last.slices(), last, strict=True):
        for a, (_, ir_a) in zip(first.slices(), first, strict=True):
            for b, (_, ir_b) in zip(second.slices(), second, strict=True):
                if ir_c in ir_a * ir_b:
                    yield (c, ir_c.l), (a, ir_a.l), (b, ir_b.l)


def polynomial_cutoff(x: Tensor, p: float) -> Tensor:
    inner = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    return inner * (x < 1)


class PeerForm:
    """The model as a function of edges."""

    def __init__(self, facts: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
        self.facts, self.weights = facts, {name: torch.tensor(values) for name, values in weights.items()}

    def energies(self, vectors: Tensor, index: Tensor, types: Tensor) -> Tensor:
        """[N] eV."""
        w, (center, neighbor) = self.weights, index
        r, num_atoms = vectors.norm(dim=1), len(types)
        x = r / torch.tensor(self.facts["cutoffs"], dtype=r.dtype)[types[center], types[neighbor]]
        harmonics = o3.spherical_harmonics(
            self.facts["irreps"][0][1], vectors, normalize=True, normalization="component"
        )

        def environment(edge_weights: Tensor) -> Tensor:
            summed = torch.zeros(num_atoms, U, harmonics.shape[1], dtype=r.dtype)
            summed = summed.index_add(0, center, self.weighted(edge_weights, harmonics))
            return summed * w["environment_norm"][types, None, None]

        h = self.mlp("two_body", self.embedded(x, types[center], types[neighbor]))
        tensor = self.weighted(h @ w["tensor.0"], harmonics)
        out = h @ w["start.0"]
        latents = [out[:, :S]]
        for k, product in enumerate(self.facts["irreps"]):
            tensor = self.product(k, product, tensor, environment(out[:, S:])[center])
            out = self.mlp(f"latents.{k}", torch.cat([*latents, tensor[:, :, 0]], 1))
            latents.append(out[:, :S])
        edge = self.mlp("readout", torch.cat(latents, 1))[:, 0]
        edge = edge * (w["energy_norm"] * w["scale"])[types[center]]
        charges = torch.tensor(CHARGES, dtype=r.dtype)[types]
        power = self.facts["pair_potential"]["envelope_power"]
        edge = edge + 0.5 * zbl_energy(r, charges[center], charges[neighbor]) * polynomial_cutoff(x, power)
        return w["shift"][types].index_add(0, center, edge)

    def embedded(self, x: Tensor, type_i: Tensor, type_j: Tensor) -> Tensor:
        w, embedding, x = self.weights, self.facts["embedding"], x[:, None]
        if "spline" in w:
            num, span = embedding["num_radial"], embedding["span"]
            lower = torch.arange(-span, num - span, dtype=x.dtype) / num
            t = (torch.clamp(x, lower, lower + (span + 1) / num) - lower) * 2 * math.pi * num / (span + 1)
            return torch.einsum("efn,en->ef", w["spline"][type_i * 3 + type_j], 0.25 * (1 - torch.cos(t)) ** 2)
        waves = torch.sinc(x * w["wavenumbers"]) * w["wavenumbers"]
        radial = waves * polynomial_cutoff(x, embedding["envelope_power"])
        return torch.cat((w["center"][type_i], w["neighbor"][type_j]), 1) * (radial @ w["mix.0"])

    def mlp(self, name: str, x: Tensor) -> Tensor:
        depth = len(self.facts["activations"][name])
        for k in range(depth):
            x = silu(x @ self.weights[f"{name}.{k}"])
        return x @ self.weights[f"{name}.{depth}"]

    @staticmethod
    def weighted(weights: Tensor, harmonics: Tensor) -> Tensor:
        """[E, U, components]: weights are [E, U, orders], orders running fastest, or [E, U]."""
        orders = math.isqrt(harmonics.shape[1])
        order_of = torch.tensor([l for l in range(orders) for _ in range(2 * l + 1)])
        weights = weights.view(len(weights), U, -1).expand(-1, -1, orders)
        return weights[:, :, order_of] * harmonics[:, None]

    def product(self, k: int, product: list[str], first: Tensor, second: Tensor) -> Tensor:
        out = torch.zeros(len(first), U, o3.Irreps(product[2]).dim, dtype=first.dtype)
        weight = self.weights[f"products.{k}"].view(U if self.facts["path_channel_coupling"] else 1, -1).expand(U, -1)
        for p, ((c, l_c), (a, l_a), (b, l_b)) in enumerate(paths(product)):
            symbols = math.sqrt(2 * l_c + 1) * o3.wigner_3j(l_a, l_b, l_c, dtype=first.dtype)
            term = torch.einsum("eua,eub,abc->euc", first[:, :, a], second[:, :, b], symbols)
            out[:, :, c] = out[:, :, c] + weight[:, p, None] * term
        return out
