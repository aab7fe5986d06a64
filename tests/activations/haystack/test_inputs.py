"""Which inputs make which collections possible, and that each is built from what was given."""

import json

import pytest

from haystacks import docs_tokenizer
from unweave.activations.haystack import COLLECTIONS, HaystackInputs, build_all
from unweave.activations.haystack.inputs import read_latex
from unweave.errors import InputError, UnknownName

CONLLU = "\n".join(
    "\t".join([str(n), form, form, upos, "_", "Number=Sing", "0", rel, "_", "_"])
    for n, (form, upos, rel) in enumerate(
        [("cats", "NOUN", "obj"), ("see", "VERB", "root"), ("a", "DET", "det"), ("house", "NOUN", "obl"),
         (".", "PUNCT", "punct")] * 3, 1
    )
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One input of every kind."""
    place = tmp_path_factory.mktemp("inputs")
    sentences = [f"# newdoc id = d{d}\n# sent_id = {d}\n{CONLLU}\n" for d in range(30)]
    (place / "x.conllu").write_text("\n".join(sentences), encoding="utf-8")
    (place / "text.jsonl").write_text(
        "\n".join(json.dumps({"text": f"Number {n} is 42 and The end. " * 12}) for n in range(60))
    )
    names = {"programming": ("python", "java"), "languages": ("en", "fr"), "sources": ("arxiv", "enron")}
    for kind, labels in names.items():
        for label in labels:
            (place / kind / label).mkdir(parents=True)
            for n in range(25):
                (place / kind / label / f"{n}.txt").write_text(f"{label} text number {n} goes on. " * 30)
    (place / "latex").mkdir()
    for n in range(25):
        (place / "latex" / f"{n}.tex").write_text(r"Take \(x_{1}\) as the first one here. " * 9)
    rows = [{"name": f"{who} Smith{n:02}", "sex_or_gender": sex}
            for n, (who, sex) in enumerate([("Ada", "female"), ("Bob", "male")] * 25)]  # fmt: skip
    (place / "people.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (place / "named.jsonl").write_text(
        "\n".join(json.dumps({"text": f"Then {row['name']} saw {row['name']}."}) for row in rows)
    )
    return place


def inputs(folder, **changes):
    given = {
        "text": folder / "text.jsonl", "conllu": [folder / "x.conllu"], "latex": folder / "latex",
        "programming": folder / "programming", "languages": folder / "languages", "sources": folder / "sources",
    }  # fmt: skip
    values = {
        key: [str(one) for one in value] if isinstance(value, list) else str(value) for key, value in given.items()
    }
    return HaystackInputs(**{**values, **{key: str(value) for key, value in changes.items()}})


def test_every_collection_is_possible_with_every_input(folder):
    assert inputs(folder, facts=folder / "people.jsonl").possible() == COLLECTIONS
    assert "wikidata" not in inputs(folder).possible()
    assert HaystackInputs(facts="x").possible() == ()
    assert HaystackInputs(compound="x").possible() == ("compound_words",)


def test_each_is_built_from_its_input(folder):
    built = {one.collection: one for one in build_all(inputs(folder), docs_tokenizer(), most_context=128)}
    assert tuple(built) == COLLECTIONS[:-1]
    assert [one.name for one in built["programming_lang_id"].features] == ["Python", "Java"]
    assert [one.name for one in built["natural_lang_id"].features] == ["en", "fr"]
    assert [one.name for one in built["distribution_id"].features] == ["arxiv", "enron"]
    assert "contains_digit" in [one.name for one in built["text_features"].features]
    assert "upos_NOUN" in [one.name for one in built["ewt_upos"].features]
    assert "is_math" in [one.name for one in built["latex"].features]
    assert built["compound_words"].features == ()
    for one in built.values():
        assert len(one.features) + len(one.skipped) == len({*one.skipped, *(f.name for f in one.features)})
        assert all(len(s.before) + len(s.ids) + len(s.after) <= one.context <= 128 for s in one.sequences)


def test_facts_are_looked_for_in_the_text(folder):
    given = HaystackInputs(text=str(folder / "named.jsonl"), facts=str(folder / "people.jsonl"))
    (built,) = build_all(given, docs_tokenizer(), collections=["wikidata"])
    assert [one.name for one in built.features] == ["female", "male"]


def test_rows_cap_every_collection(folder):
    for one in build_all(inputs(folder), docs_tokenizer(), most_context=128, rows=100):
        if one.collection not in ("programming_lang_id", "natural_lang_id", "distribution_id"):
            assert all(len(feature.values) <= 100 for feature in one.features)


def test_the_same_inputs_and_seed_build_the_same(folder):
    one, same = (build_all(inputs(folder), docs_tokenizer(), collections=["ewt_upos"], rows=100) for _ in range(2))
    assert [s.text for s in one[0].sequences] == [s.text for s in same[0].sequences]
    assert [s.keep for s in one[0].sequences] == [s.keep for s in same[0].sequences]


def test_what_cannot_be_built_is_said(folder):
    with pytest.raises(UnknownName, match="unknown collection 'ewt_pos'; nearest: 'ewt_upos'"):
        build_all(inputs(folder), docs_tokenizer(), collections=["ewt_pos"])
    with pytest.raises(InputError, match="the collection wikidata has no input; the inputs allow programming_lang_id"):
        build_all(inputs(folder), docs_tokenizer(), collections=["wikidata"])
    with pytest.raises(InputError, match="no input allows any collection"):
        build_all(HaystackInputs(), docs_tokenizer())


def test_latex_is_read_from_files_and_folders(folder, tmp_path):
    assert len(read_latex(folder / "latex")) == 25
    assert read_latex(folder / "latex")[0].id == "0.tex"
    assert [one.id for one in read_latex(folder / "latex" / "3.tex")] == ["3.tex"]
    assert len(read_latex(folder / "text.jsonl")) == 60
    with pytest.raises(InputError, match=r"has no \.tex, \.md, \.markdown, \.txt files"):
        read_latex(tmp_path)
