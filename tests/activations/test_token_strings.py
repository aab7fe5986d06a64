"""The eleven token-string features: their predicates, which token has which string, and what a tokenizer hides."""

from __future__ import annotations

import string
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import stores
import tiny
import unweave as uw
from stores import EXAMPLES, collected
from tokenizers_by_hand import merging_tokenizer, word_piece_tokenizer
from unweave.activations.store import StoredDocument
from unweave.activations.token_strings import (
    HIDDEN,
    PREDICATES,
    SKIPPED_POSITIONS,
    is_hidden,
    token_string_features,
    token_strings,
)
from unweave.errors import InputError

NAMES = [
    "contains_digit",
    "all_digits",
    "contains_capital",
    "leading_capital",
    "all_capitals",
    "contains_whitespace",
    "has_leading_space",
    "no_leading_space_and_loweralpha",
    "contains_all_whitespace",
    "is_not_alphanumeric",
    "is_not_ascii",
]
"""As in specs/probing.md 2, collection 4."""


def words_behind_a_space(s: str) -> str:
    """The string without one white-space character in front."""
    return s[1:] if s[0].isspace() else s


TWINS = {
    "contains_digit": lambda s: set(s) & set(string.digits) != set(),
    "all_digits": lambda s: words_behind_a_space(s) != "" and set(words_behind_a_space(s)) <= set(string.digits),
    "contains_capital": lambda s: set(s) & set(string.ascii_uppercase) != set(),
    "leading_capital": lambda s: s[0].isupper() or (len(s) > 1 and s[0] == " " and s[1].isupper()),
    "all_capitals": lambda s: (
        words_behind_a_space(s) not in ("", "I", "A") and set(words_behind_a_space(s)) <= set(string.ascii_uppercase)
    ),
    "contains_whitespace": lambda s: len(s.split()) != 1 or s.split()[0] != s,
    "has_leading_space": lambda s: s.startswith("\x20"),
    "no_leading_space_and_loweralpha": lambda s: (
        all(unicodedata.category(c).startswith("L") for c in s)
        and any(c.islower() for c in s)
        and not any(c.isupper() or unicodedata.category(c) == "Lt" for c in s)
    ),
    "contains_all_whitespace": lambda s: s.split() == [],
    "is_not_alphanumeric": lambda s: not any(c.isalnum() or c == "_" for c in s),
    "is_not_ascii": lambda s: max(map(ord, s)) > 127,
}
"""Each predicate once more, from sets and single characters."""


@pytest.mark.parametrize(
    ("s", "has", "has_not"),
    [
        (" 42", ["all_digits", "contains_digit", "has_leading_space"], ["contains_all_whitespace"]),
        ("4 2", ["contains_digit", "contains_whitespace"], ["all_digits"]),
        ("  42", ["contains_digit"], ["all_digits"]),
        ("\n42", ["all_digits", "contains_whitespace"], ["has_leading_space"]),
        ("\u0664", ["is_not_ascii"], ["contains_digit", "all_digits"]),
        ("A", ["leading_capital", "contains_capital"], ["all_capitals"]),
        (" A", ["leading_capital"], ["all_capitals"]),
        ("I", ["leading_capital"], ["all_capitals"]),
        (" I", ["leading_capital"], ["all_capitals"]),
        ("B", ["all_capitals", "leading_capital"], []),
        ("NASA", ["all_capitals", "leading_capital"], ["no_leading_space_and_loweralpha"]),
        (" NASA", ["all_capitals", "has_leading_space"], []),
        ("NaSA", ["contains_capital"], ["all_capitals"]),
        ("\u00c4", ["leading_capital", "is_not_ascii"], ["contains_capital", "all_capitals"]),
        ("_", [], ["is_not_alphanumeric", "no_leading_space_and_loweralpha"]),
        (".", ["is_not_alphanumeric"], ["contains_whitespace"]),
        (" .", ["is_not_alphanumeric", "contains_whitespace"], ["contains_all_whitespace"]),
        ("\n\n", ["contains_all_whitespace", "contains_whitespace", "is_not_alphanumeric"], ["has_leading_space"]),
        (" ", ["contains_all_whitespace", "has_leading_space"], ["leading_capital"]),
        (" the", ["has_leading_space"], ["no_leading_space_and_loweralpha", "leading_capital"]),
        ("the", ["no_leading_space_and_loweralpha"], ["leading_capital", "contains_whitespace"]),
        (" The", ["leading_capital", "contains_capital"], ["all_capitals"]),
        ("\nThe", ["contains_capital"], ["leading_capital"]),
        ("\u05e9", ["is_not_ascii"], ["is_not_alphanumeric", "no_leading_space_and_loweralpha"]),
    ],
)
def test_facts(s, has, has_not):
    assert [name for name in has if not PREDICATES[name](s)] == []
    assert [name for name in has_not if PREDICATES[name](s)] == []


def test_there_are_eleven():
    assert list(PREDICATES) == NAMES


