"""Files that are either whole or not there, whenever a process ends."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class FileError(RuntimeError):
    """A file that can't be written; the message names it, and says what became of the one that was there."""


@contextlib.contextmanager
def replacing(path: Path, writer: str = "") -> Iterator[Path]:
    """A name beside `path` to write to; that file is synced and takes the name `path` when the block ends well.

    Args:
        writer: part of the temporary name, where several processes may write the file at once.

    Raises FileError for an OSError of the block or of what follows; the temporary file is removed then.
    """
    with _temporary(path, writer) as part:
        yield part
        sync(part)
        os.replace(part, path)
    # Not every file system lets a folder be synced, and the file is whole either way.
    with contextlib.suppress(OSError):
        sync(path.parent)


def check_writable(path: Path) -> None:
    """Raise FileError where `replacing` would do so after all the work: no such folder, say, or no permission."""
    with _temporary(path) as part:
        part.touch()


@contextlib.contextmanager
def _temporary(path: Path, writer: str = "") -> Iterator[Path]:
    """A name beside `path`, gone when the block ends; raises FileError for an OSError of the block."""
    if path.is_dir():
        raise FileError(f"{path}: can't be written: it is a folder; expected the name of a file")
    part = path.with_name(f"{path.name}{writer}.part")
    try:
        yield part
    except OSError as error:
        before = "; the previous one is untouched" if path.exists() else ""
        raise FileError(f"{path}: can't be written: {error.strerror or error}{before}") from error
    finally:
        with contextlib.suppress(OSError):  # the error that matters is told already
            part.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes | str, writer: str = "") -> None:
    """Write a file as `replacing` does."""
    with replacing(path, writer) as part, open(part, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)


def append(path: Path, text: str) -> int:
    """Append to a file, or begin it, and bring that to disk; returns the file's size.  Raises FileError."""
    with writing_to(path), open(path, "ab") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


@contextlib.contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Raise FileError for an OSError of the block, which need not name what was written to."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise FileError(f"{path}: can't be written: {reason}; the last checkpoint is untouched") from error


def write_json(path: Path, values: Any) -> None:
    """Write plain values as indented JSON, as `replacing` does."""
    write_atomically(path, json.dumps(values, indent=1) + "\n")


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
