"""Documents from files, standard input and iterables."""

from __future__ import annotations

import csv
import errno
import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores import EXAMPLES
from unweave.activations.texts import Text, read_texts
from unweave.errors import DataError, InputError


def texts_of(source) -> list[str]:
    return [text.text for text in read_texts(source)]


def written(tmp_path: Path, name: str, data: bytes | str) -> Path:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def standard_input(monkeypatch, data: bytes) -> None:
    # an encoding that would read the bytes wrong: UTF-8 must not depend on the system's settings
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="latin-1"))


@pytest.mark.parametrize(
    ("content", "documents"),
    [
        ("one\ntwo\nthree\n", ["one", "two", "three"]),
        ("one\ntwo", ["one", "two"]),
        ("one\ntwo\n\nthree\nfour\n", ["one\ntwo", "three\nfour"]),
        ("one\n \t\ntwo\n\n\n\nthree", ["one", "two", "three"]),
        ("\n\n  one\ntwo\n\n\n", ["  one", "two"]),
        ("\n\none  \ntwo\n\nthree\n\n", ["one  \ntwo", "three"]),
        ("alone", ["alone"]),
    ],
    ids=["lines", "no final newline", "paragraphs", "blank with spaces", "blank ends are no cut", "both", "one"],
)
def test_txt_is_cut_at_inner_blank_lines_else_at_every_line(tmp_path, content, documents):
    assert texts_of(written(tmp_path, "a.txt", content)) == documents


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("from_stdin", [False, True])
def test_every_line_end_becomes_a_line_feed(tmp_path, monkeypatch, end, from_stdin):
    data = end.join(["one", "two", "", "three", ""]).encode()
    standard_input(monkeypatch, data)
    assert texts_of("-" if from_stdin else written(tmp_path, "a.txt", data)) == ["one\ntwo", "three"]


@pytest.mark.parametrize("mark", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv"])
def test_other_separators_are_characters_like_any(tmp_path, name, mark):
    text = f"before{mark}after"
    content = {
        "a.txt": text,
        "a.jsonl": json.dumps({"text": text}, ensure_ascii=False) if ord(mark) > 31 else json.dumps({"text": text}),
        "a.csv": f"text\n{text}\n",
    }[name]
    assert texts_of(written(tmp_path, name, content)) == [text]


@pytest.mark.parametrize(
    "text",
    [
        "\U0001f600\U0001f468\u200d\U0001f469",
        "\u05e9\u05dc\u05d5\u05dd \u0639\u0631\u0628\u064a",
        "e\u0301\u0323",
        "\U00010348",
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv"])
def test_every_script_arrives_as_it_was_written(tmp_path, name, text):
    content = {"a.txt": text, "a.jsonl": json.dumps({"text": text}, ensure_ascii=False), "a.csv": f"text\n{text}\n"}
    assert texts_of(written(tmp_path, name, content[name])) == [text]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "one\n\ntwo"),
        ("a.txt", "one\ntwo"),
        ("a.jsonl", '{"text": "one"}\n{"text": "two"}'),
        ("a.csv", "text\none\ntwo\n"),
    ],
)
def test_byte_order_mark_is_dropped(tmp_path, name, content):
    assert texts_of(written(tmp_path, name, b"\xef\xbb\xbf" + content.encode())) == ["one", "two"]


def test_byte_order_mark_of_standard_input_is_dropped(monkeypatch):
    standard_input(monkeypatch, b"\xef\xbb\xbfone\ntwo \xc3\xa9")
    assert texts_of("-") == ["one", "two \u00e9"]


def test_jsonl_has_text_and_id(tmp_path):
    path = written(tmp_path, "a.jsonl", '{"text": "one", "id": "a"}\n\n{"text": "", "id": 7, "more": [1]}\n')
    assert list(read_texts(path)) == [Text(text="one", id="a"), Text(text="", id="7")]


def test_csv_keeps_quoted_newlines_commas_and_quotes(tmp_path):
    rows = [("a", 'one\ntwo, "three"'), ("b", "plain"), ("c", "cr\rlf\r\nend")]
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([("id", "text"), *rows])
    assert [(text.id, text.text) for text in read_texts(written(tmp_path, "a.csv", stream.getvalue()))] == rows


