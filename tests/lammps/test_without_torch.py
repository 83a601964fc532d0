"""LAMMPS runs Allegro models without loading torch; the loader's own log is the witness."""

import pytest

from tests.conftest import silica
from tests.lammps.lammps_run import in_lammps_frame, pair_allegro, run_lammps


@pytest.mark.parametrize("evaluator, loads_torch", [("auto", False), ("torchscript", True)])
def test_torch_is_loaded_for_torchscript_alone(archives, tmp_path, monkeypatch, evaluator, loads_torch):
    monkeypatch.setenv("LD_DEBUG", "files")
    monkeypatch.setenv("LD_DEBUG_OUTPUT", str(tmp_path / "loaded"))
    atoms = in_lammps_frame(silica())
    run_lammps(
        tmp_path, atoms, ["Si", "O", "H"], pair_allegro(archives["float32"], ["Si", "O", "H"], f"evaluator {evaluator}")
    )
    log = "".join(file.read_text(errors="replace") for file in tmp_path.glob("loaded.*"))
    assert "liballegro_engine.so" in log
    assert ("libtorch_cpu.so" in log) == loads_torch
