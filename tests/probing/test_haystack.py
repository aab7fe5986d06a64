"""The haystack on one model: planted languages and words are found, stores are shared and used again."""

import json

import numpy as np
import pytest

import stores
from unweave.activations.haystack.compound import compound_words
from unweave.activations.texts import Text
from unweave.errors import InputError, UnknownName
from unweave.probing.best_site import best_sites
from unweave.probing.haystack import collected, false_positives, largest, run
from unweave.probing.sweep_many import sweep_many

SMALL = {"ks": (1, 2), "shuffles": 2, "sites": "blocks.*.resid_post"}


@pytest.fixture(scope="module")
def languages(tmp_path_factory):
    """Two languages of different letters, forty documents each."""
    rng = np.random.default_rng(0)
    rows = [{"text": "".join(rng.choice(list(letters), 24)), "label": label}
            for label, letters in (("en", "abcd "), ("fr", "vwxyz")) for _ in range(40)]  # fmt: skip
    place = tmp_path_factory.mktemp("languages") / "x.jsonl"
    place.write_text("\n".join(map(json.dumps, rows)))
    return str(place)


def test_languages_of_other_letters_are_told_apart(languages, tmp_path):
    found = run(stores.model_of(), {"languages": languages}, tmp_path, **SMALL)
    table = found.tables["natural_lang_id"]
    assert table.features() == ["en", "fr"]
    assert max(row["f1"] for row in table.table()) > 0.9
    assert {row["collection"] for row in found.table()} == {"natural_lang_id"}
    assert len(found.table()) == 2 * 2 * 2
    told = {row["feature"]: row["status"] for row in found.reports["natural_lang_id"]}
    assert told["en"] == "built"
    assert told["de"] == "0 positives in 0 groups: at least 20 in 5 are needed"
    assert found.left_out == {}


def test_what_has_no_feature_is_left_out(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("one\n\ntwo\n")
    found = run(stores.model_of(), {"text": str(text)}, tmp_path / "run", **SMALL)
    assert found.tables == {}
    assert found.left_out == dict.fromkeys(("text_features", "compound_words"), "no feature is large enough")


def test_a_model_without_a_tokenizer_is_refused(languages, tmp_path):
    import tiny

    with pytest.raises(InputError, match="cannot read text: a transformer of a known family with a tokenizer"):
        run(tiny.model_of("llama"), {"languages": languages}, tmp_path)


def test_a_misspelt_input_is_answered(tmp_path):
    with pytest.raises(UnknownName, match="unknown key 'languags'"):
        run(stores.model_of(), {"languags": "x"}, tmp_path)


def test_false_positives_are_counted_by_kind_of_row(tmp_path):
    """Twin: a loop over the rows of the held-out groups."""
    model = stores.model_of()
    rng = np.random.default_rng(0)
    texts = [Text(text="q" + "".join(rng.choice(list("abc "), 60))) for _ in range(40)]
    built = compound_words(texts, model.tokenizer, words=["a-b"], context=6, rows=400)
    store = collected(model, built, "blocks.*.resid_post", tmp_path)
    table = sweep_many(
        store, built.labelled(store), ks=(1, 2), shuffles=0, rows=largest(built), selector="std_mean_diff"
    )
    best = best_sites(table, 2)
    found = false_positives(built, store, table, best)
    assert [row["stratum"] for row in found] == ["bigram", "missing_first", "missing_second"]
    (feature,) = built.features
    site = best["a-b"].site
    groups = store.groups
    by_kind = {kind: [] for kind in built.strata_kinds}
    predicted = table.sweeps["a-b", site].predict(store[site][:].float(), 2)  # one row a sequence
    for number, kind in zip(feature.sequence.tolist(), feature.strata, strict=True):
        if groups[number] in table.held_out:
            by_kind[kind].append(bool(predicted[number]))
    for row in found:
        assert row["rows"] == len(by_kind[row["stratum"]]) > 0
        assert row["rate"] == pytest.approx(np.mean(by_kind[row["stratum"]]), abs=1e-12)
    probe = table.sweeps["a-b", site].probe(2)
    assert found[0]["rate"] == pytest.approx(probe.recall, abs=1e-12)


def test_groups_are_never_on_both_sides(tmp_path):
    model = stores.model_of()
    rng = np.random.default_rng(0)
    texts = [Text(text="q" + "".join(rng.choice(list("abc "), 60))) for _ in range(20)]
    built = compound_words(texts, model.tokenizer, words=["a-b"], context=6, rows=400)
    store = collected(model, built, "embed", tmp_path)
    table = sweep_many(store, built.labelled(store), ks=(1,), shuffles=0, rows=largest(built), selector="std_mean_diff")
    assert len(set(store.groups.tolist())) == 20 < len(built.sequences)
    held_out = {built.sequences[number].group for number in table.held_out}
    assert 3 <= len(held_out) <= 9
    assert set(table.held_out) <= set(store.groups.tolist())


def test_a_store_is_used_again_and_replaced_when_the_input_changes(tmp_path):
    model = stores.model_of()
    rng = np.random.default_rng(0)
    texts = [Text(text="q" + "".join(rng.choice(list("abc "), 60))) for _ in range(20)]
    one = compound_words(texts, model.tokenizer, words=["a-b"], context=6, rows=100)
    first = collected(model, one, "embed", tmp_path)
    stamp = (first.path / "store.json").stat().st_mtime_ns
    assert (collected(model, one, "embed", tmp_path).path / "store.json").stat().st_mtime_ns == stamp
    other = compound_words(texts, model.tokenizer, words=["b-c"], context=6, rows=100)
    assert len(collected(model, other, "embed", tmp_path)) == len(other.sequences)
