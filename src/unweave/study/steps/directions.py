"""Is what reads a feature what writes it? The best linear read-out of features of the text at the residual
stream, the direction between their class means, the angle of the two, and whether the direction spells words.

On the residual stream that the step before has collected; read-out and direction come from some documents, the angle
and the scores from the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from unweave.activations.labels import LabelledFeature
from unweave.activations.store import open_store
from unweave.activations.token_strings import token_string_features
from unweave.directions.means import lda, mean_difference
from unweave.errors import DataError, InputError, StoreError
from unweave.evals.reading.decodability import decodability
from unweave.evals.reading.reading_writing import ReadWrite, read_write_angle
from unweave.evals.reading.unembedding import Unembedding, unembedding
from unweave.features.direction import Direction
from unweave.report.record import Figure, Table, Value
from unweave.study.steps.partition import STORE
from unweave.study.words import number, with_interval
from unweave.study.work import Found, NotPossible, Work
from unweave.tensors.estimate import Estimate
from unweave.tensors.splits import grouped_split, grouping

FEATURES = ("contains_digit", "leading_capital", "is_not_alphanumeric")
ROWS = 2000
"""Most tokens that are used, evenly over all documents: intervals rest on documents."""
SHUFFLES = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class _Read:
    """One feature."""

    name: str
    auc: Estimate
    angle: ReadWrite
    words: Unembedding | None
    direction: Direction


def read_and_write(work: Work) -> Found:
    """Read and write of a few features at the residual stream after the block of the middle site."""
    try:
        store = open_store(work.folder / STORE)
    except StoreError as error:
        raise NotPossible(f"Not done: there is no residual stream ({error}).") from error
    site = store.sites[0]
    chosen = np.unique(np.linspace(0, len(store) - 1, min(ROWS, len(store))).astype(np.int64))
    rows, documents = store[site][chosen].float(), store.rows["document"][chosen]
    every = [one for one in token_string_features(store, work.model.tokenizer) if one.name in FEATURES]
    found = []
    for feature in every:
        try:
            found.append(_measured(work, _sampled(feature, chosen), rows, documents, str(site)))
        except (DataError, InputError):  # a feature that hardly any token has, a single document
            continue
    if not found:
        raise NotPossible(f"Not done: no feature has enough tokens of both kinds among {len(rows)}.")
    return Found(
        summary=(_sentence(found, str(site)),),
        figures=(_figure(work, found),),
        tables=(_table(work, found),),
        results={"site": str(site), "features": [_row(one) for one in found]},
        artifacts={f"direction-{one.name}": one.direction for one in found},
    )


def _measured(work: Work, feature: LabelledFeature, rows: Tensor, documents: np.ndarray, site: str) -> _Read:
    seed = work.config.seed
    y = feature.values
    X, groups = rows[torch.from_numpy(feature.index)], documents[feature.index]
    auc = decodability(X, y, groups, seed, shuffles=SHUFFLES, bootstrap=1000)
    held_out = grouped_split(grouping(groups, len(y)), np.stack([y, ~y], 1).astype(float), test=0.3, seed=seed)
    fit = torch.from_numpy(~held_out)
    options = {"site": site, "model": work.model.fingerprint}
    readout = lda(X[fit], y[~held_out], shrinkage=0.01, **options)
    direction = mean_difference(X[fit], y[~held_out], **options)
    angle = read_write_angle(readout, direction, X[~fit], groups[held_out], seed, draws=500)
    words = unembedding(work.model, direction, seed=seed) if work.model.predicts_next else None
    return _Read(name=feature.name, auc=auc, angle=angle, words=words, direction=direction)


def _sampled(feature: LabelledFeature, chosen: np.ndarray) -> LabelledFeature:
    """The feature of the chosen rows, numbered among them."""
    place = np.searchsorted(chosen, feature.index)
    here = (place < len(chosen)) & (chosen[np.minimum(place, len(chosen) - 1)] == feature.index)
    return replace(feature, index=place[here], values=feature.values[here])


def _sentence(found: list[_Read], site: str) -> str:
    best = max(found, key=lambda one: one.auc.value)
    plain = float(np.mean([abs(one.angle.plain.value) for one in found]))
    pattern = float(np.mean([abs(one.angle.pattern.value) for one in found]))
    ordinary = [one for one in found if one.words is not None and one.words.normed.is_ordinary]
    spelt = f" {len(ordinary)} of {len(found)} directions unembed no sharper than random ones." if best.words else ""
    return (
        f"At {site} a linear read-out tells {best.name} with AUC {with_interval(best.auc)}. What reads and what writes"
        f" a feature are not one vector: their cosine is {number(plain)} on average, {number(pattern)} after the"
        f" covariance has turned the read-out into a direction.{spelt}"
    )


def _figure(work: Work, found: list[_Read]) -> Figure:
    return Figure(
        kind="forest",
        title="What a linear read-out finds at the residual stream",
        caption=(
            "AUC on held-out documents with 95 % intervals over documents; dashed: 0.5, chance. A feature that can be"
            " read need not be used: the test of what units do is another one."
        ),
        data={
            "label": [work.label_of(one.name) for one in found],
            "series": ["read-out"] * len(found),
            "value": [one.auc.value for one in found],
            "low": [one.auc.low for one in found],
            "high": [one.auc.high for one in found],
            "control": [0.5 if one.auc.control is None else one.auc.control for one in found],
        },
        options={
            "x": "AUC on held-out documents",
            "reference": "0.5",
            "control": "AUC of shuffled labels",
            "series": "read-out",
        },
        n=max(one.auc.n for one in found),
        seed=work.config.seed,
    )


def _table(work: Work, found: list[_Read]) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            work.label_of(one.name),
            round(one.angle.plain.value, 3),
            with_interval(one.angle.pattern).replace(" ", "\u00a0"),
            None if one.words is None else round(one.words.normed.value, 2),
            None if one.words is None else round(one.words.normed.percentile),
            None if one.words is None else " ".join(_token(work, token) for token, _ in one.words.raises[:5]),
        )
        for one in found
    ]
    return Table(
        title="Read and write",
        columns=("feature", "cos(read, write)", "cos(Σ read, write)", "entropy", "percentile", "tokens it raises most"),
        rows=rows,
        note=(
            "Read: the LDA covector; write: the difference of class means; Σ the covariance over held-out documents,"
            " which turns a covector into the direction that goes with it. Entropy: of the direction's unembedding"
            " after the last norm, in nats; percentile: its place among 200 random directions of equal length. Tokens"
            " that a direction raises prove nothing where its entropy is that of random ones."
        ),
    )


def _token(work: Work, token: int) -> str:
    text = work.model.tokenizer.decode([token])
    return f"“{text.replace(chr(10), '↵').replace(' ', '␣')}”"


def _row(one: _Read) -> dict[str, Value]:
    found: dict[str, Value] = {
        "feature": one.name,
        "auc": one.auc.value,
        "auc_low": one.auc.low,
        "auc_high": one.auc.high,
        "control": one.auc.control,
        "p_value": one.auc.p_value,
        "cos_read_write": one.angle.plain.value,
        "cos_pattern_write": one.angle.pattern.value,
    }
    if one.words is not None:
        found |= {"entropy": one.words.normed.value, "entropy_percentile": one.words.normed.percentile}
    return found
