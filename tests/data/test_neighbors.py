import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list

from allegro_dist.data.graph import build_graph, collate
from allegro_dist.data.neighbors import find_edges, find_types
from allegro_dist.data.structure import DataError, from_atoms
from tests.data.frames import random_atoms

TYPE_NAMES = ("H", "O", "Si")
CUTOFFS = np.array([[3.0, 3.5, 5.0], [4.0, 5.0, 5.0], [4.5, 5.0, 5.0]])


def edges_of(atoms, cutoffs=CUTOFFS):
    structure = from_atoms(atoms)
    return find_edges(structure, find_types(structure, TYPE_NAMES), cutoffs)


def as_rows(center, neighbor, vectors):
    return sorted(np.column_stack([center, neighbor, np.round(vectors, 8) + 0.0]).tolist())


@pytest.mark.parametrize(
    "pbc", [True, False, [True, False, False], [True, True, False]], ids=["bulk", "cluster", "wire", "slab"]
)
def test_edges_equal_those_of_ase(pbc):
    atoms = random_atoms(3, pbc=pbc)
    edges = edges_of(atoms)
    i, j, vectors = neighbor_list("ijD", atoms, 5.0)
    types = np.array([TYPE_NAMES.index(s) for s in atoms.symbols])
    keep = np.linalg.norm(vectors, axis=1) < CUTOFFS[types[i], types[j]]
    assert 0 < keep.sum() < len(i)
    assert as_rows(*edges.edge_index, edges.edge_vectors) == as_rows(i[keep], j[keep], vectors[keep])


def test_cell_smaller_than_the_cutoff_sees_its_own_images():
    atoms = bulk("Si", "diamond", a=5.43)  # two atoms; the cutoff spans several cells
    edges = edges_of(atoms)
    i, j, vectors = neighbor_list("ijD", atoms, 5.0)
    assert (edges.edge_index[0] == edges.edge_index[1]).any()
    assert as_rows(*edges.edge_index, edges.edge_vectors) == as_rows(i, j, vectors)


def test_edges_are_sorted_and_reproducible():
    first, second = edges_of(random_atoms(1)), edges_of(random_atoms(1))
    keys = first.edge_index.T.tolist()
    assert keys == sorted(keys)
    np.testing.assert_array_equal(first.edge_vectors, second.edge_vectors)


def test_edge_vectors_point_from_center_to_neighbor():
    edges = edges_of(Atoms("HO", positions=[[0, 0, 0], [1, 0, 0]]))
    assert edges.edge_index.tolist() == [[0, 1], [1, 0]]
    assert edges.edge_vectors.tolist() == [[1, 0, 0], [-1, 0, 0]]


def test_isolated_atom_has_no_edges():
    assert edges_of(Atoms("Si")).edge_vectors.shape == (0, 3)


def test_atoms_in_one_place_are_refused():
    with pytest.raises(DataError, match=r"atoms 0 and 1 are 0\.01 Angstrom apart"):
        edges_of(Atoms("Si2", positions=[[0, 0, 0], [0.01, 0, 0]]))


def test_unknown_type_is_named():
    with pytest.raises(DataError, match="atom of type 'Cu', but the model has H, O, Si"):
        edges_of(Atoms("Cu"))


def test_batch_is_its_graphs_with_shifted_indices():
    cutoffs = torch.from_numpy(CUTOFFS)
    graphs = [build_graph(from_atoms(a), TYPE_NAMES, cutoffs, torch.float64) for a in
              (random_atoms(0), Atoms("Si"), random_atoms(1, "SiO2H4"))]  # fmt: skip
    batch = collate(graphs)
    first_atom = first_edge = 0
    for number, graph in enumerate(graphs):
        edges, atoms = slice(first_edge, first_edge + graph.num_edges), slice(first_atom, first_atom + graph.num_atoms)
        assert torch.equal(batch.edge_index[:, edges] - first_atom, graph.edge_index)
        assert torch.equal(batch.edge_vectors[edges], graph.edge_vectors)
        assert torch.equal(batch.atom_types[atoms], graph.atom_types)
        assert (batch.edge_frame[edges] == number).all() and (batch.atom_frame[atoms] == number).all()
        first_atom, first_edge = first_atom + graph.num_atoms, first_edge + graph.num_edges
    assert (batch.edge_index[0].diff() >= 0).all()
