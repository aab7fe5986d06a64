"""Bags are the sets of words of windows, whatever the text: against a twin of ten lines, borders, splits, failures."""

import random
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

import unweave as uw
from unweave.errors import DataError, InputError, StoreError, UnknownName
from unweave.superposition.bags import bags
from unweave.superposition.words import words_in

LETTERS = "abAB éß漢ש🎉_-.,0159\t"


def twin(documents, vocab, window):
    """Windows as sets, by the definition."""
    rows = []
    for units in documents:
        found = []
        for unit in units:
            runs = "".join(one if one.isalnum() else " " for one in unit).split()
            found.append({word for run in runs for word in words_in(run)})
        for start in range(max(1, len(found) - window + 1)):
            union = set().union(*found[start : start + window])
            rows.append([int(word in union) for word in vocab])
    return np.array(rows)


def random_documents(seed):
    rng = random.Random(seed)
    word = lambda: "".join(rng.choice(LETTERS) for _ in range(rng.randint(1, 4)))  # noqa: E731
    return [[" ".join(word() for _ in range(rng.randint(1, 6))) for _ in range(rng.randint(2, 9))] for _ in range(12)]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_windows_are_unions_of_units(seed, end):
    units = [[unit for unit in one if unit.strip()] for one in random_documents(seed)]
    units = [one for one in units if len(one) > 1]
    found = bags([end.join(one) for one in units], vocab=30, window=3, stop=None, split=None)
    assert np.array_equal(found.dense(), twin(units, found.vocab, 3))
    assert found.n_windows == sum(max(1, len(one) - 2) for one in units)
    assert np.array_equal(found.dense(2, 5), found.dense()[2:5])
    columns, begins = found.rows([4, 0])
    assert sorted(columns[: begins[1]]) == np.flatnonzero(found.dense()[4]).tolist()


def test_lists_of_units_files_and_lines_are_the_same(tmp_path):
    lines = [f"word{number % 7} cat dog{number % 3}" for number in range(40)]
    file = tmp_path / "a.txt"
    file.write_text("\n".join(lines) + "\n\n")
    ways = [lines, [lines], "\n".join(lines), file, str(file), (line for line in lines)]
    found = [bags(way, vocab=20, window=4, split=None).dense() for way in ways]
    with file.open() as stream:
        found.append(bags(stream.read().splitlines(), vocab=20, window=4, split=None).dense())
    assert all(np.array_equal(one, found[0]) for one in found)
    assert found[0].shape[0] == 37
    assert found[0].dtype == np.uint8


def test_list_items_without_line_breaks_are_one_running_document():
    running = bags(["a b", "c d", "e f"], vocab=6, window=2, split=None, stop=None)
    assert running.n_windows == 2
    assert len(set(running.documents.tolist())) == 1
    apart = bags(["a b\nc d", "e f\ng h"], vocab=8, window=2, split=None, stop=None)
    assert apart.n_windows == 2
    assert apart.documents.tolist() == [0, 1]
    each = bags(["a b", "c d", "e f"], vocab=6, window=2, split=None, stop=None, documents="each")
    assert each.n_windows == 3


def test_no_window_crosses_a_border_and_no_unit_is_in_two_parts():
    texts = ["\n".join(f"w{document}x{unit}" for unit in range(9)) for document in range(20)]
    found = bags(texts, vocab=100, window=3)
    assert len(set(found.split("train")) & set(found.split("test"))) == 0
    assert sorted(np.concatenate([found.split(one) for one in ("train", "validation", "test")])) == list(
        range(found.n_windows)
    )
    for name in ("train", "test"):
        here = set(found.documents[found.split(name)])
        assert not here & set(found.documents[np.setdiff1d(np.arange(found.n_windows), found.split(name))])
    single = bags("\n".join(f"alpha{chr(97 + n % 26)} beta{chr(97 + n // 26)}" for n in range(200)), vocab=60, window=5)
    ends = {name: single._starts[single.split(name)] for name in ("train", "validation", "test")}
    assert ends["train"].max() + 5 <= ends["validation"].min()
    assert ends["validation"].max() + 5 <= ends["test"].min()
    assert any("cut into stretches" in one for one in single.warnings)


