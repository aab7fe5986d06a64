"""Reading a block: the inputs whose activation in the block is nearly the same as a query's.

What they share is what the block encodes, what varies freely among them is what it discards. The search runs over all
rows of a store in one pass, a chunk at a time; a query keeps its best k, its histogram, and how many lie within reach.
With the extra `[ann]` faiss searches the same rows exhaustively and gives the same answers.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `cosine` | cos(z, z_q) | (n,) | of the block coordinates; unitless | specs/ndm.md, section 10 |
| `distance` | norm(z - z_q) / norm(z_q) | (n,) | relative to the query; shown as its negative, so that larger is nearer | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError, require, unknown_name
from unweave.features.featurizer import Featurizer, block_slices
from unweave.features.neurons import as_affine
from unweave.tensors.arrays import as_tensor

CHUNK = 16_384
BINS = 100
WITHIN: Mapping[str, float] = MappingProxyType({"cosine": 0.85, "distance": -0.25})
"""Similarity from which a row counts as a preimage."""
VIEWS = ("nearest", "random", "stratified", "diverse")
CONTEXT = 12
"""Tokens shown on either side."""
DULL_SHARE = 0.5
"""Share of duplicates or of one token among the hits above which a reader is warned."""


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One row that resembles a query in a block."""

    row: int
    similarity: float
    document: int | None
    position: int | None
    tokens: tuple[str, ...]
    """The token with its context; empty without a store of texts."""
    focus: int
    """Which of them it is."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Preimage:
    """What resembles one query in one or several blocks."""

    query: Hit
    blocks: tuple[int, ...]
    measure: str
    view: str
    hits: tuple[Hit, ...]
    within: int
    """Rows at least as similar as `threshold`, over the whole store."""
    threshold: float
    counts: tuple[int, ...]
    """Histogram of all similarities over equal bins from `low` to 1, or 0 for distances; what lies below is in the
    first.
    """
    low: float
    duplicates: float
    """Share of the hits that equal the query in the block."""
    one_token: float
    """Share of the hits that show the most frequent token among them."""
    warnings: tuple[str, ...] = ()

    def edges(self) -> Float[np.ndarray, " b"]:
        """Ends of the bins of the histogram."""
        return np.linspace(self.low, 1.0 if self.measure == "cosine" else 0.0, len(self.counts) + 1)

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a hit, with its text."""
        return [
            {
                "row": hit.row,
                "similarity": hit.similarity,
                "document": hit.document,
                "position": hit.position,
                "token": hit.tokens[hit.focus] if hit.tokens else None,
                "text": "".join(hit.tokens),
            }
            for hit in self.hits
        ]


