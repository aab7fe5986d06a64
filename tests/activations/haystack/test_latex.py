"""Collection 9: which tokens have which feature; a mirrored feature's negatives are half mirror, half neither."""

import numpy as np
import pytest

from haystacks import built_names, bytes_tokenizer, labelled_text
from unweave.activations.haystack.latex import MIRRORS, SPANS, latex
from unweave.activations.texts import Text

FORMULA = r"Let $\frac{NNNN}{DDDD}$ and $a_{SSS}^{UUU}$ be. $$zzzz$$ Look at [@RRRR]. "


def texts(count=30, formula=FORMULA):
    return [Text(text="words first " + formula * 3) for _ in range(count)]


@pytest.fixture(scope="module")
def built():
    return latex(texts(), bytes_tokenizer(), extras=True, context=400)


def test_a_formula_of_one_letter_labels_one_piece():
    found = latex([Text(text="words before $x$ and behind") for _ in range(30)], bytes_tokenizer(), context=64)
    assert labelled_text(found, "is_math") == ["x"] * 30


@pytest.mark.parametrize(
    ("name", "letters"),
    [
        ("is_numerator", "N"), ("is_denominator", "D"), ("is_frac", "ND"), ("is_subscript", "S"),
        ("is_superscript", "U"), ("is_display_math", "z"), ("is_reference", "@R"),
        ("start_math", "$"), ("end_math", "$"),
    ],
)  # fmt: skip
def test_positives_are_the_characters_of_the_spans(built, name, letters):
    assert set(labelled_text(built, name)) == set(letters)
    assert not set(labelled_text(built, name, value=False)) & set(letters) - set("$")


@pytest.mark.parametrize("name", MIRRORS)
def test_half_of_the_negatives_are_the_mirror_and_none_comes_twice(built, name):
    """In the reference the random half may repeat rows of the mirror."""
    (one,) = [feature for feature in built.features if feature.name == name]
    rows = list(zip(one.sequence.tolist(), one.position.tolist(), strict=True))
    assert len(set(rows)) == len(rows)
    negatives = [row for row, value in zip(rows, one.values, strict=True) if not value]
    mirror = positives_of(built, MIRRORS[name])
    in_mirror = sum(row in mirror for row in negatives)
    available = len(mirror)
    assert in_mirror == min(len(negatives) // 2, available)


def positives_of(built, name):
    """All tokens of the feature, from the spans of the text, not from the sample."""
    from unweave.activations.haystack.cutting import encoded
    from unweave.activations.haystack.latex_spans import latex_spans

    document = encoded([(texts()[0].text, None, None)], bytes_tokenizer())[0]
    spans = latex_spans(document.text).spans
    inside = document.inside([span for kind in SPANS[name] for span in spans[kind]])
    places = [place for place in np.flatnonzero(inside).tolist() if place >= 5]
    return {(number, place) for number in range(30) for place in places}


def test_a_quarter_is_positive_and_negatives_begin_at_the_sixth_position(built):
    for one in built.features:
        negative = one.position[~one.values]
        assert negative.min() >= 5
        assert one.positives / len(one.values) >= 0.25 - 1e-9
    early = latex([Text(text="$ab$ and then words that go on") for _ in range(30)], bytes_tokenizer(), context=64)
    assert {int(place) for place in early.features[0].position[early.features[0].values]} == {1, 2}


def test_rows_are_capped(built):
    few = latex(texts(), bytes_tokenizer(), context=400, rows=100)
    for one in few.features:
        assert (len(one.values), one.positives) == (100, 25), one.name
    assert len(built.features[0].values) > 100


def test_documents_with_odd_dollars_are_dropped_and_counted():
    found = latex([*texts(), Text(text="one $ only")], bytes_tokenizer(), context=400)
    assert found.drops == {"documents with an odd number of dollar signs": 1}


def test_extras_are_extras(built):
    assert {"start_math", "end_math"} <= set(built_names(built))
    plain = latex(texts(), bytes_tokenizer(), context=400)
    assert not {"start_math", "end_math"} & {*built_names(plain), *plain.skipped}
    assert set(plain.skipped) == {"is_title", "is_abstract", "is_author"}


def test_the_suffix_of_the_id_says_the_dialect():
    native = r"words before \(x\) and behind"
    given = [Text(text=native, id=f"{number}.tex") for number in range(30)]
    assert labelled_text(latex(given, bytes_tokenizer(), context=64), "is_math") == ["x"] * 30
    other = [Text(text=native, id=f"{number}.md") for number in range(30)]
    assert latex(other, bytes_tokenizer(), context=64).features == ()
