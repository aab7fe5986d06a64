"""`ActivationStore`: activations on disk, read by site and row through memory maps, each shard checked the first time
it is touched; behind a URL, as ranges of bytes, with what comes whole (texts) checked and the rest compared in size,
dtype and shape.

Rows stay in document order; readers draw what they need by index. What a row is (document, window, position, token) is
in `rows`, what the document said in `document(i)`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.activations.checks import REPAIR, check_fits, check_shard, check_sizes, check_sum
from unweave.activations.layout import (
    COLUMNS,
    SHARDS,
    Collection,
    Manifest,
    Rounding,
    ShardEntry,
    read_json,
    read_manifest,
    reading_dtype,
    shard_files,
    unfinished,
)
from unweave.activations.quantised import restored
from unweave.activations.tensor_file import TensorFile, open_tensors
from unweave.errors import InputError, StoreError
from unweave.places import Place, Remote, place_of, sizes_in
from unweave.site import Site, expand_sites, unknown_site


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredDocument:
    """One input document as the store keeps it."""

    index: int
    id: str | None
    text: str | None
    """None if the collection did not keep texts."""
    ids: np.ndarray
    """Token ids, special tokens not counted: entry i is position i."""
    offsets: np.ndarray | None
    """(tokens, 2): first and one-past-last character of each token, None if the tokenizer does not say."""
    tokens: tuple[str, ...]
    """The tokenizer's string of each token."""
    group: str | None = None
    """What it stays together with in a split; None = it is a group of its own."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ActivationStore:
    """A complete collection, opened for reading.

    Example:
        >>> import unweave as uw, tempfile
        >>> model = uw.load_model("zoo:docs")
        >>> out = tempfile.mkdtemp() + "/store"
        >>> store = uw.collect(model, ["A first text.", "And a second."], "blocks.0.resid_post", out)
        >>> store["blocks.0.resid_post"][0:2].shape, store.rows["document"].tolist() == sorted(store.rows["document"])
        (torch.Size([2, 192]), True)
    """

    path: Place
    manifest: Manifest
    verify: bool = True
    """Whether a shard's checksum is compared before its first read, where that does not mean to fetch it."""
    _files: dict[int, TensorFile] = field(default_factory=dict, repr=False)

    @property
    def collection(self) -> Collection:
        """What was collected from what."""
        return self.manifest.collection

    @property
    def sites(self) -> list[Site]:
        """The sites in the store."""
        return [Site(name) for name in self.collection.sites]

    @property
    def fingerprint(self) -> str:
        """sha256 over the shards' checksums: equal for equal content."""
        return hashlib.sha256(
            "".join(shard.tensors_sha256 + shard.text_sha256 for shard in self.manifest.shards).encode()
        ).hexdigest()

    @cached_property
    def rows(self) -> Mapping[str, np.ndarray]:
        """`document, sequence, position, token_id`: what each row is, columns of equal length."""
        parts = [self._shard(shard.index) for shard in self.manifest.shards]
        return {
            name: np.concatenate([part.whole(f"rows/{name}").numpy() for part in parts] or [np.empty(0, np.int32)])
            for name in COLUMNS
        }

    @property
    def rounding(self) -> dict[str, Rounding]:
        """Site -> what keeping eight bits a value cost, over all shards; empty for other dtypes."""
        found: dict[str, Rounding] = {}
        for site in self.collection.sites if self.collection.dtype == "uint8" else ():
            parts = [(shard.rows, shard.rounding[site]) for shard in self.manifest.shards if shard.rounding]
            rows = max(1, sum(count for count, _ in parts))
            found[site] = Rounding(
                largest_error=max(one.largest_error for _, one in parts),
                bound=max(one.bound for _, one in parts),
                lost=sum(count * one.lost for count, one in parts) / rows,
            )
        return found

    @cached_property
    def groups(self) -> np.ndarray:
        """For each document the first document of its group, itself if it has none: what a split keeps together."""
        count = sum(shard.documents for shard in self.manifest.shards)
        if self.collection.kind != "sequences":  # only a builder says that documents belong together
            return np.arange(count)
        first: dict[str, int] = {}
        records = (
            record
            for shard in self.manifest.shards
            for record in read_json(shard_files(self.path, shard.index)[1])["documents"]
        )
        return np.array(
            [
                number if record.get("group") is None else first.setdefault(record["group"], number)
                for number, record in enumerate(records)
            ],
            dtype=np.int64,
        )

    def __len__(self) -> int:
        return self.manifest.rows

    def __getitem__(self, site: str) -> Column:
        """The activations at a site, an array-like (rows, width)."""
        name = Site(site)
        if name not in self.collection.sites:
            raise unknown_site(str(site), list(self.collection.sites))
        return Column(
            store=self,
            site=name,
            shape=(len(self), self.collection.sites[name]),
            dtype=reading_dtype(self.collection.dtype),
        )

    def expand(self, patterns: Any) -> list[Site]:
        """The stored sites that patterns name."""
        return expand_sites(patterns, list(self.collection.sites))

    def documents(self) -> Iterator[StoredDocument]:
        """All documents in order, read shard by shard."""
        for shard in self.manifest.shards:
            yield from self._documents_of(shard)

    def document(self, index: int) -> StoredDocument:
        """The document of this input index.

        Raises:
            InputError: There is no such document.
        """
        first = 0
        for shard in self.manifest.shards:
            if first <= index < first + shard.documents:
                return self._documents_of(shard)[index - first]
            first += shard.documents
        raise InputError(f"document {index} is not in the store: it has 0..{first - 1}")

    def check(self) -> None:
        """Compares every file of every shard with its checksum.

        Raises:
            StoreError: The first one that does not fit.
        """
        for shard in self.manifest.shards:
            check_shard(self.path, shard)

    def _shard(self, index: int) -> TensorFile:
        if index not in self._files:
            shard = self.manifest.shards[index]
            if self.verify and not isinstance(self.path, Remote):
                check_shard(self.path, shard)
            file = shard_files(self.path, index)[0]
            try:
                opened = open_tensors(file)
                check_fits(opened, self.collection, shard)
            except (OSError, StoreError) as error:
                raise StoreError(f"{file} cannot be opened ({error}): {REPAIR}") from error
            self._files[index] = opened
        return self._files[index]

    def _documents_of(self, shard: ShardEntry) -> list[StoredDocument]:
        tensors, text = self._shard(shard.index), shard_files(self.path, shard.index)[1]
        if self.verify and isinstance(self.path, Remote):
            check_sum(text, shard.text_sha256)
        texts = read_json(text)
        # copies: what a reader does to them must not reach the next one through the file that stays mapped
        ids, offsets = (np.array(tensors.whole(f"documents/{name}").numpy()) for name in ("ids", "offsets"))
        ends = tensors.whole("documents/ends").tolist()
        found = []
        try:
            strings = texts["tokens"]
            for record, start, end in zip(texts["documents"], [0, *ends][: len(ends)], ends, strict=True):
                own = offsets[start:end]
                found.append(
                    StoredDocument(
                        index=record["document"],
                        id=record["id"],
                        text=record["text"],
                        ids=ids[start:end],
                        offsets=None if len(own) and own[0, 0] < 0 else own,
                        tokens=tuple(strings.get(str(token), "") for token in ids[start:end].tolist()),
                        group=record.get("group"),
                    )
                )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(f"{text} is damaged or foreign ({error}): {REPAIR}") from error
        return found

    def __repr__(self) -> str:
        """Rows, sites and model."""
        return f"ActivationStore({len(self)} rows, {len(self.sites)} sites, {self.collection.model_name}, {self.path})"


