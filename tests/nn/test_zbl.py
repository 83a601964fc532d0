"""The core repulsion against LAMMPS's pair_style zbl."""

import pytest
import torch

from allegro_dist.nn.zbl import zbl_energy
from allegro_dist.simulate.lammps_runtime import import_lammps


@pytest.mark.parametrize("pair", [(14, 14), (14, 8), (1, 8)])
def test_zbl_energy_equals_lammps(pair):
    lmp = import_lammps().lammps(cmdargs=["-log", "none", "-screen", "none"])
    try:
        # inner cutoff at the longest distance tested: no switching below it
        lmp.commands_string(
            "units metal\natom_modify map array\nboundary f f f\nregion box block -9 9 -9 9 -9 9\ncreate_box 2 box\n"
            "create_atoms 1 single 0 0 0\ncreate_atoms 2 single 1 0 0\nmass * 1\npair_style zbl 4.0 4.5\n"
            f"pair_coeff 1 1 {pair[0]} {pair[0]}\npair_coeff 2 2 {pair[1]} {pair[1]}\n"
            f"pair_coeff 1 2 {pair[0]} {pair[1]}"
        )
        for r in (0.3, 0.8, 1.5, 3.0):
            lmp.command(f"set atom 2 x {r}")
            lmp.command("run 0 post no")
            ours = zbl_energy(
                torch.tensor([r], dtype=torch.float64), *(torch.tensor([float(z)], dtype=torch.float64) for z in pair)
            )
            # LAMMPS adds a constant that takes its energy to zero at the outer cutoff: compare differences
            if r == 0.3:
                offset = lmp.get_thermo("pe") - ours.item()
            assert lmp.get_thermo("pe") - offset == pytest.approx(ours.item(), rel=1e-9)
    finally:
        lmp.close()
