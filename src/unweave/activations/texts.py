"""Documents from what users have: a .txt, .jsonl or .csv file, a directory, standard input, or anything that can be
iterated over.

Read as a stream, so that a corpus of any length takes the memory of its largest document. Line ends of .txt files
become `\\n`, whatever they were; a byte-order mark is dropped.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unweave.errors import DataError, InputError
from unweave.places import Place, place_of

SUFFIXES = (".txt", ".jsonl", ".csv")


@dataclass(frozen=True, kw_only=True)
class Text:
    """One input document."""

    text: str
    id: str | None = None
    """Name by which a labels file may refer to it; its index in the input always works."""


def read_texts(source: Any) -> Iterator[Text]:
    """The documents of a source, in order, as a stream.

    Args:
        source: A path: `.txt` is cut into documents at blank lines, or at every line if it has none; `.jsonl` has a
            field `text` (and may have `id`) a line; `.csv` a column `text` (and may have `id`); in a directory, read in
            the order of names, each `.txt` is one document. `-` is standard input, cut like a `.txt`. Or an iterable of
            strings, of mappings with `text` and `id`, or of `Text`.

    Raises:
        InputError: No such file, not UTF-8 (with the byte), a line or row without text, or a source without any
            document.

    Example:
        >>> [text.text for text in read_texts(["one", {"text": "two", "id": "b"}])]
        ['one', 'two']
    """
    name = f"{source}" if isinstance(source, str | Path) else "the iterable"
    found = 0
    for text in _documents(source):
        _check_unicode(text.text, f"document {found} of {name}")
        found += 1
        yield text
    if not found:
        raise InputError(f"{name} has no text: at least one document is needed")


def _documents(source: Any) -> Iterator[Text]:
    if isinstance(source, str | Path):
        if str(source) == "-":
            return _paragraphs_or_lines(io.StringIO(_standard_input(), newline=None), "standard input")
        return _from_path(place_of(source))
    if not isinstance(source, Iterable):
        raise InputError(f"texts is a {type(source).__name__}: a path or an iterable of texts is needed")
    return (_as_text(item, number) for number, item in enumerate(source))


def _as_text(item: Any, number: int) -> Text:
    if isinstance(item, Text):
        return item
    if isinstance(item, str):
        return Text(text=str(item))  # numpy's strings too, which are written in another way than Python's
    if isinstance(item, Mapping) and isinstance(item.get("text"), str):
        return Text(text=str(item["text"]), id=None if item.get("id") is None else str(item["id"]))
    raise InputError(f"text {number} is a {type(item).__name__}: a string or a mapping with 'text' is needed")


def _standard_input() -> str:
    """All of standard input as UTF-8, whatever encoding the system has for it."""
    data = sys.stdin.buffer.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _not_utf8("standard input", io.BytesIO(data)) from None


def _check_unicode(text: str, where: str) -> None:
    """Raises for half of a surrogate pair, which JSON can spell but no tokenizer takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where} has the lone surrogate {text[error.start]!r} at character {error.start}: that is no Unicode text,"
            " replace it"
        ) from error


def _from_path(path: Place) -> Iterator[Text]:
    if path.is_dir():
        files = [file for file in sorted(path.iterdir(), key=str) if file.suffix in SUFFIXES]
        if not files:
            raise InputError(f"{path} has no {', '.join(SUFFIXES)} files: give a file or a directory with some")
        for file in files:
            yield from [Text(text=_whole(file), id=file.stem)] if file.suffix == ".txt" else _from_file(file)
    elif path.exists():
        yield from _from_file(path)
    else:
        raise InputError(f"no text file at {path}: give a {', '.join(SUFFIXES)} file or a directory")


def _from_file(path: Place) -> Iterator[Text]:
    readers = {".txt": _from_txt, ".jsonl": _from_jsonl, ".csv": _from_csv}
    if path.suffix not in readers:
        raise InputError(f"{path} is no {', '.join(SUFFIXES)} file: rename it, or give the texts as an iterable")
    try:
        yield from readers[path.suffix](path)
    except UnicodeDecodeError:
        with path.open("rb") as raw:
            raise _not_utf8(path, raw) from None


@contextmanager
def _open(path: Place, *, newline: str | None = None) -> Generator[io.TextIOBase, None, None]:
    """The file; what goes wrong while it is read is said of it, not of where its text goes."""
    try:
        with path.open(encoding="utf-8-sig", newline=newline) as stream:
            yield stream
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give a text file that can") from error


def _whole(path: Place) -> str:
    try:
        with _open(path) as stream:
            return stream.read()
    except UnicodeDecodeError:
        with path.open("rb") as stream:
            raise _not_utf8(path, stream) from None


def _from_txt(path: Place) -> Iterator[Text]:
    with _open(path) as stream:
        yield from _paragraphs_or_lines(stream, str(path))


def _paragraphs_or_lines(stream: io.TextIOBase, name: str) -> Iterator[Text]:
    """Blank lines separate documents if there are any between two texts; a first pass finds out and stops at the
    first.
    """
    if not stream.seekable():
        raise InputError(f"{name} cannot be read twice: save it to a file")
    by_paragraph = _has_inner_blank_line(stream)
    stream.seek(0)
    if not by_paragraph:
        yield from (Text(text=line.rstrip("\n")) for line in stream if line.strip())
        return
    lines: list[str] = []
    for line in stream:
        if line.strip():
            lines.append(line)
        elif lines:
            yield Text(text="".join(lines).rstrip("\n"))
            lines = []
    if lines:
        yield Text(text="".join(lines).rstrip("\n"))


def _has_inner_blank_line(stream: io.TextIOBase) -> bool:
    seen_text = seen_blank = False
    for line in stream:
        if line.strip():
            if seen_blank:
                return True
            seen_text = True
        elif seen_text:
            seen_blank = True
    return False


def _from_jsonl(path: Place) -> Iterator[Text]:
    with _open(path) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except UnicodeDecodeError:
                raise
            except (ValueError, RecursionError) as error:
                told = getattr(error, "msg", str(error))
                raise InputError(
                    f"{path} line {number} is not JSON ({told}): one object with a field 'text' a line is needed"
                ) from error
            if not isinstance(record, dict) or not isinstance(record.get("text"), str):
                raise InputError(f"{path} line {number} has no field 'text' with a string: every line needs one")
            yield _as_text(record, number)


def _from_csv(path: Place) -> Iterator[Text]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with _open(path, newline="") as stream:
        reader = csv.DictReader(stream)
        if "text" not in (reader.fieldnames or []):
            raise InputError(f"{path} has the columns {reader.fieldnames}: a column 'text' is needed")
        for record in reader:
            if record["text"] is None:
                raise DataError(f"{path} line {reader.line_num} is cut short: it has no 'text'")
            yield _as_text(record, reader.line_num)


def _not_utf8(name: str | Place, stream: io.BufferedIOBase) -> InputError:
    """The error with the byte of the file; a text stream's own error counts from its last chunk."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    read = unfinished = place = 0
    try:
        chunk = b"start"
        while chunk:
            chunk = stream.read(1 << 20)
            decoder.decode(chunk, final=not chunk)
            read, unfinished = read + len(chunk), len(decoder.getstate()[0])
    except UnicodeDecodeError as error:
        place = read - unfinished + error.start
    return InputError(f"{name} is not UTF-8 at byte {place}: convert it, for example with `iconv -t utf-8`")
