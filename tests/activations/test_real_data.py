"""Collections of real models on real text: rows equal what the model gives for each window alone."""

from __future__ import annotations

import dataclasses
import gzip
import json

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

import hand_hooks
import unweave as uw
from stores import listing
from unweave.activations.store import StoredDocument
from unweave.activations.texts import read_texts
from unweave.activations.token_strings import PREDICATES, token_string_features, token_strings
from unweave.activations.windows import SpecialTokens, text_windows
from unweave.models.tokens import Tokens

HALF = 2.0**-11  # half a unit in the last place of float16, relative


def padding(values: torch.Tensor) -> float:
    """Float32 sums of a few hundred terms in another order, relative to the largest value of the site: 300 x 2**-24."""
    return 2e-5 * float(values.abs().max())


@pytest.fixture(scope="module")
def stories(data) -> list[str]:
    with gzip.open(data / "text" / "corpora" / "tinystories_1000.json.gz", "rt", encoding="utf-8") as stream:
        return [entry if isinstance(entry, str) else entry["story"] for entry in json.load(stream)[:30]]


@pytest.fixture(scope="module")
def stories260k(data) -> uw.Model:
    return uw.load_model(str(data / "models" / "stories260K"))


def test_stories260k_on_thirty_stories(tmp_path, stories260k, stories):
    sites = ["blocks.4.resid_post", "blocks.2.attn_z", "blocks.*.mlp_act"]
    store = uw.collect(stories260k, stories, sites, tmp_path / "s", dtype="float32", shard_rows=2000, workers=2)
    tokenizer = stories260k.tokenizer
    ids = [tokenizer(story, add_special_tokens=False)["input_ids"] for story in stories]
    assert len(store) == sum(map(len, ids)) > 5000
    assert store.rows["token_id"].tolist() == [token for own in ids for token in own]
    assert len(store.manifest.shards) > 2
    first = 0
    for document in (0, 17):
        first = int(np.searchsorted(store.rows["document"], document))
        room = 128 - 1  # the tokenizer puts <s> before a text
        for start in range(0, len(ids[document]), room):
            window = [tokenizer.bos_token_id, *ids[document][start : start + room]]
            values = hand_hooks.hand_values("llama", stories260k.module, torch.tensor([window]), depth=5)
            rows = slice(first + start, first + start + len(window) - 1)
            for site in store.sites:
                expected = values[site][0, 1:].flatten(1)
                torch.testing.assert_close(store[site][rows], expected, rtol=0, atol=padding(expected))


def test_stories260k_resumes_to_the_same_bytes(tmp_path, stories260k, stories):
    for name in ("whole", "parts"):
        uw.collect(stories260k, stories, "blocks.4.resid_post", tmp_path / name, shard_rows=1000)
    for file in (tmp_path / "parts" / "shards").glob("0000[13].*"):
        file.unlink()
    uw.collect(stories260k, stories, "blocks.4.resid_post", tmp_path / "parts", shard_rows=1000, workers=3)
    assert listing(tmp_path / "parts") == listing(tmp_path / "whole")


