"""Interatomic models, one family per file; `registry` finds them by name."""
