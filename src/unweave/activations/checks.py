"""Whether the files of a shard are those that the manifest speaks of: there, of the size, the bytes and the arrays."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from unweave.activations.layout import COLUMNS, Collection, ShardEntry, shard_files, storage_dtype
from unweave.activations.tensor_file import TensorFile
from unweave.errors import StoreError
from unweave.files import file_sha256
from unweave.places import Place, size_of

REPAIR = "collect again with the same arguments, which replaces that shard and keeps the others"


def check_sizes(folder: Place, shard: ShardEntry, sizes: Mapping[str, int] | None = None) -> None:
    """Raises `StoreError` if a file of the shard is missing or has another size.

    Args:
        folder: The store.
        shard: What was written.
        sizes: Of all files of the directory of shards, where they are known.
    """
    tensors, text, _ = shard_files(folder, shard.index)
    known = sizes
    if known is None:
        known = {file.name: size_of(file) for file in (tensors, text) if file.exists()}
    for file, size in ((tensors, shard.tensors_bytes), (text, shard.text_bytes)):
        if file.name not in known:
            raise StoreError(f"{file} is missing: {REPAIR}")
        if known[file.name] != size:
            raise StoreError(
                f"{file} has {known[file.name]} bytes, {size} were written: it is cut or foreign; {REPAIR}"
            )


def check_shard(folder: Place, shard: ShardEntry) -> None:
    """Raises `StoreError` if a file of the shard is missing or differs from what was written."""
    check_sizes(folder, shard)
    tensors, text, _ = shard_files(folder, shard.index)
    check_sum(tensors, shard.tensors_sha256)
    check_sum(text, shard.text_sha256)


def check_fits(file: TensorFile, collection: Collection, shard: ShardEntry) -> None:
    """Raises `StoreError` if the arrays of a shard are not those that the manifest speaks of."""
    stored, rows = storage_dtype(collection.dtype), shard.rows
    expected = {f"activations/{site}": (stored, (rows, width)) for site, width in collection.sites.items()}
    if collection.dtype == "uint8":
        both = [(name, site) for name in ("offset", "scale") for site in collection.sites]
        expected |= {f"{name}/{site}": (torch.float32, (collection.sites[site],)) for name, site in both}
    expected |= {f"rows/{name}": (torch.int32, (rows,)) for name in COLUMNS}
    expected["documents/ends"] = (torch.int64, (shard.documents,))
    for name, told in expected.items():
        entry = file.entries.get(name)
        if entry is None or (entry.dtype, entry.shape) != told:
            got = "is not there" if entry is None else f"is {entry.dtype} of shape {entry.shape}"
            raise StoreError(f"{name} {got}, the manifest says {told[0]} of shape {told[1]}")
    ids, offsets = (file.entries.get(f"documents/{name}") for name in ("ids", "offsets"))
    if ids is None or offsets is None or len(ids.shape) != 1 or offsets.shape != (*ids.shape, 2):
        raise StoreError("documents/ids and documents/offsets do not belong together")


def check_sum(file: Place, expected: str) -> None:
    """Raises `StoreError` if a file is not what was written."""
    if file_sha256(file) != expected:
        raise StoreError(f"{file} is damaged or foreign: its checksum does not fit; {REPAIR}")
