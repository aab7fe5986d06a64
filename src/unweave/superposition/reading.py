"""Units and raw tokens of any text in one pass, before a vocabulary is chosen.

Every document becomes lines (a unit each), every line is cut at what is no letter or digit, and each distinct run is
given a number. Python looks at a run once per type and numpy at the rest: lines of plain ASCII are cut by a table of
bytes, other lines by a regular expression. Words are decided later, on types.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from unweave.activations.texts import read_texts
from unweave.errors import InputError
from unweave.superposition.spill import Growing

Tokenizer = Callable[[str], list[str]]

BORDER = b"\x00"
"""Stands for the end of a unit among the runs; no text keeps it."""
SLICE = 50_000
"""Lines that are cut together."""
PIECE = 8 * 2**20
"""Bytes of a file that are read together."""
_NO_WORD = re.compile(r"[^\w\n]|_")
_KEPT = bytes(code if code == 10 or code >= 128 or (code < 128 and chr(code).isalnum()) else 32 for code in range(256))


@dataclass(frozen=True, eq=False, kw_only=True)
class Units:
    """All units of a text: their runs by number, and which document each unit is of."""

    runs: Int[np.ndarray, " t"]
    """Number of the type of each run, unit after unit."""
    ends: Int[np.ndarray, " u"]
    """Where each unit ends among the runs."""
    document: Int[np.ndarray, " u"]
    """Number of its document."""
    types: list[str]
    """The runs themselves, or words where a tokenizer gave them."""
    are_words: bool
    """Whether types are words already."""
    bytes_read: int
    dropped: int
    """Units that were blank or too short."""
    unknown: int
    """Markers of replaced words that were taken out."""


class _Numbers(dict[Any, int]):
    """Gives every new key the next number."""

    def __missing__(self, key: Any) -> int:
        """The next number."""
        self[key] = found = len(self)
        return found


def read_units(
    texts: Any,
    *,
    documents: str,
    least: int,
    keep_slots: bool,
    lowercase: bool,
    unknown: str | None,
    tokenizer: Tokenizer | None = None,
) -> Units:
    """The units of a text.

    Args:
        texts: What `bags` takes.
        documents: How documents are told apart, as in `bags`.
        least: Characters that a unit needs, blanks at its ends not counted.
        keep_slots: Whether shorter units stay as empty ones.
        lowercase: Whether case is folded.
        unknown: A marker that is taken out of the text.
        tokenizer: What cuts a unit into words; None is the rule of `words_in`.

    Raises:
        InputError: No text, or something else than text.
    """
    numbers = _Numbers({} if tokenizer is not None else {BORDER: 0})
    cut = _by_callable if tokenizer is not None else _by_table
    runs, sizes, document = Growing(np.int32), Growing(np.int64), Growing(np.int64)
    size = dropped = taken_out = 0
    last = -1
    for number, lines in document_lines(texts, documents):
        size += sum(map(len, lines)) + len(lines) - (number != last)
        last = number
        kept = [line if len(line.strip()) >= max(1, least) else "" for line in lines]
        if not keep_slots:
            kept = [line for line in kept if line]
        dropped += len(lines) - sum(map(bool, kept))
        for first in range(0, len(kept), SLICE):
            part = [line.replace("\x00", " ") if "\x00" in line else line for line in kept[first : first + SLICE]]
            if unknown:
                taken_out += sum(line.count(unknown) for line in part)
                part = [line.replace(unknown, " ") for line in part]
            if lowercase:
                part = [line.lower() for line in part]
            own, lengths = cut(part, numbers, tokenizer)
            runs.add(own)
            sizes.add(lengths)
            document.add(np.full(len(lengths), number))
    types = [key if isinstance(key, str) else key.decode("utf-8") for key in numbers]
    return Units(
        runs=runs.whole(), ends=np.cumsum(sizes.whole()), document=document.whole(), types=types,
        are_words=tokenizer is not None, bytes_read=size, dropped=dropped, unknown=taken_out,
    )  # fmt: skip


def _by_table(lines: list[str], numbers: _Numbers, _tokenizer: Tokenizer | None) -> tuple[np.ndarray, np.ndarray]:
    """(types of the runs, runs of each unit)."""
    text = "\n".join(lines)
    if not text.isascii():
        text = "\n".join(line if line.isascii() else _NO_WORD.sub(" ", line) for line in lines)
    pieces = text.encode("utf-8").translate(_KEPT).replace(b"\n", b" \x00 ").split()
    runs = np.fromiter(map(numbers.__getitem__, pieces), dtype=np.int32, count=len(pieces))
    borders = np.flatnonzero(runs == 0)
    sizes = np.diff(np.concatenate([[-1], borders, [len(runs)]])) - 1
    return runs[runs != 0], sizes


def _by_callable(lines: list[str], numbers: _Numbers, tokenizer: Tokenizer | None) -> tuple[np.ndarray, np.ndarray]:
    if tokenizer is None:
        raise RuntimeError("units are cut by a tokenizer that is not there")
    units = [[str(word) for word in tokenizer(line)] for line in lines]
    flat = [word for unit in units for word in unit]
    runs = np.fromiter(map(numbers.__getitem__, flat), dtype=np.int32, count=len(flat))
    return runs, np.array([len(unit) for unit in units], dtype=np.int64)


def document_lines(texts: Any, documents: str) -> Iterator[tuple[int, list[str]]]:
    """(number of the document, some of its lines) in order: files are read in pieces, whatever their size.

    Args:
        texts: What `bags` takes.
        documents: How documents are told apart.

    Raises:
        InputError: No text, or no such rule.
    """
    source = _source(texts)
    if documents == "auto":
        return _auto(source)
    if documents == "each":
        return ((number, lines) for number, text in enumerate(source) for lines in _blocks(text))
    if documents == "stream":
        return ((0, lines) for text in source for lines in _blocks(text))
    try:
        border = re.compile(documents)
    except re.error as error:
        raise InputError(
            f"documents is {documents!r}: 'auto', 'each', 'stream' or a regular expression is needed ({error})"
        ) from error
    return _at_borders(source, border)


def _auto(source: Iterable[Any]) -> Iterator[tuple[int, list[str]]]:
    number, running = 0, False
    for text in source:
        blocks = _blocks(text)
        first = next(blocks)
        alone = len(first) == 1 and isinstance(text, str | Path)
        second = next(blocks, None) if alone else None
        if alone and second is None:
            yield number, first
            running = True
            continue
        number += running
        running = False
        yield number, first
        for lines in chain([second] if second is not None else [], blocks):
            yield number, lines
        number += 1


def _at_borders(source: Iterable[Any], border: re.Pattern[str]) -> Iterator[tuple[int, list[str]]]:
    number, is_open = 0, False
    for text in source:
        for lines in _blocks(text):
            begin = 0
            for place, line in enumerate(lines):
                if border.search(line) and (is_open or place > begin):
                    if place > begin:
                        yield number, lines[begin:place]
                    number, begin, is_open = number + 1, place, False
            yield number, lines[begin:]
            is_open = True


def _blocks(text: Any) -> Iterator[list[str]]:
    """The lines of one text, in pieces where it is a file."""
    if isinstance(text, Path):
        yield from _file_lines(text)
    else:
        yield _lines(text).split("\n")


def _lines(text: Any) -> str:
    """A text with plain line feeds; the units of an iterable one a line."""
    if isinstance(text, str):
        return text if "\r" not in text else text.replace("\r\n", "\n").replace("\r", "\n")
    if isinstance(text, Iterable) and not isinstance(text, bytes):
        units = list(text)
        if all(isinstance(one, str) for one in units):
            return "\n".join(re.sub(r"[\r\n]+", " ", one) for one in units)
    raise InputError(
        f"a text is a {type(text).__name__}: strings, or lists of strings (documents of units), are needed"
    )


def _source(texts: Any) -> Iterable[Any]:
    """Strings or lists of strings from a path, one text, or what can be gone through."""
    if isinstance(texts, Path) or (isinstance(texts, str) and _is_path(texts)):
        return texts_of(Path(texts))
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, bytes) or not isinstance(texts, Iterable):
        raise InputError(f"texts is a {type(texts).__name__}: a path, a text or a list of texts is needed")
    return texts


def _is_path(text: str) -> bool:
    """Whether a short string names something on the disk."""
    if "\n" in text or len(text) > 1000 or "\x00" in text:
        return False
    try:
        return Path(text).exists()
    except OSError:
        return False


def texts_of(path: Path) -> Iterator[Any]:
    """What one file or directory holds: a .txt file is itself one text, read when its turn comes; other files are read
    as `unweave.read_texts` does.

    Args:
        path: The file or directory.
    """
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if file.suffix in (".txt", ".jsonl", ".csv", ".json"):
                yield from texts_of(file)
    elif path.suffix in (".jsonl", ".csv"):
        yield from (one.text for one in read_texts(path))
    elif path.suffix == ".json":
        yield from _json_texts("\n".join(line for lines in _file_lines(path) for line in lines), path)
    else:
        yield path


def _file_lines(path: Path) -> Iterator[list[str]]:
    """Lines of a file in pieces of some megabytes, cut at line feeds."""
    rest: list[bytes] = []
    at = 0
    try:
        with path.open("rb") as stream:
            while part := stream.read(PIECE):
                cut = part.rfind(b"\n")
                if cut < 0:
                    rest.append(part)
                    continue
                whole = b"".join([*rest, part[:cut]])
                rest = [part[cut + 1 :]]
                yield _decoded(whole.removesuffix(b"\r"), at, path)
                at += len(whole) + 1
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): give a text file that can") from error
    yield _decoded(b"".join(rest), at, path)


def _decoded(piece: bytes, at: int, path: Path) -> list[str]:
    if at == 0:
        piece = piece.removeprefix(codecs.BOM_UTF8)
    try:
        return _lines(piece.decode("utf-8")).split("\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 at byte {at + error.start}: convert it, for example with `iconv -t utf-8`"
        ) from error


def _json_texts(text: str, path: Path) -> list[str]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON ({error.msg}): a list of strings is needed") from error
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise InputError(f"{path} holds something else than a list of strings: that is what is read from .json")
    return found
