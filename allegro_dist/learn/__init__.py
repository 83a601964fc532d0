"""Active learning: simulate with a committee, label what it is unsure of, train on, repeat (docs/learning.md)."""
