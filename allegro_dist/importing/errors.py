"""What can go wrong with another package's model."""


class ImportModelError(ValueError):
    """A file that can't be read, a model that ours can't express, or one that came out different; the message says."""
