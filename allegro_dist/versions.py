"""What a result was made with: versions of the packages that matter, and the commit of our own sources."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import allegro_dist

PACKAGES = ("torch", "e3nn", "numpy")
_SOURCES = Path(allegro_dist.__file__).parent


def versions() -> dict[str, str]:
    """{"allegro-dist": "0.1.0", "torch": .., "e3nn": .., "numpy": .., "python": ..}."""
    installed = {name: version(name) for name in PACKAGES}
    return {"allegro-dist": allegro_dist.__version__, **installed, "python": platform.python_version()}


def commit(sources: Path = _SOURCES) -> str | None:
    """The git commit of the sources that run, with "-dirty" if tracked files differ; None where git does not know them.

    A package that is installed inside somebody else's repository (in its .venv, say) has no commit.
    """
    try:
        _git(sources, "ls-files", "--error-unmatch", "__init__.py")
        return _git(sources, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
