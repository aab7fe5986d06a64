"""CoNLL-U: empty nodes, words that share a form, documents; and real treebanks, whose text comes out as it is told."""

import pytest

from unweave.activations.haystack.conllu import read_conllu, sentences_of
from unweave.errors import InputError


def line(number, form, upos="X", features="_", relation="dep", misc="_"):
    return "\t".join([str(number), form, form, upos, "_", features, "0", relation, "_", misc])


def words(*lines, comments=()):
    return sentences_of("\n".join([*comments, *lines]) + "\n\n", "x")[0]


def test_forms_and_spaces_give_the_text_and_the_spans():
    found = words(
        line(1, "Hello", misc="SpaceAfter=No"), line(2, ","), line(3, "world", misc="SpaceAfter=No"), line(4, "!")
    )
    assert found.text == "Hello, world!"
    assert [found.text[word.start : word.end] for word in found.words] == ["Hello", ",", "world", "!"]


def test_parts_that_make_up_the_form_have_their_own_characters():
    found = words(line("1-2", "don't"), line(1, "do"), line(2, "n't"), line(3, "go"))
    assert found.text == "don't go"
    assert [found.text[word.start : word.end] for word in found.words] == ["do", "n't", "go"]


def test_parts_that_do_not_give_the_form_to_the_first():
    found = words(line("1-2", "du"), line(1, "de"), line(2, "le"), line(3, "pain"))
    assert found.text == "du pain"
    assert [found.text[word.start : word.end] for word in found.words] == ["du", "", "pain"]


def test_space_behind_a_shared_form_is_that_of_the_form():
    found = words(line("1-2", "don't", misc="SpaceAfter=No"), line(1, "do"), line(2, "n't"), line(3, "."))
    assert found.text == "don't."


def test_empty_nodes_are_left_out():
    found = words(line(1, "a"), line("1.1", "ghost"), line("0.1", "ghost"), line(2, "b"))
    assert found.text == "a b"
    assert [word.form for word in found.words] == ["a", "b"]


def test_features_are_read():
    (word,) = words(line(1, "was", "AUX", "Mood=Ind|Tense=Past", "cop")).words
    assert (word.upos, dict(word.features), word.relation) == ("AUX", {"Mood": "Ind", "Tense": "Past"}, "cop")


@pytest.mark.parametrize(
    ("comments", "wanted"),
    [
        ((["# newdoc id = A"], [], ["# newdoc"], []), ["x:A", "x:A", "x:newdoc 2", "x:newdoc 2"]),
        ((["# newdoc id = A"], ["# sent_id = q-1"], ["# newdoc id = B"], []), ["x:A", "x:A", "x:B", "x:B"]),
        ((["# sent_id = web-1-0001"], ["# sent_id = web-1-0002"], ["# sent_id = web-2-0001"]),
         ["x:web-1", "x:web-1", "x:web-2"]),
        ((["# source = W/wiki-1/a.xml"], ["# source = W/wiki-1/b.xml"], ["# source = W/wiki-2/a.xml"]),
         ["x:W/wiki-1", "x:W/wiki-1", "x:W/wiki-2"]),
    ],
)  # fmt: skip
def test_documents(comments, wanted):
    text = "\n\n".join("\n".join([*told, line(1, "a")]) for told in comments)
    assert [sentence.document for sentence in sentences_of(text, "x")] == wanted


def test_faults_are_named(tmp_path):
    with pytest.raises(InputError, match="x line 3: a line of the sentence '3' has 2 fields: CoNLL-U has 10"):
        sentences_of("\n\n1\ta\n", "x")
    with pytest.raises(InputError, match="x has no sentences"):
        sentences_of("# only\n", "x")
    with pytest.raises(InputError, match="no CoNLL-U file at"):
        read_conllu(tmp_path / "none.conllu")
    with pytest.raises(InputError, match=r"has no \.conllu files"):
        read_conllu(tmp_path)


@pytest.mark.parametrize(("part", "sentences", "documents"), [("dev", 2001, 318), ("test", 2077, 316)])
def test_ewt_is_read_as_it_is_told(data, part, sentences, documents):
    found = read_conllu(data / "text" / "ud_english_ewt" / f"en_ewt-{part}.conllu.gz")
    assert len(found) == sentences
    assert len({one.document for one in found}) == documents
    assert all(" ".join(one.text.split()) == " ".join(one.told.split()) for one in found)


@pytest.mark.slow
def test_all_of_ewt_and_every_shared_form(data):
    folder = data / "text" / "ud_english_ewt"
    found = read_conllu(folder)
    assert len(found) == 16_622
    different = [one for one in found if one.text != one.told]
    assert [one.told.split() == one.text.split() for one in different] == [True]  # a no-break space
    assert all(word.end > word.start for one in found for word in one.words), "all parts make up their form"
    assert sum(len(one.words) for one in found if "train" in one.document) == 204_577


@pytest.mark.parametrize("language", ["en", "de", "es", "fr", "pt"])
def test_pud_is_1000_parallel_sentences(data, language):
    found = read_conllu(data / "text" / "ud_languages" / f"{language}_pud-ud-test.conllu.gz")
    assert len(found) == 1000
    assert len({one.document for one in found}) == 397
    assert all(" ".join(one.text.split()) == " ".join(one.told.split()) for one in found)


def test_dutch_documents_come_from_the_source(data):
    found = read_conllu(data / "text" / "ud_languages" / "nl_lassysmall-ud-dev.conllu.gz")
    assert len(found) == 1542
    assert len({one.document for one in found}) == 19