MIXED = st.text(
    st.sampled_from([*" \t\n\x1f\u00a0AIZaz09_.-", "\u00e9", "\u01c5", "\u0664", "\U0001f600"]), min_size=1, max_size=4
)


@pytest.mark.parametrize("name", NAMES)
@EXAMPLES
@given(s=st.text(min_size=1) | MIXED)
def test_predicates_equal_their_twins(name, s):
    assert PREDICATES[name](s) is TWINS[name](s)


def described(text: str, offsets: list[tuple[int, int]], tokens: tuple[str, ...] = ()) -> StoredDocument:
    return StoredDocument(
        index=0,
        id=None,
        text=text,
        ids=np.arange(len(offsets)),
        offsets=np.array(offsets).reshape(-1, 2),
        tokens=tokens or ("?",) * len(offsets),
    )


@pytest.mark.parametrize(
    ("text", "offsets", "expected"),
    [
        ("The cat", [(0, 3), (3, 7)], ["The", " cat"]),
        ("The cat", [(0, 3), (4, 7)], ["The", " cat"]),
        ("a\ncat", [(0, 1), (2, 5)], ["a", "\ncat"]),
        ("a  cat", [(0, 1), (3, 6)], ["a", " cat"]),
        ("a  cat", [(0, 1), (1, 2), (2, 6)], ["a", " ", " cat"]),
        ("cats", [(0, 3), (3, 4)], ["cat", "s"]),
        ("\U0001f600!", [(0, 1), (0, 1), (1, 2)], [None, None, "!"]),
        ("a \U0001f600", [(0, 1), (1, 3), (2, 3)], ["a", None, None]),
        ("abc", [(0, 1), (1, 1), (1, 3)], ["a", "", "bc"]),
        ("", [], []),
    ],
    ids=[
        "in the piece",
        "before it",
        "newline",
        "one of two",
        "space piece",
        "inside",
        "emoji",
        "with space",
        "none",
        "empty",
    ],
)
def test_a_token_has_its_characters_and_one_white_space_before(text, offsets, expected):
    assert token_strings(described(text, offsets)) == expected


@pytest.mark.parametrize(
    ("tokens", "tokenizer", "expected"),
    [
        (("\u2581the", "<0xE2>", "ing"), None, [" the", None, "ing"]),
        (("the", "##ing", "#"), word_piece_tokenizer(), ["the", "ing", "#"]),
        (
            ("\u0120the", "\u010a", "\u00c3\u00a9", "\u0120\u00f0\u0141"),
            merging_tokenizer(),
            [" the", "\n", "\u00e9", None],
        ),
        (("", "a"), None, ["", "a"]),
    ],
    ids=["sentence pieces", "word pieces", "bytes", "no string"],
)
def test_without_text_the_tokenizers_strings_are_read(tokens, tokenizer, expected):
    document = StoredDocument(index=0, id=None, text=None, ids=np.arange(len(tokens)), offsets=None, tokens=tokens)
    assert token_strings(document, tokenizer) == expected


TEXT = "The cat sat on the 42 NASA \U0001f600 caf\u00e9.\n\nI saw A cat, the \u00c9 \U0001f600 42 NASA _ 7b"


def text_store(folder, tokenizer, *texts: str, **options):
    model = tiny.model_of("llama", tokenizer=tokenizer, vocabulary=len(tokenizer))
    return collected(folder, texts or [TEXT, "short", TEXT[::-1]], "embed", model=model, **options)


@pytest.mark.parametrize("make", [merging_tokenizer, word_piece_tokenizer, tiny.byte_tokenizer])
@pytest.mark.parametrize("special", ["exclude", "include"])
def test_features_of_a_store_equal_a_loop_over_its_rows(tmp_path, make, special):
    tokenizer = make()
    store = text_store(tmp_path / "s", tokenizer, special=special)
    found = token_string_features(store, tokenizer)
    assert [feature.name for feature in found] == NAMES
    expected: dict[str, list[tuple[int, bool]]] = {name: [] for name in NAMES}
    for row in range(len(store)):
        position = int(store.rows["position"][row])
        document = store.document(int(store.rows["document"][row]))
        if position < 10:
            continue
        start, end = document.offsets[position].tolist()
        others = [pair for number, pair in enumerate(document.offsets.tolist()) if number != position]
        if any(max(start, first) < min(end, last) for first, last in others):
            expected["is_not_ascii"].append((row, True))
            continue
        s = document.text[start:end]
        if not s[0].isspace() and start and document.text[start - 1].isspace():
            s = document.text[start - 1] + s
        for name in NAMES:
            expected[name].append((row, TWINS[name](s)))
    for feature in found:
        assert feature.level == "token"
        assert list(zip(feature.index.tolist(), feature.values.tolist(), strict=True)) == expected[feature.name]
        # word pieces are never white space
        assert feature.positives > 0 or (feature.name, make) == ("contains_all_whitespace", word_piece_tokenizer)