def test_directory_is_read_in_the_order_of_names(tmp_path):
    for name, content in {
        "b.txt": "whole\n\nfile\r\n",
        "a.jsonl": '{"text": "first", "id": "j"}',
        "c.csv": "text\nrow\n",
        "d.md": "not read",
    }.items():
        written(tmp_path, name, content)
    found = list(read_texts(tmp_path))
    assert [text.text for text in found] == ["first", "whole\n\nfile\n", "row"]
    assert [text.id for text in found] == ["j", "b", None]


@pytest.mark.parametrize("kind", [list, tuple, iter, lambda items: (item for item in items)])
def test_iterables_of_strings_mappings_and_texts(kind):
    items = ["one", {"text": "two", "id": 2}, Text(text="three", id="c"), ""]
    assert [(text.text, text.id) for text in read_texts(kind(items))] == [
        ("one", None),
        ("two", "2"),
        ("three", "c"),
        ("", None),
    ]


def test_iterables_are_read_as_a_stream():
    def endless():
        yield "one"
        raise AssertionError("read further than asked")

    assert next(read_texts(endless())).text == "one"


@EXAMPLES
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip), min_size=1, max_size=6)
)
def test_paragraphs_written_with_blank_lines_come_back(tmp_path_factory, paragraphs):
    # what a .txt file cannot say: blank lines and line ends inside a paragraph's own text
    clean = ["\n".join(line for line in text.replace("\r", "\n").split("\n") if line.strip()) for text in paragraphs]
    path = tmp_path_factory.mktemp("texts") / "a.txt"
    path.write_bytes("\n\n".join([*clean, "end"]).encode())
    # a byte-order mark in front is taken for one
    assert texts_of(path) == [clean[0].removeprefix("\ufeff"), *clean[1:], "end"]


@pytest.mark.parametrize("content", ["", "\n", " \n\t\n\r\n", "\ufeff"])
@pytest.mark.parametrize("source", ["a.txt", "-"])
def test_empty_and_blank_input_is_named(tmp_path, monkeypatch, content, source):
    standard_input(monkeypatch, content.encode())
    path = source if source == "-" else written(tmp_path, source, content)
    with pytest.raises(InputError, match="has no text: at least one document is needed") as error:
        texts_of(path)
    assert str(path if source != "-" else "-") in str(error.value)


@pytest.mark.parametrize(("name", "content"), [("a.jsonl", "\n\n"), ("a.csv", "text,id\n")])
def test_files_without_records_are_named(tmp_path, name, content):
    path = written(tmp_path, name, content)
    with pytest.raises(InputError, match=f"{name} has no text: at least one"):
        texts_of(path)


def test_missing_file_wrong_suffix_and_empty_directory_say_what_to_give(tmp_path):
    with pytest.raises(InputError, match=r"no text file at .*nowhere\.txt: give a \.txt, \.jsonl, \.csv file or a dir"):
        texts_of(tmp_path / "nowhere.txt")
    with pytest.raises(InputError, match=r"a\.md is no \.txt, \.jsonl, \.csv file: rename it, or give the texts as an"):
        texts_of(written(tmp_path, "a.md", "x"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty has no \.txt, \.jsonl, \.csv files: give a file or a directory with"):
        texts_of(tmp_path / "empty")


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(InputError, match=r"folder\.txt cannot be read \(Is a directory\): give a text file that can"):
        texts_of(tmp_path)


@pytest.mark.parametrize(
    ("before", "bad"),
    [
        (b"", b"\xff"),
        (b"ab", b"\xc3("),
        (b"\xef\xbb\xbfabc", b"\xfe"),
        (b"x" * 70_000, b"\xff"),
        (b"line\n\n" * 20_000, b"\x80"),
        ("\u00e9".encode() * 600_000, b"\xe2\x82"),
        (b"y" * ((1 << 20) - 1) + "\u00e9".encode(), b"\xf0\x9f"),
    ],
    ids=["first", "third", "behind a mark", "70 kB", "paragraphs", "cut at the end", "over a chunk"],
)
@pytest.mark.parametrize("source", ["file", "folder", "stdin"])
def test_not_utf8_is_named_with_the_byte_of_the_file(tmp_path, monkeypatch, before, bad, source):
    path = written(tmp_path, "a.txt", before + bad)
    standard_input(monkeypatch, before + bad)
    given_source = {"file": path, "folder": tmp_path, "stdin": "-"}[source]
    name = "standard input" if source == "stdin" else str(path)
    with pytest.raises(InputError) as error:
        texts_of(given_source)
    assert str(error.value) == (
        f"{name} is not UTF-8 at byte {len(before)}: convert it, for example with `iconv -t utf-8`"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"text": "cut',
            r"a\.jsonl line 3 is not JSON \(.+\): one object with a field 'text' a line",
        ),
        ('{"texts": "x"}', "line 3 has no field 'text' with a string: every line needs one"),
        ('{"text": 5}', "line 3 has no field 'text' with a string: every line needs one"),
        ('["text"]', "line 3 has no field 'text' with a string: every line needs one"),
    ],
)
def test_broken_jsonl_lines_are_named(tmp_path, line, message):
    path = written(tmp_path, "a.jsonl", f'{{"text": "fine"}}\n\n{line}\n')
    with pytest.raises(InputError, match=message):
        texts_of(path)


