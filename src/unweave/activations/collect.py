"""`collect`: activations of a model over documents, to disk, in one pass for all sites, resumable after any
interruption.

Work is done shard by shard. Which rows a shard holds, which windows run together and with how many threads depends on
the inputs and settings alone, so a store that was interrupted and resumed, with any number of workers, is byte for byte
the store of an undisturbed run. A shard whose entry is on disk is whole; everything else is made again.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from unweave.activations.layout import (
    LOCK,
    MANIFEST,
    SHARDS,
    Collection,
    Dtype,
    Manifest,
    ShardEntry,
    Special,
    config_in,
    is_foreign,
    leftovers,
    read_json,
    read_manifest,
    shard_files,
    write_manifest,
)
from unweave.activations.shards import made_from, make_shard
from unweave.activations.sources import Source, open_source
from unweave.activations.store import ActivationStore, check_shard, open_store
from unweave.activations.windows import Unit
from unweave.config import Config, config_from, config_json
from unweave.engine.local import map_units
from unweave.errors import FingerprintError, InputError, Interrupted, StoreError, unknown_name
from unweave.log import SILENT, Progress, logger
from unweave.models.model import Model
from unweave.models.points import Point, find_point
from unweave.site import expand_sites, is_pattern


class CollectOptions(Config):
    """How a collection is made; see `collect`."""

    context: Annotated[int, Field(ge=1)] = 128
    dtype: Dtype = "float16"
    special: Special = "exclude"
    keep_text: bool = True
    shard_rows: Annotated[int, Field(ge=1)] | None = None
    batch_tokens: Annotated[int, Field(ge=1)] = 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class Collected:
    """A finished store and what this run did for it."""

    store: ActivationStore
    made: int
    """Shards made by this run."""
    reused: int
    """Shards that were there."""


def collect(
    model: Model,
    texts: Any,
    sites: Any,
    out: str | Path,
    *,
    context: int = 128,
    dtype: str = "float16",
    resume: bool = True,
    engine: str = "local",
    special: str = "exclude",
    keep_text: bool = True,
    shard_rows: int | None = None,
    batch_tokens: int = 1024,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> ActivationStore:
    """A store with the activations at `sites` of every token of `texts`.

    Args:
        model: From `load_model`.
        texts: What `read_texts` takes; or an iterable of token-id sequences or `Prepared` ones (for a transformer) or
            of input tensors (for a plain module).
        sites: A name, a pattern such as `blocks.*.mlp_act`, or a list of both.
        out: Directory of the store. If it holds an unfinished collection of the same inputs and settings, that is
            finished.
        context: Most tokens of a window, special tokens included; documents are cut into such windows. Lowered to what
            the model takes.
        dtype: `float16`, `bfloat16` or `float32`, of the stored values.
        resume: Whether to go on with what is in `out`; False begins anew.
        engine: Where it runs: `local`.
        special: `exclude` gives special tokens no rows, `include` gives them rows with position -1.
        keep_text: Whether the store keeps the texts.
        shard_rows: Rows after which a shard is closed; None makes shards of about 64 MB.
        batch_tokens: Most tokens that run together.
        workers: Threads; None is one a processor. The result does not depend on it.
        progress: Who is told how far it is.

    Raises:
        UnknownName: A site that the model does not have.
        InputError: Texts without any token, an edit in force.
        FingerprintError: `out` holds a collection of other inputs, settings, model or tokenizer.
        DataError: NaN or overflow, with site, document and position.
        StoreError: `out` is in use, is something else, or cannot be written.
        Interrupted: Ctrl-C; finished shards are kept.

    Example:
        >>> import unweave as uw, tempfile
        >>> model = uw.load_model("zoo:docs")
        >>> uw.collect(model, ["Some text."], "blocks.{0..1}.mlp_act", tempfile.mkdtemp() + "/s").sites
        ['blocks.0.mlp_act', 'blocks.1.mlp_act']
    """
    options = {
        "context": context,
        "dtype": dtype,
        "special": special,
        "keep_text": keep_text,
        "shard_rows": shard_rows,
        "batch_tokens": batch_tokens,
    }
    if engine != "local":
        raise unknown_name("engine", engine, ("local",))
    found = config_from(CollectOptions, options, source="options")
    return run_collection(
        model, texts, sites, Path(out), found, resume=resume, workers=workers, progress=progress
    ).store


def run_collection(
    model: Model,
    texts: Any,
    sites: Any,
    out: Path,
    options: CollectOptions,
    *,
    resume: bool = True,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Collected:
    """`collect`, with a count of what was made and what was there."""
    model.check_ready()
    if model.state.active_edits:
        raise InputError(
            "an edit is in force: its activations are not the model's; leave the `with model.edit(...)` or use"
            " model.capture inside it"
        )
    points = resolve_sites(model, sites)
    options = fitting(model, options)
    source = open_source(model, texts, options.context)
    collection = describe(model, points, source, options)
    with writing(out):
        whole = prepare(out, collection, resume=resume)
        most = None if whole is None else len(whole.shards)
        entries, made = _make_all(model, points, source, collection, out, most, workers, progress)
        manifest = Manifest(collection=collection, complete=True, shards=tuple(entries))
        if not manifest.rows:
            (out / MANIFEST).unlink()  # a store without rows would only stand in the way of the next run
            shutil.rmtree(out / SHARDS)
            raise InputError("the texts have no tokens: there is nothing to collect")
        if manifest != whole:
            write_manifest(out, manifest)
    return Collected(store=open_store(out), made=made, reused=len(entries) - made)


def resolve_sites(model: Model, sites: Any) -> list[Point]:
    """The points of names and patterns, each once, in the order asked for."""
    names = [sites] if isinstance(sites, str) else list(sites)
    if not names:
        raise InputError("no site was asked for: name at least one, model.sites() lists all")
    concrete = [one for name in names for one in (expand_sites(name, model.sites()) if is_pattern(name) else [name])]
    points = [find_point(model.module, model.family, name) for name in concrete]
    return list({point.site: point for point in points}.values())


def fitting(model: Model, options: CollectOptions) -> CollectOptions:
    """The options with a context that the model can take."""
    if model.context is None or options.context <= model.context:
        return options
    logger.info("context lowered from %d to the %d tokens that %s takes", options.context, model.context, model.name)
    return options.model_copy(update={"context": model.context})


def describe(model: Model, points: list[Point], source: Source, options: CollectOptions) -> Collection:
    """The identity of the collection."""
    if source.kind == "sequences" and options.special == "include":
        raise InputError(
            "prepared sequences say themselves which tokens have rows: collect them with special='exclude'"
        )
    widths = {str(point.site): source.width(point.site) for point in points}
    values = {
        "kind": source.kind,
        "sites": widths,
        "context": None if source.kind == "tensors" else options.context,
        "dtype": options.dtype,
        "shard_rows": options.shard_rows or default_shard_rows(widths, options.dtype),
        "batch_tokens": options.batch_tokens,
        "special": options.special,
        "keep_text": options.keep_text,
        "model": model.fingerprint,
        "model_name": model.name,
        "tokenizer": source.tokenizer_fingerprint,
    }
    return config_from(Collection, values, source="options")


def default_shard_rows(widths: Mapping[str, int], dtype: str) -> int:
    """Rows that make a shard of about 64 MB, between 512 and 65,536."""
    row = sum(widths.values()) * (4 if dtype == "float32" else 2)
    return int(min(65536, max(512, (64 << 20) // row)))


@contextmanager
def writing(out: Path) -> Generator[None, None, None]:
    """Makes this process the only writer of `out`, and turns what the disk says into our errors."""
    from filelock import FileLock, Timeout

    if is_foreign(out):
        raise StoreError(f"{out} exists and is not an activation store: choose another directory")
    try:
        (out / SHARDS).mkdir(parents=True, exist_ok=True)
        with FileLock(out / LOCK, timeout=0):
            yield
    except Timeout:
        raise StoreError(f"another process is writing to {out}: wait for it or choose another directory") from None
    except OSError as error:
        raise StoreError(
            f"{out} cannot be written ({error.strerror or error}): finished shards are kept; make room and run the same"
            " command again"
        ) from error


def prepare(out: Path, collection: Collection, *, resume: bool) -> Manifest | None:
    """Leaves `out` ready to go on with this collection; returns the manifest if it is complete, which then stays as it
    is: a run with other inputs must not take a finished store away.

    Raises:
        FingerprintError: It holds another collection; the settings that differ are named.
    """
    complete = None
    if not resume:
        shutil.rmtree(out / SHARDS)
        (out / SHARDS).mkdir()
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
    if complete is None:
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
    model: Model,
    points: list[Point],
    source: Source,
    collection: Collection,
    out: Path,
    most: int | None,
    workers: int | None,
    progress: Progress,
) -> tuple[list[ShardEntry], int]:
    entries: list[ShardEntry] = []
    made = 0
    special = (len(source.special.before), len(source.special.after))

    def work(unit: Unit) -> tuple[ShardEntry, bool]:
        if most is not None and unit.index >= most:
            raise FingerprintError(f"{out} was made from fewer documents than these: {OTHERWISE}")
        there = _finished(out, unit, collection)
        return (
            (there, False) if there is not None else (make_shard(model, collection, points, unit, out, special), True)
        )

    try:
        with progress.task(f"collect {model.name}", source.expected_rows, "row") as advance:
            for entry, fresh in map_units(work, source.units(collection.shard_rows), workers=workers):
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


def _finished(out: Path, unit: Unit, collection: Collection) -> ShardEntry | None:
    """The entry of a shard that is there, whole and made from these inputs; None if it must be made."""
    file = shard_files(out, unit.index)[2]
    if not file.exists():
        return None
    try:
        entry = config_in(file, ShardEntry, read_json(file))
        if entry.index != unit.index:
            raise StoreError(f"{file} is the entry of shard {entry.index}")
        check_shard(out, entry)
    except StoreError as error:
        logger.warning("shard %d is made again: %s", unit.index, error)
        return None
    if entry.inputs_sha256 != made_from(unit, collection):
        raise FingerprintError(
            f"shard {unit.index} of {out} was made from other inputs than documents {_span(unit)} now: {OTHERWISE}"
        )
    return entry


def _span(unit: Unit) -> str:
    numbers = [window.document for window in unit.windows] or [document.index for document in unit.documents]
    return f"{min(numbers)}..{max(numbers)}"
