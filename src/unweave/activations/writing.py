"""A store from units of work, shard by shard, resumable after any interruption: what `collect` and `import_rows` share.

A unit is what one shard is made from. A shard is written whole: tensors, texts, and last an entry with their sizes and
checksums. A unit whose entry is there is not made again; everything else is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from unweave.activations.checks import check_shard, check_sizes
from unweave.activations.layout import (
    LOCK,
    MANIFEST,
    SHARDS,
    Collection,
    Manifest,
    Rounding,
    ShardEntry,
    config_in,
    is_foreign,
    leftovers,
    read_json,
    read_manifest,
    shard_files,
    write_manifest,
)
from unweave.activations.quantised import quantised
from unweave.activations.store import ActivationStore, open_store
from unweave.artifact import fingerprint
from unweave.config import config_json
from unweave.engine.local import map_units
from unweave.errors import DataError, FingerprintError, InputError, Interrupted, StoreError
from unweave.files import make_directory, remove_directory, write_file, write_tensors, write_text
from unweave.log import SILENT, Progress, logger
from unweave.places import Place, Remote
from unweave.site import Site


@runtime_checkable
class Work(Protocol):
    """What one shard is made from."""

    @property
    def index(self) -> int:
        """Number of the shard."""
        ...

    def inputs_sha256(self) -> str:
        """sha256 over everything that the shard depends on besides the settings."""
        ...

    def span(self) -> str:
        """Its documents, for messages."""
        ...


W = TypeVar("W", bound=Work)


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardContent:
    """What goes into one shard."""

    activations: Mapping[Site, Tensor]
    """Site -> (rows, width), float32 where the store keeps eight bits."""
    columns: Mapping[str, np.ndarray]
    """`document, sequence, position, token_id` of the rows."""
    documents: Mapping[str, Tensor]
    """`documents/*` of the documents that begin in it."""
    texts: Mapping[str, Any]
    """Texts, ids and token strings of those documents."""
    excluded: int = 0
    """Special tokens without a row."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """How the work is told of."""

    title: str
    expected_rows: int | None
    progress: Progress = SILENT
    if_empty: str = "the texts have no tokens: there is nothing to collect"


@dataclass(frozen=True, kw_only=True, eq=False)
class Collected:
    """A finished store and what this run did for it."""

    store: ActivationStore
    made: int
    """Shards made by this run."""
    reused: int
    """Shards that were there."""


def write_store(
    out: Place,
    collection: Collection,
    units: Iterable[W],
    make: Callable[[W], ShardEntry],
    *,
    task: Task,
    resume: bool = True,
    workers: int | None = None,
) -> Collected:
    """The store of these units; shards that are there already are kept.

    Raises:
        FingerprintError: `out` holds a collection of other inputs or settings.
        InputError: No unit has a row.
        StoreError: `out` is in use, is something else, or cannot be written.
        Interrupted: Ctrl-C; finished shards are kept.
    """
    with writing(out):
        whole = prepare(out, collection, resume=resume)
        most = None if whole is None else len(whole.shards)

        def work(unit: W) -> tuple[ShardEntry, bool]:
            if most is not None and unit.index >= most:
                raise FingerprintError(f"{out} was made from fewer documents than these: {OTHERWISE}")
            there = _finished(out, unit, collection)
            return (there, False) if there is not None else (make(unit), True)

        entries, made = _make_all(out, units, work, task, workers)
        manifest = Manifest(collection=collection, complete=True, shards=tuple(entries))
        if not manifest.rows:
            (out / MANIFEST).unlink(missing_ok=True)  # a store without rows would only stand in the way of the next run
            remove_directory(out / SHARDS)
            raise InputError(task.if_empty)
        if manifest != whole:
            write_manifest(out, manifest)
    return Collected(store=open_store(out), made=made, reused=len(entries) - made)


def write_shard(
    folder: Place, index: int, collection: Collection, content: ShardContent, inputs_sha256: str
) -> ShardEntry:
    """Writes the files of a shard, its entry last, and returns that."""
    tensors, rounding = stored_tensors(collection, content.activations)
    tensors |= {f"rows/{name}": torch.from_numpy(column) for name, column in content.columns.items()}
    tensors |= content.documents
    tensor_file, text_file, entry_file = shard_files(folder, index)
    array = write_file(tensor_file, lambda temporary: write_tensors(tensors, temporary))
    text = write_text(text_file, json.dumps(content.texts, ensure_ascii=True, separators=(",", ":")) + "\n")
    entry = ShardEntry(
        index=index,
        rows=len(tensors["rows/document"]),
        documents=len(tensors["documents/index"]),
        excluded=content.excluded,
        inputs_sha256=inputs_sha256,
        tensors_bytes=array.bytes,
        tensors_sha256=array.sha256,
        text_bytes=text.bytes,
        text_sha256=text.sha256,
        rounding=rounding,
    )
    write_text(entry_file, json.dumps(config_json(entry), indent=1, sort_keys=True) + "\n")
    return entry


def stored_tensors(
    collection: Collection, activations: Mapping[Site, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Rounding] | None]:
    """The arrays that hold activations in a shard, and what rounding to eight bits cost.

    Raises:
        DataError: Values too far apart for eight bits.
    """
    if collection.dtype != "uint8":
        return {f"activations/{site}": value for site, value in activations.items()}, None
    tensors: dict[str, Tensor] = {}
    rounding: dict[str, Rounding] = {}
    for site, values in activations.items():
        try:
            made = quantised(values)
        except DataError as error:
            raise DataError(f"{site}: {error}") from error
        tensors |= {f"activations/{site}": made.codes, f"offset/{site}": made.offset, f"scale/{site}": made.scale}
        rounding[str(site)] = made.rounding
    return tensors, rounding


def made_from(unit: Work, collection: Collection) -> str:
    """sha256 over the settings and inputs of a shard: shards of equal bytes have it in common."""
    return fingerprint([config_json(collection), unit.inputs_sha256()])


@contextmanager
def writing(out: Place) -> Generator[None, None, None]:
    """Makes this process the only writer of `out` on this machine, and turns what the disk says into our errors; behind
    a URL there is nothing to lock, and two writers of the same collection write the same bytes.
    """
    from filelock import FileLock, Timeout

    try:
        if is_foreign(out):
            raise StoreError(f"{out} exists and is not an activation store: choose another directory")
        make_directory(out / SHARDS)
        if isinstance(out, Remote):
            yield
        else:
            with FileLock(out / LOCK, timeout=0):
                yield
    except Timeout:
        raise StoreError(f"another process is writing to {out}: wait for it or choose another directory") from None
    except OSError as error:
        raise StoreError(
            f"{out} cannot be written ({error.strerror or error}): finished shards are kept; make room and run the same"
            " command again"
        ) from error


def prepare(out: Place, collection: Collection, *, resume: bool) -> Manifest | None:
    """Leaves `out` ready to go on with this collection; returns the manifest if it is complete, which then stays as it
    is: a run with other inputs must not take a finished store away.

    Raises:
        FingerprintError: It holds another collection; the settings that differ are named.
    """
    complete = None
    if not resume:
        if isinstance(out, Remote):
            (out / MANIFEST).unlink(missing_ok=True)  # first: a killed run must not leave it to speak for other shards
        remove_directory(out / SHARDS)
        make_directory(out / SHARDS)
    elif (out / MANIFEST).exists():
        there = read_manifest(out)
        if there.collection != collection:
            raise FingerprintError(
                f"{out} holds another collection ({_differences(there.collection, collection)}): choose another"
                " directory, or resume=False to replace it"
            )
        complete = there if there.complete else None
    for leftover in leftovers(out):
        leftover.unlink()
    if complete is None and isinstance(out, Path):
        write_manifest(out, Manifest(collection=collection, complete=False))
    return complete


def _differences(there: Collection, here: Collection) -> str:
    old, new = config_json(there), config_json(here)
    told = []
    for key in old:
        was, now = old[key], new[key]
        if isinstance(was, dict):  # sites and widths: those in both say nothing
            was, now = (
                {name: size for name, size in one.items() if (name, size) not in other.items()}
                for one, other in ((was, now), (now, was))
            )
        if was != now:
            told.append(f"{key} was {str(was)[:60]}, is {str(now)[:60]}")
    return "; ".join(told)


def _make_all(
    out: Place,
    units: Iterable[W],
    work: Callable[[W], tuple[ShardEntry, bool]],
    task: Task,
    workers: int | None,
) -> tuple[list[ShardEntry], int]:
    entries: list[ShardEntry] = []
    made = 0
    try:
        with task.progress.task(task.title, task.expected_rows, "row") as advance:
            for entry, fresh in map_units(work, units, workers=workers):
                entries.append(entry)
                made += fresh
                advance(entry.rows)
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted: {len(entries)} finished shards are kept in {out}; the same command goes on from there"
        ) from None
    if any(int(file.name.partition(".")[0]) >= len(entries) for file in (out / SHARDS).iterdir()):
        raise FingerprintError(f"{out} was made from more documents than these: {OTHERWISE}")
    return entries, made


OTHERWISE = "give the same inputs, choose another directory, or resume=False to replace it"


def _finished(out: Place, unit: Work, collection: Collection) -> ShardEntry | None:
    """The entry of a shard that is there, whole and made from these inputs; None if it must be made. What is behind a
    URL was sent before its entry and is not fetched for its checksum: its sizes are compared.
    """
    file = shard_files(out, unit.index)[2]
    if not file.exists():
        return None
    try:
        entry = config_in(file, ShardEntry, read_json(file))
        if entry.index != unit.index:
            raise StoreError(f"{file} is the entry of shard {entry.index}")
        (check_sizes if isinstance(out, Remote) else check_shard)(out, entry)
    except StoreError as error:
        logger.warning("shard %d is made again: %s", unit.index, error)
        return None
    if entry.inputs_sha256 != made_from(unit, collection):
        raise FingerprintError(
            f"shard {unit.index} of {out} was made from other inputs than documents {unit.span()} now: {OTHERWISE}"
        )
    return entry