def test_the_first_ten_positions_have_no_label(tmp_path):
    store = text_store(tmp_path / "s", tiny.byte_tokenizer(), "abcdefghij0123", "0123456789", context=8)
    feature = token_string_features(store, None)[0]
    assert SKIPPED_POSITIONS == 10
    assert store.rows["position"][feature.index].tolist() == [10, 11, 12, 13]
    assert set(store.rows["document"][feature.index].tolist()) == {0}


def test_short_texts_give_features_without_rows(tmp_path):
    for feature in token_string_features(text_store(tmp_path / "s", tiny.byte_tokenizer(), "short"), None):
        assert (len(feature.index), feature.positives, feature.note) == (0, 0, "")


def test_pieces_of_one_character_are_labelled_only_as_not_ascii(tmp_path):
    tokenizer = merging_tokenizer()
    text = "abcdefghijklm \U0001f600 \u00e9x"
    store = text_store(tmp_path / "s", tokenizer, text)
    tokens = store.document(0).tokens
    parts = [row for row in range(len(store)) if row >= 10 and tokens[row][0] not in "kmlx" and tokens[row] != "\u0120"]
    assert len(parts) == 5  # a space with two bytes of the emoji, two more bytes, two bytes of the letter
    for feature in token_string_features(store, tokenizer):
        labelled = set(feature.index.tolist()) & set(parts)
        assert labelled == (set(parts) if feature.name == "is_not_ascii" else set()), feature.name
        assert sorted(feature.index.tolist()) == feature.index.tolist()
    assert token_string_features(store, tokenizer)[-1].values[np.isin(feature.index, parts)].all()


@pytest.mark.parametrize("make", [merging_tokenizer, tiny.byte_tokenizer])
def test_strings_do_not_depend_on_whether_the_text_was_kept(tmp_path, make):
    # up to the space before: a token that does not hold it cannot know of it without the text
    tokenizer = make()
    kept, bare = text_store(tmp_path / "kept", tokenizer), text_store(tmp_path / "bare", tokenizer, keep_text=False)
    for document in kept.documents():
        with_text = token_strings(document, tokenizer)
        without = token_strings(bare.document(document.index), tokenizer)
        for first, second, token in zip(with_text, without, document.tokens, strict=True):
            assert first == second or (first is not None and first[1:] == second), token


def notes(store, tokenizer) -> dict[str, str]:
    return {feature.name: feature.note for feature in token_string_features(store, tokenizer)}


def test_an_uncased_tokenizer_keeps_the_case_of_the_text_and_is_marked(tmp_path):
    tokenizer = word_piece_tokenizer()
    store = text_store(tmp_path / "s", tokenizer, "0123456789 the NASA saw 42 cats! \U0001f600 The end_ of B")
    assert "nasa" in store.document(0).tokens
    marked = [name for name, note in notes(store, tokenizer).items() if note]
    assert marked == ["contains_capital", "leading_capital", "all_capitals"]
    assert notes(store, tokenizer)["all_capitals"] == HIDDEN
    feature = next(f for f in token_string_features(store, tokenizer) if f.name == "all_capitals")
    assert feature.positives > 0


@pytest.mark.parametrize(
    "make", [lambda: word_piece_tokenizer(lowercase=False), merging_tokenizer, tiny.byte_tokenizer]
)
def test_a_cased_tokenizer_hides_nothing(tmp_path, make):
    tokenizer = make()
    assert set(notes(text_store(tmp_path / "s", tokenizer), tokenizer).values()) == {""}


def test_accents_that_are_stripped_are_hidden_but_emoji_are_not():
    tokenizer = word_piece_tokenizer()
    assert is_hidden(PREDICATES["is_not_ascii"], ["\u00e9", " caf\u00e9", "\u00fc"], tokenizer)
    assert not is_hidden(PREDICATES["is_not_ascii"], ["\u00e9", "\U0001f600", "\u05e9"], tokenizer)
    assert not is_hidden(PREDICATES["is_not_ascii"], ["\u00e9"], word_piece_tokenizer(lowercase=False))
    assert not is_hidden(PREDICATES["has_leading_space"], [" the", " 42"], tokenizer)
    assert not is_hidden(PREDICATES["contains_capital"], [], tokenizer)
    assert not is_hidden(PREDICATES["contains_capital"], ["A"], None)


def test_input_tensors_have_no_token_strings(tmp_path):
    import torch

    model = uw.load_model(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1)).eval())
    store = uw.collect(model, torch.zeros(2, 1, 4, 4), "0", tmp_path / "s")
    with pytest.raises(InputError, match="a store of input tensors has no token strings: give labels of your own"):
        token_string_features(store, None)


def test_ids_without_a_tokenizer_have_no_strings(tmp_path):
    store = uw.collect(stores.model_of(), [list(range(3, 30))], "embed", tmp_path / "a")
    assert token_string_features(store, stores.model_of().tokenizer)[0].index.tolist() == list(range(10, 27))
    bare = uw.collect(tiny.model_of("gpt2"), [list(range(3, 30))], "embed", tmp_path / "b")
    assert all(len(feature.index) == 0 for feature in token_string_features(bare, None))
