"""Universal Dependencies files: sentences with the characters of every word, joined to documents.

| line of the file | what becomes of it |
|---|---|
| `8.1` (empty node) | left out: it has no characters |
| `1-2` (several words in one form) whose parts concatenate to the form | each part has its own characters |
| `1-2` of other parts | the first part has all characters, the others none |
| `# newdoc` | begins a document; where a file has none: the folder in `# source`, else `sent_id` without its last field |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from unweave.activations.haystack.identification import opened
from unweave.errors import InputError

FIELDS = 10


@dataclass(frozen=True, kw_only=True)
class Word:
    """One syntactic word; `start` and `end` are characters of its sentence, equal for a word without any."""

    form: str
    upos: str
    features: Mapping[str, str]
    relation: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One sentence as its forms and spaces spell it."""

    id: str
    text: str
    words: tuple[Word, ...]
    document: str
    told: str | None = None
    """The line `# text`."""


def read_conllu(source: str | Path | Iterable[str | Path]) -> list[Sentence]:
    """The sentences of a CoNLL-U file (also `.gz`, `.xz`), of all `.conllu*` files of a directory, or of several.

    Raises:
        InputError: No such file, or a line that is not CoNLL-U.

    Example:
        >>> row = "_\\t_\\t_\\t_\\t0\\troot\\t_"
        >>> lines = ["1-2\\tdon't\\t" + row + "\\t_", "1\\tdo\\tdo\\tAUX\\t_\\t_\\t2\\taux\\t_\\t_"]
        >>> lines.append("2\\tn't\\tnot\\tPART\\t_\\t_\\t0\\troot\\t_\\t_")
        >>> [(word.form, word.start, word.end) for word in sentences_of("\\n".join(lines), "x")[0].words]
        [('do', 0, 2), ("n't", 2, 5)]
    """
    if not isinstance(source, str | Path):
        return [sentence for one in source for sentence in read_conllu(one)]
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if ".conllu" in file.name)
        if not files:
            raise InputError(f"{path} has no .conllu files: give a file or a directory with some")
        return [sentence for file in files for sentence in read_conllu(file)]
    if not path.exists():
        raise InputError(f"no CoNLL-U file at {path}: give a .conllu file or a directory with some")
    return sentences_of(opened(path), str(path))


def sentences_of(text: str, name: str) -> list[Sentence]:
    """The sentences of the content of a file called `name`."""
    has_documents = re.search(r"^# newdoc", text, flags=re.MULTILINE) is not None
    found: list[Sentence] = []
    document, count = "", 0
    for number, block in _blocks(text):
        comments = dict(_comment(line) for line in block if line.startswith("#"))
        if "newdoc" in comments or "newdoc id" in comments:
            count += 1
            document = comments.get("newdoc id") or f"newdoc {count}"
        sentence_id = comments.get("sent_id", str(number))
        source = comments.get("source", "").rpartition("/")[0] or comments.get("source", "")
        own = document if has_documents else source or re.sub(r"[-._:][^-._:]*$", "", sentence_id)
        lines = [line.split("\t") for line in block if not line.startswith("#")]
        for fields in lines:
            if len(fields) != FIELDS:
                raise InputError(
                    f"{name} line {number}: a line of the sentence {sentence_id!r} has {len(fields)} fields: CoNLL-U"
                    f" has {FIELDS} with tabs between them"
                )
        spelt, words = _words(lines)
        if words:
            found.append(
                Sentence(id=sentence_id, text=spelt, words=words, document=f"{name}:{own}", told=comments.get("text"))
            )
    if not found:
        raise InputError(f"{name} has no sentences: a CoNLL-U file is needed")
    return found


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """(number of the first line, lines) of each sentence."""
    block: list[str] = []
    first = 1
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            if not block:
                first = number
            block.append(line)
        elif block:
            yield first, block
            block = []
    if block:
        yield first, block


def _comment(line: str) -> tuple[str, str]:
    key, _, value = line.lstrip("#").partition("=")
    return key.strip(), value.strip()


def _words(lines: list[list[str]]) -> tuple[str, tuple[Word, ...]]:
    """The text of a sentence, and its words."""
    text = ""
    spans: dict[str, tuple[int, int]] = {}
    covered: set[str] = set()
    forms = {fields[0]: fields[1] for fields in lines}
    found: list[Word] = []
    for fields in lines:
        number, form = fields[0], fields[1]
        if "." in number:
            continue
        if "-" in number:
            parts = [str(one) for one in range(int(number.split("-")[0]), int(number.split("-")[1]) + 1)]
            spans |= _part_spans(parts, forms, form, len(text))
            covered |= set(parts)
            text += form + _space_after(fields)
            continue
        if number not in covered:
            spans[number] = (len(text), len(text) + len(form))
            text += form + _space_after(fields)
        start, end = spans[number]
        features = dict(pair.split("=", 1) for pair in fields[5].split("|") if "=" in pair)
        found.append(Word(form=form, upos=fields[3], features=features, relation=fields[7], start=start, end=end))
    return text.rstrip(" "), tuple(found)


def _part_spans(parts: list[str], forms: Mapping[str, str], form: str, start: int) -> dict[str, tuple[int, int]]:
    end = start + len(form)
    if "".join(forms[part] for part in parts) != form:
        return {part: ((start, end) if part == parts[0] else (end, end)) for part in parts}
    spans = {}
    for part in parts:
        spans[part] = (start, start + len(forms[part]))
        start += len(forms[part])
    return spans


def _space_after(fields: list[str]) -> str:
    return "" if "SpaceAfter=No" in fields[9].split("|") else " "
