"""Parts of scripts/benchmark.py: models, runs in LAMMPS, peers, the machine's limits, tables and plots."""
