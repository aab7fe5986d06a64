"""NaN and overflow stop a collection with site, document and position, before anything of the shard is stored."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny
import unweave as uw
from stores import SITES, collected, listing, shard_file
from unweave.errors import DataError, InputError

TEXTS = ("good enough for two shards, the first of which is whole", "y", "seventeen then: Z and more")
PLACE = 16
"""Position of the planted letter in the last document: row 2 of its second window."""


def planted(value: float, column: int = 7, token: str = "Z", family: str = "llama") -> uw.Model:
    """A model whose embedding of one byte has one such value."""
    model = tiny.text_model(family)
    [row] = model.tokenizer.convert_tokens_to_ids([token])
    with torch.no_grad():
        model.module.get_input_embeddings().weight[row, column] = value
    return model


def whole_shards(folder: Path) -> int:
    """The number of finished shards, each checked to be what its entry says and to hold finite numbers alone."""
    entries = sorted((folder / "shards").glob("?????.json"))
    for index, file in enumerate(entries):
        entry = json.loads(file.read_text())
        assert entry["index"] == index
        tensors = load_file(shard_file(folder, index))
        assert entry["tensors_bytes"] == shard_file(folder, index).stat().st_size
        assert all(bool(torch.isfinite(value).all()) for value in tensors.values() if value.is_floating_point())
    assert len(list((folder / "shards").iterdir())) == 3 * len(entries)
    return len(entries)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_value_that_is_not_finite_is_named(tmp_path, value, dtype, workers):
    with pytest.raises(DataError) as error:
        collected(tmp_path / "s", TEXTS, "blocks.0.resid_pre", model=planted(value), dtype=dtype, workers=workers)
    assert str(error.value) == (
        f"blocks.0.resid_pre has {value:.6g} at document 2, position {PLACE} (row 2 of its window), column 7: the model"
        " itself is not finite there; leave that document out or look at the model. Nothing of this shard was stored"
    )
    assert 0 < whole_shards(tmp_path / "s") < 4


def test_the_site_that_is_not_finite_is_named(tmp_path):
    sites = ["embed", "blocks.0.resid_post", "blocks.0.resid_pre"]
    model = tiny.text_model()
    with torch.no_grad():
        model.module.model.layers[0].mlp.down_proj.weight[3, 5] = math.nan
    with pytest.raises(DataError, match=r"blocks\.0\.resid_post has nan at document 0, position 0 \(row 0.*column 3:"):
        collected(tmp_path / "s", TEXTS, sites, model=model)
    assert whole_shards(tmp_path / "s") == 0


@pytest.mark.parametrize("value", [70_000.0, -70_000.0, 65_520.0])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_overflow_of_float16_is_named_with_advice_and_never_stored(tmp_path, value, workers):
    model = planted(value)
    with pytest.raises(DataError) as error:
        collected(tmp_path / "s", TEXTS, "blocks.0.resid_pre", model=model, workers=workers)
    assert str(error.value) == (
        f"blocks.0.resid_pre has {value:.6g} at document 2, position {PLACE} (row 2 of its window), column 7: float16"
        " ends at 65504; collect with dtype='bfloat16' or 'float32'. Nothing of this shard was stored"
    )
    assert whole_shards(tmp_path / "s") > 0
    for dtype, torch_dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        store = collected(tmp_path / dtype, TEXTS, "blocks.0.resid_pre", model=model, dtype=dtype, workers=workers)
        row = len(store) - len(TEXTS[2]) + PLACE
        assert (store.rows["document"][row], store.rows["position"][row]) == (2, PLACE)
        assert store["blocks.0.resid_pre"][row][7] == torch.tensor(value, dtype=torch_dtype)


def test_the_largest_float16_is_stored(tmp_path):
    # below 65,520 a value rounds down to the largest one; sums of such rows overflow in float16 and must not alarm
    store = collected(tmp_path / "s", ["ZZZZZZZZ"], "blocks.0.resid_pre", model=planted(65_519.0))
    assert store["blocks.0.resid_pre"][:][:, 7].tolist() == [65_504.0] * 8


def test_float32_sums_that_overflow_do_not_alarm(tmp_path):
    store = collected(tmp_path / "s", ["ZZZZ"], "blocks.0.resid_pre", model=planted(3e38), dtype="float32")
    assert bool(torch.isfinite(store["blocks.0.resid_pre"][:]).all())
    assert store["blocks.0.resid_pre"][0][7] == torch.tensor(3e38)


def test_opposite_infinities_in_one_row_are_found(tmp_path):
    model = planted(math.inf)
    with torch.no_grad():
        [row] = model.tokenizer.convert_tokens_to_ids(["Z"])
        model.module.get_input_embeddings().weight[row, 9] = -math.inf
    with pytest.raises(DataError, match=r"has inf at document 2, position 16 .*, column 7"):
        collected(tmp_path / "s", TEXTS, "blocks.0.resid_pre", model=model)


def test_a_special_token_that_is_not_finite_has_position_minus_one(tmp_path):
    with pytest.raises(DataError, match=r"has nan at document 0, position -1 \(row 0 of its window\), column 7"):
        collected(tmp_path / "a", ["ab"], "blocks.0.resid_pre", model=planted(math.nan, token="<s>"), special="include")
    with pytest.raises(DataError, match=r"has nan at document 0, position -1 \(row 3 of its window\), column 7"):
        collected(
            tmp_path / "b", ["ab"], "blocks.0.resid_pre", model=planted(math.nan, token="</s>"), special="include"
        )
    with pytest.raises(DataError, match=r"has nan at document 0, position 1 \(row 2 of its window\), column 7"):
        collected(tmp_path / "c", ["aZ"], "blocks.0.resid_pre", model=planted(math.nan), special="include")
    # without rows for special tokens nobody reads them at this site
    assert len(collected(tmp_path / "d", ["ab"], "blocks.0.resid_pre", model=planted(math.nan, token="<s>"))) == 2


def test_leaving_the_document_out_helps(tmp_path):
    model = planted(math.nan)
    with pytest.raises(DataError):
        collected(tmp_path / "s", TEXTS, "blocks.0.resid_pre", model=model)
    store = collected(tmp_path / "s", TEXTS[:2], "blocks.0.resid_pre", model=model, resume=False)
    assert store.rows["document"].max() == 1


def test_nan_of_a_plain_module_is_named(tmp_path):
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1))
    inputs = torch.zeros(3, 1, 2, 2)
    inputs[1, 0, 1, 0] = math.nan
    with pytest.raises(
        DataError, match=r"0 has nan at document 1, position 2 \(row 2 of its window\), column 0: the model"
    ):
        uw.collect(uw.load_model(module.eval()), inputs, "0", tmp_path / "s")


@pytest.mark.parametrize("site", ["pooler.dense", "pooler"])
def test_a_site_without_an_axis_of_tokens_is_refused(tmp_path, site):
    with pytest.raises(
        InputError, match=rf"{site} gives 1 rows for \d+ tokens: it has no axis of tokens; capture shows"
    ):
        collected(tmp_path / "s", sites=site, model=tiny.text_model("bert"))
    assert whole_shards(tmp_path / "s") == 0


def test_finished_shards_are_those_of_an_undisturbed_run(tmp_path):
    model = planted(70_000.0)
    with pytest.raises(DataError):
        collected(tmp_path / "s", TEXTS, SITES, model=model)
    collected(tmp_path / "good", TEXTS[:2], SITES, model=model)
    first = {name: data for name, data in listing(tmp_path / "s").items() if name.startswith("shards/00000")}
    assert len(first) == 3
    assert first.items() <= listing(tmp_path / "good").items()
