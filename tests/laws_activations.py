"""Laws of windows, batches, stores and labels as functions of an implementation, for the tests and for the mutants that
must break them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import stores
from unweave.activations.texts import Text
from unweave.activations.windows import Document, SpecialTokens, Window


def every_token_in_one_window(text_windows: Callable[..., Any], lengths: Sequence[int], context: int) -> None:
    """Each token of each document is in exactly one window, windows follow each other, and special tokens stand around
    each; `lengths` are those of the documents.
    """
    texts = [
        Text(text="".join(chr(97 + (number + place) % 26) for place in range(length)))
        for number, length in enumerate(lengths)
    ]
    special = SpecialTokens(before=(1, 7), after=(2,))
    sequence = 0
    found = list(text_windows(texts, stores.model_of().tokenizer, context=context, special=special))
    assert len(found) == len(texts)
    for number, (document, windows) in enumerate(found):
        assert document.index == number
        assert len(document.ids) == lengths[number]
        assert [token for window in windows for token in window.values[2:-1]] == list(document.ids)
        position = 0
        for window in windows:
            assert (window.document, window.sequence, window.start) == (number, sequence, position)
            assert window.values[:2] == (1, 7)
            assert window.values[-1] == 2
            assert 0 < window.rows == len(window.values) - 3 <= context - 3
            sequence += 1
            position += window.rows


def shards_are_full_runs_of_windows(units: Callable[..., Any], sizes: Sequence[Sequence[int]], shard_rows: int) -> None:
    """Shards hold all windows and documents in order, each closes as soon as it has enough rows, none is empty; `sizes`
    are the rows of the windows of each document.
    """
    documents = [
        (
            Document(index=number, id=None, text=None, ids=(), offsets=None),
            [Window(document=number, sequence=0, start=0, values=(), rows=rows) for rows in windows],
        )
        for number, windows in enumerate(sizes)
    ]
    found = list(units(iter(documents), shard_rows=shard_rows))
    assert [unit.index for unit in found] == list(range(len(found)))
    assert [window for unit in found for window in unit.windows] == [window for _, own in documents for window in own]
    assert [document for unit in found for document in unit.documents] == [document for document, _ in documents]
    for unit in found[:-1]:
        assert unit.rows >= shard_rows
    for unit in found:
        assert unit.windows or unit.documents
        assert sum(window.rows for window in unit.windows[:-1]) < shard_rows
        began = {document.index for document in unit.documents}
        assert {window.document for window in unit.windows[1:]} <= began | {
            window.document for window in unit.windows[:1]
        }


def batches_hold_every_window_once(batches: Callable[..., Any], lengths: Sequence[int], batch_tokens: int) -> None:
    """Every window is in one batch, knows its rows, and no batch is larger than asked unless it is one window."""
    windows = [
        Window(document=0, sequence=number, start=0, values=tuple(range(length)), rows=length)
        for number, length in enumerate(lengths)
    ]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    found = list(batches(windows, starts, batch_tokens))
    assert sorted(window.sequence for batch in found for window in batch.windows) == list(range(len(windows)))
    for batch in found:
        for window, first, last in zip(batch.windows, batch.first_rows, batch.last_rows, strict=True):
            assert (first, last) == (starts[window.sequence], starts[window.sequence + 1])
        longest = max(len(window.values) for window in batch.windows)
        assert len(batch.windows) == 1 or longest * len(batch.windows) <= batch_tokens


def spans_find_the_tokens_that_overlap(positions: Callable[[Any, int, int], Sequence[int]], document: Any) -> None:
    """For every span of a document, the tokens with a character of their own inside it, white space in front of a piece
    not counted; `positions` answers with None where there is none.
    """
    pieces = [document.text[start:end] for start, end in document.offsets.tolist()]
    own = []
    for (start, end), piece in zip(document.offsets.tolist(), pieces, strict=True):
        spaces = len(piece) - len(piece.lstrip()) if piece.strip() else 0
        own.append(set(range(start + spaces, end)))
    for start in range(len(document.text)):
        for end in range(start + 1, len(document.text) + 1):
            expected = [number for number, characters in enumerate(own) if characters & set(range(start, end))]
            assert positions(document, start, end) == (expected or None), (start, end)


def pooled_rows_are_means(pooled: Callable[..., Any], store: Any, site: str) -> None:
    """The pooled row of each document is the mean of its rows, added up one by one, in the order asked for."""
    documents = np.array([6, 0, 1, 6])
    values, of_row = store[site][:].double().numpy(), store.rows["document"]
    expected = []
    for document in documents:
        own = [values[row] for row in range(len(store)) if of_row[row] == document]
        expected.append(sum(own) / len(own))
    # rounded to float32 once: half a unit in the last place
    np.testing.assert_allclose(np.asarray(pooled(store[site], documents)), expected, rtol=2.0**-24, atol=0)


def replayed_rows_are_the_stored_ones(replay: Callable[..., Any], model: Any, store: Any, site: str) -> None:
    """What the model gives on replayed windows is what the store has in the rows that replay names, and special tokens
    have none.
    """
    found = replay(model, store, range(len(stores.TEXTS)), batch=3)
    rows = iter(zip(found.documents, found.rows, strict=True))
    seen: list[int] = []
    for batch in found.batches:
        values = model.capture(batch, [site])[site]
        for ids, mask, value in zip(batch.ids, batch.mask, values, strict=True):
            document, places = next(rows)
            inside = places >= 0
            assert ids[mask].tolist()[1:-1] == store.rows["token_id"][places[inside]].tolist()
            assert set(store.rows["document"][places[inside]]) == {document}
            got = value[mask][inside.tolist()].numpy()
            # float32 sums over other batches than those of the collection
            np.testing.assert_allclose(got, store[site][places[inside]].numpy(), rtol=0, atol=1e-5)
            seen += places[inside].tolist()
    assert sorted(seen) == list(range(len(store)))
