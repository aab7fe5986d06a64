"""Cutting documents, tokens inside spans, and which rows are drawn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haystacks import bytes_tokenizer, docs_tokenizer
from stores import EXAMPLES
from tokenizers_by_hand import merging_tokenizer
from unweave.activations.haystack.built import start_tokens
from unweave.activations.haystack.cutting import drawn, encoded, priorities, room_for, token_table
from unweave.activations.windows import SpecialTokens
from unweave.errors import InputError


def document(text, tokenizer=None):
    return encoded([(text, None, None)], tokenizer or bytes_tokenizer())[0]


def test_a_token_is_inside_a_span_that_it_overlaps():
    one = document("a $x$ b")
    assert np.flatnonzero(one.inside([(3, 4)])).tolist() == [3]
    assert np.flatnonzero(one.inside([(0, 2), (5, 7)])).tolist() == [0, 1, 5, 6]
    assert not one.inside([]).any()
    assert not one.inside([(3, 3)]).any()


def test_the_space_in_front_of_a_piece_is_not_its_own():
    tokenizer = merging_tokenizer()
    one = document("x the cat", tokenizer)
    assert [one.text[a:b] for a, b in one.offsets] == ["x", " the", " cat"]
    assert one.inside([(1, 2)]).tolist() == [False, False, False]  # the space alone
    assert one.inside([(2, 3)]).tolist() == [False, True, False]


@EXAMPLES
@given(st.text("ab é\n", max_size=40), st.integers(0, 40), st.integers(0, 40))
def test_inside_is_what_a_loop_over_characters_finds(text, start, end):
    one = document(text, docs_tokenizer())
    begins, ends = one.characters
    by_hand = [any(start <= c < end for c in range(b, e)) for b, e in zip(begins.tolist(), ends.tolist(), strict=True)]
    assert one.inside([(start, end)]).tolist() == by_hand


def test_documents_are_cut_into_sequences_of_the_room():
    tokenizer = bytes_tokenizer()
    texts = [("abcdefghij", "first", None), ("", None, None), ("xyz", None, "g")]
    table = token_table(encoded(texts, tokenizer), tokenizer, context=6)  # two special tokens
    assert ["".join(tokenizer.convert_ids_to_tokens(list(one.ids))) for one in table.sequences] == [
        "abcd",
        "efgh",
        "ij",
        "xyz",
    ]
    assert [one.text for one in table.sequences] == ["abcd", "efgh", "ij", "xyz"]
    assert [one.offsets[0] for one in table.sequences] == [(0, 1)] * 4
    assert [one.group for one in table.sequences] == ["document 0"] * 3 + ["g"]
    assert table.position.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 0, 1, 2]
    assert table.document.tolist() == [0] * 10 + [2] * 3
    assert table.gathered([np.arange(10), np.arange(0), np.arange(50, 53)]).tolist() == [*range(10), 50, 51, 52]


def test_sequences_begin_at_the_given_tokens_and_only_there():
    tokenizer = bytes_tokenizer()
    documents = encoded([("abcdefghijkl", None, None)], tokenizer)
    table = token_table(documents, tokenizer, context=7, ends=lambda _: [0, 3, 4, 6])
    assert [one.text for one in table.sequences] == ["abcd", "ef", "ghijk", "l"]  # the last stretch is too long


def test_what_stands_around_a_sequence():
    assert start_tokens(bytes_tokenizer()).count == 2
    assert start_tokens(docs_tokenizer()).before == (docs_tokenizer().bos_token_id,)
    silent = merging_tokenizer()
    silent.add_special_tokens({"bos_token": "<|begin|>"})
    assert start_tokens(silent).before == (silent.bos_token_id,)
    assert start_tokens(silent).after == ()


def test_a_context_without_room_is_refused():
    with pytest.raises(InputError, match="context is 2: at least 3 are needed with the special tokens"):
        room_for(2, SpecialTokens(before=(1,), after=(2,)))


@pytest.mark.parametrize(
    ("positives", "negatives", "rows", "wanted"),
    [
        (1000, 9000, 100, (20, 80)),
        (10, 9000, 100, (10, 40)),
        (1000, 30, 100, (20, 30)),
        (0, 50, 100, (0, 0)),
        (5, 3, 1000, (5, 3)),
    ],
)
def test_rows_are_drawn_at_the_share(positives, negatives, rows, wanted):
    positive = np.arange(positives + negatives) < positives
    chosen = drawn(positive, ~positive, priorities(len(positive), 0), rows=rows, share=0.2)
    assert (int(positive[chosen].sum()), int((~positive[chosen]).sum())) == wanted
    assert (np.diff(chosen) > 0).all()


def test_features_share_rows_because_they_share_one_order():
    priority = priorities(10_000, 0)
    one = np.zeros(10_000, dtype=bool)
    other = one.copy()
    one[:3000], other[1000:4000] = True, True
    first = drawn(one, ~one, priority, rows=2000, share=0.2)
    second = drawn(other, ~other, priority, rows=2000, share=0.2)
    independent = drawn(other, ~other, priorities(10_000, 1), rows=2000, share=0.2)
    assert len(np.intersect1d(first, second)) > 2 * len(np.intersect1d(first, independent))
