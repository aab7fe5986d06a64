"""`collect`: activations of a model over documents, to disk, in one pass for all sites, resumable after any
interruption.

Work is done shard by shard. Which rows a shard holds, which windows run together and with how many threads depends on
the inputs and settings alone, so a store that was interrupted and resumed, with any number of workers, is byte for byte
the store of an undisturbed run. A shard whose entry is on disk is whole; everything else is made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from unweave.activations.layout import Collection, Dtype, Special, reading_dtype
from unweave.activations.shards import make_shard
from unweave.activations.sources import Source, open_source
from unweave.activations.store import ActivationStore
from unweave.activations.writing import Collected, Task, write_store
from unweave.config import Config, config_from
from unweave.errors import InputError, unknown_name
from unweave.log import SILENT, Progress, logger
from unweave.models.model import Model
from unweave.models.offloaded import is_offloaded
from unweave.models.points import Point, find_point
from unweave.places import Place, Remote, place_of
from unweave.site import expand_sites, is_pattern


class CollectOptions(Config):
    """How a collection is made; see `collect`."""

    context: Annotated[int, Field(ge=1)] = 128
    dtype: Dtype = "float16"
    special: Special = "exclude"
    keep_text: bool = True
    shard_rows: Annotated[int, Field(ge=1)] | None = None
    batch_tokens: Annotated[int, Field(ge=1)] = 1024


def collect(
    model: Model,
    texts: Any,
    sites: Any,
    out: str | Path | Remote,
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
        texts: What `read_texts` takes; a Hugging Face data set, streamed or not, with a column `text` (`DatasetTexts`
            for another one), or `hub:NAME:SPLIT:COLUMN`; or an iterable of token-id sequences or `Prepared` ones (for a
            transformer) or of input tensors (for a plain module).
        sites: A name, a pattern such as `blocks.*.mlp_act`, or a list of both.
        out: Directory of the store, or a URL that fsspec understands (`s3://bucket/store`). If it holds an unfinished
            collection of the same inputs and settings, that is finished.
        context: Most tokens of a window, special tokens included; documents are cut into such windows. Lowered to what
            the model takes.
        dtype: `float16`, `bfloat16` or `float32`, of the stored values; `uint8` keeps eight bits a value with a scale a
            column and shard, and gives float32 back (`store.rounding` says what that cost).
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
        model, texts, sites, place_of(out), found, resume=resume, workers=workers, progress=progress
    ).store


def run_collection(
    model: Model,
    texts: Any,
    sites: Any,
    out: Place,
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
    special = (len(source.special.before), len(source.special.after))
    alone = is_offloaded(model.module)  # two passes at once would take the weights from one another
    return write_store(
        out,
        collection,
        source.units(collection.shard_rows),
        lambda unit: make_shard(model, collection, points, unit, out, special),
        task=Task(title=f"collect {model.name}", expected_rows=source.expected_rows, progress=progress),
        resume=resume,
        workers=1 if alone else workers,
    )


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
    """Rows that make a shard of about 64 MB while it is made, between 512 and 65,536."""
    row = sum(widths.values()) * reading_dtype(dtype).itemsize
    return int(min(65536, max(512, (64 << 20) // row)))
