"""Eight bits a value: the bound holds, is reported, and floats come back."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import tiny
import unweave as uw
from stores import SITES, collected, listing
from unweave.activations.collect import CollectOptions
from unweave.activations.importing import import_rows
from unweave.activations.plan import plan_collection
from unweave.activations.quantised import quantised, restored
from unweave.errors import DataError, StoreError
from unweave.worlds.planted import planted


def rows_of(n: int = 300, d: int = 7, *, seed: int = 0) -> torch.Tensor:
    """Columns of very different spread, one of them constant, one with an outlier."""
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) * torch.logspace(-6, 6, d)
    rows[:, 2] = 3.25
    rows[n // 2, 4] = 1e6
    return rows


@pytest.mark.parametrize("count", [1, 2, 300, 5000])
def test_the_error_is_at_most_half_a_step_and_constant_columns_are_exact(count):
    rows = rows_of(count)
    made = quantised(rows)
    back = restored(made.codes, made.offset, made.scale)
    error = (back.double() - rows.double()).abs()
    rounding = 2 * torch.finfo(torch.float32).eps * (made.offset.double().abs() + 255 * made.scale.double())
    assert (error <= made.scale.double() / 2 + rounding).all()
    assert torch.equal(back[:, 2], rows[:, 2])
    assert made.scale[2] == 0
    for column in range(rows.shape[1]):
        low, high = rows[:, column].aminmax()
        assert made.offset[column] == low
        assert abs(float(made.scale[column]) - (float(high) - float(low)) / 255) <= 1e-7 * float(high - low)
    assert made.rounding.largest_error == pytest.approx(float(error.max()), rel=1e-6)  # measured in float32
    assert made.rounding.bound == float(made.scale.max()) / 2
    variance = float((rows.double() - rows.double().mean(0)).square().sum())
    expected = float(error.square().sum()) / variance if variance else 0.0
    assert made.rounding.lost == pytest.approx(expected, rel=1e-4, abs=1e-20)  # sums in float32


def test_numpy_gives_the_same_codes():
    rows = rows_of(400)
    low, high = rows.double().numpy().min(0), rows.double().numpy().max(0)
    scale = ((high - low) / 255).astype(np.float32)
    exact = (rows.double().numpy() - low) / np.where(scale > 0, scale, 1).astype(np.float64)
    assert np.abs(quantised(rows).codes.numpy() - exact).max() <= 0.5 + 255 * 2**-23  # at a tie either will do


def test_no_rows_and_columns_too_far_apart():
    assert quantised(torch.empty(0, 3)).codes.shape == (0, 3)
    with pytest.raises(
        DataError, match=r"column 1 runs from -3e\+38 to 3e\+38: that is too far apart for dtype='uint8'"
    ):
        quantised(torch.tensor([[0.0, -3e38], [1.0, 3e38]]))


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[uw.ActivationStore, uw.ActivationStore]:
    """The same collection in eight bits and in float32."""
    folder = tmp_path_factory.mktemp("stores")
    return collected(folder / "u", dtype="uint8"), collected(folder / "f", dtype="float32")


def test_rows_come_out_as_floats_near_those_that_went_in(pair):
    small, exact = pair
    for site in SITES:
        column, truth = small[site], exact[site][:]
        told = small.rounding[site]
        assert column.dtype is torch.float32
        error = (column[:] - truth).abs()
        assert float(error.max()) == pytest.approx(told.largest_error, rel=1e-5)
        assert told.largest_error <= told.bound * (1 + 1e-4)
        assert 0 < told.lost < 1e-3
        chosen = np.array([0, len(column) - 1, 41, 41])
        assert torch.equal(column[chosen], column[:][chosen])
        assert torch.equal(column[3:200:7], column[:][3:200:7])
        assert np.asarray(column).dtype == np.float32
    assert exact.rounding == {}
    for name in small.rows:
        np.testing.assert_array_equal(small.rows[name], exact.rows[name])


def test_resumed_and_shared_stores_are_the_same_bytes(pair, tmp_path):
    small, _ = pair
    collected(tmp_path / "two", dtype="uint8", workers=2)
    assert listing(tmp_path / "two") == listing(small.path)
    for name in ("00001.json", "00003.safetensors", "00000.text.json"):
        (tmp_path / "two" / "shards" / name).unlink()
    collected(tmp_path / "two", dtype="uint8")
    assert listing(tmp_path / "two") == listing(small.path)


def test_planned_bytes_are_those_on_disk(pair):
    small, exact = pair
    texts = [document.text for document in small.documents()]
    options = CollectOptions(context=16, dtype="uint8", shard_rows=40)
    plan = plan_collection(tiny.text_model(), texts, list(SITES), options, workers=1)
    width = sum(small.collection.sites.values())
    assert plan.activation_bytes == len(small) * width + 8 * width * len(small.manifest.shards)
    bytes_of = {store: sum(shard.tensors_bytes for shard in store.manifest.shards) for store in pair}
    headers = 3 * 2 * 100 * len(small.manifest.shards)  # of the scales: six more entries a shard
    assert (
        bytes_of[small] <= bytes_of[exact] - 3 * len(small) * width + 8 * width * len(small.manifest.shards) + headers
    )


def test_a_manifest_that_hides_what_rounding_cost_is_damaged(pair, tmp_path):
    small, _ = pair
    facts = json.loads((small.path / "store.json").read_text())
    facts["shards"][1]["rounding"] = None
    (tmp_path / "store.json").write_text(json.dumps(facts))
    with pytest.raises(StoreError, match="shard 1 does not say what rounding cost"):
        uw.open_store(tmp_path)


def test_sparse_probes_find_the_same_in_eight_bits(tmp_path):
    world = planted("easy", 3000, 240, seed=0)
    found = {}
    for dtype in ("uint8", "float16"):
        store = import_rows({"blocks.0.mlp_act": world.sites[0]}, tmp_path / dtype, documents=world.groups, dtype=dtype)
        swept = uw.probing.sweep(
            store["blocks.0.mlp_act"], world.labels[:, 0], groups=world.groups, ks=(8,), shuffles=0, bootstrap=100,
            coordinates=0, selector="std_mean_diff",
        )  # fmt: skip
        found[dtype] = {row["k"]: row for row in swept.table()}
    for k, row in found["float16"].items():
        assert found["uint8"][k]["f1"] == pytest.approx(row["f1"], abs=0.01)
    assert found["uint8"][8]["support"] == found["float16"][8]["support"]
