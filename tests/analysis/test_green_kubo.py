"""Running integrals against processes whose correlations are known, and against LAMMPS's own fix ave/correlate."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.signal import lfilter

from allegro_dist.analysis.green_kubo import NUM_SEGMENTS, conductivity, green_kubo, viscosity
from tests.lammps.lammps_run import start_lmp

INTERVAL = 0.002  # ps


def relaxing(num_samples: int, num_components: int, time: float, seed: int) -> np.ndarray:
    """[T, C] of variance 1, whose correlation is exp(-t / time); time in samples."""
    memory = np.exp(-1 / time)
    noise = np.random.default_rng(seed).normal(size=(num_samples, num_components))
    return lfilter([np.sqrt(1 - memory**2)], [1, -memory], noise, axis=0)


def test_integral_of_a_relaxation_is_its_time():
    found = green_kubo(relaxing(40_000, 5, 20.0, seed=1), INTERVAL, factor=1 / 5)
    assert abs(found.coefficient.value - 20 * INTERVAL) < 2.5 * found.coefficient.error < 0.25 * 20 * INTERVAL


def test_error_is_the_spread_of_repeated_simulations():
    found = [green_kubo(relaxing(20_000, 3, 20.0, seed), INTERVAL, 1.0, begin=80 * INTERVAL) for seed in range(30)]
    spread = np.std([f.coefficient.value for f in found], ddof=1)
    assert np.sqrt(np.mean([f.coefficient.error**2 for f in found])) == pytest.approx(spread, rel=0.3)


def test_slow_tail_moves_the_plateau_behind_it():
    fast = relaxing(40_000, 5, 2.0, seed=2)
    both = fast + np.sqrt(0.1) * relaxing(40_000, 5, 100.0, seed=3)
    begins = [green_kubo(series, INTERVAL, 1.0).plateau[0] for series in (fast, both)]
    assert begins[0] < 20 * INTERVAL and begins[1] > 100 * INTERVAL


def test_correlation_that_does_not_end_has_no_plateau():
    constant = np.ones((2000, 1)) + 0.01 * np.random.default_rng(0).normal(size=(2000, 1))
    found = green_kubo(constant, INTERVAL, 1.0)
    assert found.plateau is None and found.coefficient is None


def test_viscosity_in_other_units():
    """All components alike: V / kT int <Pxy Pxy>, in SI units."""
    pressure = 1000 * relaxing(20_000, 6, 10.0, seed=4)  # bar; of which the traceless part counts
    found = viscosity(pressure, volume=5000.0, temperature=900.0, interval=INTERVAL, begin=50 * INTERVAL)
    traceless_weight = (2 * 3 + 2) / 10  # six off-diagonal components of variance 1, and two independent diagonal ones
    exact = 5000e-30 / (1.380649e-23 * 900) * (1e8) ** 2 * 10 * INTERVAL * 1e-12 * traceless_weight * 1e3
    assert found.coefficient.value == pytest.approx(exact, abs=3 * found.coefficient.error)
    assert found.coefficient.error < 0.1 * exact


def test_conductivity_in_other_units():
    current = relaxing(20_000, 3, 10.0, seed=5)  # eV Angstrom/ps
    found = conductivity(current, volume=5000.0, temperature=900.0, interval=INTERVAL, begin=50 * INTERVAL)
    si = 1.602176634e-19 * 1e-10 / 1e-12
    exact = si**2 * 10 * INTERVAL * 1e-12 / (5000e-30 * 1.380649e-23 * 900**2)
    assert found.coefficient.value == pytest.approx(exact, abs=3 * found.coefficient.error)
    assert found.coefficient.error < 0.15 * exact


def test_conductivity_of_a_cell_in_motion_is_that_at_rest():
    current = relaxing(20_000, 3, 10.0, seed=5)
    about = {"volume": 5000.0, "temperature": 900.0, "interval": INTERVAL}
    at_rest, moving = (conductivity(current + mean, **about) for mean in (0.0, np.array([3.0, -2.0, 0.5])))
    assert moving.plateau == at_rest.plateau
    assert moving.coefficient.value == pytest.approx(at_rest.coefficient.value, rel=1e-9)


def test_short_series_is_refused():
    with pytest.raises(ValueError, match="expected 400 or more samples, got 399"):
        green_kubo(np.zeros((399, 3)), INTERVAL, 1.0)


def test_plateau_beyond_the_lags_is_refused():
    with pytest.raises(ValueError, match=r"a plateau from 0.06 ps on ends beyond the lags.*: 0.1 ps"):
        green_kubo(np.zeros((1000, 3)), INTERVAL, 1.0, begin=0.06)


LIQUID = """\
units metal
atom_style atomic
lattice fcc 5.9
region box block 0 3 0 3 0 3
create_box 1 box
create_atoms 1 box
mass 1 39.948
pair_style lj/cut 8.5
pair_coeff 1 1 0.0103 3.405
velocity all create 200 4711
timestep 0.004
fix motion all nve
run 100
reset_timestep 0
fix record all ave/time 2 1 2 c_thermo_press[4] file stress.part format " %.15g"
fix witness all ave/correlate 2 50 600 c_thermo_press[4]
variable integral equal trap(f_witness[3])*0.008
thermo_style custom step f_witness[1][3] f_witness[2][3] f_witness[50][3] v_integral
thermo_modify format float %.15g
run 600
"""


def test_correlation_and_integral_are_those_of_lammps(tmp_path):
    """fix ave/correlate and trap() take the whole run; here each segment is the whole run."""
    output = start_lmp(tmp_path, LIQUID).stdout
    _, first, second, last, integral = next(
        [float(word) for word in line.split()] for line in output.splitlines() if line.split()[:1] == ["600"]
    )
    pressure = np.loadtxt(tmp_path / "stress.part")[:, 1]
    copies = np.tile(pressure, NUM_SEGMENTS)[:, None]
    found = green_kubo(copies, 0.008, 1.0, begin=0.04)
    assert_allclose(found.correlation[[1, 49]], [second / first, last / first], rtol=1e-8)
    assert found.integral[49] == pytest.approx(integral, rel=1e-8)
