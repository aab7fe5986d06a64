"""Files and directories that are written whole or not at all: on this machine a temporary name, a flush to the disk, a
rename; behind a URL a file made here and sent in one go.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unweave.places import PIECE, Place, Remote

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a file holds."""

    bytes: int
    sha256: str


def write_file(path: Place, write: Callable[[Path], object]) -> Written:
    """Lets `write` fill a temporary file, beside `path` if that is on this machine, flushes it to the disk and renames
    it: the name never stands for half a file. What is behind a URL is sent as a whole.
    """
    if isinstance(path, Remote):
        with tempfile.TemporaryDirectory(prefix="unweave-") as folder:
            file = Path(folder) / path.name
            write(file)
            written = _facts(file)
            path.upload(file)
        return written
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        write(temporary)
        temporary.chmod(mode)  # safetensors makes files that only their owner can read
        written = _facts(temporary)
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
        return written
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Writes a safetensors file.

    Raises:
        OSError: The file cannot be written; safetensors has an error of its own for a full disk.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        raise OSError(f"{error}") from error


def write_text(path: Place, text: str) -> Written:
    """Writes a text file whole or not at all, as UTF-8 with plain line feeds."""
    return write_file(path, lambda temporary: temporary.write_bytes(text.encode("utf-8")))


def file_sha256(path: Place) -> str:
    """sha256 of a file's bytes, read in pieces."""
    if isinstance(path, Remote):
        total, size = hashlib.sha256(), path.size()
        for start in range(0, size, PIECE):
            total.update(path.read_bytes(start, min(size, start + PIECE)))
        return total.hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def make_directory(place: Place) -> None:
    """Makes the directory and those around it; nothing if it is there."""
    place.mkdir() if isinstance(place, Remote) else place.mkdir(parents=True, exist_ok=True)


def remove_directory(place: Place) -> None:
    """Removes the directory with all that is in it; nothing if it is not there."""
    if isinstance(place, Remote):
        place.remove_tree()
    elif place.exists():
        shutil.rmtree(place)


def _facts(file: Path) -> Written:
    return Written(bytes=file.stat().st_size, sha256=file_sha256(file))


def replace_directory(fresh: Path, target: Path) -> None:
    """Puts the finished directory `fresh` where `target` is; what stood there goes last, and comes back if `fresh`
    cannot take its place.
    """
    old = None
    if target.exists():
        old = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.old")
        os.replace(target, old)
    try:
        os.replace(fresh, target)
        _flush(target.parent)
    except OSError:
        if target.exists():
            os.replace(target, fresh)
        if old is not None:
            os.replace(old, target)
        raise
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows has no handle for a directory
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
