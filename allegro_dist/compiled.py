"""Where pip put files: our own compiled ones, and those of other packages. Imports nothing heavy."""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
from pathlib import Path

ENGINE_LIBRARY = "liballegro_engine.so"


def installed_file(distribution: str, name: str) -> Path | None:
    """The file called `name` that pip recorded for a distribution, if it is there."""
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = (Path(str(f.locate())) for f in files if f.name == name)
    return next((path.resolve() for path in found if path.exists()), None)


def compiled_file(name: str) -> Path:
    """A compiled file of this package; where it would be if it is not built."""
    beside = Path(__file__).parent / "lib" / name
    # An editable install leaves the compiled file in site-packages and the sources where they are.
    return beside if beside.exists() else installed_file("allegro-dist", name) or beside


def is_built() -> bool:
    """Whether the compiled engine is installed with this package."""
    return compiled_file(ENGINE_LIBRARY).exists()


@functools.cache
def engine_library() -> ctypes.CDLL:
    """The compiled engine and training step; raises RuntimeError where they are not installed."""
    file = compiled_file(ENGINE_LIBRARY)
    if not file.exists():
        raise RuntimeError(f"{file} does not exist: build it with scripts/setup.sh or `pip install .`")
    return ctypes.CDLL(str(file))
