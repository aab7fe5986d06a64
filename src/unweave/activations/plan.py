"""What a collection will cost, before it is made: rows and bytes exactly, memory and time as estimates from one
measured batch.
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safetensors.torch import save

from unweave.activations.collect import CollectOptions, default_shard_rows, describe, fitting, resolve_sites
from unweave.activations.layout import reading_dtype, storage_dtype
from unweave.activations.shards import run_unit
from unweave.activations.sources import open_source
from unweave.activations.windows import Unit
from unweave.engine.clock import idle_seconds
from unweave.engine.local import default_workers, one_intra_op_thread
from unweave.errors import InputError
from unweave.models.model import Model


@dataclass(frozen=True, kw_only=True)
class CollectionPlan:
    """Size and cost of a collection."""

    documents: int
    rows: int
    sites: dict[str, int]
    """Site -> width."""
    activation_bytes: int
    """rows x widths x bytes a value, and the scales of uint8: exactly what the activations take on disk."""
    peak_bytes: int
    """Estimated memory of the process beyond what it has now."""
    seconds: float
    """Estimated time."""
    shards: int

    def line(self) -> str:
        """One line for a person."""
        return (
            f"{self.documents:,} documents, {self.rows:,} rows x {len(self.sites)} sites,"
            f" {self.activation_bytes / 1e6:,.1f} MB on disk in {self.shards} shards, about"
            f" {self.peak_bytes / 1e6:,.0f} MB of memory and {self.seconds:,.0f} s"
        )


def plan_collection(
    model: Model, texts: Any, sites: Any, options: CollectOptions, *, workers: int | None = None
) -> CollectionPlan:
    """The plan of `collect` with the same arguments; texts are tokenised, and one batch runs through the model."""
    points = resolve_sites(model, sites)
    options = fitting(model, options)
    source = open_source(model, texts, options.context)
    collection = describe(model, points, source, options)
    documents = rows = shards = tokens = 0
    sample = Unit(index=0)
    started = idle_seconds()
    for unit in source.units(collection.shard_rows):
        if not shards:
            sample = _first_batch(unit, options.batch_tokens)
        documents += len(unit.documents)
        shards += 1
        rows += unit.rows
        tokens += sum(_size(window.values) for window in unit.windows)
    if not rows:
        raise InputError("the texts have no tokens: there is nothing to collect")
    reading = idle_seconds() - started  # one thread reads and tokenises for all
    special = (len(source.special.before), len(source.special.after))
    seconds, sampled = _timed(model, collection, points, sample, special)
    threads = workers or default_workers()
    itemsize = reading_dtype(options.dtype).itemsize
    kept = storage_dtype(options.dtype).itemsize
    scales = 8 * shards if options.dtype == "uint8" else 0  # a step and an offset a column and shard, in float32
    width = sum(collection.sites.values())
    shard_rows = options.shard_rows or default_shard_rows(collection.sites, options.dtype)
    if options.special == "include":
        rows += (tokens - rows) if source.kind != "tensors" else 0
    return CollectionPlan(
        documents=documents,
        rows=rows,
        sites=dict(collection.sites),
        activation_bytes=(rows * kept + scales) * width,
        peak_bytes=_weight_bytes(model)
        + threads
        * (
            min(rows, shard_rows + (options.context or 1)) * width * itemsize
            + options.batch_tokens * _live_bytes(model, collection.sites)
        ),
        seconds=reading + seconds * tokens / max(1, sampled) / threads,
        shards=shards,
    )


def _first_batch(unit: Unit, batch_tokens: int) -> Unit:
    chosen, tokens = [], 0
    for window in unit.windows:
        chosen.append(window)
        tokens += _size(window.values)
        if tokens >= batch_tokens:
            break
    return Unit(index=0, windows=chosen)


def _weight_bytes(model: Model) -> int:
    """Weights are mapped from their file and take memory when they are first used."""
    return sum(weight.numel() * weight.element_size() for weight in model.module.parameters())


def _live_bytes(model: Model, sites: Mapping[str, int]) -> int:
    """Bytes a token that a forward pass holds at its peak, beyond the weights: values are copied as they come, so it is
    the widest part of a block (twice with its gate, in two precisions at worst) and a few streams.
    """
    if model.family is None:
        return 8 * sum(sites.values())
    names = [site for site in model.sites() if site.layer == 0]
    widest = max(model.width(site) for site in names)
    return 4 * (8 * widest + 4 * model.width("blocks.0.resid_post")) + 8 * sites.get("logits", 0)


def _size(values: Any) -> int:
    return len(values) if isinstance(values, tuple) else 1


def _timed(model: Model, collection: Any, points: Any, sample: Unit, special: tuple[int, int]) -> tuple[float, int]:
    """Seconds of one batch, from tokens to the hashed bytes of a file, after a first one that warms up; the median of
    three; and its tokens.
    """

    def once() -> float:
        start = idle_seconds()
        values = run_unit(model, collection, points, sample, special)
        hashlib.sha256(save({str(site): value for site, value in values.items()})).digest()
        return idle_seconds() - start

    with one_intra_op_thread():
        once()
        seconds = statistics.median(once() for _ in range(3))
    return seconds, sum(_size(window.values) for window in sample.windows)