@dataclass(frozen=True, eq=False, kw_only=True)
class Column:
    """The activations at one site of a store: `column[i:j]`, `column[indices]`, `column[mask]` give tensors in the
    store's dtype.
    """

    store: ActivationStore
    site: Site
    shape: tuple[int, int]
    dtype: torch.dtype

    @property
    def ndim(self) -> int:
        """Always 2."""
        return 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Float[Tensor, ...]:
        """Rows by number, slice, array of numbers or boolean mask."""
        if isinstance(index, int | np.integer):
            return self._gather(np.array([_inside(int(index), len(self))]))[0]
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return self._range(start, stop) if step == 1 else self._gather(np.arange(start, stop, step))
        chosen = np.asarray(index)
        if chosen.shape == (0,):
            chosen = chosen.astype(np.int64)  # numpy makes floats of an empty list
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise InputError(f"the mask has shape {chosen.shape} but there are {len(self)} rows")
            chosen = np.flatnonzero(chosen)
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
            raise InputError(
                f"rows are chosen by a number, a slice, a list of numbers or a mask, not by {chosen.dtype} of shape"
                f" {chosen.shape}"
            )
        if len(chosen) and not -len(self) <= chosen.min() <= chosen.max() < len(self):
            raise IndexError(f"row numbers run from {chosen.min()} to {chosen.max()} but there are {len(self)} rows")
        return self._gather(chosen.astype(np.int64) % max(1, len(self)))  # torch takes 8-bit numbers for a mask

    def chunks(self, rows: int = 16384) -> Iterator[Float[Tensor, "n d"]]:
        """All rows in order, so many at a time."""
        for start in range(0, len(self), rows):
            yield self[start : start + rows]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows as a numpy array; bfloat16, which numpy does not have, becomes float32."""
        rows = self[:]
        array = (rows.float() if rows.dtype is torch.bfloat16 else rows).numpy()
        return array if dtype is None else array.astype(dtype)

    def _range(self, start: int, stop: int) -> Tensor:
        parts = []
        for first, shard in self._shards():
            low, high = max(start - first, 0), min(stop - first, shard.rows)
            if low < high:
                file = self.store._shard(shard.index)
                parts.append(self._values(file, file.rows(f"activations/{self.site}", low, high)))
        return torch.cat(parts) if parts else torch.empty(0, self.shape[1], dtype=self.dtype)

    def _gather(self, chosen: np.ndarray) -> Tensor:
        result = torch.empty(len(chosen), self.shape[1], dtype=self.dtype)
        for first, shard in self._shards():
            here = (chosen >= first) & (chosen < first + shard.rows)
            if here.any():
                file = self.store._shard(shard.index)
                rows = file.gather(f"activations/{self.site}", chosen[here] - first)
                result[torch.from_numpy(here)] = self._values(file, rows)
        return result

    def _values(self, file: TensorFile, rows: Tensor) -> Tensor:
        if self.store.collection.dtype != "uint8":
            return rows
        return restored(rows, file.kept(f"offset/{self.site}"), file.kept(f"scale/{self.site}"))

    def _shards(self) -> Iterator[tuple[int, ShardEntry]]:
        first = 0
        for shard in self.store.manifest.shards:
            yield first, shard
            first += shard.rows

    def __repr__(self) -> str:
        """Shape, dtype and site."""
        return f"Column({self.site}, {self.shape}, {self.dtype})"


def open_store(path: str | Path | Remote, *, verify: bool = True) -> ActivationStore:
    """A finished activation store, for reading.

    Args:
        path: Its directory, or a URL that fsspec understands (`s3://bucket/store`); rows are then read as ranges.
        verify: Compare each shard's sha256 before it is first read; False compares only sizes, when the store is
            opened. Behind a URL a shard is not fetched for its checksum, only what is read as a whole has it compared;
            `store.check()` compares everything.

    Raises:
        StoreError: No store, an unfinished one, or a missing, cut or foreign shard.

    Example:
        >>> import unweave as uw, tempfile
        >>> out = tempfile.mkdtemp() + "/store"
        >>> made = uw.collect(uw.load_model("zoo:docs"), ["Some text."], "embed", out)
        >>> len(uw.open_store(out)) == len(made)
        True
    """
    folder = place_of(path)
    try:
        manifest = read_manifest(folder)
        if not manifest.complete:
            raise StoreError(unfinished(folder))
        sizes = sizes_in(folder / SHARDS)
    except OSError as error:
        raise StoreError(f"{folder} cannot be read ({error.strerror or error}): give a store that can") from error
    for shard in manifest.shards:
        check_sizes(folder, shard, sizes)
    return ActivationStore(path=folder, manifest=manifest, verify=verify)


def _inside(index: int, count: int) -> int:
    if not -count <= index < count:
        raise IndexError(f"row {index} is not in the store: it has {count} rows")
    return index % count
