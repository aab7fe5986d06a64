"""Broken twins of windows, shards, batches, spans, pooling and replay: the laws must catch every one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

import laws_activations as laws
import stores
from stores import SITES, collected
from unweave.activations.labels import pooled
from unweave.activations.replay import replay
from unweave.activations.shards import batches
from unweave.activations.store import StoredDocument
from unweave.activations.windows import text_windows, units

LENGTHS = [0, 1, 30, 12, 26]
CONTEXT = 16


def changed_windows(change: Callable) -> Callable:
    def mutant(texts, tokenizer, **options):
        for document, windows in text_windows(texts, tokenizer, **options):
            yield document, change(list(windows))

    return mutant


WINDOW_MUTANTS = {
    "loses the last window": lambda windows: windows[:-1],
    "loses what does not fill a window": lambda windows: [w for w in windows if w.rows == CONTEXT - 3],
    "positions start anew": lambda windows: [dataclasses.replace(w, start=0) for w in windows],
    "positions count special tokens": lambda windows: [dataclasses.replace(w, start=w.start + 2) for w in windows],
    "sequences start anew": lambda windows: [dataclasses.replace(w, sequence=n) for n, w in enumerate(windows)],
    "rows count special tokens": lambda windows: [dataclasses.replace(w, rows=w.rows + 3) for w in windows],
    "no token behind": lambda windows: [dataclasses.replace(w, values=w.values[:-1]) for w in windows],
    "windows overlap": lambda windows: [*windows, *windows[-1:]],
    "windows turned round": lambda windows: windows[::-1],
    "document off by one": lambda windows: [dataclasses.replace(w, document=w.document + 1) for w in windows],
}


def test_the_window_law_holds_on_these_lengths():
    laws.every_token_in_one_window(text_windows, LENGTHS, CONTEXT)


@pytest.mark.parametrize("name", WINDOW_MUTANTS)
def test_broken_windows_are_caught(name):
    with pytest.raises(AssertionError):
        laws.every_token_in_one_window(changed_windows(WINDOW_MUTANTS[name]), LENGTHS, CONTEXT)


def closes_late(documents, *, shard_rows):
    return units(documents, shard_rows=shard_rows + 1)


def whole_documents(documents, *, shard_rows):
    """Never cuts inside a document."""
    return units(((document, windows[:1]) for document, windows in documents), shard_rows=shard_rows)


def loses_the_last(documents, *, shard_rows):
    return list(units(documents, shard_rows=shard_rows))[:-1]


def forgets_empty_documents(documents, *, shard_rows):
    return units(((document, windows) for document, windows in documents if windows), shard_rows=shard_rows)


def restarts_counting(documents, *, shard_rows):
    for unit in units(documents, shard_rows=shard_rows):
        unit.index = 0
        yield unit


SIZES = [[3, 3, 2], [], [5], [4, 4, 4, 4], [1]]


def test_the_shard_law_holds_on_these_sizes():
    laws.shards_are_full_runs_of_windows(units, SIZES, 8)


@pytest.mark.parametrize(
    "mutant", [closes_late, whole_documents, loses_the_last, forgets_empty_documents, restarts_counting]
)
def test_broken_shards_are_caught(mutant):
    with pytest.raises(AssertionError):
        laws.shards_are_full_runs_of_windows(mutant, SIZES, 8)


def rows_by_order_of_running(windows, starts, batch_tokens):
    """Gives rows away in the order in which batches run."""
    first = 0
    for batch in batches(windows, starts, batch_tokens):
        sizes = np.cumsum([first, *(len(window.values) for window in batch.windows)]).tolist()
        yield dataclasses.replace(batch, first_rows=tuple(sizes[:-1]), last_rows=tuple(sizes[1:]))
        first = sizes[-1]


def loses_the_last_batch(windows, starts, batch_tokens):
    return list(batches(windows, starts, batch_tokens))[:-1]


def one_window_too_many(windows, starts, batch_tokens):
    return batches(windows, starts, batch_tokens + max(len(window.values) for window in windows))


def rows_one_too_far(windows, starts, batch_tokens):
    for batch in batches(windows, starts, batch_tokens):
        yield dataclasses.replace(batch, last_rows=tuple(last + 1 for last in batch.last_rows))


@pytest.mark.parametrize(
    "mutant", [rows_by_order_of_running, loses_the_last_batch, one_window_too_many, rows_one_too_far]
)
def test_broken_batches_are_caught(mutant):
    lengths = [4, 9, 9, 2, 7]
    laws.batches_hold_every_window_once(batches, lengths, 18)
    with pytest.raises(AssertionError):
        laws.batches_hold_every_window_once(mutant, lengths, 18)


def overlapping(document, start, end, *, trim=True, touch=0, own=True):
    """The tokens in a span, right by default."""
    found = []
    for number, (first, last) in enumerate(document.offsets.tolist()):
        piece = document.text[first:last]
        if trim and piece.strip():
            first += len(piece) - len(piece.lstrip())
        inside = first < end + touch and last + touch > start if own else start <= first and last <= end
        if inside:
            found.append(number)
    return found or None


SPAN_MUTANTS = {
    "keeps the space of a piece": {"trim": False},
    "takes neighbours that only touch": {"touch": 1},
    "wants the whole token inside": {"own": False},
}


@pytest.fixture(scope="module")
def document() -> StoredDocument:
    offsets = np.array([(0, 3), (3, 7), (7, 9), (9, 10), (10, 13)])
    return StoredDocument(index=0, id=None, text="The cat  sat.", ids=np.arange(5), offsets=offsets, tokens=("",) * 5)


def test_the_span_law_holds_on_this_document(document):
    laws.spans_find_the_tokens_that_overlap(overlapping, document)


@pytest.mark.parametrize("name", SPAN_MUTANTS)
def test_broken_spans_are_caught(document, name):
    def mutant(document, start, end):
        return overlapping(document, start, end, **SPAN_MUTANTS[name])

    with pytest.raises(AssertionError):
        laws.spans_find_the_tokens_that_overlap(mutant, document)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return collected(tmp_path_factory.mktemp("mutants") / "s", dtype="float32")


def sum_instead_of_mean(column, documents):
    counts = np.bincount(column.store.rows["document"])[documents]
    return pooled(column, documents) * torch.from_numpy(counts)[:, None]


def mean_in_half_precision(column, documents):
    return pooled(column, documents).half().float()


def in_the_order_of_the_store(column, documents):
    return pooled(column, np.sort(documents))


def mean_over_all(column, documents):
    return column[:].mean(0, keepdim=True).expand(len(documents), -1)


@pytest.mark.parametrize(
    "mutant", [sum_instead_of_mean, mean_in_half_precision, in_the_order_of_the_store, mean_over_all]
)
def test_broken_pooling_is_caught(store, mutant):
    laws.pooled_rows_are_means(pooled, store, SITES[0])
    with pytest.raises(AssertionError):
        laws.pooled_rows_are_means(mutant, store, SITES[0])


def rows_off_by_one(model, store, documents, **options):
    found = replay(model, store, documents, **options)
    rows = tuple(np.where(places >= 0, (places + 1) % len(store), places) for places in found.rows)
    return dataclasses.replace(found, rows=rows)


def without_special_tokens(model, store, documents, **options):
    found = replay(model, store, documents, **options)
    cut = tuple(dataclasses.replace(batch, mask=batch.mask & ~batch.special, special=None) for batch in found.batches)
    return dataclasses.replace(found, batches=cut, rows=tuple(places[1:-1] for places in found.rows))


def forgets_a_document(model, store, documents, **options):
    return replay(model, store, list(documents)[:-1], **options)


def every_window_twice(model, store, documents, **options):
    return replay(model, store, [*documents, *documents], **options)


@pytest.mark.parametrize("mutant", [rows_off_by_one, without_special_tokens, forgets_a_document, every_window_twice])
def test_broken_replay_is_caught(store, mutant):
    laws.replayed_rows_are_the_stored_ones(replay, stores.model_of(), store, SITES[0])
    with pytest.raises(AssertionError):
        laws.replayed_rows_are_the_stored_ones(mutant, stores.model_of(), store, SITES[0])
