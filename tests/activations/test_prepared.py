"""Prepared sequences: chosen and pooled rows are those of the definition, whatever runs beside them; groups hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import stores
import unweave as uw
from stores import SITES
from unweave.activations.labels import LabelledFeature, groups_of
from unweave.activations.prepared import Prepared, reduced
from unweave.activations.replay import replay
from unweave.activations.windows import Window
from unweave.errors import FingerprintError, InputError

ROUNDING = 1e-6
"""Of activations near 1 in float32: rows of a batch with padding against the row alone."""


def sequences(**changes):
    ids = [(5, 6, 7, 8, 9), (30, 31), (40, 41, 42, 43, 44, 45, 46)]
    return [Prepared(**({"ids": one, "before": (1,), "after": (2,)} | changes)) for one in ids]


def collected(out, items, **options):
    return uw.collect(
        stores.model_of(), items, SITES, out, **{"context": 16, "dtype": "float32", "workers": 1, **options}
    )


def alone(one, site):
    """All own tokens of one sequence, run by itself."""
    ids = [*one.before, *one.ids, *one.after]
    value = stores.model_of().capture([ids], [site])[site][0].flatten(1)
    return value[len(one.before) : len(ids) - len(one.after)]


def close(found, wanted):
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max()) <= ROUNDING * max(1.0, float(wanted.abs().max()))


@pytest.mark.parametrize("batch_tokens", [1, 1000])
def test_only_the_kept_positions_have_rows(tmp_path, batch_tokens):
    given = sequences()
    given[0] = Prepared(ids=given[0].ids, before=(1,), after=(2,), keep=(1, 4), id="first")
    store = collected(tmp_path / "s", given, batch_tokens=batch_tokens)
    assert store.rows["document"].tolist() == [0, 0, 1, 1] + [2] * 7
    assert store.rows["position"].tolist() == [1, 4, 0, 1, 0, 1, 2, 3, 4, 5, 6]
    assert store.rows["token_id"].tolist() == [6, 9, 30, 31, 40, 41, 42, 43, 44, 45, 46]
    assert store.document(0).id == "first"
    assert store.document(0).ids.tolist() == [5, 6, 7, 8, 9]
    for site in SITES:
        close(store[site][0:2], alone(given[0], site)[[1, 4]])
        close(store[site][4:], alone(given[2], site))


@pytest.mark.parametrize("batch_tokens", [1, 1000])
@pytest.mark.parametrize(("pool", "by_hand"), [("mean", lambda x: x.mean(0)), ("max", lambda x: x.max(0).values)])
def test_pooling_is_over_the_mask_alone(tmp_path, pool, by_hand, batch_tokens):
    given = [
        Prepared(ids=one.ids, before=(1,), after=(2,), keep=keep, pool=pool)
        for one, keep in zip(sequences(), [(1, 2, 4), (0,), None], strict=True)
    ]
    store = collected(tmp_path / "s", given, batch_tokens=batch_tokens)
    assert store.rows["position"].tolist() == [4, 0, 6]
    for site in SITES:
        for number, keep in enumerate([[1, 2, 4], [0], list(range(7))]):
            close(store[site][number], by_hand(alone(given[number], site)[keep]))


def test_max_pooling_never_gives_a_fill_value():
    """The reference fills with -1; where all kept values are below, that would be the maximum."""
    rows = torch.tensor([[-7.0, 0.0], [-5.0, -3.0], [9.0, 9.0]])
    window = Window(document=0, sequence=0, start=0, values=(1, 2, 3), rows=1, keep=(0, 1), pool="max")
    assert reduced(rows, window).tolist() == [[-5.0, 0.0]]


def test_groups_are_the_first_document_of_each(tmp_path):
    groups = ["b", "a", "b"]
    given = [Prepared(ids=one.ids, group=group) for one, group in zip(sequences(), groups, strict=True)]
    store = collected(tmp_path / "s", given, shard_rows=3)
    assert store.groups.tolist() == [0, 1, 0]
    assert [document.group for document in store.documents()] == groups
    feature = LabelledFeature(name="f", level="token", index=np.array([0, 5, 8]), values=np.array([True, False, True]))
    assert groups_of(feature, store).tolist() == [0, 1, 0]
    again = uw.open_store(tmp_path / "s")
    assert again.groups.tolist() == [0, 1, 0]
    assert torch.equal(again[SITES[0]][:], store[SITES[0]][:])


def test_documents_without_a_group_are_their_own(tmp_path):
    assert collected(tmp_path / "a", sequences()).groups.tolist() == [0, 1, 2]
    assert collected(tmp_path / "b", ["one", "two"]).groups.tolist() == [0, 1]


def test_other_rows_or_groups_are_another_collection(tmp_path):
    collected(tmp_path / "s", sequences())
    for changes in ({"keep": (0, 1)}, {"pool": "mean"}, {"group": "x"}):
        with pytest.raises(FingerprintError, match="other inputs"):
            collected(tmp_path / "s", sequences(**changes))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([Prepared(ids=())], r"sequence 0 has 0 tokens: 1 to 16 \(context\) are needed"),
        ([Prepared(ids=tuple(range(20)))], "sequence 0 has 20 tokens: 1 to 16"),
        ([Prepared(ids=(1, 2), keep=(2,))], r"sequence 0 keeps the positions \[2\] of 2 tokens"),
        ([Prepared(ids=(1, 2), keep=())], r"sequence 0 keeps the positions \[\] of 2 tokens"),
        ([Prepared(ids=(1, 2), keep=(1, 0))], r"keeps the positions \[1, 0\] of 2 tokens: increasing"),
        ([Prepared(ids=(1,)), Prepared(ids=(1,), before=(1,))], "sequence 1 has the special tokens"),
    ],
)
def test_faults_are_named(tmp_path, given, message):
    with pytest.raises(InputError, match=message):
        collected(tmp_path / "s", given)


def test_special_tokens_have_no_rows_and_nothing_is_replayed(tmp_path):
    with pytest.raises(InputError, match="special='exclude'"):
        collected(tmp_path / "s", sequences(), special="include")
    store = collected(tmp_path / "s", sequences())
    with pytest.raises(InputError, match="can be replayed"):
        replay(stores.model_of(), store, [0])