def test_csv_without_the_column_or_with_a_short_row_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a\.csv has the columns \['txt', 'id'\]: a column 'text' is needed"):
        texts_of(written(tmp_path, "a.csv", "txt,id\nx,1\n"))
    with pytest.raises(InputError, match=r"empty\.csv has the columns None: a column 'text' is needed"):
        texts_of(written(tmp_path, "empty.csv", ""))
    with pytest.raises(DataError, match=r"b\.csv line 3 is cut short: it has no 'text'"):
        texts_of(written(tmp_path, "b.csv", "id,text\n1,x\n2\n"))


@pytest.mark.parametrize(("items", "kind"), [(["a", 5], "int"), ([{"txt": "a"}], "dict"), ([b"bytes"], "bytes")])
def test_items_that_are_no_text_are_named(items, kind):
    with pytest.raises(InputError, match=f"text {len(items) - 1} is a {kind}: a string or a mapping with 'text'"):
        texts_of(items)


def test_sources_that_are_no_texts_at_all_are_named():
    with pytest.raises(InputError, match="texts is a int: a path or an iterable of texts is needed"):
        texts_of(5)
    with pytest.raises(InputError, match="the iterable has no text: at least one document is needed"):
        texts_of([])


def test_half_a_surrogate_pair_is_named(tmp_path):
    path = written(tmp_path, "a.jsonl", '{"text": "fine"}\n{"text": "ab\\ud83d!"}\n')
    with pytest.raises(InputError, match=r"document 1 of .*a\.jsonl has the lone surrogate '\\ud83d' at character 2: "):
        texts_of(path)


def test_a_pipe_that_cannot_be_read_twice_is_refused(tmp_path, monkeypatch):
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    path = written(tmp_path, "pipe.txt", "text")
    monkeypatch.setattr(Path, "open", lambda *_, **__: io.TextIOWrapper(Pipe(b"text"), encoding="utf-8"))
    with pytest.raises(InputError, match=r"pipe\.txt cannot be read twice: save it to a file"):
        texts_of(path)


@pytest.mark.parametrize("suffix", ["txt", "jsonl", "csv"])
def test_a_disk_that_fails_while_the_text_is_read_is_said_of_the_text(tmp_path, suffix, monkeypatch):
    """Not of the store, whose writing reads it."""
    path = tmp_path / f"file.{suffix}"
    path.write_text("text\n" * 3)

    def failing(self, *_args, **_options):
        return io.TextIOWrapper(io.BufferedReader(Failing()), encoding="utf-8")

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(InputError, match=rf"file\.{suffix} cannot be read \(Input/output error\)"):
        list(read_texts(path))


class Failing(io.RawIOBase):
    """A file on a broken disk."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, _offset, _whence=0) -> int:
        return 0

    def readinto(self, _buffer):
        raise OSError(errno.EIO, "Input/output error")
