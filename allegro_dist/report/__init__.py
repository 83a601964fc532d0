"""Pages of results: of a potential on data (evaluation), and of the silicon demo (silicon)."""
