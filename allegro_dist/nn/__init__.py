"""Building blocks of the models: pure functions and the modules that hold their weights."""
