"""Labels of tokens and documents, matched to the rows of a store."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import laws_activations
import stores
import tiny
import unweave as uw
from stores import collected
from tokenizers_by_hand import merging_tokenizer, word_piece_tokenizer
from unweave.activations.labels import LabelledFeature, groups_of, pooled, read_labels
from unweave.activations.store import ActivationStore
from unweave.errors import InputError

TEXTS = (
    {"text": "The cat sat on the 42 NASA.", "id": "cats"},
    {"text": "", "id": "nothing"},
    {"text": "the the", "id": "thes"},
    {"text": "cat \U0001f600 \u00e9", "id": "same"},
    {"text": "last", "id": "same"},
)


def text_store(folder, tokenizer, **options) -> ActivationStore:
    model = tiny.model_of("llama", tokenizer=tokenizer, vocabulary=len(tokenizer))
    return collected(folder, TEXTS, "embed", model=model, context=6, **options)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> ActivationStore:
    """Pieces with the space in front, in windows of six."""
    return text_store(tmp_path_factory.mktemp("labels") / "s", merging_tokenizer())


def one(store: ActivationStore, **record) -> LabelledFeature:
    """The only feature of one label."""
    [feature] = read_labels([{"feature": "f", "label": 1, "document": 0, **record}], store)
    return feature


def pieces(store: ActivationStore, feature: LabelledFeature) -> list[str]:
    """The characters of the labelled tokens."""
    found = []
    for row in feature.index.tolist():
        document = store.document(int(store.rows["document"][row]))
        start, end = document.offsets[store.rows["position"][row]].tolist()
        found.append(document.text[start:end])
    return found


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 3, ["T", "h", "e"]),
        (2, 5, ["e", " cat"]),
        (4, 7, [" cat"]),
        (5, 6, [" cat"]),
        (18, 19, None),
        (18, 22, [" 42"]),
        (18, 23, [" 42", " NASA"]),
        (14, 15, None),
        (0, 27, ["T", "h", "e", " cat", " ", "s", "a", "t", " ", "o", "n", " the", " 42", " NASA", "."]),
        (7, 8, [" "]),
    ],
)
def test_a_token_is_in_a_span_if_its_own_characters_overlap_it(store, start, end, expected):
    if expected is None:
        text = TEXTS[0]["text"][start:end]
        with pytest.raises(
            InputError, match=rf"label 0: no token of document 0 lies in {start}\.\.{end} \({text!r}\): l"
        ):
            one(store, start=start, end=end)
    else:
        assert pieces(store, one(store, start=start, end=end)) == expected


def test_every_piece_of_a_character_is_in_its_span(store):
    assert len(one(store, document=3, start=4, end=5).index) == 3
    assert len(one(store, document=3, start=6, end=7).index) == 2


def positions_by_labels(store: ActivationStore):
    """The positions that `read_labels` finds for a span, None where it refuses."""

    def positions(document, start, end):
        try:
            feature = one(store, document=document.index, start=start, end=end)
        except InputError:
            return None
        return store.rows["position"][feature.index].tolist()

    return positions


@pytest.mark.parametrize("document", [0, 2, 3])
def test_spans_find_the_tokens_that_overlap(store, document):
    laws_activations.spans_find_the_tokens_that_overlap(positions_by_labels(store), store.document(document))


def test_spans_of_word_pieces(tmp_path):
    store = text_store(tmp_path / "s", word_piece_tokenizer())
    laws_activations.spans_find_the_tokens_that_overlap(positions_by_labels(store), store.document(0))
    assert pieces(store, one(store, start=4, end=7)) == ["c", "a", "t"]


def test_positions_count_the_tokens_of_a_document_through_its_windows(store):
    for position in range(15):
        feature = one(store, position=position)
        [row] = feature.index
        assert (store.rows["document"][row], store.rows["position"][row]) == (0, position)
        assert feature.level == "token"
    assert len(set(store.rows["sequence"][store.rows["document"] == 0])) == 3


@pytest.mark.parametrize("special", ["exclude", "include"])
def test_positions_do_not_count_special_tokens(tmp_path, special):
    store = collected(tmp_path / "s", special=special)
    [row] = one(store, position=3).index
    assert store.rows["position"][row] == 3
    assert store.rows["token_id"][row] == store.document(0).ids[3]


def test_positions_of_input_tensors_are_flat_indices(tmp_path):
    model = uw.load_model(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1)).eval())
    store = uw.collect(model, torch.zeros(3, 1, 2, 2), "0", tmp_path / "s")
    assert one(store, document=1, position=3).index.tolist() == [7]
    with pytest.raises(InputError, match="position 4 is outside document 1, which has 4 tokens"):
        one(store, document=1, position=4)
    with pytest.raises(
        InputError, match="the store has no characters for document 1: give `position` instead of `start"
    ):
        one(store, document=1, start=0, end=1)


def test_documents_are_named_by_index_or_id(store):
    for name in (0, "cats", np.int64(0)):
        assert one(store, document=name).index.tolist() == [0]
    assert one(store, document="nothing").level == "document"


def written(tmp_path, text: str):
    path = tmp_path / "labels.jsonl"
    path.write_bytes(text.encode())
    return path


def test_a_file_and_its_records_say_the_same(tmp_path, store):
    records = [
        {"feature": "b", "label": True, "document": 0, "start": 4, "end": 7},
        {"feature": "a", "label": 0, "document": "thes", "position": 1},
        {"feature": "b", "label": False, "document": 0, "start": 15, "end": 18, "group": "kept for others"},
        {"feature": "a", "label": -1, "document": "thes", "position": 0},
        {"feature": "topic\u2028\x85", "label": 1, "document": 2},
    ]
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    found = read_labels(written(tmp_path, "\ufeff" + "\r\n\r\n".join(lines)), store)
    again = read_labels(iter(records), store)
    assert [feature.name for feature in found] == ["b", "a", "topic\u2028\x85"]
    for first, second in zip(found, again, strict=True):
        assert (first.name, first.level) == (second.name, second.level)
        np.testing.assert_array_equal(first.index, second.index)
        np.testing.assert_array_equal(first.values, second.values)
    assert found[0].values.tolist() == [True, False]
    assert found[1].values.tolist() == [False, False]
    assert found[0].positives == 1
    assert repr(found[0]) == "LabelledFeature(b, 2 tokens, 1 positive)"


def test_rows_are_sorted_whatever_the_order_of_the_labels(store):
    records = [{"feature": "f", "label": position % 2, "document": 0, "position": position} for position in (9, 2, 5)]
    [feature] = read_labels(records, store)
    assert store.rows["position"][feature.index].tolist() == [2, 5, 9]
    assert feature.values.tolist() == [False, True, True]


def test_other_labels_make_a_feature_each_against_the_rest(store):
    kinds = ["noun", "verb", "noun", 3]
    records = [{"feature": "pos", "label": kind, "document": 0, "position": n} for n, kind in enumerate(kinds)]
    found = read_labels(records, store)
    assert [feature.name for feature in found] == ["pos=3", "pos=noun", "pos=verb"]
    assert [feature.values.tolist() for feature in found] == [
        [False, False, False, True],
        [True, False, True, False],
        [False, True, False, False],
    ]
    for feature in found:
        np.testing.assert_array_equal(feature.index, found[0].index)


@pytest.mark.parametrize("label", [True, 1, np.bool_(True), np.int64(1)])
def test_a_yes_is_a_yes_in_every_spelling(store, label):
    [feature] = read_labels([{"feature": "f", "label": label, "document": 0}], store)
    assert feature.name == "f"
    assert feature.values.tolist() == [True]


def test_a_name_may_have_token_and_document_labels(store):
    records = [{"feature": "f", "label": 1, "document": 0}, {"feature": "f", "label": 0, "document": 0, "position": 2}]
    assert [(feature.name, feature.level) for feature in read_labels(records, store)] == [
        ("f", "document"),
        ("f", "token"),
    ]


def test_saying_the_same_twice_is_no_conflict(store):
    record = {"feature": "f", "label": 1, "document": 0}
    [feature] = read_labels(
        [{**record, "start": 4, "end": 9}, {**record, "position": 3}, {**record, "start": 3, "end": 6}], store
    )
    assert pieces(store, feature) == [" cat", " ", "s"]


@pytest.mark.parametrize(
    ("second", "level"), [({"start": 0, "end": 1}, "token"), ({"start": None}, "document")], ids=["token", "document"]
)
def test_two_labels_for_one_thing_are_refused(store, second, level):
    record = {"feature": "f", "document": 0, **({"position": 0} if level == "token" else {})}
    other = {"feature": "f", "document": "cats", "label": 0, **second}
    with pytest.raises(
        InputError, match=f"label 1: feature 'f' has two labels for one {level} of document 0: keep one"
    ):
        read_labels([{**record, "label": 1}, other], store)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"document": "cast"}, "unknown document 'cast'; nearest ids: cats"),
        ({"document": 5}, r"unknown document 5; the store has documents 0\.\.4"),
        ({"document": -1}, r"unknown document -1; the store has documents 0\.\.4"),
        ({"document": True}, "unknown document True; "),
        ({"document": 0.0}, r"unknown document 0\.0; "),
        ({"document": "same"}, "documents 3 and 4 both have the id 'same': name the document by its index"),
        ({"position": 15}, "position 15 is outside document 0, which has 15 tokens"),
        ({"position": -1}, "position -1 is outside document 0, which has 15 tokens"),
        ({"document": 1, "position": 0}, "position 0 is outside document 1, which has 0 tokens"),
        ({"start": 20, "end": 28}, r"span 20\.\.28 is outside document 0, which has 27 characters"),
        ({"start": 5, "end": 5}, r"span 5\.\.5 is outside document 0"),
        ({"start": 7, "end": 5}, r"span 7\.\.5 is outside document 0"),
        ({"start": -2, "end": 5}, r"span -2\.\.5 is outside document 0"),
        ({"start": "0", "end": "4"}, r"span 0\.\.4 is outside document 0"),
        ({"start": 3}, "`start` and `end` come together"),
        ({"end": 3}, "`start` and `end` come together"),
        ({"start": 1, "end": 3, "position": 2}, "give either `start` and `end` or one integer `position`"),
        ({"position": 2.0}, "give either `start` and `end` or one integer `position`"),
        ({"position": True}, "give either `start` and `end` or one integer `position`"),
        ({"postion": 2}, "unknown key 'postion'; nearest: position"),
        ({"xyzzy": 2}, "unknown key 'xyzzy'; valid: feature, label, document, start, end, position"),
        ({"label": None}, "lacks label: every label needs feature, label, document"),
        ({"label": None, "feature": None}, "lacks feature, label: every label needs feature, label, document"),
        ({"feature": 5}, "feature is 5: a name is needed"),
    ],
)
def test_each_fault_of_a_label_is_named_with_its_place(tmp_path, store, record, message):
    good = {"feature": "f", "label": 1, "document": 0}
    with pytest.raises(InputError, match=f"label 1: {message}|label 1 {message}"):
        read_labels([{**good, "position": 0}, {**good, **record}], store)
    path = written(tmp_path, json.dumps({**good, "position": 0}) + "\n\n" + json.dumps({**good, **record}))
    with pytest.raises(InputError, match=rf"labels\.jsonl line 3: {message}|line 3 {message}"):
        read_labels(path, store)


def test_files_that_are_no_labels_are_named(tmp_path, store):
    for text, message in (
        ("", r"labels\.jsonl has no labels: at least one is needed"),
        ("\n\n", r"labels\.jsonl has no labels: at least one is needed"),
        ('{"feature": ', r"labels\.jsonl line 1 is not JSON \(.*\): one object a line is needed"),
        ("[1]", r"labels\.jsonl line 1 is a list: an object with feature, label, document is needed"),
    ):
        with pytest.raises(InputError, match=message):
            read_labels(written(tmp_path, text), store)
    (tmp_path / "labels.jsonl").write_bytes(b"\xef\xbb\xbf{}\n\xff")
    with pytest.raises(InputError, match=r"labels\.jsonl is not UTF-8 at byte 6: save it as UTF-8"):
        read_labels(tmp_path / "labels.jsonl", store)
    for place in (tmp_path / "nowhere.jsonl", tmp_path):
        with pytest.raises(InputError, match=f"no labels file at {place}: give a .jsonl file"):
            read_labels(place, store)


def test_things_that_are_no_labels_are_named(store):
    with pytest.raises(InputError, match=r"labels are a int: a \.jsonl file or an iterable of mappings is needed"):
        read_labels(5, store)
    with pytest.raises(InputError, match="the iterable has no labels: at least one is needed"):
        read_labels([], store)
    with pytest.raises(InputError, match="label 0 is a str: an object with feature, label, document is needed"):
        read_labels(["feature"], store)


def test_spans_need_the_text(tmp_path):
    bare = text_store(tmp_path / "s", merging_tokenizer(), keep_text=False)
    with pytest.raises(InputError, match="the store has no characters for document 0: give `position` instead"):
        one(bare, start=0, end=3)
    assert one(bare, position=0).positives == 1


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_pooled_is_the_mean_of_a_documents_rows(tmp_path, dtype):
    store = collected(tmp_path / "s", dtype=dtype, shard_rows=20)
    laws_activations.pooled_rows_are_means(pooled, store, stores.SITES[0])
    assert pooled(store[stores.SITES[0]], np.array([0])).dtype is torch.float32


def test_a_document_without_rows_cannot_be_pooled(store):
    with pytest.raises(InputError, match="document 1 has no rows: it cannot be labelled as a whole"):
        pooled(store["embed"], np.array([0, 1]))


def test_groups_are_documents_at_both_levels(store):
    token = one(store, document=2, start=0, end=7)
    assert groups_of(token, store).tolist() == [2, 2]
    assert groups_of(one(store, document="thes"), store).tolist() == [2]
