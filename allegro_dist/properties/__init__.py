"""Properties of a crystal by a potential: at rest by ASE, at temperatures by LAMMPS (docs/properties.md)."""
