"""safetensors files of strangers: every size is checked against the header before anything is allocated.

The header is read by hand because a file that lies about itself must be answered with one line, not with an allocation:
its length is checked against the file, the shapes against the byte ranges, the ranges against the file.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError

MOST_HEADER = 1 << 18
"""Bytes; the header of a dictionary has a handful of tensors, and what is parsed takes many times its text."""
MOST_AXES = 8
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


def read_tensors(path: Path, *, needed: tuple[str, ...]) -> dict[str, Float[Tensor, ...]]:
    """The tensors of a safetensors file, in the dtype that they are stored in.

    Args:
        path: The file.
        needed: Names that must be there; all that are missing are named.

    Raises:
        InputError: No such file, a header that does not fit the file, a missing tensor, or values that are not
            floating-point numbers.
    """
    header = read_header(path)
    missing = [name for name in needed if name not in header]
    if missing:
        raise InputError(f"{path} has no {', '.join(missing)}: it has {', '.join(list(header)[:8]) or 'no tensors'}")
    for name, entry in header.items():
        if entry["dtype"] not in ITEM_BYTES:
            raise InputError(f"{path}: {name} holds {entry['dtype']} values: floating-point numbers are needed")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} is no safetensors file: {error}") from error


def read_header(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Name -> dtype, shape and byte range, all checked against the size of the file."""
    if not path.is_file():
        raise InputError(f"no file at {path}: give the directory that holds it")
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(MOST_HEADER, size - 8):
            raise InputError(f"{path} is no safetensors file: it claims a header of {length} bytes and has {size}")
        text = stream.read(length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no safetensors file: its header is no JSON ({error})") from error
    if not isinstance(header, dict):
        raise InputError(f"{path} is no safetensors file: its header is no table")
    header.pop("__metadata__", None)
    for name, entry in header.items():
        _check_entry(path, name, entry, size - 8 - length)
    return header


def _check_entry(path: Path, name: str, entry: Any, available: int) -> None:
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= set(entry):
        raise InputError(f"{path}: the header says nothing usable of {name}")
    shape, offsets = entry["shape"], entry["data_offsets"]
    whole = isinstance(entry["dtype"], str) and isinstance(shape, list) and isinstance(offsets, list)
    whole = whole and len(shape) <= MOST_AXES and len(offsets) == 2
    if not whole or not all(type(one) is int and one >= 0 for one in [*shape, *offsets]):
        raise InputError(f"{path}: dtype, shape and place of {name[:80]} are not a name and whole numbers")
    first, last = offsets
    width = ITEM_BYTES.get(str(entry["dtype"]))
    if not first <= last <= available or (width is not None and last - first != width * math.prod(shape)):
        raise InputError(
            f"{path}: {name} of shape {shape} claims bytes {first}..{last} but {available} are there: it is cut or"
            " damaged"
        )


def read_config(path: Path) -> dict[str, Any]:
    """The table in a `cfg.json`.

    Raises:
        InputError: No such file, no JSON, or no table.
    """
    if not path.is_file():
        raise InputError(f"no file at {path}: a dictionary is a directory with cfg.json and its weights")
    if path.stat().st_size > MOST_HEADER:
        raise InputError(f"{path} has {path.stat().st_size} bytes: it is no configuration")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds a {type(values).__name__}: a table of keys and values is needed")
    return values


def checked_shapes(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Raises `InputError` that names every tensor of another shape than the configuration says."""
    wrong = [
        f"{name} is {tuple(tensors[name].shape)}, {shape} is needed"
        for name, shape in shapes.items()
        if tuple(tensors[name].shape) != shape
    ]
    if wrong:
        raise InputError(f"{path}: {'; '.join(wrong)}")


def exact(tensor: Tensor) -> Tensor:
    """The numbers in double precision, in which maps are folded."""
    return tensor.to(torch.float64)