@dataclass(frozen=True, eq=False, kw_only=True)
class Preimages:
    """A partition over the rows of a site, to be asked.

    Example:
        >>> rows = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
        >>> reader = Preimages(X=rows, featurizer=uw.AffineFeaturizer(read=np.eye(4), blocks=(2, 2)))
        >>> found = reader.query(7, block=0, k=3)
        >>> found.hits[0].row, round(found.hits[0].similarity, 5), sum(found.counts)
        (7, 1.0, 200)
    """

    X: Any
    """(n, d): a column of a store, which brings texts, or any matrix."""
    featurizer: Featurizer
    chunk: int = CHUNK
    """Rows that are read at once: the bound on memory."""
    _cache: dict[int, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Checks that the rows have the width of the featurizer."""
        shape = tuple(getattr(self.X, "shape", ()))
        if len(shape) != 2 or shape[1] != self.featurizer.width:
            raise InputError(
                f"X has shape {shape} but the featurizer has width {self.featurizer.width}: rows of its site"
            )
        if self.chunk < 1:
            raise InputError(f"chunk is {self.chunk}: at least one row is read at once")

    def query(
        self,
        asked: Any,
        *,
        block: int | Sequence[int] | None,
        measure: str = "cosine",
        k: int = 20,
        view: str = "nearest",
        threshold: float | None = None,
        index: str = "exact",
        seed: int = 0,
    ) -> Preimage:
        """The rows that resemble a row in a block.

        Args:
            asked: Number of a row, or an activation (d,) of another input.
            block: Number of the block, several of them, or None for all.
            measure: `cosine` or `distance` (relative to the length of the query).
            k: Rows to show.
            view: `nearest`; `random` among those above the threshold; `stratified` over deciles of similarity;
                `diverse`: the nearest, one a document, equal ones once.
            threshold: From where a row counts as a preimage; None is .85, or -.25 for distances.
            index: `exact`, or `faiss` (needs the extra `ann`; cosine and nearest only).
            seed: Of the random views.

        Raises:
            InputError: A row, block, measure or view that does not exist.
        """
        blocks = self._blocks(block)
        for name, value, known in (("measure", measure, WITHIN), ("view", view, VIEWS), ("index", index, INDEXES)):
            if value not in known:
                raise unknown_name(name, value, known)
        if k < 1:
            raise InputError(f"k is {k}: at least one row is shown")
        limit = WITHIN[measure] if threshold is None else threshold
        target = self._coordinates(self._activation(asked)[None], blocks)[0]
        if not float(target.norm()):
            raise InputError("the query is zero in this block: nothing resembles it, ask for another row")
        similarities = self._similarities(target, blocks, measure)
        chosen = _chosen(similarities, view, k, limit, seed, self._documents())
        if index == "faiss":
            chosen = self._by_faiss(target, blocks, measure, view, k)
        hits = tuple(self.hit(int(row), float(similarities[row])) for row in chosen)
        row = int(asked) if isinstance(asked, int | np.integer) else None
        query = self.hit(row, 1.0) if row is not None else _outside()
        return _preimage(query, blocks, measure, view, hits, similarities.numpy(), limit)

    def find(self, text: str, *, regex: bool = False, limit: int = 20) -> list[int]:
        """Rows of the last token of every place where a text occurs in the documents of the store.

        Args:
            text: What to look for.
            regex: Whether it is a regular expression.
            limit: Most rows.

        Raises:
            InputError: The rows are of no store, the store keeps no texts, or not a regular expression.
        """
        store = getattr(self.X, "store", None)
        if store is None:
            raise InputError("the rows are a plain matrix: text is searched in a column of a store, store[site]")
        try:
            pattern = re.compile(text if regex else re.escape(text))
        except re.error as error:
            raise InputError(f"{text!r} is no regular expression ({error}): correct it or search plain text") from None
        starts = self._rows_by_place()
        found: list[int] = []
        for document in store.documents():
            if document.text is None or document.offsets is None:
                raise InputError("the store keeps no texts: collect with keep_text, or ask by row")
            for match in pattern.finditer(document.text):
                ends = np.flatnonzero((document.offsets[:, 0] < match.end()) & (document.offsets[:, 1] >= match.end()))
                row = starts.get((document.index, int(ends[0]))) if len(ends) else None
                if row is not None and row not in found:
                    found.append(row)
                if len(found) == limit:
                    return found
        return found

    def hit(self, row: int, similarity: float) -> Hit:
        """A row as it is shown.

        Args:
            row: Its number.
            similarity: To the query.
        """
        store = getattr(self.X, "store", None)
        if store is None:
            return Hit(row=row, similarity=similarity, document=None, position=None, tokens=(), focus=0)
        document, position = (int(store.rows[name][row]) for name in ("document", "position"))
        if position < 0:
            return Hit(row=row, similarity=similarity, document=document, position=position, tokens=(), focus=0)
        if document not in self._cache:
            self._cache[document] = store.document(document)
        one = self._cache[document]
        first, last = max(0, position - CONTEXT), position + CONTEXT + 1
        pieces = tuple(_piece(one, place) for place in range(first, min(last, len(one.ids))))
        return Hit(
            row=row, similarity=similarity, document=document, position=position, tokens=pieces, focus=position - first
        )

    def coordinates(self, rows: Any, block: int | Sequence[int] | None) -> Float[Tensor, "m k"]:
        """The block coordinates of rows.

        Args:
            rows: Numbers of rows.
            block: Number of the block, several of them, or None for all.
        """
        return self._coordinates(as_tensor(self.X[np.asarray(rows)], name="X").float(), self._blocks(block))

    def _blocks(self, block: int | Sequence[int] | None) -> tuple[int, ...]:
        count = len(self.featurizer.blocks)
        blocks = tuple(range(count)) if block is None else (block,) if isinstance(block, int) else tuple(block)
        if not blocks or not all(0 <= one < count for one in blocks):
            raise InputError(f"block is {block}: the featurizer has blocks 0..{count - 1}")
        return blocks

    def _activation(self, asked: Any) -> Tensor:
        if isinstance(asked, int | np.integer):
            if not 0 <= asked < len(self.X):
                raise InputError(f"row {asked} is not there: there are {len(self.X)} rows")
            return as_tensor(self.X[int(asked) : int(asked) + 1], name="X")[0].float()
        given = as_tensor(asked, name="query").float()
        if given.shape != (self.featurizer.width,):
            raise InputError(f"the query has shape {tuple(given.shape)}: a row number or ({self.featurizer.width},)")
        return given

    def _coordinates(self, rows: Tensor, blocks: tuple[int, ...]) -> Tensor:
        affine = as_affine(self.featurizer)
        slices = block_slices(self.featurizer)
        read = torch.cat([affine.read[:, slices[block]] for block in blocks], 1).float()
        return (rows - affine.origin.float()) @ read

    def _similarities(self, target: Tensor, blocks: tuple[int, ...], measure: str) -> Tensor:
        """(n,) similarity of every row, larger = nearer."""
        parts = []
        for start in range(0, len(self.X), self.chunk):
            rows = as_tensor(self.X[start : start + self.chunk], name="X").float()
            parts.append(SIMILARITIES[measure](self._coordinates(rows, blocks), target))
        return torch.cat(parts)

    def _by_faiss(self, target: Tensor, blocks: tuple[int, ...], measure: str, view: str, k: int) -> np.ndarray:
        faiss = require("faiss", package="faiss-cpu", extra="ann")
        if measure != "cosine" or view != "nearest":
            raise InputError(f"faiss searches the nearest by cosine, not {view} by {measure}: use index='exact'")
        held = faiss.IndexFlatIP(len(target))
        for start in range(0, len(self.X), self.chunk):
            rows = as_tensor(self.X[start : start + self.chunk], name="X").float()
            held.add(torch.nn.functional.normalize(self._coordinates(rows, blocks), dim=1).numpy())
        return held.search(torch.nn.functional.normalize(target[None], dim=1).numpy(), k)[1][0]

    def _documents(self) -> np.ndarray | None:
        store = getattr(self.X, "store", None)
        return None if store is None else store.rows["document"]

    def _rows_by_place(self) -> dict[tuple[int, int], int]:
        table = self.X.store.rows
        places = zip(table["document"].tolist(), table["position"].tolist(), strict=True)
        return {place: row for row, place in enumerate(places)}


def cosine(rows: Float[Tensor, "n k"], target: Float[Tensor, " k"]) -> Float[Tensor, " n"]:
    """Cosine to the target, 0 for rows that are zero; rounding above 1 is cut."""
    lengths = torch.linalg.vector_norm(rows, dim=1) * target.norm()
    return torch.where(lengths > 0, rows @ target / lengths, 0).clamp(-1, 1)


def distance(rows: Float[Tensor, "n k"], target: Float[Tensor, " k"]) -> Float[Tensor, " n"]:
    """Minus the distance to the target, relative to its length."""
    return -torch.linalg.vector_norm(rows - target, dim=1) / target.norm()


SIMILARITIES = MappingProxyType({"cosine": cosine, "distance": distance})
INDEXES = ("exact", "faiss")


def _chosen(
    similarities: Tensor, view: str, k: int, limit: float, seed: int, documents: np.ndarray | None
) -> np.ndarray:
    """Numbers of the rows of a view, by falling similarity, the lowest number of equal ones first."""
    if view == "nearest":
        return _top(similarities, k)
    rng = np.random.default_rng([seed, 21])
    values = similarities.numpy()
    if view == "random":
        inside = np.flatnonzero(values >= limit)
        picked = rng.permutation(inside)[:k]
        return picked[np.argsort(-values[picked], kind="stable")]
    if view == "stratified":
        order = np.argsort(-values, kind="stable")
        parts = np.array_split(order, 10)
        each = [np.sort(rng.permutation(len(part))[: max(1, k // 10)]) for part in parts]
        return np.concatenate([part[index] for part, index in zip(parts, each, strict=True)])[:k]
    found, seen, before = [], set(), None
    for row in _top(similarities, min(len(values), 50 * k)).tolist():
        place = row if documents is None else int(documents[row])
        if place in seen or values[row] == before:
            continue
        seen.add(place)
        before = values[row]
        found.append(row)
        if len(found) == k:
            break
    return np.array(found, dtype=np.int64)


def _top(similarities: Tensor, k: int) -> np.ndarray:
    count = min(k, len(similarities))
    least = similarities.topk(count).values[-1]
    candidates = torch.nonzero(similarities >= least).flatten().numpy()
    order = np.argsort(-similarities.numpy()[candidates], kind="stable")
    return candidates[order[:count]]


def _preimage(
    query: Hit,
    blocks: tuple[int, ...],
    measure: str,
    view: str,
    hits: tuple[Hit, ...],
    values: np.ndarray,
    limit: float,
) -> Preimage:
    top = 1.0 if measure == "cosine" else 0.0
    low = -1.0 if measure == "cosine" else -2.0
    counts, _ = np.histogram(values.clip(low, top), bins=BINS, range=(low, top))
    others = [hit for hit in hits if hit.row != query.row]
    duplicates = float(np.mean([hit.similarity >= top - 1e-6 for hit in others])) if others else 0.0
    shown = [hit.tokens[hit.focus] for hit in hits if hit.tokens]
    one_token = max((shown.count(token) for token in set(shown)), default=0) / len(shown) if shown else 0.0
    warnings = []
    if duplicates > DULL_SHARE:
        warnings.append(f"{duplicates:.0%} of the hits are equal to the query in this block")
    if one_token > DULL_SHARE:
        warnings.append(f"{one_token:.0%} of the hits are one token: the block may hold the token alone")
    return Preimage(
        query=query,
        blocks=blocks,
        measure=measure,
        view=view,
        hits=hits,
        within=int((values >= limit).sum()),
        threshold=limit,
        counts=tuple(int(count) for count in counts),
        low=low,
        duplicates=duplicates,
        one_token=one_token,
        warnings=tuple(warnings),
    )


def _outside() -> Hit:
    return Hit(row=-1, similarity=1.0, document=None, position=None, tokens=(), focus=0)


def _piece(document: Any, place: int) -> str:
    """A token as the text has it, with the blank before it; the tokenizer's own string without texts."""
    if document.text is None or document.offsets is None:
        return document.tokens[place]
    start, end = (int(edge) for edge in document.offsets[place])
    before = int(document.offsets[place - 1][1]) if place else start
    return document.text[min(before, start) : end]
