"""From files that ASE reads to batches of graphs."""
