"""Files and directories that are written whole or not at all: a temporary name, a flush to the disk, a rename."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unweave.errors import InputError, StoreError

if TYPE_CHECKING:
    from torch import Tensor


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file beside `path`, flushes it to the disk and renames it: the name never stands
    for half a file.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        write(temporary)
        temporary.chmod(mode)  # safetensors makes files that only their owner can read
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
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


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all, as UTF-8 with plain line feeds."""
    write_file(path, lambda temporary: temporary.write_bytes(text.encode("utf-8")))


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_json(file: Path) -> Any:
    """The content of a JSON file that we wrote.

    Raises:
        StoreError: It is no JSON, or has NaN in it.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{file} is damaged: {error}; make the artifact again") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def check_replaceable(target: Path, mark: str, own: set[str]) -> None:
    """Raises if something stands at `target` that is not one of our directories, known by the file `mark`, and nothing
    else than the files `own`.

    Raises:
        InputError: Something would be lost.
    """
    if not target.exists():
        return
    found = {entry.name for entry in target.iterdir()} if target.is_dir() else None
    if found is None or (found and mark not in found):
        raise InputError(f"{target} exists and is not an artifact: choose another path")
    strange = sorted(found - own)
    if strange:
        raise InputError(f"{target} holds {strange[0]!r} beside an artifact, which would be lost: choose another path")


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
