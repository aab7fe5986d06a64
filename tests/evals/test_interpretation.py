"""Automatic interpretation: a rule that reads the marked word is right where a unit is one word, and no better than
chance where it is none.
"""

from dataclasses import replace

import numpy as np
import pytest

from unweave.errors import DataError, InputError
from unweave.evals.contexts import Context
from unweave.evals.reading.interpretation import interpretation

WORDS = (" cat", " dog", " tree", " stone", " river", " cloud")


class ByWord:
    """Explains by the word that is marked most often."""

    def __init__(self):
        self.seen = []

    def explain(self, passages):
        self.seen.append(list(passages))
        marked = [part.split(">>")[0] for one in passages for part in one.split("<<")[1:]]
        return max(sorted(set(marked)), key=marked.count)

    def detect(self, explanation, passages):
        assert not any("<<" in one for one in passages)
        return [explanation in one for one in passages]

    def fuzz(self, explanation, passages):
        return [f"<<{explanation}>>" in one for one in passages]


def passages(active, count=160, seed=0):
    """Passages of four words; `active` says of the words and a generator which are active."""
    rng = np.random.default_rng(seed)
    made = []
    for document in range(count):
        words = tuple(rng.choice(WORDS, 4, replace=False).tolist())
        values = tuple(active(words, rng))
        made.append(Context(document=document // 2, position=0, tokens=words, values=values, focus=0))
    return made


def peaks(given):
    return {"".join(one.tokens): max(one.values) for one in given}


def on_cats(words, rng):
    return [float(word == " cat") * (1 + rng.random()) for word in words]


def at_random(_words, rng):
    return (rng.random(4) * (rng.random() < 0.5)).tolist()


def test_the_word_is_found_and_tells_held_out_passages():
    rule = ByWord()
    found = interpretation(passages(on_cats), rule)
    assert found.explanation == " cat"
    assert (found.detection.value, found.fuzzing.value) == (1.0, 1.0)
    assert found.detection.low > 0.8
    assert found.detection.p_value < 0.01 > found.fuzzing.p_value
    assert found.detection.control < 0.8  # an explanation of shuffled marks
    assert len(rule.seen[0]) == found.shown == 10
    assert found.row()["detection_n"] == 40


def test_a_unit_that_is_no_word_is_not_told():
    p_values = [interpretation(passages(at_random, seed=seed), ByWord()).detection.p_value for seed in range(8)]
    assert np.mean(np.array(p_values) < 0.05) <= 0.25
    assert interpretation(passages(at_random), ByWord()).detection.low < 0.5


def test_the_strongest_are_shown_and_none_of_their_documents_is_asked_about():
    class Asked(ByWord):
        def detect(self, explanation, passages):
            self.asked = list(passages)
            return super().detect(explanation, passages)

    given = [
        replace(one, tokens=(*one.tokens, f" {one.document}"), values=(*one.values, 0.0)) for one in passages(on_cats)
    ]
    rule = Asked()
    interpretation(given, rule, test=0.3, seed=1)
    shown, asked = (
        {int(one.replace("<<", "").replace(">>", "").split()[-1]) for one in texts}
        for texts in (rule.seen[0], rule.asked)
    )
    assert not shown & asked
    strengths = [peaks(given)[one.replace("<<", "").replace(">>", "")] for one in rule.seen[0]]
    assert strengths == sorted(strengths, reverse=True)
    again = Asked()
    interpretation(given, again, test=0.3, seed=1)
    assert (again.asked, again.seen) == (rule.asked, rule.seen)


def test_wrong_input_is_told():
    class Short(ByWord):
        def detect(self, *_given):
            return [True]

    with pytest.raises(InputError, match="1 answers for 40 passages"):
        interpretation(passages(on_cats), Short())
    with pytest.raises(DataError, match="active in 0 passages to explain"):
        interpretation(passages(on_cats), ByWord(), threshold=9.0)
    with pytest.raises(InputError, match="is no interpreter: it needs explain, detect and fuzz"):
        interpretation(passages(on_cats), object())
