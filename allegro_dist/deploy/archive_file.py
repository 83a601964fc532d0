"""The archive as a file, read without torch: its members of ours, and the model card.

It is the zip that torch.jit writes, and has members beside the module: `format_version` is read before anything else,
so that another format gives a clear error; `model_card.json` is for people; `engine.safetensors` is all that the
compiled engine reads (engine_data.py); `weights.safetensors` is for fine-tuning (weights.py).
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

FORMAT_VERSION = 2  # csrc/archive.cpp reads the same
MEMBERS = ("format_version", "model_card.json", "engine.safetensors", "weights.safetensors")


class ArchiveError(RuntimeError):
    """A file that is not an archive this version can use; the message names the file and the reason."""


def read_model_card(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The card of an archive, without loading the model."""
    try:
        card: dict[str, Any] = json.loads(read_members(Path(path))["model_card.json"])
    except ValueError as error:
        raise ArchiveError(f"{path}: the archive is damaged: model_card.json: {error}") from None
    return card


def read_members(path: Path) -> dict[str, bytes]:
    """Our members of an archive of this format, each checked against its checksum; empty where one is missing."""
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise ArchiveError(f"{path}: {found}; expected an archive written by `allegro-dist deploy`")
    contents = dict.fromkeys(MEMBERS, b"")
    try:
        with zipfile.ZipFile(path) as members:
            damaged = members.testzip()  # every member against its checksum
            for member in members.namelist() if not damaged else ():
                _, _, name = member.partition("/extra/")
                if name in contents:
                    contents[name] = members.read(member)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as error:
        raise ArchiveError(
            f"{path}: not a readable archive (truncated, corrupt, or another kind of file): {error}"
        ) from None
    if damaged:
        raise ArchiveError(f"{path}: the archive is damaged: checksum of {damaged} does not match")
    version = contents["format_version"].decode(errors="replace")
    if not version.isdecimal():
        raise ArchiveError(f"{path}: not an allegro_dist archive (its format_version is '{version}')")
    if int(version) != FORMAT_VERSION:
        remedy = "install a newer allegro_dist or deploy" if int(version) > FORMAT_VERSION else "deploy"
        raise ArchiveError(
            f"{path}: archive format {version}, but this version of allegro_dist reads {FORMAT_VERSION}; "
            f"{remedy} the model again"
        )
    return contents
