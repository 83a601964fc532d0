"""Building blocks of the models: pure functions and the modules that hold their weights."""

from allegro_dist.nn.vector_math import settle_kernels

settle_kernels()