def test_the_vocabulary_is_forced_words_then_frequency_then_alphabet():
    found = bags(["the b b c", "a a The c d", "x9 12 101 y"], vocab=6, window=1, force=("z", "d"), split=None)
    assert found.vocab == ["d", "z", "b", "c", "12", "9"]
    assert found.counts.tolist() == [1, 0, 2, 2, 1, 1]
    assert bags(["May may", "MAY x"], vocab=5, window=1, split=None).vocab == ["MAY", "May", "may", "x"]
    assert bags(["May may", "MAY x"], vocab=5, window=1, lowercase=True, split=None).vocab == ["may", "x"]


def test_a_tokenizer_max_df_and_markers():
    found = bags(["<unk> one-two", "<unk> three two"], vocab=9, window=1, tokenizer=str.split, unknown=None, split=None)
    assert found.vocab == ["<unk>", "one-two", "three", "two"]
    assert "unk" not in bags(["<unk> cat", "<unk> dog"], vocab=9, window=1, split=None).vocab
    assert bags(["cat dog", "cat owl", "cat fox"], vocab=9, window=1, max_df=0.5, split=None).vocab == [
        "dog",
        "fox",
        "owl",
    ]


def test_save_and_load(tmp_path):
    found = bags([f"cat dog{n % 5}" for n in range(50)], vocab=10, window=4)
    again = uw.load(uw.save(found, tmp_path / "bags"))
    assert again.vocab == found.vocab
    assert np.array_equal(again.dense(), found.dense())
    assert np.array_equal(again.split("test"), found.split("test"))


def test_pieces_and_the_disk_change_nothing(tmp_path, monkeypatch):
    """A file read in pieces of some bytes, its numbers on the disk, gives what one piece in memory gives."""
    rng = np.random.default_rng(4)
    words = [f"w{'abcdefg'[n % 7]}{'xyzé'[n % 4]}" for n in range(28)]
    lines = [" ".join(rng.choice(words, rng.integers(0, 9))) for _ in range(90)]
    (tmp_path / "a.txt").write_bytes("\ufeff".encode() + "\r\n".join(lines[:60]).encode())
    (tmp_path / "b.txt").write_bytes("\n".join(lines[60:]).encode())
    options = {"vocab": 20, "window": 3, "max_df": 0.4, "documents": "each"}
    plain = bags(["\n".join(lines[:60]), "\n".join(lines[60:])], **options)
    left = set(Path(tempfile.gettempdir()).iterdir())
    monkeypatch.setattr("unweave.superposition.reading.PIECE", 41)
    monkeypatch.setattr("unweave.superposition.spill.BUDGET", 64)
    monkeypatch.setattr("unweave.superposition.vocabulary.RUNS", 7)
    found = bags(tmp_path, **options)
    assert isinstance(found.ids, np.memmap)
    assert set(Path(tempfile.gettempdir()).iterdir()) == left
    assert found.vocab == plain.vocab
    assert np.array_equal(found.dense(), plain.dense())
    assert np.array_equal(found.documents, plain.documents)
    assert {**found.facts, "characters": 0} == {**plain.facts, "characters": 0}
    assert np.array_equal(uw.load(uw.save(found, tmp_path / "kept")).dense(), plain.dense())
    bordered = {"vocab": 20, "window": 3, "documents": "^w[ab]"}
    assert np.array_equal(bags(tmp_path, **bordered).documents, bags(["\n".join(lines)], **bordered).documents)


