"""What a collection will cost, said before it is made."""

from __future__ import annotations

import pytest
import torch

import stores
import tiny
import unweave as uw
from stores import SITES, TEXTS, collected
from unweave.activations.collect import CollectOptions
from unweave.activations.plan import CollectionPlan, plan_collection
from unweave.config import config_from
from unweave.errors import InputError, UnknownName


def options(**values) -> CollectOptions:
    usual = {"context": stores.CONTEXT, "shard_rows": stores.SHARD_ROWS, "batch_tokens": 48}
    return config_from(CollectOptions, {**usual, **values}, source="options")


def activation_bytes(store) -> int:
    """Bytes of the activations that a store really has."""
    return sum(column.numel() * column.element_size() for column in (store[site][:] for site in store.sites))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("special", ["exclude", "include"])
@pytest.mark.parametrize("shard_rows", [20, 1000])
def test_planned_rows_and_bytes_are_those_written(tmp_path, dtype, special, shard_rows):
    values = {"dtype": dtype, "special": special, "shard_rows": shard_rows}
    plan = plan_collection(stores.model_of(), TEXTS, [*SITES, "blocks.1.hook_resid_post"], options(**values))
    store = collected(tmp_path / "s", **values)
    assert (plan.rows, plan.documents, plan.shards) == (len(store), len(TEXTS), len(store.manifest.shards))
    assert plan.activation_bytes == activation_bytes(store)
    assert plan.sites == store.collection.sites


def test_plans_of_ids_and_tensors_are_exact_too(tmp_path):
    model, ids = tiny.model_of("gpt2"), [list(range(1, 20)), [5]]
    plan = plan_collection(model, ids, "embed", options())
    store = uw.collect(model, ids, "embed", tmp_path / "a", context=stores.CONTEXT)
    assert (plan.rows, plan.activation_bytes) == (20, activation_bytes(store))
    plain = uw.load_model(torch.nn.Sequential(torch.nn.Conv2d(1, 3, 1)).eval())
    plan = plan_collection(plain, torch.zeros(4, 1, 3, 3), "0", options(special="include"))
    store = uw.collect(plain, torch.zeros(4, 1, 3, 3), "0", tmp_path / "b")
    assert (plan.rows, plan.activation_bytes) == (36, activation_bytes(store))


def test_time_and_memory_are_positive_and_fall_with_the_work(tmp_path):
    large = plan_collection(stores.model_of(), TEXTS, list(SITES), options(), workers=1)
    small = plan_collection(stores.model_of(), TEXTS[:2], "embed", options(shard_rows=5), workers=1)
    assert large.seconds > 0
    assert 0 < small.peak_bytes < large.peak_bytes
    weights = sum(weight.numel() * 4 for weight in stores.model_of().module.parameters())  # one model for all workers
    threefold = plan_collection(stores.model_of(), TEXTS, list(SITES), options(), workers=3)
    assert threefold.peak_bytes - weights == 3 * (large.peak_bytes - weights)


def test_memory_does_not_grow_with_the_text():
    few = plan_collection(stores.model_of(), TEXTS, list(SITES), options(), workers=2)
    many = plan_collection(stores.model_of(), TEXTS * 20, list(SITES), options(), workers=2)
    assert many.rows == 20 * few.rows
    assert many.peak_bytes == few.peak_bytes


def test_the_line_is_for_a_person():
    plan = CollectionPlan(
        documents=1200,
        rows=34567,
        sites={"a": 3, "b": 4},
        activation_bytes=5_000_000,
        peak_bytes=12_345_678,
        seconds=90.0,
        shards=7,
    )
    assert plan.line() == (
        "1,200 documents, 34,567 rows x 2 sites, 5.0 MB on disk in 7 shards, about 12 MB of memory and 90 s"
    )


def test_a_plan_writes_nothing_and_refuses_what_collect_refuses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan_collection(stores.model_of(), TEXTS, list(SITES), options())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="the texts have no tokens: there is nothing to collect"):
        plan_collection(stores.model_of(), [""], list(SITES), options())
    with pytest.raises(InputError, match=r"no text file at nowhere\.txt: give a"):
        plan_collection(stores.model_of(), "nowhere.txt", list(SITES), options())
    with pytest.raises(UnknownName, match=r"unknown site 'blocks\.0\.mlp_acts'; nearest: 'blocks\.0\.mlp_act'"):
        plan_collection(stores.model_of(), TEXTS, "blocks.0.mlp_acts", options())
    with pytest.raises(UnknownName, match=r"unknown key 'contxt' \(nearest: 'context'\)"):
        options(contxt=5)


def test_a_context_larger_than_the_model_is_lowered_in_the_plan(tmp_path):
    plan = plan_collection(stores.model_of(), ["a" * 500], "embed", options(context=5000, shard_rows=62))
    assert plan.shards == 9
