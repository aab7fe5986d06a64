"""Concepts say how they are read and written, or are refused; files of pairs; rows of whole texts."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import tiny
import unweave as uw
from unweave.activations.concepts import Concept, ContrastPair, Counterfactual, Example, Role, ValueKind, read_records
from unweave.activations.pooled_texts import text_rows
from unweave.errors import DataError, InputError
from unweave.evals.layer_study import METHODS, _given, _split

BOTH = {"read": "decodability", "write": "interchange"}
TWO = [Example(text="b", value=1, group="g"), Example(text="a", value=0)]


def concept(**changes):
    return Concept(**{"name": "c", "role": Role.INPUT_FEATURE, "examples": TWO, **BOTH, **changes})


def test_a_claim_that_cannot_fail_is_refused():
    for changes, message in (
        ({"read": ""}, r"the concept 'c' has no read=: name the test"),
        ({"write": ""}, r"has no write=: name the test"),
        ({"read": "", "write": ""}, r"has no read= and no write="),
        ({"examples": ()}, "has no examples, pairs or counterfactuals"),
        ({"role": Role.CAUSAL_VARIABLE}, "labels alone cannot test it"),
    ):
        with pytest.raises(InputError, match=message):
            concept(**changes)


def test_values_become_targets():
    assert concept().targets().tolist() == [0.0, 1.0]  # in order of the texts, whatever the file's
    assert concept().groups() == ["example 0", "g"]
    scalar = concept(values=ValueKind.SCALAR, examples=[Example(text=str(n), value=n / 2) for n in range(3)])
    assert scalar.targets().tolist() == [0, 0.5, 1]
    angles = concept(values=ValueKind.CIRCULAR, examples=[Example(text=str(n), value=n * np.pi / 2) for n in range(3)])
    np.testing.assert_allclose(angles.targets(), [[1, 0], [0, 1], [-1, 0]], atol=1e-15)
    named = concept(values=ValueKind.CLASSES, examples=[Example(text=c, value=c) for c in "xyx"])
    assert named.targets().tolist() == [0, 0, 1]
    for values, message in ((["x", "y"], "no number"), ([0, 2], "is binary but has the values"), ([1, 1], "one value")):
        with pytest.raises(DataError, match=message):
            concept(examples=[Example(text="t", value=value) for value in values])


def test_counterfactuals_come_from_a_list_or_a_sampler():
    listed = [Counterfactual(base="a", source="b", expected=str(n)) for n in range(5)]
    one = concept(role=Role.CAUSAL_VARIABLE, counterfactuals=listed)
    assert one.counterfactual(3) == one.counterfactual(3)
    assert len({one.counterfactual(seed).expected for seed in range(30)}) == 5
    sampled = concept(counterfactuals=lambda seed: Counterfactual(base="a", source="b", expected=str(seed)))
    assert sampled.counterfactual(7).expected == "7"
    assert repr(sampled) == "Concept(c, input feature, binary, 2 examples, a sampler)"
    with pytest.raises(InputError, match="has no counterfactuals: give a list or a sampler"):
        concept().counterfactual(0)


def test_records_of_a_file(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"positive": "p", "negative": "n", "group": 3}\n\n{"positive": "q", "negative": "m"}\n')
    assert read_records(file) == [
        ContrastPair(positive="p", negative="n", group="3"),
        ContrastPair(positive="q", negative="m"),
    ]
    assert read_records([{"text": "t", "label": 1}]) == [Example(text="t", value=1)]
    assert read_records([{"base": "a", "source": "b", "expected": "c"}])[0].expected == "c"


WRONG = {
    "mixed": ('{"positive": "p", "negative": "n"}\n{"text": "t", "label": 1}', "kinds ContrastPair, Example"),
    "missing": ('{"positive": "p"}', "pairs.jsonl:1 has no negative: a ContrastPair needs it"),
    "typo": ('{"positive": "p", "negative": "n", "grup": 1}', "unknown key 'grup'; nearest: 'group'"),
    "nothing": ('{"words": "p"}', "text, positive and negative, or base and source"),
    "not text": ('{"positive": 3, "negative": "n"}', "must be texts that are not empty"),
    "no JSON": ("{", r"pairs.jsonl:1 is no JSON"),
    "no table": ("[1]", "is a list: a table"),
    "empty": ("", "has no records"),
}


@pytest.mark.parametrize("name", WRONG)
def test_lines_that_are_no_records_are_named(tmp_path, name):
    text, message = WRONG[name]
    (tmp_path / "pairs.jsonl").write_text(text)
    with pytest.raises(InputError, match=message):
        read_records(tmp_path / "pairs.jsonl")
    with pytest.raises(InputError, match="no file at"):
        read_records(tmp_path / "none.jsonl")


@pytest.fixture(scope="module")
def model():
    return tiny.model_of("gpt2", tokenizer=tiny.byte_tokenizer(), vocabulary=259)


def test_rows_of_texts_are_those_of_each_text_alone(model):
    """Whatever it is batched with; at the last token, at the second and as a mean."""
    texts = ["abc", "a longer text", "xy", "middle one"]
    site = "blocks.1.resid_post"
    for position in (-1, 1, "mean"):
        rows = text_rows(model, texts, [site, "blocks.0.attn_z"], position=position, batch=3)
        assert rows["blocks.0.attn_z"].shape == (4, 32)
        for number, text in enumerate(texts):
            alone = model.capture(model.tokenize(text), [site])[site][0]
            expected = alone.mean(0) if position == "mean" else alone[position]
            torch.testing.assert_close(rows[site][number], expected, atol=1e-5, rtol=0)
    with pytest.raises(InputError, match="there is no position 9 in it"):
        text_rows(model, texts, [site], position=9)
    with pytest.raises(InputError, match="position is 'first'"):
        text_rows(model, texts, [site], position="first")


def records(n=16):
    """Pairs that differ in a word, a topic a group."""
    words = ["tea", "rain", "cats", "snow", "bread", "ships", "maps", "coins"]
    found = []
    for i in range(n):
        word, mark = words[i % 8], "!" * (i // 8)
        found.append(ContrastPair(positive=f"{word} are fine{mark}", negative=f"{word} are poor{mark}", group=word))
    return found


SITES = ["blocks.0.resid_post", "blocks.1.resid_post"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_scorer_a_layer(model, method):
    found = uw.evals.layer_study(model, records(), SITES, method=method)
    kind = "direction" if method in ("mean_difference", "contrast_pca") else "read-out"
    assert (found.bundle.kind, found.scope) == (kind, "pairs in order")
    assert {str(site) for site in found.bundle} == set(SITES)
    assert found.best in SITES
    for one in found.layers:
        assert one.p_holm >= one.score.p_value
        assert one.angle.pattern.value > 0
        assert (one.words is not None) == (kind == "direction")
    for site in SITES:
        assert found.bundle[site].provenance.model == model.fingerprint


def test_texts_of_a_group_are_on_one_side_and_the_report_is_not_fitted_on(model):
    """A direction of the study is that of the fit groups alone, and its score that of the others."""
    pairs = records()
    found = uw.evals.layer_study(model, pairs, SITES, seed=2)
    given = _given(model, pairs, SITES, -1, "mean_difference")
    held_out = _split(given, 0.3, 2)
    names = np.array([one.group for one in pairs])
    assert not set(names[held_out]) & set(names[~held_out])
    plus, minus = given.rows[SITES[0]]
    expected = plus[~held_out].double().mean(0) - minus[~held_out].double().mean(0)
    torch.testing.assert_close(found.bundle[SITES[0]].vector, expected, atol=1e-10, rtol=0)
    right = ((plus - minus)[held_out].double() @ expected > 0).double().mean()
    assert found.reading(SITES[0]).score.value == pytest.approx(float(right))
    assert found.fitted == int((~held_out).sum())


def test_labelled_texts_are_scored_by_auc_and_a_study_is_saved(model, tmp_path):
    texts = [Example(text=f"{'good' if n % 2 else 'bad'} {n % 7}", value=n % 2, group=str(n % 7)) for n in range(28)]
    found = uw.evals.layer_study(model, texts, SITES)
    assert found.scope == "AUC"
    assert found.reading(SITES[0]).score.null == 0.5
    loaded = uw.load(uw.save(found, tmp_path / "s"))
    assert loaded.table() == found.table()
    assert (loaded.best, repr(loaded)) == (found.best, repr(found))
    assert torch.equal(loaded.bundle[SITES[1]].vector, found.bundle[SITES[1]].vector)


def test_studies_that_cannot_be_made_are_refused(model):
    with pytest.raises(InputError, match="contrast_pca needs contrast pairs"):
        uw.evals.layer_study(model, TWO * 2, SITES, method="contrast_pca")
    with pytest.raises(InputError, match="unknown method 'lad'"):
        uw.evals.layer_study(model, records(), SITES, method="lad")
    with pytest.raises(DataError, match="2 records: directions and their test need at least four"):
        uw.evals.layer_study(model, records(2), SITES)
    with pytest.raises(DataError, match="both 0 and 1 are needed"):
        uw.evals.layer_study(model, [Example(text="a", value=1)] * 4, SITES)
    with pytest.raises(DataError, match="all rows are of one group"):
        uw.evals.layer_study(
            model, [ContrastPair(positive=f"{n}", negative=f"-{n}", group="g") for n in range(6)], SITES
        )
    with pytest.raises(InputError, match="the records are Counterfactuals"):
        uw.evals.layer_study(model, [Counterfactual(base="a", source="b", expected="c")] * 4, SITES)


def test_holm_is_that_of_the_step_down_rule():
    """Against the definition, one hypothesis at a time."""
    p = [0.04, 0.001, 0.03, 0.5]
    ordered = sorted(p)
    steps = [max(min(1, (4 - j) * ordered[j]) for j in range(i + 1)) for i in range(4)]
    assert uw.evals.holm(p) == pytest.approx([steps[ordered.index(one)] for one in p])


def test_a_line_of_json_is_what_records_are(tmp_path):
    """What `json.dumps` writes of a pair is read back."""
    pair = ContrastPair(positive="é", negative="n", group="g")
    (tmp_path / "a.jsonl").write_text(json.dumps({"positive": "é", "negative": "n", "group": "g"}))
    assert read_records(tmp_path / "a.jsonl") == [pair]
