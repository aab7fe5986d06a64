"""Arrays of other tools as rows: `.npy`, `.npz`, `.safetensors`, or arrays that are in memory, read by slices.

A header is compared with the bytes that are there before anything is allocated; what is stored plainly is mapped, not
read. Nothing is unpickled.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unweave.activations.tensor_file import TensorFile, open_tensors
from unweave.errors import InputError, StoreError
from unweave.places import Place, local_place, place_of

KINDS = (".npy", ".npz", ".safetensors")
MOST_INFLATION = 1032
"""Bytes that one byte of deflate can stand for: an entry that claims more is none."""
HEADER_BYTES = 1 << 16
"""Of an array in numpy's format: more than any array of numbers needs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredArray:
    """An array of a safetensors file, read by slices of its first axis."""

    file: TensorFile
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.file.entries[self.name].shape

    @property
    def dtype(self) -> torch.dtype:
        """Its dtype."""
        return self.file.entries[self.name].dtype

    def __getitem__(self, index: slice) -> Tensor:
        """Rows from start to stop."""
        start, stop, _ = index.indices(self.shape[0])
        return self.file.rows(self.name, start, max(start, stop))


def open_arrays(source: Any) -> dict[str, Any]:
    """Name -> array, opened and not read where that is possible.

    Args:
        source: A mapping of arrays (numpy, torch, memory maps), or a `.npy`, `.npz` or `.safetensors` file; the array
            of a `.npy` file is named after it, a `.safetensors` file may be behind a URL.

    Raises:
        InputError: No such file, another kind of file, or one that claims more than it holds.

    Example:
        >>> {name: tuple(array.shape) for name, array in open_arrays({"embed": np.zeros((3, 2))}).items()}
        {'embed': (3, 2)}
    """
    if not isinstance(source, str | Path):
        if not isinstance(source, Mapping):
            raise InputError(f"arrays are a {type(source).__name__}: a mapping of names to arrays or a file is needed")
        return {str(name): array for name, array in source.items()}
    file = place_of(source)
    if file.suffix not in KINDS or not file.is_file():
        raise InputError(f"no array file at {file}: give a {', '.join(KINDS)} file or a mapping of names to arrays")
    if file.suffix == ".safetensors":
        return dict(_tensors(file))
    path = local_place(source, f"a {file.suffix} file")
    return {path.stem: open_npy(path)} if path.suffix == ".npy" else _archive(path)


def open_npy(path: Path) -> np.ndarray:
    """The array of a `.npy` file, mapped.

    Raises:
        InputError: It is none, it is cut, or it holds objects.
    """
    with path.open("rb") as stream:
        shape, order, dtype, begin = _header(stream.read(HEADER_BYTES), path)
    _check_size(f"{path}", shape, dtype, path.stat().st_size - begin)
    if not math.prod(shape):
        return np.empty(shape, dtype)  # nothing cannot be mapped
    return np.memmap(path, dtype=dtype, mode="r", offset=begin, shape=shape, order=order)


def _archive(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                member.filename.removesuffix(".npy"): _member(archive, member, path)
                for member in archive.infolist()
                if member.filename.endswith(".npy")
            }
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read ({_short(error)}): save it with numpy.savez") from error


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> np.ndarray:
    what = f"{path}: {member.filename[:80]!r}"
    held = path.stat().st_size if member.compress_type == zipfile.ZIP_STORED else MOST_INFLATION * member.compress_size
    if member.compress_size > path.stat().st_size or member.file_size > held:
        raise InputError(f"{what} claims {member.file_size} bytes, which the file cannot hold: it is cut or foreign")
    with archive.open(member) as stream:
        head = stream.read(HEADER_BYTES)
        shape, order, dtype, begin = _header(head, what)
        _check_size(what, shape, dtype, member.file_size - begin)
        if not math.prod(shape):
            return np.empty(shape, dtype)
        if member.compress_type == zipfile.ZIP_STORED:
            start = _data_start(path, member, what)
            return np.memmap(path, dtype=dtype, mode="r", offset=start + begin, shape=shape, order=order)
        data = head[begin:] + stream.read()
    if len(data) < math.prod(shape) * dtype.itemsize:
        raise InputError(f"{what} is cut: it has {len(data)} bytes of values")
    return np.frombuffer(data, dtype, math.prod(shape)).reshape(shape, order=order)


def _data_start(path: Path, member: zipfile.ZipInfo, what: str) -> int:
    """Where the bytes of a stored member begin: its own header may be longer than that of the directory."""
    with path.open("rb") as stream:
        stream.seek(member.header_offset)
        head = stream.read(30)
    if len(head) < 30 or head[:4] != b"PK\x03\x04":
        raise InputError(f"{what} has no header of its own: the file is damaged")
    start = member.header_offset + 30 + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
    if start + member.file_size > path.stat().st_size:
        raise InputError(f"{what} ends behind the file: it is cut")
    return start


def _header(head: bytes, what: object) -> tuple[tuple[int, ...], Any, np.dtype[Any], int]:
    """Shape, order, dtype and the byte at which the values begin."""
    stream = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise InputError(f"{what} has version {version} of numpy's format: versions 1 and 2 are read")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{what} is no array of numpy's format ({_short(error)}): save it with numpy.save") from error
    if dtype.hasobject or dtype.kind not in "biuf":
        raise InputError(f"{what} holds {dtype}: numbers are needed, objects and texts are never read")
    return tuple(shape), "F" if fortran else "C", dtype, stream.tell()


def _check_size(what: str, shape: tuple[int, ...], dtype: np.dtype[Any], held: int) -> None:
    if len(shape) > 8 or any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize > held:
        raise InputError(
            f"{what} claims the shape {str(shape)[:80]} of {dtype} but holds {held} bytes: it is cut or foreign"
        )


def _tensors(file: Place) -> Mapping[str, StoredArray]:
    try:
        opened = open_tensors(file)
    except StoreError as error:
        raise InputError(f"{error}; give another file") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror or error}): give a file that can") from error
    return {name: StoredArray(file=opened, name=name) for name in opened.entries}


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:100]


def as_rows(array: Any, *, positions: int, start: int, stop: int) -> Tensor:
    """Rows from `start` to `stop` of an array (n, d), or (batch, positions, ...) with both leading axes taken together;
    everything behind them side by side.
    """
    first, last = start // positions, -(-stop // positions)
    part = array[first:last]
    values = part if isinstance(part, Tensor) else torch.from_numpy(np.array(part, order="C"))
    return (
        values.detach()
        .cpu()
        .reshape((last - first) * positions, -1)[start - first * positions : stop - first * positions]
    )