def test_a_full_disk_is_told(monkeypatch):
    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unweave.superposition.spill.BUDGET", 0)
    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(StoreError, match=r"do not fit on the disk of .* \(No space left on device\)"):
        bags(["cat dog", "owl cat"])


def test_windows_of_equal_numbers_of_words():
    """Units of 2 words whatever the lines: each window of 3 units holds 6 words, but the last of a document."""
    text = [["1999 a b", "c d e f 2000", "g h i j k"], ["a b c"]]
    found = bags(text, vocab=20, window=3, window_words=6, stop=None, split=None)
    assert found.dense().sum(1).tolist() == [6, 6, 6, 5, 3]
    assert found.documents.tolist() == [0, 0, 0, 0, 1]
    assert [found.vocab[c] for c in np.flatnonzero(found.dense()[0])] == list("abcdef")


def test_moments_are_those_of_the_windows():
    found = bags([f"cat{n % 4} dog{n % 3} owl{n % 5}" for n in range(300)], vocab=12, window=2, split=None)
    x = found.dense().astype(float)
    assert np.allclose(found.moments("train").covariance, np.cov(x.T, bias=True), atol=1e-12)


def test_short_texts_empty_units_and_words_everywhere():
    short = bags(["cat dog", "", "owl"], vocab=9, window=20, split=None)
    assert short.n_windows == 1
    assert any("fewer than window=20" in one for one in short.warnings)
    assert any("fewer than vocab" in one for one in short.warnings)
    silent = bags(["...", "cat dog", "...", "..."], vocab=9, window=1, split=None)
    assert silent.dense().sum(1).tolist() == [0, 2, 0, 0]


def test_the_published_settings():
    lines = [
        "x" * 10,
        "",
        *(f"The The The quick brown fox number {n} runs over hills and more hills" for n in range(30)),
    ]
    found = bags(lines, vocab=60, profile="paper")
    assert {"January", "The"} <= set(found.vocab)
    assert found.facts["units"] == 32
    assert found.n_windows == 13
    assert len(found.split("train")) + len(found.split("validation")) == 13


@pytest.mark.parametrize(
    ("texts", "options", "kind", "words"),
    [
        ([], {}, InputError, "no unit in 0 characters"),
        (["", "  "], {}, InputError, "no unit"),
        (["the of and"], {}, DataError, "0 words are left"),
        (["cat dog"], {"vocab": 1}, InputError, "vocab"),
        (["cat dog"], {"window": 0}, InputError, "window"),
        (["cat dog"], {"force": ("two words",)}, InputError, "'two words', which is not one word"),
        (["cat dog"], {"documents": "("}, InputError, "documents is '('"),
        (["cat dog"], {"profile": "papr"}, UnknownName, "papr"),
        (["cat dog"], {"split": (0.5, 0.2, 0.2)}, InputError, "split must sum to 1"),
        ([1, 2], {}, InputError, "a text is a int"),
        (b"cat", {}, InputError, "bytes"),
        (5, {}, InputError, "texts is a int"),
    ],
)
def test_wrong_input_is_told(texts, options, kind, words):
    with pytest.raises(kind, match=r".*".join([words.replace("(", r"\(")])):
        bags(texts, **options)


def test_a_file_that_is_not_utf8_is_named_with_its_byte(tmp_path):
    file = tmp_path / "latin.txt"
    file.write_bytes(b"abc\xe9def")
    with pytest.raises(InputError, match="is not UTF-8 at byte 3"):
        bags(file)
    with pytest.raises(UnknownName, match="tets"):
        bags(["cat dog", "owl cat"]).split("tets")


def test_a_model_takes_tensors_and_arrays():
    found = bags(["cat dog", "owl cat", "dog owl"], vocab=3, window=1, split=None)
    model = uw.superposition.closed_form(found, width=2)
    x = found.dense()
    assert np.allclose(model.reconstruct(x), model.reconstruct(torch.from_numpy(x)).numpy())
    assert model.reconstruct(x).shape == (3, 3)
