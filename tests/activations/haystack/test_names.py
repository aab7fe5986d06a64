"""The 155 names, and that the published tables have just these."""

import pytest

from unweave.activations.haystack.names import COLLECTIONS, FACTS, MORPHOLOGY, NAMES, RELATIONS, UPOS, names
from unweave.errors import UnknownName
from unweave.probing.published import MODELS, load_published

COUNTS = {
    "programming_lang_id": 9, "natural_lang_id": 9, "distribution_id": 9, "text_features": 11, "ewt_upos": 16,
    "ewt_morph": 22, "ewt_dep": 29, "compound_words": 21, "latex": 12, "wikidata": 17,
}  # fmt: skip
PUBLISHED = (
    "programming_lang_id",
    "distribution_id",
    "text_features",
    "ewt_upos",
    "ewt_morph",
    "compound_words",
    "latex",
)


def test_there_are_155_different_names_in_ten_collections():
    assert {name: len(names(name)) for name in COLLECTIONS} == COUNTS
    assert len(names()) == 155 == len(set(names()))
    assert sum(map(len, NAMES.values())) == sum(COUNTS.values())


def test_the_parts_of_the_names_are_those_of_the_specification():
    assert set(RELATIONS) >= {"acl:relcl", "aux:pass", "nmod:poss", "nsubj:pass", "xcomp"}
    assert "PART" not in UPOS
    assert "PUNC" in UPOS
    assert sum(map(len, MORPHOLOGY.values())) == 22
    assert sum(map(len, FACTS.values())) == 17


def test_an_unknown_collection_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="unknown collection 'ewt_pos'; nearest: 'ewt_upos'"):
        names("ewt_pos")


@pytest.mark.parametrize("model", MODELS)
def test_the_100_names_of_the_published_tables_are_seven_of_the_collections(data, model):
    found = load_published(data / "probing" / "interpretable_neurons" / model / "top_mono_neurons.csv")
    there = {row["feature"] for row in found["top_mono_neurons"].rows}
    assert there == {name for collection in PUBLISHED for name in names(collection)}
    by_dataset = {row["dataset"].split(".")[0] for row in found["top_mono_neurons"].rows}
    assert by_dataset == {"ewt", *(one for one in PUBLISHED if not one.startswith("ewt"))}
