"""Collections 1 to 3: labels from folders and lines, windows, the tokens that are left out, one label a row."""

import json

import numpy as np
import pytest

from haystacks import built_names, bytes_tokenizer
from unweave.activations.haystack.identification import IGNORED, LabelledText, identification, read_labelled
from unweave.errors import InputError, UnknownName


def texts(length=60, count=25, labels=("en", "fr")):
    return [
        LabelledText(text=f"{label}{n:03} ".ljust(length, "x"), label=label) for n in range(count) for label in labels
    ]


def build(given, collection="natural_lang_id", **options):
    return identification(collection, given, bytes_tokenizer(), **{"context": 32, **options})


def test_folders_are_labels(tmp_path):
    for label, name, text in (
        ("c-plus-plus", "a.cpp", "int x;"),
        ("python", "sub/b.py", "x = 1"),
        ("python", "c.py", "é"),
    ):
        (tmp_path / label / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / label / name).write_text(text, encoding="utf-8")
    found = list(read_labelled(tmp_path))
    assert [(one.label, one.id, one.text) for one in found] == [
        ("c-plus-plus", "c-plus-plus/a.cpp", "int x;"), ("python", "python/c.py", "é"),
        ("python", "python/sub/b.py", "x = 1"),
    ]  # fmt: skip
    assert all(one.group == one.id for one in found)


def test_lines_are_documents_with_labels_and_groups(tmp_path):
    rows = [{"text": "a", "label": "en", "group": 7, "id": "x"}, {"text": "b", "label": "fr"}]
    (tmp_path / "x.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    assert list(read_labelled(tmp_path / "x.jsonl")) == list(read_labelled(rows)) == [
        LabelledText(text="a", label="en", id="x", group="7"), LabelledText(text="b", label="fr"),
    ]  # fmt: skip


@pytest.mark.parametrize("label", ["C++", "c++", "cpp", "c-plus-plus", "C-Plus-Plus", "c_plus_plus"])
def test_spellings_of_a_label_are_one(label):
    given = [LabelledText(text="x" * 300, label=one) for one in (label, "Java") for _ in range(25)]
    assert built_names(build(given, "programming_lang_id", context=512)) == ["Java", "C++"]


def test_one_row_a_document_with_one_label():
    """In the reference, labels of unpooled identification have the wrong length."""
    built = build(texts())
    for one in built.features:
        assert one.sequence.tolist() == list(range(50))
        assert len(one.values) == len(built.sequences) == 50
    labels = np.stack([one.values for one in built.features])
    assert (labels.sum(0) == 1).all()
    english = built.features[built_names(built).index("en")].values
    given = texts()
    assert [one.label == "en" for one in given] == english.tolist()


def test_the_mean_is_over_what_lies_behind_the_first_tokens():
    for collection, (ignored, _) in IGNORED.items():
        labels = {"natural_lang_id": "en", "programming_lang_id": "C", "distribution_id": "arxiv"}
        given = [LabelledText(text="y" * 150, label=labels[collection]) for _ in range(25)]
        other = {"natural_lang_id": "fr", "programming_lang_id": "Go", "distribution_id": "enron"}[collection]
        given += [LabelledText(text="z" * 150, label=other) for _ in range(25)]
        built = build(given, collection, context=512)
        assert {(one.pool, one.keep) for one in built.sequences} == {("mean", tuple(range(ignored, 150)))}


@pytest.mark.parametrize(("length", "kept"), [(3, False), (4, True)])
def test_short_documents_are_left_out_and_counted(length, kept):
    """natural_lang_id: at most 1 + 2 tokens."""
    built = build([*texts(), LabelledText(text="q" * length, label="en")])
    assert len(built.sequences) == 50 + kept
    assert built.drops == ({} if kept else {"documents of at most 3 tokens": 1})


def test_long_documents_give_one_window_at_random():
    given = [LabelledText(text="".join(chr(97 + i % 26) for i in range(500)), label=label)
             for label in ("en", "fr") for _ in range(25)]  # fmt: skip
    built = build(given)
    assert {len(one.ids) for one in built.sequences} == {30}  # two special tokens
    starts = {one.text[:3] for one in built.sequences}
    assert len(starts) > 10
    assert all(one.text in given[0].text for one in built.sequences)
    assert [one.text for one in build(given).sequences] == [one.text for one in built.sequences]
    assert [one.text for one in build(given, seed=1).sequences] != [one.text for one in built.sequences]


def test_the_end_of_text_ends_a_row():
    tokenizer = bytes_tokenizer()
    given = [LabelledText(text="abc</s>defghijkl", label=label) for label in ("en", "fr") for _ in range(25)]
    built = identification("natural_lang_id", given, tokenizer, context=32)
    stop = len(tokenizer("abc", add_special_tokens=False)["input_ids"])
    if tokenizer.eos_token_id in tokenizer(given[0].text, add_special_tokens=False)["input_ids"]:
        assert {len(one.ids) for one in built.sequences} == {stop}
    else:
        assert {len(one.ids) for one in built.sequences} == {len(given[0].text)}


def test_other_labels_are_left_out_and_counted():
    built = build([*texts(), LabelledText(text="x" * 30, label="Klingon")])
    assert built.drops == {"documents labelled 'Klingon', which is no class of natural_lang_id": 1}
    assert len(built.sequences) == 50
    assert set(built.skipped) == {"es", "nl", "it", "el", "de", "pt", "sv"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([{"text": "x"}], "document 0 has no 'text' and 'label'"),
        (["x"], "document 0 has no 'text' and 'label'"),
        ("nowhere", "nothing at nowhere: give a directory of labelled folders or a .jsonl file"),
    ],
)
def test_faults_of_the_input_are_named(given, message):
    with pytest.raises(InputError, match=message):
        list(read_labelled(given))


def test_faults_of_files_are_named(tmp_path):
    with pytest.raises(InputError, match="has no folders: one folder a label"):
        list(read_labelled(tmp_path))
    (tmp_path / "x.jsonl").write_text('{"text": "a", "label": "en"}\nnot json')
    with pytest.raises(InputError, match="line 2 is not JSON"):
        list(read_labelled(tmp_path / "x.jsonl"))
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "x.txt").write_bytes(b"ab\xff")
    with pytest.raises(InputError, match="is not UTF-8 at byte 2"):
        list(read_labelled(tmp_path))
    (tmp_path / "y.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match="cannot be read"):
        list(read_labelled(tmp_path / "y.jsonl.gz"))
    with pytest.raises(UnknownName, match="unknown collection 'natural_lang'"):
        build([], "natural_lang")
