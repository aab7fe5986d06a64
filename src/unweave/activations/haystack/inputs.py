"""What the user provides for the haystack, and the collections that it allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from unweave.activations.haystack.built import Built
from unweave.activations.haystack.compound import compound_words
from unweave.activations.haystack.conllu import read_conllu
from unweave.activations.haystack.entities import read_entities
from unweave.activations.haystack.facts import facts
from unweave.activations.haystack.identification import identification, opened, read_labelled
from unweave.activations.haystack.latex import latex
from unweave.activations.haystack.names import COLLECTIONS
from unweave.activations.haystack.strings import text_features
from unweave.activations.haystack.ud import ud_features
from unweave.activations.texts import Text, read_texts
from unweave.config import Config
from unweave.errors import InputError, unknown_name

CONTEXTS: Mapping[str, int] = MappingProxyType(
    {"programming_lang_id": 512, "natural_lang_id": 512, "distribution_id": 512, "text_features": 256, "ewt": 512,
     "compound_words": 24, "latex": 1024, "wikidata": 128}
)  # fmt: skip
"""Tokens of a sequence in the paper; fewer where a model takes fewer."""
LATEX_SUFFIXES = (".tex", ".md", ".markdown", ".txt")
EWT = ("ewt_upos", "ewt_morph", "ewt_dep")


class HaystackInputs(Config):
    """Files and directories, each of which makes some of the ten collections possible."""

    text: str | None = None
    """Mixed text: token strings, compound words, and facts with a table of entities."""
    conllu: tuple[str, ...] = ()
    """Universal Dependencies files: parts of speech, morphology, dependency relations."""
    compound: str | None = None
    """Text for compound words; None takes `text`."""
    latex: str | None = None
    """LaTeX sources (.tex) or Markdown with formulas: a file or a directory."""
    facts: str | None = None
    """Table of entities (.csv or .jsonl), looked for in `text`."""
    programming: str | None = None
    """Source files in folders named after their language, or a .jsonl with `text` and `label`."""
    languages: str | None = None
    """Text in folders named after their language (`en`, `fr`, ...), or a .jsonl."""
    sources: str | None = None
    """Text in folders named after their source (`wikipedia`, `arxiv`, ...), or a .jsonl."""

    def possible(self) -> tuple[str, ...]:
        """The collections that these inputs allow, in the order of the paper."""
        there = {
            "programming_lang_id": self.programming,
            "natural_lang_id": self.languages,
            "distribution_id": self.sources,
            "text_features": self.text,
            **dict.fromkeys(EWT, self.conllu),
            "compound_words": self.compound or self.text,
            "latex": self.latex,
            "wikidata": self.facts if self.text else None,
        }
        return tuple(name for name in COLLECTIONS if there[name])


def build_all(
    inputs: HaystackInputs,
    tokenizer: Any,
    *,
    collections: Sequence[str] | None = None,
    most_context: int | None = None,
    rows: int | None = None,
    seed: int = 0,
) -> list[Built]:
    """The collections that the inputs allow, or those of them that are asked for.

    Args:
        inputs: Files and directories.
        tokenizer: Of the model.
        collections: Which ones; None takes all that are possible.
        most_context: Most tokens that the model takes.
        rows: Most rows a feature; None takes as many as the paper.
        seed: Of every draw.

    Raises:
        UnknownName: No such collection.
        InputError: A collection whose input is missing, or no input at all.
    """
    wanted = chosen_collections(inputs, collections)
    found: dict[str, Built] = {}
    for name in wanted:
        if name not in found:
            context = CONTEXTS["ewt" if name in EWT else name]
            context = context if most_context is None else min(context, most_context)
            found |= _make(name, inputs, tokenizer, context, rows, seed)
    return [found[name] for name in wanted]


def chosen_collections(inputs: HaystackInputs, collections: Sequence[str] | None) -> tuple[str, ...]:
    """The collections to build, in the order of the paper.

    Raises:
        UnknownName: No such collection.
        InputError: A collection whose input is missing, or no input at all.
    """
    possible = inputs.possible()
    if not possible:
        raise InputError(
            "no input allows any collection: give a text, a CoNLL-U file, labelled folders, LaTeX or, with a text that"
            " names them, a table of entities"
        )
    for name in collections or ():
        if name not in COLLECTIONS:
            raise unknown_name("collection", name, COLLECTIONS)
        if name not in possible:
            raise InputError(f"the collection {name} has no input; the inputs allow {', '.join(possible)}")
    return tuple(name for name in possible if collections is None or name in collections)


def read_latex(source: str | Path) -> list[Text]:
    """The documents of a LaTeX or Markdown file, of a directory of such files (and those below it), or what
    `read_texts` takes.
    """
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in LATEX_SUFFIXES)
        if not files:
            raise InputError(f"{path} has no {', '.join(LATEX_SUFFIXES)} files: give a file or a directory with some")
        return [Text(text=opened(file), id=file.relative_to(path).as_posix()) for file in files]
    if path.suffix in LATEX_SUFFIXES and path.exists():
        return [Text(text=opened(path), id=path.name)]
    return list(read_texts(path))


def _make(
    name: str, inputs: HaystackInputs, tokenizer: Any, context: int, rows: int | None, seed: int
) -> dict[str, Built]:
    """The collection of this name; the three of Universal Dependencies come together."""

    def most(paper: int) -> int:
        return min(paper, rows or paper)

    if name in EWT:
        sentences = read_conllu(inputs.conllu)
        return ud_features(sentences, tokenizer, context=context, rows=most(25_000), seed=seed)
    if name == "text_features":
        texts = read_texts(inputs.text)
        return {name: text_features(texts, tokenizer, context=context, rows=most(10_000), seed=seed)}
    if name == "compound_words":
        texts = read_texts(inputs.compound or inputs.text)
        return {name: compound_words(texts, tokenizer, context=context, rows=most(8000), seed=seed)}
    if name == "latex":
        texts = read_latex(inputs.latex or "")
        return {name: latex(texts, tokenizer, context=context, rows=most(20_000), seed=seed)}
    if name == "wikidata":
        entities = read_entities(inputs.facts)
        return {name: facts(read_texts(inputs.text), entities, tokenizer, context=context, rows=most(6000), seed=seed)}
    labelled = {
        "programming_lang_id": inputs.programming,
        "natural_lang_id": inputs.languages,
        "distribution_id": inputs.sources,
    }[name]
    return {name: identification(name, read_labelled(labelled), tokenizer, context=context, seed=seed)}
