"""Going on with a collection: what counts as the same one, Ctrl-C, and sources at fault."""

from __future__ import annotations

import json

import pytest
import torch

import tiny
import unweave as uw
from stores import SITES, TEXTS, StopsAfter, begun, collected, listing, shard_file
from unweave.errors import FingerprintError, InputError, Interrupted, StoreError
from unweave.log import SILENT


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """The files of an undisturbed collection."""
    folder = tmp_path_factory.mktemp("stores") / "whole"
    collected(folder)
    return listing(folder)


OTHERS = {
    "dtype": ({"dtype": "float32"}, "dtype was float16, is float32"),
    "context": ({"context": 15}, "context was 16, is 15"),
    "shard_rows": ({"shard_rows": 41}, "shard_rows was 40, is 41"),
    "batch_tokens": ({"batch_tokens": 99}, "batch_tokens was 48, is 99"),
    "special": ({"special": "include"}, "special was exclude, is include"),
    "keep_text": ({"keep_text": False}, "keep_text was True, is False"),
    "fewer sites": ({"sites": SITES[:2]}, r"sites was \{'blocks.1.mlp_act': 48\}, is \{\}"),
    "another site": ({"sites": [*SITES[:2], "embed"]}, r"sites was \{'blocks.1.mlp_act': 48\}, is \{'embed': 32\}"),
    "weights": ({"model": lambda: tiny.text_model(seed=1)}, "model was [0-9a-f]{60}, is [0-9a-f]{60}"),
    "tokenizer": ({"model": lambda: tiny.text_model(specials=False)}, "tokenizer was [0-9a-f]{60}, is [0-9a-f]{60}"),
    "two settings": ({"dtype": "bfloat16", "context": 12}, "context was 16, is 12; dtype was float16, is bfloat16"),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("complete", [True, False])
def test_another_collection_is_refused_by_what_differs(tmp_path, name, complete):
    folder = tmp_path / "s"
    collected(folder) if complete else begun(folder)
    before = listing(folder)
    options, message = OTHERS[name]
    made = {key: value() if callable(value) else value for key, value in options.items()}
    pattern = rf"s holds another collection \({message}\): choose another directory, or resume=False to replace it"
    with pytest.raises(FingerprintError, match=pattern):
        collected(folder, **made)
    assert listing(folder) == before
    if complete:
        uw.open_store(folder).check()


TEXT_CHANGES = {
    "one letter": lambda texts: [*texts[:6], texts[6].replace("hundred", "Hundred"), texts[7]],
    "order": lambda texts: [*texts[:3], texts[4], texts[3], *texts[5:]],
    "an id": lambda texts: [*texts[:-1], {"text": texts[-1], "id": "last"}],
    "a longer end": lambda texts: [*texts[:-1], texts[-1] + "!"],
    "more": lambda texts: [*texts, "one more"],
    "fewer": lambda texts: texts[:-1],
    "many fewer": lambda texts: texts[:2],
}


@pytest.mark.parametrize("name", TEXT_CHANGES)
@pytest.mark.parametrize("workers", [1, 2])
def test_other_texts_are_refused_and_the_finished_store_stays_as_it_was(tmp_path, whole, name, workers):
    collected(tmp_path / "s")
    message = r"shard \d of .*s was made from other inputs than documents \d\.\.\d now: give the same inputs, choose"
    with pytest.raises(FingerprintError, match=message):
        collected(tmp_path / "s", TEXT_CHANGES[name](list(TEXTS)), workers=workers)
    assert listing(tmp_path / "s") == whole
    uw.open_store(tmp_path / "s").check()


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize(("more", "word"), [(True, "fewer"), (False, "more")])
def test_texts_that_go_on_where_a_shard_ends_are_another_collection_too(tmp_path, complete, more, word):
    texts = [letter * 40 for letter in "abcd"]  # each a shard of its own
    progress = SILENT if complete else StopsAfter(4)
    try:
        collected(tmp_path / "s", texts, progress=progress)
    except Interrupted:
        assert not complete
    before = listing(tmp_path / "s")
    other = [*texts, "e" * 40] if more else texts[:3]
    if more and not complete:  # what was not finished may have been meant to be longer
        assert len(collected(tmp_path / "s", other)) == 200
        return
    with pytest.raises(FingerprintError, match=f"s was made from {word} documents than these: give the same inputs"):
        collected(tmp_path / "s", other)
    assert listing(tmp_path / "s") == before


def test_without_resume_another_collection_takes_the_place(tmp_path):
    collected(tmp_path / "s", [*TEXTS, "and more" * 30], dtype="float32")
    collected(tmp_path / "s", resume=False)
    collected(tmp_path / "fresh")
    assert listing(tmp_path / "s") == listing(tmp_path / "fresh")


def test_without_resume_everything_is_made_again(tmp_path, whole):
    collected(tmp_path / "s")
    shard_file(tmp_path / "s", 1).write_bytes(b"broken")
    collected(tmp_path / "s", resume=False)
    assert listing(tmp_path / "s") == whole


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("shards", [1, 3, 6])
def test_ctrl_c_keeps_finished_shards_and_the_same_call_goes_on(tmp_path, whole, workers, shards):
    with pytest.raises(Interrupted, match=rf"interrupted: {shards} finished shards are kept in .*s; the same command"):
        collected(tmp_path / "s", progress=StopsAfter(shards), workers=workers)
    assert len(list((tmp_path / "s" / "shards").glob("?????.json"))) >= shards
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "s" / "shards").glob("?????.*")}
    with pytest.raises(StoreError, match="is not finished: run the same"):
        uw.open_store(tmp_path / "s")
    collected(tmp_path / "s", workers=workers)
    assert listing(tmp_path / "s") == whole
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_ctrl_c_in_the_middle_of_a_forward_pass(tmp_path, whole):
    model = tiny.text_model()
    calls = []

    def interrupt(*_):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt

    with model.module.model.layers[0].register_forward_pre_hook(interrupt), pytest.raises(Interrupted):
        collected(tmp_path / "s", model=model)
    collected(tmp_path / "s", model=model)
    assert listing(tmp_path / "s") == whole


