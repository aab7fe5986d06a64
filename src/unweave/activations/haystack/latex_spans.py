"""Where the parts of a LaTeX or Markdown text are: formulas, fractions, scripts, citations, title, abstract, author.

| kind | pandoc | native, besides |
|---|---|---|
| inline | `$...$` | `\\(...\\)` |
| display | `$$...$$` | `\\[...\\]`, equation, align, gather, multline |
| numerator, denominator | the two groups of `\\frac{..}{..}` | the same |
| subscript, superscript | `_{..}`, `^{..}` | the same |
| reference | `[@..]` | `\\cite*{..}` |
| title, author, abstract | front matter | `\\title{..}`, `\\author{..}`, the environment abstract |
| start, end | the delimiters of a formula | the same |

A span is what is between the delimiters. Groups are matched with nesting; a backslash takes the next character with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from unweave.errors import unknown_name

Dialect = Literal["pandoc", "native"]
DIALECTS: tuple[Dialect, ...] = ("pandoc", "native")
Span = tuple[int, int]
KINDS = ("inline", "display", "numerator", "denominator", "subscript", "superscript", "reference", "title", "author",
         "abstract", "start", "end")  # fmt: skip
CUTS: Mapping[str, tuple[int, int]] = MappingProxyType({"title": (50, 50), "abstract": (400, 250), "author": (200, 75)})
"""Part -> (characters above which it is cut, characters it is cut to)."""
_ENVIRONMENT = re.compile(r"\\(begin|end)\{(equation|align|gather|multline)\*?\}")
_FRACTION = re.compile(r"\\[dtc]?frac(?![a-zA-Z])")
_CITATION = re.compile(r"\\[a-zA-Z]*cite[a-zA-Z]*\*?(?:\[[^\]]*\])*(?=\{)")
_FRONT = re.compile(r"^(title|author|abstract):[ \t]*", flags=re.MULTILINE)
_NEXT_KEY = re.compile(r"^(?:[A-Za-z][\w-]*:|---|\.\.\.)", flags=re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class LatexSpans:
    """Spans of a text by kind, in characters; `problem` says why the text cannot be used."""

    spans: Mapping[str, tuple[Span, ...]]
    problem: str = ""


def latex_spans(text: str, dialect: Dialect = "pandoc") -> LatexSpans:
    """The spans of a text.

    Raises:
        UnknownName: No such dialect.

    Example:
        >>> found = latex_spans("a $x_{1}$ b")
        >>> found.spans["inline"], found.spans["subscript"], found.spans["start"]
        (((3, 8),), ((6, 7),), ((2, 3),))
    """
    if dialect not in DIALECTS:
        raise unknown_name("dialect", dialect, DIALECTS)
    found: dict[str, list[Span]] = {kind: [] for kind in KINDS}
    hidden = _hidden(text, dialect)
    dollars = _mathematics(text, dialect, hidden, found)
    if dollars % 2:
        return LatexSpans(spans={}, problem="an odd number of dollar signs")
    _scripts(text, hidden, found)
    _references(text, dialect, hidden, found)
    _front(text, dialect, hidden, found)
    return LatexSpans(spans={kind: tuple(sorted(spans)) for kind, spans in found.items()})


def group_end(text: str, start: int) -> int | None:
    """One past the brace that closes the one at `start`; None if none does.

    Example:
        >>> group_end("{a{b}c}d", 0)
        7
    """
    depth = 0
    place = start
    while place < len(text):
        character = text[place]
        if character == "\\":
            place += 2
            continue
        depth += (character == "{") - (character == "}")
        place += 1
        if not depth:
            return place
    return None


def _hidden(text: str, dialect: Dialect) -> bytearray:
    """1 at every character that is escaped or, natively, commented out."""
    hidden = bytearray(len(text))
    place = 0
    while place < len(text):
        if text[place] == "\\":
            if place + 1 < len(text):
                hidden[place + 1] = 1
            place += 2
        elif text[place] == "%" and dialect == "native":
            stop = text.find("\n", place)
            stop = len(text) if stop < 0 else stop
            hidden[place:stop] = b"\x01" * (stop - place)
            place = stop
        else:
            place += 1
    return hidden


def _delimiters(text: str, dialect: Dialect, hidden: bytearray) -> Iterator[tuple[int, int, str]]:
    """(start, end, what) of everything that begins or ends a formula; what is `$`, `$$`, or `+` and `-` with a name."""
    place = 0
    while place < len(text):
        if text[place] == "$" and not hidden[place]:
            double = text.startswith("$$", place) and not hidden[place + 1]
            yield place, place + 1 + double, "$$" if double else "$"
            place += 1 + double
        elif dialect == "native" and text[place] == "\\" and not hidden[place]:
            found = _ENVIRONMENT.match(text, place)
            if found:
                yield place, found.end(), ("+" if found[1] == "begin" else "-") + found[2]
                place = found.end()
            else:
                if text[place + 1 : place + 2] in ("(", "[", ")", "]"):
                    name = {"(": "+round", ")": "-round", "[": "+square", "]": "-square"}[text[place + 1]]
                    yield place, place + 2, name
                place += 2
        else:
            place += 1


def _mathematics(text: str, dialect: Dialect, hidden: bytearray, found: dict[str, list[Span]]) -> int:
    """Notes inline and display formulas with their delimiters; returns the number of unescaped dollar signs."""
    dollars = 0
    opened: tuple[int, int, str] | None = None
    for start, end, what in _delimiters(text, dialect, hidden):
        dollars += what.count("$")
        if opened is None:
            opened = (start, end, what) if what[0] in "$+" else None
        elif what == (opened[2] if opened[2][0] == "$" else "-" + opened[2][1:]):
            kind = "inline" if what in ("$", "-round") else "display"
            if opened[1] < start:
                found[kind].append((opened[1], start))
                found["start"].append((opened[0], opened[1]))
                found["end"].append((start, end))
            opened = None
    return dollars


def _scripts(text: str, hidden: bytearray, found: dict[str, list[Span]]) -> None:
    for place, character in enumerate(text):
        if character in "_^" and not hidden[place] and text.startswith("{", place + 1):
            stop = group_end(text, place + 1)
            if stop is not None:
                _note(found["subscript" if character == "_" else "superscript"], place + 2, stop - 1)
    for match in _FRACTION.finditer(text):
        if hidden[match.start()]:
            continue
        groups = _groups(text, match.end(), 2)
        if groups:
            _note(found["numerator"], *groups[0])
            _note(found["denominator"], *groups[1])


def _groups(text: str, place: int, count: int) -> list[Span]:
    """The content of the next brace groups, white space between them allowed; empty if there are not so many."""
    groups: list[Span] = []
    while len(groups) < count:
        while place < len(text) and text[place].isspace():
            place += 1
        stop = group_end(text, place) if text.startswith("{", place) else None
        if stop is None:
            return []
        groups.append((place + 1, stop - 1))
        place = stop
    return groups


def _references(text: str, dialect: Dialect, hidden: bytearray, found: dict[str, list[Span]]) -> None:
    for match in re.finditer(r"\[@[^\]]*\]", text):
        if not hidden[match.start()]:
            _note(found["reference"], match.start() + 1, match.end() - 1)
    if dialect == "native":
        for match in _CITATION.finditer(text):
            stop = group_end(text, match.end())
            if not hidden[match.start()] and stop is not None:
                _note(found["reference"], match.end() + 1, stop - 1)


def _front(text: str, dialect: Dialect, hidden: bytearray, found: dict[str, list[Span]]) -> None:
    for name, start, stop in _parts(text, dialect):
        most, least = CUTS[name]
        while start < stop and text[start].isspace():
            start += 1
        if start < stop and not hidden[start]:
            _note(found[name], start, start + least if stop - start > most else stop)


def _parts(text: str, dialect: Dialect) -> Iterator[tuple[str, int, int]]:
    """(part, start, end) of the front matter, or of the commands and the environment that stand for it."""
    if dialect == "native":
        for match in re.finditer(r"\\(title|author)\s*(?:\[[^\]]*\])?\s*(?=\{)", text):
            stop = group_end(text, match.end())
            if stop is not None:
                yield match[1], match.end() + 1, stop - 1
        for match in re.finditer(r"\\begin\{abstract\}(.*?)\\end\{abstract\}", text, flags=re.DOTALL):
            yield "abstract", match.start(1), match.end(1)
        return
    block = re.match(r"\s*---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*$", text, flags=re.DOTALL | re.MULTILINE)
    if block is None:
        return
    for match in _FRONT.finditer(text, block.start(1), block.end(1)):
        following = _NEXT_KEY.search(text, match.end(), block.end(1))
        stop = following.start() if following else block.end(1)
        mark = re.compile(r"[|>][-+]?[ \t]*\n").match(text, match.end(), stop)  # a block of lines in YAML
        start = mark.end() if mark else match.end()
        while stop > start and text[stop - 1].isspace():
            stop -= 1
        yield match[1], start, stop


def _note(spans: list[Span], start: int, end: int) -> None:
    if start < end:
        spans.append((start, end))
