"""Collection 8: which token stands in front of which row, the ratio of the strata, windows inside one document."""

from collections import Counter

import numpy as np
import pytest

from tokenizers_by_hand import merging_tokenizer, word_piece_tokenizer
from unweave.activations.haystack.compound import compound_words, word_variants
from unweave.activations.texts import Text

PIECES = (" high", " High", " school", "school", " low", " chair", "high")
CONTEXT = 6


def tokenizer():
    return merging_tokenizer(PIECES)


def texts(count=30):
    rng = np.random.default_rng(0)
    pieces = np.array([" high", " High", " school", " low", " chair"])
    return [Text(text="x" + "".join(rng.choice(pieces, size=80))) for _ in range(count)]


@pytest.fixture(scope="module")
def built():
    return compound_words(texts(), tokenizer(), words=("high-school", "low-chair"), context=CONTEXT)


def test_variants_are_all_spellings_of_the_vocabulary():
    found = word_variants(tokenizer())
    names = tokenizer().get_vocab()
    assert found["high"] == {names["\u0120high"], names["\u0120High"], names["high"]}
    assert found["school"] == {names["\u0120school"], names["school"]}
    assert "" not in found


def test_a_continuation_is_not_the_word():
    pieces = word_piece_tokenizer().get_vocab()
    assert word_variants(word_piece_tokenizer())["a"] == {pieces["a"], pieces["A"]}


def test_what_stands_in_front_decides_the_stratum(built):
    variants = word_variants(tokenizer())
    for one in built.features:
        first, second = (variants[part] for part in one.name.split("-"))
        assert set(one.strata) == {"bigram", "missing_first", "missing_second"}
        for number, kind, value in zip(one.sequence, one.strata, one.values, strict=True):
            before, last = built.sequences[number].ids[-2:]
            assert (before in first, last in second) == {
                "bigram": (True, True), "missing_first": (False, True), "missing_second": (True, False),
            }[kind]  # fmt: skip
            assert value == (kind == "bigram")


def test_strata_are_1_to_2_to_2(built):
    for one in built.features:
        counts = Counter(one.strata)
        assert counts["missing_first"] == counts["missing_second"] == 2 * counts["bigram"]
        assert one.positives / len(one.values) == 0.2


def test_rows_are_capped_in_the_same_ratio():
    (one,) = compound_words(texts(), tokenizer(), words=["high-school"], context=CONTEXT, rows=250).features
    assert Counter(one.strata) == {"bigram": 50, "missing_first": 100, "missing_second": 100}


def test_a_row_is_the_last_of_a_whole_window_of_one_document(built):
    """The reference takes windows across documents."""
    whole = {one.text for one in texts()}
    for one in built.sequences:
        assert len(one.ids) == CONTEXT
        assert (one.before, one.after) == ((), ())
        assert one.keep == (CONTEXT - 1,)
        assert any(one.text in text for text in whole)
    assert {one.group for one in built.sequences} == {f"document {n}" for n in range(30)}


def test_no_window_crosses_from_one_document_to_the_next():
    """Documents that end in an a-token and begin with a b-token: no bigram is there."""
    given = [Text(text=" school low" + " chair low" * 9 + " high") for _ in range(60)]
    found = compound_words(given, tokenizer(), words=["high-school"], context=2)
    assert found.skipped["high-school"].startswith("0 positives")
    early = [Text(text=" high school" + " low chair" * 9) for _ in range(60)]
    short = compound_words(early, tokenizer(), words=["high-school"], context=4)
    assert short.skipped["high-school"].startswith("0 positives")
    assert short.drops["places with fewer than 4 tokens up to them in their document"] == 60


def test_a_word_of_several_tokens_is_listed():
    found = compound_words(texts(), tokenizer(), words=["magnetic-field", "high-school"], context=CONTEXT)
    assert found.skipped == {"magnetic-field": "'magnetic' and 'field' is no single token of this tokenizer"}
    assert [one.name for one in found.features] == ["high-school"]


def test_the_same_seed_gives_the_same_rows():
    one, same, other = (
        compound_words(texts(), tokenizer(), words=["high-school"], context=CONTEXT, rows=100, seed=seed)
        for seed in (0, 0, 1)
    )
    assert [s.text for s in one.sequences] == [s.text for s in same.sequences] != [s.text for s in other.sequences]
