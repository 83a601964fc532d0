"""Trained models of other packages, rewritten as ours; the packages themselves are needed only to read them."""
