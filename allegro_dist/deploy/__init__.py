"""From a trained potential to the one file that LAMMPS, ASE and any libtorch load."""
