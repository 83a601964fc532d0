"""Fitting a potential to frames: losses and metrics as sums and counts, one process or many, resumable."""
