"""Named arrays in a safetensors file, read by rows: through a memory map on this machine, as ranges of bytes behind a
URL.

The header is read and compared with the size of the file before anything is allocated, so a file that claims more than
it holds costs its header and no more.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unweave.errors import StoreError
from unweave.places import Place, Remote, size_of

DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {
        "F64": torch.float64,
        "F32": torch.float32,
        "F16": torch.float16,
        "BF16": torch.bfloat16,
        "I64": torch.int64,
        "I32": torch.int32,
        "I16": torch.int16,
        "I8": torch.int8,
        "U8": torch.uint8,
        "BOOL": torch.bool,
    }
)
LARGEST_HEADER = 4 << 20
"""Bytes of a header: a hundred times that of a shard with all sites of a large model, and little to allocate."""
FIRST_READ = 1 << 16
"""Bytes that are asked for at once at the head of a remote file: most headers fit."""
MERGED_GAP = 1 << 15
"""Rows of a remote file that are no further apart than this come in one range."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One array of the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    """First byte in the file."""
    end: int

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.dtype.itemsize * math.prod(self.shape[1:])


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorFile:
    """An open file; `entries` says what it holds."""

    place: Place
    entries: Mapping[str, Entry]
    _mapped: list[Any] = field(default_factory=list, repr=False)
    _kept: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def whole(self, name: str) -> Tensor:
        """An array; on this machine a view of the file."""
        entry = self.entries[name]
        if isinstance(self.place, Remote):
            (data,) = self._ranges(name, [(entry.begin, entry.end)])
            return _tensor(data, entry.dtype, entry.shape)
        return self._map(self.place).get_tensor(name)

    def kept(self, name: str) -> Tensor:
        """A small array that is needed again and again, read once."""
        if name not in self._kept:
            self._kept[name] = self.whole(name)
        return self._kept[name]

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """A copy of the rows from `start` to `stop`."""
        entry = self.entries[name]
        if isinstance(self.place, Remote):
            begin, end = (entry.begin + row * entry.row_bytes for row in (start, stop))
            (data,) = self._ranges(name, [(begin, end)])
            return _tensor(data, entry.dtype, (stop - start, *entry.shape[1:]))
        return self._map(self.place).get_slice(name)[start:stop]

    def gather(self, name: str, chosen: np.ndarray) -> Tensor:
        """A copy of the rows with these numbers, in their order."""
        if not isinstance(self.place, Remote):
            return self._map(self.place).get_tensor(name)[torch.from_numpy(chosen)]
        entry = self.entries[name]
        wanted, back = np.unique(chosen, return_inverse=True)
        spans = list(_spans(wanted, most_apart=max(1, MERGED_GAP // max(1, entry.row_bytes))))
        parts = self._ranges(
            name,
            [(entry.begin + first * entry.row_bytes, entry.begin + last * entry.row_bytes) for first, last in spans],
        )
        rows = torch.empty(len(wanted), *entry.shape[1:], dtype=entry.dtype)
        for (first, last), data in zip(spans, parts, strict=True):
            low, high = np.searchsorted(wanted, [first, last]).tolist()
            part = _tensor(data, entry.dtype, (last - first, *entry.shape[1:]))
            rows[low:high] = part[torch.from_numpy(wanted[low:high] - first)]
        return rows[torch.from_numpy(back)]

    def _map(self, file: Path) -> Any:
        if not self._mapped:
            from safetensors import SafetensorError, safe_open

            try:
                self._mapped.append(safe_open(str(file), framework="pt"))
            except SafetensorError as error:
                raise StoreError(f"{file} is damaged or foreign ({error})") from error
        return self._mapped[0]

    def _ranges(self, name: str, spans: list[tuple[int, int]]) -> list[bytes]:
        file = self.place
        if not isinstance(file, Remote):
            raise RuntimeError(f"{file} is local: it is mapped, not asked for in ranges")
        spans_with_bytes = [span for span in spans if span[1] > span[0]]
        found = iter(file.read_ranges(spans_with_bytes) if spans_with_bytes else [])
        parts = [next(found) if stop > start else b"" for start, stop in spans]
        for (start, stop), data in zip(spans, parts, strict=True):
            if len(data) != stop - start:
                raise StoreError(
                    f"{file} gave {len(data)} bytes of {name} where {stop - start} were asked for: it is cut"
                )
        return parts


def open_tensors(place: Place) -> TensorFile:
    """The arrays of a file.

    Raises:
        StoreError: It is no safetensors file, it is cut, or it claims more than it holds.
        OSError: It cannot be read.
    """
    size = size_of(place)
    head = _read(place, 0, min(size, FIRST_READ))
    if len(head) < 8:
        raise StoreError(f"{place} has {size} bytes: no safetensors file is so short")
    length = struct.unpack("<Q", head[:8])[0]
    if length > min(size - 8, LARGEST_HEADER):
        raise StoreError(f"{place} claims a header of {length} bytes but has {size}: it is cut or foreign")
    header = head[8 : 8 + length] + (_read(place, len(head), 8 + length) if 8 + length > len(head) else b"")
    try:
        values = json.loads(header.decode("utf-8"))
        entries = {name: _entry(facts, 8 + length) for name, facts in values.items() if name != "__metadata__"}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{place} has a header that is none ({_short(error)}): it is damaged or foreign") from error
    for name, entry in entries.items():
        _check(f"{place}: {name[:80]!r}", entry, 8 + length, size)
    return TensorFile(place=place, entries=entries)


def _entry(facts: Any, offset: int) -> Entry:
    shape, (begin, end) = facts["shape"], facts["data_offsets"]
    if len(shape) > 8 or not all(type(number) is int and 0 <= number < 2**63 for number in (*shape, begin, end)):
        raise ValueError("a size that is none")
    if facts["dtype"] not in DTYPES:
        raise ValueError(f"the dtype {facts['dtype']!r}")
    return Entry(dtype=DTYPES[facts["dtype"]], shape=tuple(shape), begin=offset + begin, end=offset + end)


def _check(what: str, entry: Entry, first: int, size: int) -> None:
    claimed = math.prod(entry.shape) * entry.dtype.itemsize
    if claimed != entry.end - entry.begin or not first <= entry.begin <= entry.end <= size:
        raise StoreError(
            f"{what} claims {claimed} bytes from {entry.begin} to {entry.end} of a file of {size}: it is cut or foreign"
        )


def _read(place: Place, start: int, stop: int) -> bytes:
    if isinstance(place, Remote):
        return place.read_bytes(start, stop)
    with place.open("rb") as stream:
        stream.seek(start)
        return stream.read(stop - start)


def _tensor(data: bytes, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    if not data:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape)  # a copy: bytes must not be written to


def _spans(wanted: np.ndarray, *, most_apart: int) -> Iterator[tuple[int, int]]:
    """First and one-past-last number of runs of sorted numbers with small gaps."""
    if not len(wanted):
        return
    breaks = np.flatnonzero(np.diff(wanted) > most_apart)
    for first, last in zip([0, *(breaks + 1)], [*breaks, len(wanted) - 1], strict=True):
        yield int(wanted[first]), int(wanted[last]) + 1


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:80]
