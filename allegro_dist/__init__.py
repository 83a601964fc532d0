"""allegro_dist: strictly local E(3)-equivariant interatomic potentials, from training data to LAMMPS.

Importing the package defines names only; torch is imported by the modules that need it.
"""

__version__ = "0.1.0"
