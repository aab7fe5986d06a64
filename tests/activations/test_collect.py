"""What a collection stores: equal to every window run alone through the bare module, whatever runs beside it."""

from __future__ import annotations

from contextlib import nullcontext

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import stores
import tiny
import unweave as uw
from stores import EXAMPLES, TEXTS, collected, listing
from unweave.activations.collect import CollectOptions, default_shard_rows, run_collection
from unweave.errors import InputError, UnknownName
from unweave.site import Site

PADDING = 1e-5  # values of order 1 in float32; attention over masked keys sums in another order
HALF = 2.0**-11  # half a unit in the last place of float16, relative


def sites_of(family: str) -> list[str]:
    return [str(site) for site in stores.model_of(family).sites() if site != "logits"]


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("special", ["exclude", "include"])
def test_a_store_equals_every_window_alone_with_hand_written_hooks(tmp_path, family, special):
    model = stores.model_of(family)
    store = collected(tmp_path / "s", sites=sites_of(family), model=model, dtype="float32", special=special)
    activations, rows = stores.twin(family, model, include_special=special == "include")
    stores.same_rows(store, rows)
    for site in sites_of(family):
        assert store[site].dtype is torch.float32
        torch.testing.assert_close(store[site][:], activations[site], rtol=0, atol=PADDING)


@pytest.mark.parametrize(("dtype", "torch_dtype"), [("float16", torch.float16), ("bfloat16", torch.bfloat16)])
def test_smaller_dtypes_are_the_cast_of_float32(tmp_path, dtype, torch_dtype):
    exact = collected(tmp_path / "exact", dtype="float32")
    small = collected(tmp_path / "small", dtype=dtype)
    for site in stores.SITES:
        assert small[site].dtype is torch_dtype
        assert torch.equal(small[site][:], exact[site][:].to(torch_dtype))


def test_float16_is_within_half_a_unit_of_the_twin(tmp_path):
    activations, _ = stores.twin("llama", stores.model_of())
    store = collected(tmp_path / "s")
    for site in stores.SITES:
        torch.testing.assert_close(store[site][:].float(), activations[site], rtol=HALF, atol=PADDING)


def test_heads_lie_side_by_side(tmp_path):
    store = collected(tmp_path / "s", ["abcdef"], "blocks.0.attn_z", dtype="float32")
    tokens = stores.model_of().tokenize("abcdef")
    heads = stores.model_of().capture(tokens, ["blocks.0.attn_z"])["blocks.0.attn_z"]
    assert heads.shape == (1, 8, 4, 16)
    column = store["blocks.0.attn_z"]
    assert column.shape == (6, 64)
    for head in range(4):
        torch.testing.assert_close(column[:][:, 16 * head : 16 * head + 16], heads[0, 1:-1, head], rtol=0, atol=PADDING)


def test_token_ids_are_collected_without_special_tokens(tmp_path):
    model = tiny.model_of("gpt2")
    inputs = [tiny.ids_of(1, 11)[0], tiny.ids_of(1, 1, seed=2)[0], tiny.ids_of(1, 30, seed=3)[0].tolist()]
    store = uw.collect(model, inputs, "blocks.1.resid_post", tmp_path / "s", context=8, dtype="float32", shard_rows=10)
    parts, ids = [], []
    for values in map(torch.as_tensor, inputs):
        for start in range(0, len(values), 8):
            window = values[None, start : start + 8]
            parts.append(model.capture(window, ["blocks.1.resid_post"])["blocks.1.resid_post"][0])
            ids += window[0].tolist()
    torch.testing.assert_close(store["blocks.1.resid_post"][:], torch.cat(parts), rtol=0, atol=PADDING)
    assert store.rows["token_id"].tolist() == ids
    assert store.rows["document"].tolist() == [0] * 11 + [1] + [2] * 30
    assert store.rows["position"].tolist() == [*range(11), 0, *range(30)]
    assert store.collection.kind == "ids"
    assert store.collection.tokenizer is None
    assert store.document(0).text is None
    assert store.document(2).ids.tolist() == inputs[2]


