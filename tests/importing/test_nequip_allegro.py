"""Models that nequip-train has trained: imported, and run by our engine in LAMMPS.

They need the environment with nequip-allegro that scripts/benchmark.py and the slow tests make.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from allegro_dist.cli import main
from allegro_dist.importing.imported import import_model
from allegro_dist.importing.peer_process import PeerFrame
from tests.lammps.lammps_run import MPIEXEC, pair_allegro, run_lammps

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from benchmarking.peer_training import MODELS, ZBL, PeerModel, peer_is_installed, peer_python, train  # noqa: E402

SMALL = {"num_scalar_features": 8, "num_tensor_features": 4}
TINY = PeerModel(SMALL | {"per_edge_type_cutoff": {"C": 4.0}, "pair_potential": ZBL}, ("C", "Si"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A tiny model, trained by nequip-train for one epoch."""
    if not peer_is_installed():
        pytest.skip("needs an environment with nequip-allegro: scripts/benchmark.py --prepare --peers nequip-allegro")
    return train(TINY, tmp_path_factory.mktemp("peer"), epochs=1)


def in_lammps_frame(frame: PeerFrame) -> tuple[Atoms, np.ndarray]:
    """The structure turned so that its cell is lower triangular, and the rotation [3, 3] (rows times it are turned)."""
    structure = frame.structure
    cell, rotation = Atoms(cell=structure.cell).cell.standard_form()
    positions = structure.positions @ rotation.T
    return Atoms(structure.symbols, positions, cell=cell, pbc=structure.pbc), rotation.T


@pytest.mark.skipif(not MPIEXEC.exists(), reason="needs the lammps package with its MPI (scripts/setup.sh)")
def test_imported_model_gives_the_peers_forces_in_lammps(checkpoint, tmp_path, monkeypatch):
    archive, seen = tmp_path / "model.pth", []

    def remember(file, python):
        seen.append(import_model(file, python))
        return seen[-1]

    monkeypatch.setattr("allegro_dist.commands.import_model.import_model", remember)
    assert main(["import", str(checkpoint), "-o", str(archive), "--peer-python", peer_python(), "--exact"]) == 0
    frame = seen[0].peer.frames[2]
    atoms, rotation = in_lammps_frame(frame)
    found = run_lammps(tmp_path, atoms, TINY.types, pair_allegro(archive, TINY.types))
    forces = frame.structure.forces @ rotation
    rms = np.sqrt(np.mean(forces**2))
    np.testing.assert_allclose(found.forces, forces, rtol=0, atol=1e-5 * rms)
    assert found.energy == pytest.approx(frame.structure.energy, abs=1e-6 * np.ptp(frame.energies) * len(atoms))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_imported(name, tmp_path):
    imported = import_model(train(MODELS[name], tmp_path), peer_python())
    assert imported.potential.parameters_used.type_names == MODELS[name].types


@pytest.mark.slow
def test_package_is_the_same_model_as_its_checkpoint(tmp_path):
    checkpoint, package = train(TINY, tmp_path, epochs=1), tmp_path / "model.nequip.zip"
    command = [Path(peer_python()).with_name("nequip-package"), "build", checkpoint, package]
    subprocess.run(command, check=True, capture_output=True)
    one, other = (import_model(file, peer_python()).potential.state_dict() for file in (checkpoint, package))
    assert all(np.array_equal(one[name], other[name]) for name in one)


GRAPH_NETWORK = {
    "_target_": "nequip.model.NequIPGNNModel", "r_max": 5.0, "model_dtype": "float32", "num_layers": 2, "l_max": 1,
    "num_features": 8,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "model, message",
    [
        (PeerModel(SMALL | {"readout_mlp_nonlinearity": "mish"}), "readout_mlp_nonlinearity mish"),
        (PeerModel({}, defaults=GRAPH_NETWORK), "not an energy model of nequip-allegro's AllegroModel: it lacks"),
    ],
)
def test_model_that_ours_lacks_is_refused(model, message, tmp_path, capsys):
    checkpoint = train(model, tmp_path, epochs=1)
    assert main(["import", str(checkpoint), "-o", str(tmp_path / "m.pth"), "--peer-python", peer_python()]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "m.pth").exists()
