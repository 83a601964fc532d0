"""The interface of a model family, all of it."""

from torch import Tensor, nn


class InteratomicModel(nn.Module):
    """Edges of a local neighborhood in, dimensionless energies per atom out.

    num_message_passes is 0 for strictly local models: the energy of a center then depends on its own edges only.
    """

    num_message_passes: int = 0

    def forward(self, edge_vectors: Tensor, edge_index: Tensor, atom_types: Tensor) -> Tensor:
        """edge_vectors [E, 3] Angstrom, edge_index [2, E] sorted by center, atom_types [N] -> [N]."""
        raise TypeError(f"{type(self).__name__} must define forward(edge_vectors, edge_index, atom_types)")
