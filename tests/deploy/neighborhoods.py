"""Every option of the model, random neighborhoods, and what the Python model has for them."""

from __future__ import annotations

import numpy as np
import torch

from allegro_dist.potential import Potential, pair_cutoffs
from tests.conftest import MIXED_CUTOFFS

OPTIONS = {
    "l_max 0": dict(l_max=0),
    "l_max 1, three layers": dict(l_max=1, num_layers=3),
    "l_max 2, one layer": dict(l_max=2, num_layers=1),
    "l_max 2, four layers": dict(l_max=2, num_layers=4),
    "l_max 3": dict(l_max=3),
    "l_max 3, three layers, no parity": dict(l_max=3, num_layers=3, parity=False),
    "l_max 4": dict(l_max=4, num_tensor_features=8),
    "odd widths": dict(num_tensor_features=7, num_scalar_features=18, latent_mlp_width=37, readout_mlp_width=5),
    "deep": dict(two_body_mlp_depth=2, latent_mlp_depth=3, readout_mlp_depth=2),
    "linear": dict(two_body_mlp_depth=0, latent_mlp_depth=0, readout_mlp_depth=0),
    "splines": dict(radial_basis="spline", num_radial=12),
    "uncoupled paths": dict(path_channel_coupling=False),
    "pair cutoffs": dict(pair_cutoffs=MIXED_CUTOFFS),
    "trained wavenumbers": dict(bessel_trainable=True),
    "zbl": dict(zbl=True),
    "zbl with an envelope of its own": dict(zbl=True, zbl_envelope_power=4),
    "wide embedding": dict(num_embedding_features=96),
    "linear, wide embedding": dict(num_embedding_features=96, two_body_mlp_depth=0),
}


def neighborhoods(potential: Potential, seed: int = 0, num_centers: int = 40):
    """Ragged blocks as (types, offsets, vectors, neighbor types): 0 to 60 edges, from 0.5 Angstrom to the cutoff."""
    rng = np.random.default_rng(seed)
    used = potential.parameters_used
    cutoffs = pair_cutoffs(used.config, used.type_names).numpy()
    types = rng.integers(len(cutoffs), size=num_centers)
    counts = rng.integers(0, 60, size=num_centers)
    counts[[0, 7, num_centers - 1]] = 0
    counts[3] = 1
    offsets = np.concatenate([[0], np.cumsum(counts)])
    centers = np.repeat(np.arange(num_centers), counts)
    neighbors = rng.integers(len(cutoffs), size=len(centers))
    directions = rng.normal(size=(len(centers), 3))
    lengths = rng.uniform(0.5, cutoffs[types[centers], neighbors])
    vectors = directions / np.linalg.norm(directions, axis=1, keepdims=True) * lengths[:, None]
    return types, offsets, vectors, neighbors


def reference(potential: Potential, types, offsets, vectors, neighbors):
    """The Python model on the same edges: neighbors are one dummy atom per type behind the centers."""
    num_types = int(potential.scale.shape[0])
    centers = np.repeat(np.arange(len(types)), np.diff(offsets))
    index = torch.tensor(np.stack([centers, len(types) + neighbors]))
    atom_types = torch.tensor(np.concatenate([types, np.arange(num_types)]))
    energy, gradient = potential(torch.tensor(vectors), index, atom_types)
    return energy[: len(types)].detach().double().numpy(), gradient.detach().double().numpy()


def interaction(potential: Potential, energy, types):
    return energy - potential.shift.detach().numpy()[types]


def rms(values):
    return np.sqrt(np.mean(np.square(values)))
