"""The exact names of the 155 features of the ten collections (specs/probing.md 2, after arXiv 2305.01610)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from unweave.activations.token_strings import PREDICATES
from unweave.errors import unknown_name

MORPHOLOGY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "VerbForm": ("Fin", "Inf", "Ger", "Part"),
        "PronType": ("Art", "Dem", "Prs", "Rel", "Int"),
        "Person": ("1", "2", "3"),
        "Gender": ("Masc", "Fem", "Neut"),
        "Number": ("Plur",),
        "Mood": ("Imp",),
        "Tense": ("Past",),
        "NumType": ("Card",),
        "Voice": ("Pass",),
        "eos": ("True",),
        "first_eos": ("True",),
    }
)
"""Attribute -> its values that are features."""
UPOS = ("NOUN", "PUNC", "ADP", "NUM", "SYM", "SCONJ", "ADJ", "DET", "CCONJ", "PROPN", "PRON", "X", "ADV", "INTJ",
        "VERB", "AUX")  # fmt: skip
RELATIONS = ("acl", "acl:relcl", "advcl", "advmod", "amod", "appos", "aux", "aux:pass", "case", "cc", "ccomp",
             "compound", "conj", "cop", "det", "flat", "list", "mark", "nmod", "nmod:poss", "nsubj", "nsubj:pass",
             "nummod", "obl", "obj", "parataxis", "punct", "root", "xcomp")  # fmt: skip
FACTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sex_or_gender": ("female", "male"),
        "occupation": ("politician", "actor", "researcher", "singer", "journalist", "athlete"),
        "occupation_athlete": (
            "association football player",
            "basketball player",
            "American football player",
            "baseball player",
            "ice hockey player",
        ),
        "is_alive": ("true", "false"),
        "political_party": ("Republican Party", "Democratic Party"),
    }
)
"""Property -> its classes that are features."""
CITIZENSHIP = ("United States of America", "United Kingdom", "Canada", "Australia", "France", "Germany")
"""Classes of `country_of_citizenship`, which the paper defines and does not run."""

NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "programming_lang_id": ("Python", "XML", "Java", "C++", "HTML", "C", "Go", "PHP", "JavaScript"),
        "natural_lang_id": ("es", "en", "fr", "nl", "it", "el", "de", "pt", "sv"),
        "distribution_id": (
            "wikipedia",
            "pubmed_abstracts",
            "stack_exchange",
            "github",
            "arxiv",
            "uspto",
            "freelaw",
            "hackernews",
            "enron",
        ),
        "text_features": tuple(PREDICATES),
        "ewt_upos": tuple(f"upos_{value}" for value in UPOS),
        "ewt_morph": tuple(f"{attribute}_{value}" for attribute, values in MORPHOLOGY.items() for value in values),
        "ewt_dep": tuple(f"dep_{value}" for value in RELATIONS),
        "compound_words": (
            "high-school",
            "living-room",
            "social-security",
            "credit-card",
            "blood-pressure",
            "prime-factors",
            "social-media",
            "gene-expression",
            "control-group",
            "magnetic-field",
            "cell-lines",
            "trial-court",
            "second-derivative",
            "north-america",
            "human-rights",
            "side-effects",
            "public-health",
            "federal-government",
            "third-party",
            "clinical-trials",
            "mental-health",
        ),
        "latex": (
            "is_frac",
            "is_numerator",
            "is_denominator",
            "is_title",
            "is_abstract",
            "is_author",
            "is_subscript",
            "is_superscript",
            "is_reference",
            "is_math",
            "is_inline_math",
            "is_display_math",
        ),
        "wikidata": tuple(value for values in FACTS.values() for value in values),
    }
)
"""Collection -> its features."""
COLLECTIONS = tuple(NAMES)


def names(collection: str | None = None) -> tuple[str, ...]:
    """The features of a collection, or all 155 in the order of the collections.

    Raises:
        UnknownName: No such collection.

    Example:
        >>> len(names()), names("natural_lang_id")[:2]
        (155, ('es', 'en'))
    """
    if collection is None:
        return tuple(name for found in NAMES.values() for name in found)
    if collection not in NAMES:
        raise unknown_name("collection", collection, COLLECTIONS)
    return NAMES[collection]