def test_stories_have_the_features_that_any_text_gives(tmp_path, stories260k, stories):
    store = uw.collect(stories260k, stories, "embed", tmp_path / "s")
    found = {feature.name: feature for feature in token_string_features(store, stories260k.tokenizer)}
    document, position = store.rows["document"], store.rows["position"]
    for name in ("leading_capital", "has_leading_space", "is_not_alphanumeric"):
        rows = found[name].index[found[name].values]
        assert len(rows) > 100
        for row in rows[:: len(rows) // 20].tolist():
            assert PREDICATES[name](token_strings(store.document(int(document[row])))[position[row]])
    assert not any(feature.note for feature in found.values())


def test_nano_sort_gpt_on_token_ids(tmp_path, data):
    model = uw.load_model(str(data / "models" / "nano_sort_gpt"))
    inputs = torch.randint(0, 3, (40, 6), generator=torch.Generator().manual_seed(0))
    store = uw.collect(model, inputs, ["blocks.2.resid_post", "blocks.0.attn_z"], tmp_path / "s", shard_rows=64)
    values = hand_hooks.hand_values("gpt2", model.module, inputs, depth=3)
    assert store.rows["token_id"].tolist() == inputs.flatten().tolist()
    assert store["blocks.0.attn_z"].shape == (240, 48)
    for site in store.sites:
        expected = values[site].flatten(0, 1).flatten(1)
        torch.testing.assert_close(store[site][:].float(), expected, rtol=HALF, atol=padding(expected))


def test_minilm_rows_equal_capture(tmp_path, minilm):
    texts = ["A man is eating food.", "The girl is carrying a baby.", "caf\u00e9 \U0001f600 NASA", ""]
    sites = ["blocks.5.resid_post", "blocks.3.mlp_act"]
    store = uw.collect(minilm, texts, sites, tmp_path / "s", dtype="float32")
    assert set(store.rows["document"].tolist()) == {0, 1, 2}
    for document in range(3):
        values = minilm.capture(minilm.tokenize(texts[document]), sites)
        rows = store.rows["document"] == document
        for site in sites:
            expected = values[site][0, 1:-1]  # without [CLS] and [SEP]
            torch.testing.assert_close(store[site][rows], expected, rtol=0, atol=padding(expected))
    marked = {feature.name for feature in token_string_features(store, minilm.tokenizer) if feature.note}
    assert marked == set()  # texts of fewer than ten tokens label nothing


def test_minilm_hides_capitals(tmp_path, minilm):
    text = "Some words to begin with, ten or more of them, then NASA and the FBI met Anna in Paris on 3 May. " * 2
    store = uw.collect(minilm, [text], "blocks.0.resid_post", tmp_path / "s")
    found = token_string_features(store, minilm.tokenizer)
    marked = [feature.name for feature in found if feature.note]
    assert marked == ["contains_capital", "leading_capital", "all_capitals"]
    assert all(feature.positives > 2 for feature in found if feature.note)


def test_the_real_gpt2_tokenizer_splits_characters(data):
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(data / "models" / "gpt2_tokenizer" / "tokenizer.json"))
    text = "one two three \U0001f600 caf\u00e9 \u05e9 NASA 42\n\nthe"
    [(document, _)] = text_windows(read_texts([text]), tokenizer, context=128, special=SpecialTokens())
    stored = StoredDocument(
        index=0,
        id=None,
        text=text,
        ids=np.array(document.ids),
        offsets=np.array(document.offsets),
        tokens=tuple(tokenizer.convert_ids_to_tokens(document.ids)),
    )
    strings = token_strings(stored)
    assert strings[3:] == [None, None, " caf\u00e9", None, None, " NASA", " 42", "\n", "\n", "\nthe"]
    without_text = token_strings(dataclasses.replace(stored, text=None), tokenizer)
    assert without_text == [*strings[:-1], "the"]


def test_replaying_a_bundled_model(tmp_path, docs):
    from unweave.activations.replay import replay

    texts = ["Return the absolute value of a number.", "The argument may be an integer.\n\n>>> abs(-7)\n7"]
    store = uw.collect(docs, texts, "blocks.0.resid_post", tmp_path / "s", dtype="float32", context=8)
    found = replay(docs, store, [0, 1], batch=2)
    assert all(isinstance(batch, Tokens) for batch in found.batches)
    window = 0
    for batch in found.batches:
        values = docs.capture(batch, ["blocks.0.resid_post"])["blocks.0.resid_post"]
        for number in range(len(batch)):
            places = found.rows[window]
            inside = np.flatnonzero(places >= 0)
            expected = store["blocks.0.resid_post"][places[inside]]
            torch.testing.assert_close(values[number, inside], expected, rtol=0, atol=padding(expected))
            window += 1
    assert window == len(found.rows) > 3
