"""What is computed from structures, energies and series in time, whoever computed those: pure functions."""
