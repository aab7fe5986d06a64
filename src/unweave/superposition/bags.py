"""Bags of words from any text: which words of a vocabulary occur in a window of units.

Only the distinct words of every unit are kept. A window is the union of neighbouring units of one document, and since
these lie side by side its words are one slice of the stored numbers: no window is ever stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from unweave.config import config_from
from unweave.errors import InputError, unknown_name
from unweave.log import logger
from unweave.superposition.config import BagsConfig, Number
from unweave.superposition.moments import BagMoments, moments_of
from unweave.superposition.reading import Tokenizer, Units, read_units
from unweave.superposition.vocabulary import choose_vocabulary, cut_by_words, in_vocabulary, word_counts
from unweave.superposition.words import PAPER_FORCED, words_in

SPLITS = ("train", "validation", "test")
PROFILES: dict[str, dict[str, Any]] = {
    "paper": {
        "documents": "stream", "min_chars": 50, "quirks": ("slots", "stop_case"), "force": PAPER_FORCED,
        "unknown": None, "split": (0.9, 0.1, 0.0), "split_by": "window",
    }
}  # fmt: skip
"""Settings by name; what is given beside a name wins."""
WEAK_WINDOWS, WEAK_DOCUMENTS = 200, 30
BLOCK = 5
"""Windows' lengths in one block where blocks stand for documents."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Bags:
    """Windows of a text as sets of words; rows are made when they are asked for."""

    vocab: list[str]
    """The words, a column each."""
    ids: Any
    """Columns of the words of each unit, unit after unit, ascending within one."""
    offsets: Int[np.ndarray, " u1"]
    """Where each unit begins among them; one more at the end."""
    segments: Int[np.ndarray, " s1"]
    """First unit of each stretch that windows stay inside; one more at the end."""
    segment_document: Int[np.ndarray, " s"]
    segment_split: Int[np.ndarray, " s"]
    """0, 1, 2: training, validation, test; -1 where all windows are all three."""
    counts: Int[np.ndarray, " v"]
    """How often each word occurs in the text."""
    config: BagsConfig
    facts: dict[str, int]
    """What was read and what was left out."""
    warnings: tuple[str, ...] = ()

    @cached_property
    def index(self) -> dict[str, int]:
        """Word -> its column."""
        return {word: column for column, word in enumerate(self.vocab)}

    @cached_property
    def _starts(self) -> Int[np.ndarray, " n"]:
        """First unit of each window."""
        sizes = np.diff(self.segments)
        counts = np.where(sizes > 0, np.maximum(1, (sizes - self.config.window) // self.config.stride + 1), 0)
        first = np.repeat(self.segments[:-1], counts)
        inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return first + self.config.stride * inside

    @cached_property
    def _segment(self) -> Int[np.ndarray, " n"]:
        """Stretch of each window."""
        return np.searchsorted(self.segments, self._starts, side="right") - 1

    @cached_property
    def _ends(self) -> Int[np.ndarray, " n"]:
        return np.minimum(self._starts + self.config.window, self.segments[self._segment + 1])

    @property
    def n_windows(self) -> int:
        """Number of windows."""
        return len(self._starts)

    @property
    def documents(self) -> Int[np.ndarray, " n"]:
        """Number of the document of each window."""
        return self.segment_document[self._segment]

    @cached_property
    def _split_of(self) -> Int[np.ndarray, " n"]:
        if self.config.split is not None and self.config.split_by == "window":
            draws = np.random.default_rng([5, self.config.seed]).random(self.n_windows)
            return np.searchsorted(np.cumsum(self.config.split[:2]), draws, side="right")
        return self.segment_split[self._segment]

    def split(self, name: str) -> Int[np.ndarray, " k"]:
        """Numbers of the windows of `train`, `validation`, `test` or `all`; all of them where nothing was split off.

        Raises:
            UnknownName: Another name.
        """
        if name not in (*SPLITS, "all"):
            raise unknown_name("split", name, (*SPLITS, "all"))
        if name == "all" or self.config.split is None or (self._split_of < 0).all():
            return np.arange(self.n_windows)
        return np.flatnonzero(self._split_of == SPLITS.index(name))

    def held_out(self) -> str:
        """The split that scores are of: `test`, or `validation` or `all` where there is none."""
        if self.config.split is None or (self._split_of < 0).all():
            return "all"
        return next(name for name in ("test", "validation", "all") if len(self.split(name)))

    def rows(self, indices: Any) -> tuple[Int[np.ndarray, " z"], Int[np.ndarray, " b1"]]:
        """Columns of the words of some windows, ascending within each, and where each window begins among them."""
        mask = self._mask(np.asarray(indices))
        flat = np.flatnonzero(mask)
        row, column = np.divmod(flat, len(self.vocab))
        begins = np.searchsorted(row, np.arange(len(mask) + 1))
        return column, begins

    def dense(self, i: int = 0, j: int | None = None, dtype: str = "uint8") -> Any:
        """Windows i to j (j not included) as an array of 0 and 1, (j - i, V)."""
        return self._mask(np.arange(self.n_windows)[i:j]).astype(dtype, copy=False)

    def take(self, indices: Any, dtype: str = "float32") -> Any:
        """Some windows as an array of 0 and 1."""
        return self._mask(np.asarray(indices)).astype(dtype, copy=False)

    def _mask(self, indices: np.ndarray) -> UInt8[np.ndarray, "b v"]:
        first, last = self.offsets[self._starts[indices]], self.offsets[self._ends[indices]]
        sizes = last - first
        places = np.arange(sizes.sum()) + np.repeat(first - (np.cumsum(sizes) - sizes), sizes)
        mask = np.zeros((len(indices), len(self.vocab)), dtype=np.uint8)
        mask[np.repeat(np.arange(len(indices)), sizes), self.ids[places]] = 1
        return mask

    def moments(self, split: str = "train") -> BagMoments:
        """Windows, sums and products of pairs of words, from one pass; kept."""
        if split not in self._moments:
            self._moments[split] = moments_of(self, self.split(split))
        return self._moments[split]

    @cached_property
    def _moments(self) -> dict[str, BagMoments]:
        return {}

    def groups(self, indices: Any) -> Int[np.ndarray, " b"]:
        """Which windows resemble each other: documents, or stretches of several windows' lengths where documents are
        fewer than ten.
        """
        chosen = np.asarray(indices)
        documents = self.documents[chosen]
        if len(np.unique(documents)) >= 10:
            return np.unique(documents, return_inverse=True)[1]
        stretch = self._starts[chosen] // (BLOCK * self.config.window)
        keys = self._segment[chosen] * (int(stretch.max(initial=0)) + 1) + stretch
        return np.unique(keys, return_inverse=True)[1]

    def __repr__(self) -> str:
        """Windows, words and documents."""
        documents = len(np.unique(self.segment_document))
        return f"Bags({self.n_windows:,} windows of {self.config.window} units, {len(self.vocab):,} words, {documents:,} documents)"  # noqa: E501


def bags(
    texts: Any,
    vocab: int = 4000,
    window: int = 20,
    *,
    stride: int = 1,
    documents: str = "auto",
    min_chars: int | None = None,
    lowercase: bool = False,
    stop: str | Sequence[str] | None = "english",
    max_df: Number = 1.0,
    force: Sequence[str] | None = None,
    unknown: str | None = "<unk>",
    tokenizer: Tokenizer | None = None,
    window_words: int | None = None,
    profile: str | None = None,
    split: tuple[Number, Number, Number] | None = (0.8, 0.1, 0.1),
    split_by: str | None = None,
    seed: int = 0,
) -> Bags:
    """Bags of words: which words occur in each window of units.

    Args:
        texts: A path (`.txt`, `.jsonl`, `.csv`, `.json`, a directory), a text, a list of texts, or a list of lists
            (documents of units).
        vocab: Most words; forced ones first in sorted order, then the most frequent, ties in alphabetical order.
        window: Units (lines) whose words make one bag; a shorter document gives one bag.
        stride: Units from the start of one window to the next.
        documents: `auto`: a string with line breaks is a document and its lines are units, strings without one are
            units of a running document; `each`: every string is a document; `stream`: all of them are one; or a
            regular expression that the first line of a document matches. No window crosses a border.
        min_chars: Shorter units are dropped; blank ones always are.
        lowercase: Fold case.
        stop: Words left out: `english`, a list, or None.
        max_df: Words in a larger share of the units are left out too.
        force: Words that are in the vocabulary whatever their frequency.
        unknown: A marker taken out of the text before words are cut; None leaves it.
        tokenizer: Function from a unit to its words, for other languages.
        window_words: Every window holds so many words (the last of a document may hold fewer): documents are cut
            into units of `window_words / window` words instead of lines. What is left of a leading component that
            is plain length then is not length.
        profile: `paper` has the published settings, slips of its program included; what is given beside it wins.
        split: Shares of documents for training, validation and test; one document, or few, are cut into stretches
            that share no unit. None fits and scores on all windows.
        split_by: `document`, or `window` for the published split, whose parts overlap.
        seed: Of the split.

    Raises:
        InputError: No text, settings out of range, or a forced word that is not one word.
        DataError: No word is left after filtering.

    Source:
        arXiv 2603.09972, section on bags of words; specs/superposition.md, section 2.

    Example:
        >>> found = bags(["red apple", "green apple", "red wine"], vocab=3, window=2, split=None)
        >>> found.vocab, found.n_windows, found.dense(0, 2).tolist()
        (['apple', 'red', 'green'], 2, [[1, 1, 1], [1, 1, 1]])
    """
    if profile is not None and profile not in PROFILES:
        raise unknown_name("profile", profile, PROFILES)
    given = {
        "vocab": vocab, "window": window, "stride": stride, "lowercase": lowercase, "max_df": max_df, "seed": seed,
        "stop": tuple(stop) if stop is not None and not isinstance(stop, str) else stop,
        "documents": documents, "unknown": unknown, "split": split, "window_words": window_words,
    }  # fmt: skip
    if profile is not None:  # what equals the signature was not given
        plain = {"documents": "auto", "unknown": "<unk>", "split": (0.8, 0.1, 0.1)}
        given = {name: value for name, value in given.items() if name not in plain or value != plain[name]}
        given = PROFILES[profile] | given
    more = {"min_chars": min_chars, "split_by": split_by, "force": None if force is None else tuple(force)}
    config = config_from(
        BagsConfig, given | {name: value for name, value in more.items() if value is not None}, source="bags"
    )
    units = read_units(
        texts, documents=config.documents, least=config.min_chars, keep_slots="slots" in config.quirks,
        lowercase=config.lowercase, unknown=config.unknown, tokenizer=tokenizer,
    )  # fmt: skip
    return _chosen(units, config)


def _chosen(units: Units, config: BagsConfig) -> Bags:
    """A vocabulary for the units, and the units in it."""
    if not len(units.ends):
        raise InputError(
            f"no unit in {units.bytes_read:,} characters ({units.dropped:,} blank"
            + (f" or shorter than {config.min_chars}" if config.min_chars else "")
            + " lines): give text with words"
        )
    pieces = [[one] if units.are_words else words_in(one) for one in units.types]
    if config.window_words is not None:
        units = cut_by_words(units, pieces, max(1, config.window_words // config.window))
    count = word_counts(units, pieces)
    vocab, left_out = choose_vocabulary(count, config, units, pieces)
    warnings = list(_told(units, config, vocab))
    column = {word: number for number, word in enumerate(vocab)}
    ids, offsets = in_vocabulary(units, pieces, column)
    segments, document, part, notes = _segments(units.document, config)
    warnings += notes
    found = Bags(
        vocab=vocab, ids=ids, offsets=offsets,
        segments=segments, segment_document=document, segment_split=part,
        counts=np.array([count[word] for word in vocab], dtype=np.int64), config=config,
        facts={
            "characters": units.bytes_read, "units": len(units.ends), "units_dropped": units.dropped,
            "tokens": sum(count.values()), "types": len(count), "tokens_left_out": left_out, "unknown": units.unknown,
        },
    )  # fmt: skip
    warnings += _weak(found)
    for one in warnings:
        logger.warning(one)
    object.__setattr__(found, "warnings", tuple(warnings))
    return found


def _segments(document: np.ndarray, config: BagsConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Stretches that windows stay inside: first units, documents, splits; and what is to be said about them."""
    borders = np.flatnonzero(np.diff(document)) + 1
    first = np.concatenate([[0], borders, [len(document)]])
    own = document[first[:-1]]
    if config.split is None or config.split_by == "window":
        return first, own, np.full(len(own), -1), []
    sizes = np.diff(first)
    order = np.argsort([_hash(int(number), config.seed) for number in own], kind="stable")
    middle = np.empty(len(own))
    middle[order] = (np.cumsum(sizes[order]) - sizes[order] / 2) / sizes.sum()
    part = np.searchsorted(np.cumsum(config.split[:2]), middle, side="right")
    wanted = [number for number, share in enumerate(config.split) if share > 0]
    if set(wanted) <= set(part.tolist()):
        return first, own, part, []
    cuts = np.cumsum((0.0, *config.split))
    rows = [
        (start + round(low * size), start + round(high * size), doc, number)
        for start, size, doc in zip(first[:-1].tolist(), sizes.tolist(), own.tolist(), strict=True)
        for number, (low, high) in enumerate(pairwise(cuts))
        if round(low * size) < round(high * size)
    ]
    begins, _, documents, parts = (np.array(column) for column in zip(*rows, strict=True))
    if not set(wanted) <= set(parts.tolist()):
        return (
            first,
            own,
            np.full(len(own), -1),
            [f"{len(document)} units are too few to split: fits and scores are of all windows"],
        )
    note = f"too few to hold some out ({_documents(len(own))}): each is cut into stretches that share no unit"
    return np.concatenate([begins, [len(document)]]), documents, parts, [note]


def _documents(count: int) -> str:
    return f"{count:,} document{'s' * (count != 1)}"


def _hash(number: int, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{number}".encode()).hexdigest()


def _told(units: Units, config: BagsConfig, vocab: list[str]) -> list[str]:
    told = []
    if len(vocab) < config.vocab:
        told.append(
            f"the text has {len(vocab):,} words that may enter, fewer than vocab={config.vocab:,}: all are taken"
        )
    if units.unknown:
        told.append(f"{units.unknown:,} markers {config.unknown} were taken out of the text; unknown=None keeps them")
    if len(units.ends) < config.window:
        told.append(f"the text has {len(units.ends)} units, fewer than window={config.window}: one window a document")
    return told


def _weak(found: Bags) -> list[str]:
    documents = len(np.unique(found.segment_document))
    if found.n_windows >= WEAK_WINDOWS and documents >= WEAK_DOCUMENTS:
        return []
    return [
        f"{found.n_windows:,} windows of {_documents(documents)}: intervals are weak below {WEAK_WINDOWS} windows or"
        f" {WEAK_DOCUMENTS} documents"
    ]