@pytest.mark.parametrize(
    "inputs", [tiny.ids_of(3, 6), tiny.ids_of(3, 6).numpy(), list(tiny.ids_of(3, 6)), tiny.ids_of(3, 6).int()]
)
def test_ids_come_as_tensors_arrays_or_lists(tmp_path, inputs):
    model = tiny.model_of("gpt2")
    store = uw.collect(model, inputs, "blocks.0.resid_pre", tmp_path / "s", workers=1)
    assert store.rows["token_id"].tolist() == tiny.ids_of(3, 6).flatten().tolist()


class Convolutions(nn.Module):
    """Two maps of one size and one of another."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, padding=1)
        self.second = nn.Conv2d(5, 4, 3, padding=1)
        self.smaller = nn.Conv2d(4, 6, 2, stride=2)
        self.head = nn.Linear(6 * 4, 7)

    def forward(self, x):
        return self.head(self.smaller(torch.relu(self.second(torch.relu(self.first(x))))).flatten(1))


def convolutions() -> uw.Model:
    torch.manual_seed(3)
    return uw.load_model(Convolutions().eval())


def images(count: int = 5, side: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(4))


def test_convolutional_sites_give_a_row_per_position(tmp_path):
    model = convolutions()
    store = uw.collect(model, images(), ["first", "second"], tmp_path / "s", dtype="float32", shard_rows=32)
    # the same batches: convolutions over other batch sizes may sum in another order
    found = model.capture(images(), ["first", "second"])
    assert store.collection.kind == "tensors"
    assert len(store.manifest.shards) == 3
    for site, channels in (("first", 5), ("second", 4)):
        by_hand = [found[site][image, :, y, x] for image in range(5) for y in range(4) for x in range(4)]
        assert store[site].shape == (80, channels)
        torch.testing.assert_close(store[site][:], torch.stack(by_hand), rtol=0, atol=PADDING)
    assert store.rows["document"].tolist() == [image for image in range(5) for _ in range(16)]
    assert store.rows["position"].tolist() == [place for _ in range(5) for place in range(16)]
    assert set(store.rows["token_id"].tolist()) == {-1}
    assert store.rows["sequence"].tolist() == store.rows["document"].tolist()
    assert len(list(store.documents())) == 5


def test_flat_sites_of_a_plain_module_give_a_row_an_input(tmp_path):
    model = convolutions()
    store = uw.collect(model, list(images()), "head", tmp_path / "s", dtype="float32", shard_rows=2)
    torch.testing.assert_close(store["head"][:], model.capture(images(), ["head"])["head"], rtol=0, atol=PADDING)
    assert store.rows["position"].tolist() == [0] * 5


@pytest.mark.parametrize(("first", "second"), [("first", "smaller"), ("smaller", "first"), ("head", "first")])
def test_sites_with_different_numbers_of_rows_are_refused(tmp_path, first, second):
    with pytest.raises(
        InputError, match=rf"{second} gives \d+ rows of width \d for document 0, \(.*\) were expected: sites with"
    ):
        uw.collect(convolutions(), images(), [first, second], tmp_path / "s")


def test_inputs_of_different_shapes_are_refused(tmp_path):
    inputs = [images(1)[0], images(1, side=6)[0]]
    with pytest.raises(
        InputError, match=r"inputs have shapes \(3, 4, 4\) and \(3, 6, 6\): one store takes inputs of one"
    ):
        uw.collect(convolutions(), inputs, "first", tmp_path / "s")


def test_a_site_without_a_width_is_refused(tmp_path):
    class Sums(nn.Module):
        def forward(self, x):
            return x.sum(1)

    module = nn.Sequential(nn.Linear(3, 2), Sums())
    with pytest.raises(InputError, match=r"1 gives a value of shape \(1,\): rows need at least \(batch, width\)"):
        uw.collect(uw.load_model(module.eval()), torch.zeros(4, 3), "1", tmp_path / "s")


@hypothesis.settings(EXAMPLES, max_examples=15)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), min_size=1, max_size=6),
    context=st.integers(3, 20),
    shard_rows=st.integers(1, 60),
    batch_tokens=st.integers(1, 80),
)
def test_any_texts_come_back_whole(tmp_path_factory, texts, context, shard_rows, batch_tokens):
    hypothesis.assume(any(texts))
    options = {"context": context, "shard_rows": shard_rows, "batch_tokens": batch_tokens}
    store = collected(tmp_path_factory.mktemp("any") / "s", texts, "embed", dtype="float32", **options)
    rows, weights = store.rows, stores.model_of().module.get_input_embeddings().weight
    # the embedding of a token is known without a forward pass: every row is where it belongs
    assert torch.equal(store["embed"][:], weights[torch.from_numpy(rows["token_id"]).long()])
    for index, text in enumerate(texts):
        own = rows["document"] == index
        assert rows["position"][own].tolist() == list(range(len(text.encode())))
        assert rows["token_id"][own].tolist() == store.document(index).ids.tolist()
        assert stores.model_of().tokenizer.decode(rows["token_id"][own]) == text == store.document(index).text


def test_alias_and_canonical_name_are_stored_once(tmp_path):
    both = collected(tmp_path / "both", sites=["blocks.0.hook_resid_post", "blocks.0.resid_post", "blocks.0.resid_*st"])
    once = collected(tmp_path / "once", sites="blocks.0.resid_post")
    assert both.sites == ["blocks.0.resid_post"]
    assert listing(tmp_path / "both") == listing(tmp_path / "once")
    assert torch.equal(both["blocks.0.hook_resid_post"][:], once["blocks.0.resid_post"][:])


def test_patterns_and_order_of_sites_are_kept(tmp_path):
    names = ["blocks.1.mlp_act", "blocks.{0..1}.resid_post", "blocks.0.ln1"]
    store = collected(tmp_path / "s", sites=names)
    assert store.sites == ["blocks.1.mlp_act", "blocks.0.resid_post", "blocks.1.resid_post", "blocks.0.ln1"]
    assert uw.open_store(tmp_path / "s").sites == store.sites
    assert all(isinstance(site, Site) for site in store.sites)


def test_module_paths_of_a_transformer_are_sites(tmp_path):
    store = collected(tmp_path / "s", sites=["model.layers.1.mlp", "blocks.1.mlp_out"], dtype="float32")
    assert torch.equal(store["model.layers.1.mlp"][:], store["blocks.1.mlp_out"][:])


def test_a_context_larger_than_the_model_is_lowered(tmp_path):
    text = "abcdefghij" * 20
    store = uw.collect(stores.model_of(), [text], "blocks.0.resid_post", tmp_path / "s", context=1000)
    assert store.collection.context == 64
    assert np.bincount(store.rows["sequence"]).tolist() == [62, 62, 62, 14]


@pytest.mark.parametrize("workers", [2, 3, None])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_any_number_of_workers_writes_the_same_bytes(tmp_path, workers, dtype):
    before = torch.get_num_threads()
    torch.set_num_threads(2)  # the bytes must not depend on what the caller has either
    try:
        collected(tmp_path / "one", dtype=dtype)
        collected(tmp_path / "more", dtype=dtype, workers=workers)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert listing(tmp_path / "one") == listing(tmp_path / "more")
    assert len(listing(tmp_path / "one")) > 20


@pytest.mark.parametrize("source", [list, iter, lambda texts: ({"text": text} for text in texts)])
def test_the_kind_of_iterable_leaves_no_trace(tmp_path, source):
    collected(tmp_path / "one")
    collected(tmp_path / "other", source(TEXTS))
    assert listing(tmp_path / "one") == listing(tmp_path / "other")


def test_texts_from_a_file_and_from_a_numpy_array_are_the_same(tmp_path):
    texts = ["one two", "three", "\u05e9 \U0001f600"]
    (tmp_path / "a.txt").write_text("\r\n".join(texts) + "\r\n", encoding="utf-8", newline="")
    collected(tmp_path / "file", tmp_path / "a.txt")
    collected(tmp_path / "array", np.array(texts))
    assert listing(tmp_path / "file") == listing(tmp_path / "array")


def counting(model: uw.Model) -> list[int]:
    """A list that grows by one with every forward pass of the model."""
    calls: list[int] = []
    model.module.register_forward_pre_hook(lambda *_: calls.append(1))
    model.module.base_model.register_forward_pre_hook(lambda *_: calls.append(1))
    return calls


def test_collecting_again_recomputes_nothing_and_changes_no_file(tmp_path):
    model = tiny.text_model()
    calls = counting(model)
    collected(tmp_path / "s", model=model)
    assert calls
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*.*") if path.name != ".lock"}
    calls.clear()
    options = CollectOptions(context=stores.CONTEXT, shard_rows=stores.SHARD_ROWS, batch_tokens=48)
    done = run_collection(model, TEXTS, list(stores.SITES), tmp_path / "s", options)
    assert (done.made, done.reused, calls) == (0, len(done.store.manifest.shards), [])
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_texts_are_left_out_when_asked(tmp_path):
    texts = ["a secret text", "x"]
    store = collected(tmp_path / "s", texts, keep_text=False)
    assert [document.text for document in store.documents()] == [None, None]
    assert (
        store.document(0).ids.tolist()
        == stores.model_of().tokenizer("a secret text", add_special_tokens=False)["input_ids"]
    )
    assert store.document(0).tokens[0] == "a"
    assert not any(b"secret" in data for data in listing(tmp_path / "s").values())


def test_shards_default_to_64_megabytes_within_bounds():
    assert default_shard_rows({"a": 768, "b": 768}, "float16") == (64 << 20) // (2 * 2 * 768)
    assert default_shard_rows({"a": 768}, "float32") == (64 << 20) // (4 * 768)
    assert default_shard_rows({"a": 1}, "float16") == 65536
    assert default_shard_rows({"a": 10**6}, "float32") == 512


def test_progress_counts_every_row(tmp_path):
    told: list[int] = []

    class Listener:
        def task(self, title, total, unit):
            assert (title, total, unit) == ("collect tiny-llama", None, "row")
            return nullcontext(told.append)

        def note(self, text):
            raise AssertionError(text)

    store = collected(tmp_path / "s", progress=Listener())
    assert sum(told) == len(store)
    assert told == [shard.rows for shard in store.manifest.shards]


def test_unknown_names_are_answered_with_near_ones(tmp_path):
    with pytest.raises(UnknownName, match=r"unknown site 'blocks\.9\.resid_post'.*the model has blocks 0\.\.1"):
        collected(tmp_path / "s", sites="blocks.9.resid_post")
    with pytest.raises(
        InputError, match="dtype: input should be 'float32', 'float16', 'bfloat16' or 'uint8', got 'float8'"
    ):
        collected(tmp_path / "s", dtype="float8")
    with pytest.raises(UnknownName, match="unknown engine 'locl'; nearest: 'local'"):
        collected(tmp_path / "s", engine="locl")
    with pytest.raises(InputError, match="no site was asked for: name at least one"):
        collected(tmp_path / "s", sites=[])
    with pytest.raises(InputError, match="special: input should be 'exclude' or 'include', got 'exclde'"):
        collected(tmp_path / "s", special="exclde")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": 0}, "context: input should be greater than or equal to 1, got 0"),
        ({"context": 2}, "context is 2 but the tokenizer adds 2 special tokens to each window: at least 3 are needed"),
        ({"workers": 0}, "workers is 0: at least one thread is needed"),
        ({"shard_rows": 0}, "shard_rows: input should be greater than or equal to 1, got 0"),
        ({"batch_tokens": 0}, "batch_tokens: input should be greater than or equal to 1, got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        collected(tmp_path / "s", **options)
