"""The models that scripts/benchmark.py times: settings, random weights, arithmetic counted from the fused program."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from allegro_dist.config import AllegroConfig
from allegro_dist.fused_program import DENSE, fused_program
from allegro_dist.potential import Potential, build_potential


class BenchmarkModel(NamedTuple):
    """A model for the diamond crystal of silicon's lattice constant, its types at random on the sites."""

    options: dict[str, Any]
    types: tuple[str, ...] = ("Si",)
    neighbors: int = 28  # of an atom, within r_max

    @property
    def r_max(self) -> float:
        return AllegroConfig(**self.options).r_max


WIDE = {"num_scalar_features": 128, "two_body_mlp_width": 128, "latent_mlp_width": 128, "readout_mlp_width": 64}
ELEMENTS = ("Si", "Ge", "C", "O", "N", "B", "P", "As")
MODELS = {
    "s5": BenchmarkModel({}),
    "s5-float64": BenchmarkModel({"dtype": "float64"}),
    "big": BenchmarkModel({"l_max": 3, "num_tensor_features": 64} | WIDE),
    "three": BenchmarkModel({"r_max": 6.0}, ELEMENTS[:3], 46),
    "layers3": BenchmarkModel({"num_layers": 3}),
    "layers4": BenchmarkModel({"num_layers": 4}),
    "types2": BenchmarkModel({}, ELEMENTS[:2]),
    "types4": BenchmarkModel({}, ELEMENTS[:4]),
    "types8": BenchmarkModel({}, ELEMENTS),
    "small": BenchmarkModel(
        {"r_max": 4.0, "l_max": 1, "num_layers": 1, "num_tensor_features": 8} | dict.fromkeys(WIDE, 16), neighbors=16
    ),
    "2022": BenchmarkModel({"family": "allegro-2022"}),
}
HERMITE = 2 * 2 * 6  # floating point operations for value and slope of a quintic interpolated from six numbers


def make_potential(model: BenchmarkModel) -> Potential:
    torch.manual_seed(0)
    return build_potential(
        AllegroConfig(**model.options),
        type_names=model.types,
        avg_num_neighbors=float(model.neighbors),
        per_type_scale=[0.1] * len(model.types),
        per_type_shift=[0.0] * len(model.types),
    )


class Work(NamedTuple):
    """Floating point operations for one atom, forward and backward."""

    dense: float  # matrix products
    tensor_track: float  # environment sums, projections, contractions
    tables: float

    @property
    def total(self) -> float:
        return sum(self)


def count_work(potential: Potential, neighbors: int, tabulated: bool) -> Work:
    """Counted from the shapes of the fused program; activations, radial functions and harmonics are left out.

    A multiply-add is two operations.  A weight of a matrix product is used once forward and once backward (into what
    was read).  A sum over (l, m) of channels times harmonics is used once forward and twice backward (into the channels
    and into the harmonics), a Clebsch-Gordan term likewise (into either factor).
    """
    program = fused_program(potential)
    l_max, num_channels, num_layers, _, num_two_body = program["sizes"].tolist()
    orders, components = l_max + 1, (l_max + 1) ** 2

    def is_tabulated(source: int) -> bool:
        return tabulated and source < num_two_body

    dense = 0 if tabulated else program["projection"].numel() + program["radial.weights"][0].numel()
    for k, (_, kind, index) in enumerate(program["dense.sources"].tolist()):
        if kind != DENSE or not is_tabulated(index):
            dense += program[f"dense.source.{k}"].numel()
    per_atom = environments = terms = 0
    widths = program["dense.layers"][:, 0].tolist()
    for t, source in enumerate(program["environment.sources"].tolist()):
        mix = 0 if is_tabulated(source) else program[f"environment.{t}"].numel()
        per_atom += mix * orders  # equal blocks per l, each used 2 l + 1 times
        environments += widths[source] if mix else num_channels
        # q of layer t goes through one full product after another, then through this layer's start.
        terms += len(program[f"product.{t}.start.value"])
        terms += sum(len(program[f"product.{s}.proceed.value"]) for s in range(t))
    summed = (environments + num_layers * num_channels) * components
    track = 3 * 2 * (summed * neighbors + terms * num_channels)
    tables = HERMITE * _tabulated_functions(program) * neighbors if tabulated else 0
    return Work(2 * 2 * (dense * neighbors + per_atom), track, tables)


def _tabulated_functions(program: dict[str, torch.Tensor]) -> int:
    """How many functions of r a table row holds: pre-activations that read two-body features, w and e1."""
    last = int(program["sizes"][4]) - 1
    sources = program["dense.sources"].tolist()
    read = sum(
        program[f"dense.source.{k}"].shape[1] for k, (_, kind, i) in enumerate(sources) if (kind, i) == (DENSE, last)
    )
    # dense layers of the two-body MLP itself read earlier ones, never the last
    return read + program["projection"].shape[1] + program["environment.0"].shape[1]