@pytest.mark.parametrize("texts", [[""], ["", "", ""], [{"text": "", "id": "a"}]])
def test_texts_without_tokens_leave_nothing_behind(tmp_path, texts, whole):
    with pytest.raises(InputError, match="the texts have no tokens: there is nothing to collect"):
        collected(tmp_path / "s", texts)
    with pytest.raises(StoreError, match="no activation store at"):
        uw.open_store(tmp_path / "s")
    collected(tmp_path / "s")
    assert listing(tmp_path / "s") == whole


def test_a_source_at_fault_is_told_before_a_store_is_replaced(tmp_path, whole):
    collected(tmp_path / "s")
    (tmp_path / "empty.txt").write_text("\n")
    for source, message in (
        (tmp_path / "nowhere.txt", "no text file at"),
        (tmp_path / "empty.txt", "has no text"),
        ([], "there are no inputs: give at least one text or tensor"),
        ([5.5], "text 0 is a float"),
        (7, "inputs are a int: a path, or an iterable of texts, token ids or tensors is needed"),
    ):
        with pytest.raises(InputError, match=message):
            collected(tmp_path / "s", source, resume=False)
        assert listing(tmp_path / "s") == whole


def test_a_source_at_fault_later_keeps_the_shards_before(tmp_path, whole):
    with pytest.raises(InputError, match="text 7 is a NoneType: a string or a mapping with 'text' is needed"):
        collected(tmp_path / "s", [*TEXTS[:7], None])
    collected(tmp_path / "s")
    assert listing(tmp_path / "s") == whole


def test_text_for_a_model_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(InputError, match="this model has no tokenizer, so it cannot read text: give one to load_model"):
        collected(tmp_path / "s", model=tiny.model_of("llama"))
    assert not (tmp_path / "s").exists()


def test_an_edit_in_force_and_training_mode_are_refused(tmp_path):
    model = tiny.text_model()
    with (
        model.edit({"blocks.0.resid_post": torch.zeros_like}),
        pytest.raises(InputError, match="an edit is in force: its activations are not the model's; leave the `with"),
    ):
        collected(tmp_path / "s", model=model)
    model.module.train()
    with pytest.raises(InputError, match=r"the model is in training mode, .* call model\.module\.eval\(\) first"):
        collected(tmp_path / "s", model=model)
    assert not (tmp_path / "s").exists()
    model.module.eval()
    assert len(collected(tmp_path / "s", model=model))


def test_the_manifest_of_an_unfinished_store_says_so(tmp_path):
    begun(tmp_path / "s")
    facts = json.loads((tmp_path / "s" / "store.json").read_text())
    assert facts["complete"] is False
    assert facts["collection"]["sites"] == {"blocks.1.resid_post": 32, "blocks.0.attn_z": 64, "blocks.1.mlp_act": 48}
