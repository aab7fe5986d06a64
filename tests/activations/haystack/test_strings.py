"""Collection 4 as sequences: the predicates of the store's features, the positions, the shares, the floor of 500."""

import numpy as np
import pytest

from haystacks import built_names, bytes_tokenizer
from tokenizers_by_hand import merging_tokenizer
from unweave.activations.haystack.strings import AFFIXES, affixes, has_affix, text_features
from unweave.activations.texts import Text
from unweave.activations.token_strings import PREDICATES


def prose(count=40):
    return [
        Text(text=f"The 42 cats of NASA number {n} and (more) words come here, x_{n} is one. " * 4)
        for n in range(count)
    ]


def test_every_row_says_what_the_predicate_says_of_its_string():
    tokenizer = merging_tokenizer()
    built = text_features(prose(150), tokenizer, context=64)
    assert {"contains_digit", "leading_capital", "contains_whitespace"} <= set(built_names(built))
    for one in built.features:
        for number, place, value in zip(one.sequence, one.position, one.values, strict=True):
            sequence = built.sequences[number]
            begin, end = sequence.offsets[place]
            piece = sequence.text[begin:end]
            if not piece[0].isspace() and begin > 0 and sequence.text[begin - 1].isspace():
                piece = sequence.text[begin - 1] + piece
            assert PREDICATES[one.name](piece) == value, (one.name, piece)


def test_the_first_ten_positions_of_a_sequence_have_no_label():
    built = text_features(prose(), bytes_tokenizer(), context=64)
    assert min(int(one.position.min()) for one in built.features) == 10


def test_shares_of_positives_are_between_a_fifth_and_a_half():
    built = text_features(prose(), bytes_tokenizer(), context=128)
    shares = {one.name: one.positives / len(one.values) for one in built.features}
    assert all(0.2 - 1e-3 <= share <= 0.5 + 1e-3 for share in shares.values()), shares
    rate = np.mean([c.isdigit() for one in prose() for c in one.text])
    assert rate < 0.2
    assert shares["contains_digit"] == pytest.approx(0.2, abs=1e-3)


def test_fewer_than_500_positives_are_not_probed():
    built = text_features(prose(4), bytes_tokenizer(), context=128)
    assert "at least 500 in 5 are needed" in built.skipped["contains_digit"]


def test_parts_of_a_character_are_labelled_only_as_not_ascii():
    texts = [Text(text="x" * 12 + "é\U0001f600 and so on, é\U0001f600" * 4) for _ in range(30)]
    built = text_features(texts, bytes_tokenizer(), context=200)
    labelled = {
        one.name: {(int(a), int(b)) for a, b in zip(one.sequence, one.position, strict=True)} for one in built.features
    }
    parts = {place for place in labelled["is_not_ascii"] if 12 <= place[1] < 18}
    assert parts
    for name, places in labelled.items():
        assert name == "is_not_ascii" or not places & parts


@pytest.mark.parametrize(
    ("word", "kind", "wanted"),
    [
        ("antidote", "has_prefix", True),  # the reference fuses two prefixes, so that neither is found
        ("autopilot", "has_prefix", True),
        ("undone", "has_prefix", True),
        ("undo", "has_prefix", False),  # two letters are no stem
        ("reading", "has_suffix", True),
        ("king", "has_suffix", False),
        ("kindness", "has_suffix", True),
    ],
)
def test_affixes_need_a_stem(word, kind, wanted):
    assert has_affix(word, kind) == wanted


@pytest.mark.parametrize("kind", AFFIXES)
def test_every_affix_is_found_with_a_stem_of_three(kind):
    for affix in AFFIXES[kind]:
        whole = affix + "qqq" if kind == "has_prefix" else "qqq" + affix
        short = affix + "qq" if kind == "has_prefix" else "qq" + affix
        assert has_affix(whole, kind)
        other = [one for one in AFFIXES[kind] if one != affix and (affix.startswith(one) or affix.endswith(one))]
        assert other or not has_affix(short, kind)


def test_affixes_label_words_only():
    texts = [
        Text(text="some undoing antidote of readings 42 happened kindness under the table here " * 5) for _ in range(30)
    ]
    built = affixes(texts, merging_tokenizer((" undoing", " antidote", " happened", " the", " some")), context=128)
    assert built_names(built) == ["has_prefix", "has_suffix"]
