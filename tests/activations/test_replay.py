"""The windows of a store as token batches: the same tokens, at the same places, as were collected."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import laws_activations
import stores
import tiny
import unweave as uw
from stores import SITES, TEXTS, collected
from unweave.activations.replay import replay
from unweave.errors import FingerprintError, InputError

PADDING = 1e-5  # float32; the batches differ from those of the collection, and so does the order of summation


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return collected(tmp_path_factory.mktemp("replay") / "s", dtype="float32")


def captured_equals_stored(model, store, found, sites) -> int:
    """Asserts that what the model gives on the batches is what the store has in those rows; returns how many."""
    window = rows = 0
    for batch in found.batches:
        values = model.capture(batch, sites)
        for number in range(len(batch)):
            places = found.rows[window]
            assert len(places) == int(batch.mask[number].sum())
            inside = np.flatnonzero(places >= 0)
            for site in sites:
                expected = store[site][places[inside]]
                got = values[site][number, torch.from_numpy(inside)].flatten(1)
                torch.testing.assert_close(got, expected, rtol=0, atol=PADDING)
            assert (store.rows["document"][places[inside]] == found.documents[window]).all()
            assert batch.ids[number, inside].tolist() == store.rows["token_id"][places[inside]].tolist()
            window, rows = window + 1, rows + len(inside)
    assert window == len(found.documents) == len(found.rows)
    return rows


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_replaying_everything_gives_every_row_once(store, batch):
    found = replay(stores.model_of(), store, range(len(TEXTS)), batch=batch)
    assert captured_equals_stored(stores.model_of(), store, found, list(SITES)) == len(store)
    rows = np.concatenate(found.rows)
    assert sorted(rows[rows >= 0].tolist()) == list(range(len(store)))
    assert all(len(one) <= batch for one in found.batches)


@pytest.mark.parametrize("site", ["blocks.1.resid_post", "blocks.1.mlp_act"])
def test_replayed_rows_are_the_stored_ones(store, site):
    laws_activations.replayed_rows_are_the_stored_ones(replay, stores.model_of(), store, site)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_family_replays_what_it_collected(tmp_path, family):
    model = stores.model_of(family)
    store = collected(tmp_path / "s", sites="blocks.1.resid_post", model=model, dtype="float32")
    found = replay(model, store, [0, 4, 6])
    assert captured_equals_stored(model, store, found, ["blocks.1.resid_post"]) > 100


def test_token_ids_replay_without_special_tokens(tmp_path):
    model = tiny.model_of("gpt2")
    inputs = [tiny.ids_of(1, 20)[0], tiny.ids_of(1, 3, seed=2)[0]]
    store = uw.collect(model, inputs, "blocks.1.resid_post", tmp_path / "s", context=8, dtype="float32")
    found = replay(model, store, [0, 1])
    assert captured_equals_stored(model, store, found, ["blocks.1.resid_post"]) == 23
    assert not any(bool(batch.special.any()) for batch in found.batches)


def test_special_tokens_stand_around_each_window_and_have_no_row(store):
    found = replay(stores.model_of(), store, [0, 1])
    for batch in found.batches:
        for ids, mask, special in zip(batch.ids, batch.mask, batch.special, strict=True):
            own = ids[mask].tolist()
            assert (own[0], own[-1]) == (1, 2)
            assert special[mask].tolist() == [True] + [False] * (len(own) - 2) + [True]
            assert not bool(special[~mask].any())
    for places in found.rows:
        assert (places[0], places[-1]) == (-1, -1)
        assert (places[1:-1] >= 0).all()


def test_only_the_documents_asked_for_are_replayed(store):
    assert set(replay(stores.model_of(), store, [6, 3]).documents.tolist()) == {3, 6}


def test_most_takes_documents_in_turn(store):
    windows = np.bincount(store.rows["document"], minlength=len(TEXTS))
    order = replay(stores.model_of(), store, [0, 1, 6]).documents.tolist()
    counts = {document: -(-int(windows[document]) // 14) for document in (0, 1, 6)}
    expected = [document for turn in range(max(counts.values())) for document in (0, 1, 6) if turn < counts[document]]
    assert order == expected
    for most in (1, 2, 4, 100):
        assert replay(stores.model_of(), store, [0, 1, 6], most=most).documents.tolist() == expected[:most]


def test_windows_of_a_document_come_in_their_order(store):
    found = replay(stores.model_of(), store, [6])
    starts = [int(store.rows["position"][places[1]]) for places in found.rows]
    assert starts == [14 * number for number in range(len(starts))]
    assert len(starts) > 3


def test_row_at_looks_places_up(store):
    found = replay(stores.model_of(), store, [0])
    rows = found.row_at(np.array([0, 0, 1]), np.array([0, 1, 3]))
    assert rows.tolist() == [-1, int(found.rows[0][1]), int(found.rows[1][3])]
    assert store.rows["position"][rows[1:]].tolist() == [0, 16]


@pytest.mark.parametrize("documents", [[2], [], [99]])
def test_documents_without_windows_are_named(store, documents):
    with pytest.raises(
        InputError, match=rf"documents \[{documents[0] if documents else ''}\] have no windows in the store"
    ):
        replay(stores.model_of(), store, documents)


def test_nothing_asked_for_is_refused(store):
    with pytest.raises(InputError, match="have no windows in the store"):
        replay(stores.model_of(), store, [0], most=0)


def test_stores_that_cannot_be_replayed_are_refused(tmp_path):
    included = collected(tmp_path / "a", special="include")
    module = uw.load_model(torch.nn.Sequential(torch.nn.Linear(2, 2)).eval())
    tensors = uw.collect(module, torch.zeros(3, 2), "0", tmp_path / "b")
    for model, store in ((stores.model_of(), included), (module, tensors)):
        with pytest.raises(
            InputError, match="only stores of token sequences without rows for special tokens can be repl"
        ):
            replay(model, store, [0])


def test_the_store_of_another_model_is_refused(store):
    """Its rows would be called the activations of a model that never gave them."""
    other = tiny.model_of("llama", seed=9, tokenizer=tiny.byte_tokenizer())
    with pytest.raises(FingerprintError, match="the store is of another model"):
        replay(other, store, [0])
