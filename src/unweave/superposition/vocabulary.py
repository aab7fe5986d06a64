"""A vocabulary for the units of a text, and the units in it: distinct columns, unit after unit.

Units are gone through in pieces, so that memory stays bounded where a text is large; what grows with it goes to the
disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix

from unweave.errors import DataError, InputError
from unweave.superposition.config import BagsConfig
from unweave.superposition.reading import Units
from unweave.superposition.spill import Growing
from unweave.superposition.words import STOP, words_in

RUNS = 2**22
"""Runs of letters that are looked at together."""


def word_counts(units: Units, pieces: list[list[str]]) -> Counter[str]:
    """Word -> how often it occurs.

    Args:
        units: What was read.
        pieces: Words of each type of run.
    """
    frequency = np.zeros(len(pieces), dtype=np.int64)
    for _, begin, end in _slices(units):
        frequency += np.bincount(units.runs[begin:end], minlength=len(pieces))
    count: Counter[str] = Counter()
    for words, times in zip(pieces, frequency.tolist(), strict=True):
        for word in words:
            count[word] += times
    return count


def cut_by_words(units: Units, pieces: list[list[str]], size: int) -> Units:
    """The same runs in units of so many words each; the last of a document may have fewer.

    Args:
        units: What was read.
        pieces: Words of each type of run.
        size: Words of a unit.
    """
    lengths = np.array([len(words) for words in pieces])
    borders = np.flatnonzero(np.diff(units.document)) + 1
    ends, document = Growing(np.int64), Growing(np.int64)
    begin = 0
    for last in (*borders.tolist(), len(units.ends)):
        end = int(units.ends[last - 1])
        place = np.cumsum(lengths[units.runs[begin:end]])
        cuts = np.flatnonzero(np.diff(np.maximum(place - 1, 0) // size)) + 1
        ends.add(np.concatenate([begin + cuts, [end]]))
        document.add(np.full(len(cuts) + 1, units.document[last - 1]))
        begin = end
    return replace(units, ends=ends.whole(), document=document.whole())


def choose_vocabulary(
    count: Counter[str], config: BagsConfig, units: Units, pieces: list[list[str]]
) -> tuple[list[str], int]:
    """(words: forced ones, then the most frequent; how many tokens were left out as too common).

    Args:
        count: Word -> how often it occurs.
        config: Which words enter.
        units: What was read.
        pieces: Words of each type of run.

    Raises:
        InputError: A forced word that is not one word, or more of them than there is room for.
        DataError: Fewer than two words are left.
    """
    forced = sorted({word.lower() if config.lowercase else word for word in config.force})
    strange = [word for word in forced if not units.are_words and words_in(word) != [word]]
    if strange:
        raise InputError(f"force holds {strange[0]!r}, which is not one word: give words of letters only")
    if len(forced) > config.vocab:
        raise InputError(f"vocab is {config.vocab} but {len(forced)} words are forced: raise vocab")
    stop = STOP if config.stop == "english" else frozenset(config.stop or ())
    stopped = {
        word
        for word in count
        if word not in forced and (word in stop or ("stop_case" not in config.quirks and word.lower() in stop))
    }  # fmt: skip
    if config.max_df < 1:
        stopped |= _too_common(units, pieces, config.max_df) - set(forced)
    rest = sorted(
        (word for word in count if word not in stopped and word not in forced), key=lambda word: (-count[word], word)
    )
    vocab = forced + rest[: config.vocab - len(forced)]
    if len(vocab) < 2 or not any(count[word] for word in vocab):
        raise DataError(
            f"{len(vocab)} words are left of {len(count):,} ({units.bytes_read:,} characters, {len(units.ends):,}"
            f" units; {len(stopped):,} are left out as too common): two or more are needed"
        )
    return vocab, sum(count[word] for word in stopped)


def _slices(units: Units) -> Iterator[tuple[slice, int, int]]:
    """Units in pieces of bounded memory: which units, and where their runs begin and end."""
    first = begin = 0
    while first < len(units.ends):
        last = max(first + 1, int(np.searchsorted(units.ends, begin + RUNS, side="right")))
        end = int(units.ends[last - 1])
        yield slice(first, last), begin, end
        first, begin = last, end


def _too_common(units: Units, pieces: list[list[str]], share: float) -> set[str]:
    """Words in more than this share of the units."""
    often = np.zeros(len(pieces), dtype=np.int64)
    for which, begin, end in _slices(units):
        ends = units.ends[which] - begin
        rows = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
        pairs = np.unique(rows * len(pieces) + units.runs[begin:end]) % len(pieces)
        often += np.bincount(pairs, minlength=len(pieces))
    return {word for number in np.flatnonzero(often > share * len(units.ends)) for word in pieces[number]}


def in_vocabulary(units: Units, pieces: list[list[str]], column: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Distinct columns of each unit, and where each unit begins among them.

    Args:
        units: What was read.
        pieces: Words of each type of run.
        column: Word -> its column.
    """
    kept = [[column[word] for word in words if word in column] for words in pieces]
    lengths = np.array([len(one) for one in kept])
    flat = np.array([one for words in kept for one in words], dtype=np.int32)
    begins = np.cumsum(lengths) - lengths
    ids, counts = Growing(np.uint16 if len(column) <= 65_536 else np.uint32), Growing(np.int64)
    for which, begin, end in _slices(units):
        runs = units.runs[begin:end]
        sizes = lengths[runs]
        places = np.arange(sizes.sum()) + np.repeat(begins[runs] - (np.cumsum(sizes) - sizes), sizes)
        edges = np.concatenate([[0], units.ends[which] - begin])
        ends = np.concatenate([[0], np.cumsum(sizes)])[edges]
        matrix = csr_matrix(
            (np.ones(len(places), dtype=np.uint8), flat[places], ends.astype(np.int64)),
            shape=(len(edges) - 1, len(column)),
        )
        matrix.sum_duplicates()
        ids.add(matrix.indices)
        counts.add(np.diff(matrix.indptr))
    return ids.whole(), np.concatenate([[0], np.cumsum(counts.whole())])
