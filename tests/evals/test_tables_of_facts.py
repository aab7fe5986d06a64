"""Tables of entities and facts: files of one's own and those of RAVEL, and what is wrong with others, by name."""

import json

import pytest

import tiny
from unweave.errors import DataError, InputError
from unweave.evals.suites import words
from unweave.evals.suites.entities import _halves
from unweave.evals.suites.facts import knowledge_conflict
from unweave.evals.suites.running import run_suite
from unweave.evals.suites.tables_of_facts import read_entities, read_facts
from words_tokenizer import words_tokenizer


@pytest.fixture(scope="module")
def model():
    tokenizer = words_tokenizer()
    return tiny.model_of("gpt2", tokenizer=tokenizer, vocabulary=len(tokenizer))


def test_a_table_of_ones_own_and_what_is_wrong_with_others(tmp_path):
    file = tmp_path / "cities.json"
    good = {"entities": {"Rome": {"Country": "Italy"}}, "templates": {"Country": ["{e} is in"]}}
    file.write_text(json.dumps(good))
    assert read_entities(file) == good
    for given, message in (
        ([1], "holds a list"),
        ({"entities": {}}, "has no 'templates'"),
        ({**good, "entitys": {}}, "unknown key 'entitys'; nearest: 'entities'"),
        ({**good, "entities": {"Rome": "Italy"}}, "'entities' must be"),
        ({**good, "templates": {"Country": "x"}}, "'templates' must be"),
        ({**good, "templates": {"Country": ["no slot"]}}, "one {e} for the entity"),
    ):
        file.write_text(json.dumps(given))
        with pytest.raises(InputError, match=message):
            read_entities(file)
    file.write_text("{")
    with pytest.raises(InputError, match="is no JSON"):
        read_entities(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_entities(tmp_path / "none.json")


def test_facts_of_ones_own(tmp_path, model):
    file = tmp_path / "facts.json"
    facts = {"facts": {"Mary": "Peace", "John": "Physics"}, "statement": "{e} won {v}.", "question": "{e} won"}
    file.write_text(json.dumps(facts))
    assert read_facts(file) == facts
    for given, message in (
        ({"fact": {}}, "has no 'facts'; nearest: 'facts'"),
        ({**facts, "question": "who"}, "'question' must be a text with {e}"),
        ({**facts, "invented": "x"}, "'invented' must be a list"),
        ({"facts": {}}, "'facts' must be"),
    ):
        file.write_text(json.dumps(given))
        with pytest.raises(InputError, match=message):
            read_facts(file)
    with pytest.raises(DataError, match="two values are needed for a conflict"):
        knowledge_conflict(model, "blocks.1.resid_mid", facts={"Mary": "Peace"})


def test_the_files_of_ravel_are_read(data):
    folder = data / "ndm/ravel"
    table = read_entities(folder / "ravel_nobel_prize_winner_entity_attributes.json")
    assert len(table["entities"]) > 900
    assert set(table["templates"]) >= {"Field", "Country of Birth"}
    assert all(text.count("{e}") == 1 for texts in table["templates"].values() for text in texts)
    facts = read_facts(folder / "ravel_nobel_prize_winner_entity_attributes.json")["facts"]
    assert facts["A. Michael Spence"] == "Economics"


def test_models_that_know_nothing_are_told_so(model):
    found = run_suite(model, None, "ravel", count=6)
    assert [one.finding for one in found.claims] == [None] * len(words.CITY_TEMPLATES)
    assert not found.tested
    assert "does not do this task" in found.notes()[0]
    found = run_suite(model, None, "knowledge-conflict", count=6)
    assert all("does not do this task" in row.note for row in found.rows)
    with pytest.raises(DataError, match="at least four"):
        _halves({"a": {}, "b": {}}, 0)
