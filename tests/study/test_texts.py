"""The text of a study: the user's, or documentation of which a zoo model saw nothing."""

import hashlib

import pytest

from study_inputs import texts, write_text_file
from unweave.activations.texts import Text
from unweave.models import zoo
from unweave.models.zoo import corpus
from unweave.study.texts import LONGEST, sha256_of, shortened, study_text


def test_the_users_text_is_read_whole_and_described(tmp_path):
    file = write_text_file(tmp_path / "t.txt")
    found = study_text(str(file), "zoo:docs")
    assert [text.text for text in found.texts] == texts()
    assert found.sha256 == sha256_of([Text(text=text) for text in texts()])
    assert found.description == f"Text: {file}, 24 documents, sha256 {found.sha256[:16]}."


def test_only_held_out_documents_are_taken_from_the_documentation(monkeypatch):
    documents = [corpus.Document(name=f"topics/{letter}", text=f"about {letter}") for letter in "abcd"]
    monkeypatch.setattr(corpus, "documentation", lambda: documents)
    monkeypatch.setattr(zoo, "facts", lambda _name: {"held_out": ["topics/b", "topics/d", "topics/gone"]})
    found = study_text(None, "zoo:docs")
    assert [(text.id, text.text) for text in found.texts] == [("topics/b", "about b"), ("topics/d", "about d")]


@pytest.mark.slow
def test_a_zoo_model_is_studied_on_documents_that_it_was_not_trained_on():
    found = study_text(None, "zoo:docs")
    held_out = set(zoo.facts("docs")["held_out"])
    names = {text.id for text in found.texts}
    assert names
    assert names <= held_out
    whole = {document.name: document.text for document in corpus.documentation()}
    trained_on = {name for name in whole if name not in held_out}
    assert trained_on
    assert not names & trained_on
    for text in found.texts:
        assert whole[text.id].startswith(text.text)
    assert "was not trained on" in found.description


@pytest.mark.parametrize("source", ["minilm", "some/model"])
def test_other_models_see_the_language_reference(source):
    found = study_text(None, source)
    assert len(found.texts) > 50
    assert "the language reference (pydoc_data.topics" in found.description
    assert found.sha256[:16] in found.description
    assert found.sha256 == study_text(None, source).sha256


def test_documents_are_cut_at_the_end_of_a_paragraph():
    paragraphs = [f"{number} " + "word " * 100 for number in range(20)]
    whole = "\n\n".join(paragraphs)
    found = shortened(whole)
    assert len(found) <= LONGEST
    assert whole.startswith(found)
    assert found.endswith("word")
    count = len(found.split("\n\n"))
    assert len("\n\n".join(paragraphs[: count + 1])) > LONGEST


def test_a_single_long_paragraph_is_cut_too():
    assert len(shortened("x" * 50_000)) == 2 * LONGEST
    assert shortened("short") == "short"
    assert shortened("") == ""


def test_the_checksum_tells_documents_and_ids_apart():
    def of(*pairs):
        return sha256_of([Text(id=name, text=text) for name, text in pairs])

    different = [of(("a", "b")), of(("b", "a")), of(("", "ab")), of(("a", "b"), ("", "")), of((None, "b")), of()]
    assert len(set(different)) == len(different)
    assert of((None, "b")) == of(("", "b"))
    assert of() == hashlib.sha256().hexdigest()
    assert of(("a", "\ud800"))  # half of a surrogate pair, as broken files have it
