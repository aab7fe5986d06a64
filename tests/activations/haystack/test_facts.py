"""Collection 10: entities, their mentions, the cut behind the name, one class a property."""

from collections import Counter

import pytest

from haystacks import built_names, bytes_tokenizer
from unweave.activations.haystack.entities import find_mentions, read_entities
from unweave.activations.haystack.facts import facts
from unweave.activations.texts import Text
from unweave.errors import InputError


def classes(**columns):
    drops = Counter()
    (one,) = read_entities([{"name": "Ada Lovelace", **columns}], drops)
    return dict(one.classes), dict(drops)


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        ({"birth": 1950}, {"is_alive": "true"}),
        ({"birth": "1950-05-01", "death": ""}, {"is_alive": "true"}),
        ({"birth": 1900, "death": "1980-01-01"}, {"is_alive": "false"}),
        ({"death": -44}, {"is_alive": "false"}),
        ({"death": 1981}, {}),
        ({"death": "unknown", "birth": 1900}, {}),
        ({}, {}),
        ({"is_alive": True, "death": 1900}, {"is_alive": "true"}),
        ({"occupation": "actor|singer"}, {}),
        ({"occupation": ["actor"]}, {"occupation": "actor"}),
        ({"occupation": "actor", "political_party": "Republican Party"}, {"occupation": "actor"}),
        ({"occupation": "politician", "political_party": "Republican Party"},
         {"occupation": "politician", "political_party": "Republican Party"}),
        ({"occupation": "politician|actor", "political_party": "Republican Party"},
         {"political_party": "Republican Party"}),
    ],
)  # fmt: skip
def test_exactly_one_class_a_property(columns, wanted):
    assert classes(**columns)[0] == wanted


def test_what_is_left_out_is_counted():
    assert classes(death=1999)[1] == {"entities that died after 1980, for is_alive": 1}
    assert classes(occupation="actor|singer")[1] == {"entities of several classes of occupation": 1}


def test_names_need_a_space_and_eight_characters_and_the_more_popular_one_counts():
    drops = Counter()
    rows = [
        {"name": "Napoleon", "sex_or_gender": "male"},
        {"name": "Bo Derek"[:7], "sex_or_gender": "female"},
        {"name": "John Smith", "sex_or_gender": "male", "popularity": 3},
        {"name": "John  Smith", "sex_or_gender": "female", "popularity": "10"},
    ]
    (found,) = read_entities(rows, drops)
    assert (found.name, found.classes["sex_or_gender"]) == ("John Smith", "female")
    assert sum(drops.values()) == 3


def test_tables_of_both_kinds(tmp_path):
    (tmp_path / "a.csv").write_text('name,sex_or_gender\n"Ada Lovelace",female\n')
    (tmp_path / "a.jsonl").write_text('{"name": "Ada Lovelace", "sex_or_gender": "female"}\n')
    assert read_entities(tmp_path / "a.csv") == read_entities(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match="no table of entities at"):
        read_entities(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_text("who\nx\n")
    with pytest.raises(InputError, match=r"row 1 has no 'name': every entity needs one"):
        read_entities(tmp_path / "b.csv")
    (tmp_path / "b.jsonl").write_text("[1]\n")
    with pytest.raises(InputError, match="line 1 is a list: an object with 'name' is needed"):
        read_entities(tmp_path / "b.jsonl")
    with pytest.raises(InputError, match="entity 0 has the popularity 'much': a number is needed"):
        read_entities([{"name": "Ada Lovelace", "popularity": "much"}])


def mentions(text, *names):
    found = find_mentions([text], read_entities([{"name": name} for name in names]))
    return {name: [(one.start, one.end) for one in places] for name, places in found.items()}


def test_mentions_are_whole_words_and_the_longest_name():
    text = "Ada Smith, Ada Smithson; XAda Smith. Ada Smith Jones and Ada Smith"
    assert mentions(text, "Ada Smith", "Ada Smith Jones") == {
        "Ada Smith": [(0, 9), (len(text) - 9, len(text))],
        "Ada Smith Jones": [(37, 52)],
    }


KINDS = [("Ada", "female", "actor"), ("Bob", "male", "lawyer")]
PEOPLE = [{"name": f"{who} Smith{n:02}", "sex_or_gender": sex, "occupation": job}
          for n, (who, sex, job) in enumerate(KINDS * 25)]  # fmt: skip


def texts():
    return [Text(text=f"Long ago {row['name']} met {row['name']} again.") for row in PEOPLE]


def build(**options):
    return facts(texts(), read_entities(PEOPLE), bytes_tokenizer(), **options)


def test_the_text_ends_with_the_name_and_the_surname_is_pooled():
    built = build()
    assert built_names(built)[:2] == ["female", "male"]
    for one in built.sequences:
        assert one.text.endswith(one.group)
        assert one.pool == "max"
        assert "".join(one.text[slice(*one.offsets[place])] for place in one.keep) == one.group.split()[1]
    assert len({one.group for one in built.sequences}) == 50
    ends = {len(one.text) for one in built.sequences}
    assert len(ends) > 1, "one mention of the two, at random"


def test_the_last_piece_is_the_other_way():
    for one in build(pool="last").sequences:
        assert one.pool == "each"
        assert one.keep == (len(one.ids) - 1,)


def test_the_context_holds_the_last_tokens():
    for one in build(context=12).sequences:
        assert len(one.ids) == 10
        assert one.text.endswith(one.group.split()[1])


def test_a_feature_is_against_the_other_classes_of_its_property():
    """A class that is no feature (lawyer) is a negative of the others; nothing else is."""
    built = build()
    by_name = {one.name: one for one in built.features}
    assert len(by_name["female"].values) == 50
    assert (by_name["female"].values != by_name["male"].values).all()
    assert by_name["actor"].positives == 25
    assert len(by_name["actor"].values) == 50
    assert built.drops["mentions of a class of occupation that is no feature"] == 25


def test_names_that_the_text_has_once_are_left_out():
    once = [Text(text=f"Long ago {row['name']} came.") for row in PEOPLE]
    built = facts(once, read_entities(PEOPLE), bytes_tokenizer())
    assert built.features == ()
    assert built.drops["names that the text has fewer than 2 times"] == 50
    missing = facts([Text(text="nobody")], read_entities(PEOPLE), bytes_tokenizer())
    assert missing.drops["entities that the text does not name"] == 50


def test_rows_are_capped():
    built = build(rows=44)
    assert all(len(one.values) == 44 for one in built.features)
