"""Tests of scores: detection without a threshold, hard negatives, sign pairs, consistency of contrasts, transfer.

A scorer is fitted elsewhere, its sign too: nothing here looks at both signs (trap T10).

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `detection` | AUROC of max_t s_t | scalar | largest score of each document, never rescaled by split | specs/evaluation.md, E5 |
| `_youden` | J = TPR - FPR | scalar | the threshold that maximises it on half of the groups | same |
| `pair_accuracy` | mean 1[s+ > s-], ties 1/2 | scalar | share of pairs in order | E8 |
| `contrast_consistency` | mean[(p+ - (1 - p-))^2 + min(p+, p-)^2] | scalar | 0 is perfect, 1/4 says nothing | E7 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweave.errors import DataError, InputError
from unweave.evals.averages import mean_estimate
from unweave.features.direction import Direction, Readout
from unweave.tensors.arrays import as_matrix, as_tensor
from unweave.tensors.auc_intervals import auc_tested
from unweave.tensors.estimate import Estimate
from unweave.tensors.labels import binary_labels
from unweave.tensors.splits import grouped_split, grouping

RANDOM_DRAWS = 20


def scored(scorer: Any, rows: Any) -> Float[np.ndarray, " n"]:
    """The score of each row: a `Readout`'s, the projection on a `Direction`, or what a function gives."""
    matrix = as_matrix(rows, name="rows").double()
    if isinstance(scorer, Readout):
        return scorer.score(matrix).numpy()
    if isinstance(scorer, Direction):
        return (matrix @ scorer.vector.double()).numpy()
    if not callable(scorer):
        raise InputError(f"the scorer is a {type(scorer).__name__}: a Readout, a Direction or a function is needed")
    return as_tensor(scorer(matrix), name="scores").numpy().astype(np.float64)


def detection(scores: Any, y: Any, documents: Any = None, *, groups: Any = None, seed: int = 0) -> Estimate:
    """AUC of the largest score of each document: how well it is detected anywhere in a text, without a threshold.

    Args:
        scores: (n,) one a token.
        y: (n,) label of the token's document, the same for all of its tokens.
        documents: (n,) which document; None makes each score a document.
        groups: (n,) what makes documents depend on each other; None takes documents as independent.
        seed: Of the bootstrap.

    Raises:
        InputError: Shapes that do not fit, or a document with both labels.
        DataError: One class only.

    Example:
        >>> rng = np.random.default_rng(0); y = np.repeat(np.arange(60) % 2, 5); peak = np.tile([0, 0, 1, 0, 0], 60)
        >>> detection(rng.normal(size=300) + 4 * peak * y, y, np.arange(300) // 5).low > 0.85
        True
    """
    values = as_tensor(scores, name="scores").numpy().astype(np.float64)
    if values.ndim != 1:
        raise InputError(f"scores have shape {values.shape}: one number a token is needed")
    labels, _ = binary_labels(y, values.shape)
    texts = grouping(documents, len(values))
    largest = np.full(texts.count, -np.inf)
    np.maximum.at(largest, texts.codes, values)
    positive = np.bincount(texts.codes, labels, texts.count)
    if not ((positive == 0) | (positive == np.bincount(texts.codes, minlength=texts.count))).all():
        raise InputError("a document has tokens of both labels: label documents, the score is their largest")
    first = np.unique(texts.codes, return_index=True)[1]
    own = grouping(None if groups is None else np.asarray(groups)[first], texts.count)
    return auc_tested(positive > 0, largest, own.codes, seed=seed)


def hard_negatives(scores: Any, kinds: Any, *, groups: Any = None, seed: int = 0) -> Estimate:
    """Macro accuracy on positives and hard negatives, at the threshold that easy negatives chose on other groups.

    Args:
        scores: (n,).
        kinds: (n,) 1 = positive, 0 = negative, 2 = hard negative.
        groups: (n,) the document of each row.
        seed: Of split and bootstrap.

    Raises:
        InputError: Shapes or kinds that do not fit.
        DataError: A kind is missing, or a single group.

    Example:
        >>> kinds = np.arange(300) % 3
        >>> scores = np.random.default_rng(0).normal(size=300) + np.array([0.0, 4.0, 3.5])[kinds]
        >>> found = hard_negatives(scores, kinds)
        >>> found.value < 0.7, found.control > 0.9  # the control is the accuracy with easy negatives
        (True, True)
    """
    values, sorts = (as_tensor(one, name=name).numpy() for one, name in ((scores, "scores"), (kinds, "kinds")))
    if values.shape != sorts.shape or values.ndim != 1 or not set(np.unique(sorts).tolist()) <= {0, 1, 2}:
        raise InputError(f"scores are {values.shape}, kinds {sorts.shape}: one of 0, 1, 2 a score is needed")
    if len(np.unique(sorts)) < 3:
        raise DataError(f"only the kinds {np.unique(sorts).tolist()} occur: 0, 1 and 2 are needed")
    grouped = grouping(groups, len(values))
    report = grouped_split(
        grouped, np.stack([sorts == kind for kind in (0, 1, 2)], 1).astype(float), test=0.5, seed=seed
    )
    easy = ~report & (sorts < 2)
    threshold = _youden(sorts[easy] == 1, values[easy])
    rates = []
    for negative in (2, 0):
        used = report & ((sorts == 1) | (sorts == negative))
        right = (values > threshold) == (sorts == 1)
        weight = np.where(sorts == 1, 1 / max(1, (used & (sorts == 1)).sum()), 1 / max(1, (used & (sorts != 1)).sum()))
        rates.append((right * weight * used.sum() / 2, used))
    (hard, used), (other, plain) = rates
    names = grouped.codes[used]
    found = mean_estimate(hard[used], names, seed=seed, null=0.5)
    return replace(found, control=float(other[plain].mean()), low=max(0.0, found.low), high=min(1.0, found.high))


def pair_accuracy(scorer: Any, positive: Any, negative: Any, *, groups: Any = None, seed: int = 0) -> Estimate:
    """The share of contrast pairs that the scorer puts in order; ties count one half, 1/2 is chance.

    Args:
        scorer: A `Readout`, a `Direction` (its projection) or a function of rows, fitted on *other* pairs.
        positive: Rows (n, d).
        negative: Rows (n, d); row i of both is a pair.
        groups: (n,) the template or topic of each pair.
        seed: Of bootstrap, flips and random directions.

    Returns:
        Its control is the largest share that one of 20 random directions puts in order.

    Raises:
        InputError: Not as many rows on both sides.

    Example:
        >>> base = torch.randn(80, 3)
        >>> up = Direction(vector=[1.0, 0.0, 0.0])
        >>> pair_accuracy(up, base + torch.tensor([1.0, 0, 0]), base).value
        1.0
    """
    one, two = (as_matrix(side, name=name).double() for side, name in ((positive, "positive"), (negative, "negative")))
    if one.shape != two.shape:
        raise InputError(
            f"positive is {tuple(one.shape)} but negative is {tuple(two.shape)}: row i of both is one pair"
        )
    values = _in_order(scored(scorer, one) - scored(scorer, two))
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(one.shape[1], RANDOM_DRAWS, generator=generator, dtype=torch.float64)
    chance = _in_order(((one - two) @ random).numpy()).mean(0)
    found = mean_estimate(values, groups, seed=seed, null=0.5, bounds=(0.0, 1.0))
    return replace(found, control=float(chance.max()))


def contrast_consistency(positive: Any, negative: Any, *, groups: Any = None, seed: int = 0) -> Estimate:
    """How inconsistent the probabilities of statements and their negations are: 0 is perfect, 1/4 is p = 1/2.

    Args:
        positive: (n,) p+, such as `ContrastProbe.probabilities` gives.
        negative: (n,) p-.
        groups: (n,) the topic of each pair.
        seed: Of bootstrap and shuffles.

    Returns:
        Its control is the mean over shuffles of the negations: what is left when pairs are no pairs.

    Raises:
        InputError: Not as many on both sides, or no probabilities.

    Example:
        >>> p = np.tile([0.9, 0.1], 50)
        >>> found = contrast_consistency(p, 1 - p)
        >>> round(found.value, 3), found.control > 0.2
        (0.01, True)
    """
    one, two = (as_tensor(side, name=name).double() for side, name in ((positive, "positive"), (negative, "negative")))
    if one.shape != two.shape or one.ndim != 1 or bool(((one < 0) | (one > 1) | (two < 0) | (two > 1)).any()):
        raise InputError(
            f"positive is {tuple(one.shape)}, negative {tuple(two.shape)}: one probability a pair is needed"
        )
    rng = np.random.default_rng([seed, 12])
    shuffles = [
        _inconsistency(one, two[torch.from_numpy(rng.permutation(len(two)))]).mean() for _ in range(RANDOM_DRAWS)
    ]
    control = float(torch.stack(shuffles).mean())
    return mean_estimate(_inconsistency(one, two), groups, seed=seed, null=0.25, control=control)


@dataclass(frozen=True, kw_only=True, eq=False)
class Transfer:
    """AUC of a scorer fitted on one data set and tested on another."""

    names: tuple[str, ...]
    auc: Mapping[tuple[str, str], Estimate]
    """(fitted on, tested on) -> AUC on groups that no fit has seen."""

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a pair."""
        return [
            {"fitted_on": one, "tested_on": two, "auc": found.value, "low": found.low, "high": found.high, "n": found.n}
            for (one, two), found in self.auc.items()
        ]

    def __repr__(self) -> str:
        """Mean within and across data sets."""
        inside = float(np.mean([found.value for (one, two), found in self.auc.items() if one == two]))
        others = [found.value for (one, two), found in self.auc.items() if one != two]
        across = float(np.mean(others or [np.nan]))
        return f"Transfer({len(self.names)} sets, AUC {inside:.3f} within, {across:.3f} across)"


def transfer(
    fit: Callable[[Tensor, Bool[np.ndarray, " n"]], Any],
    sets: Mapping[str, tuple[Any, Any, Any]],
    *,
    test: float = 0.5,
    seed: int = 0,
) -> Transfer:
    """A scorer of every data set, tested on every one: forms, negations, topics, languages.

    Args:
        fit: (rows, labels) -> `Readout`, `Direction` or a function of rows; `uw.directions.mean_difference` is one.
        sets: Name -> (rows (n, d), labels (n,), groups (n,)); a group (an entity) is on one side of the split in all
            sets alike.
        test: Share of the groups held out.
        seed: Of split and bootstrap.

    Raises:
        InputError: Shapes that do not fit.
        DataError: One class only on a side.

    Example:
        >>> from unweave.directions import mean_difference
        >>> X, y = torch.randn(200, 4), torch.arange(200) % 2
        >>> one, two = X + 3 * torch.eye(4)[0] * y[:, None], X - 3 * torch.eye(4)[0] * y[:, None]
        >>> found = transfer(mean_difference, {"plain": (one, y, None), "negated": (two, y, None)})
        >>> found.auc["plain", "plain"].low > 0.9, found.auc["plain", "negated"].high < 0.1
        (True, True)
    """
    parts = {}
    for name, (rows, y, groups) in sets.items():
        matrix = as_matrix(rows, name=f"rows of {name}")
        labels, _ = binary_labels(y, tuple(matrix.shape))
        names = np.arange(len(matrix)) if groups is None else np.asarray(groups)
        if names.shape != (len(matrix),):
            raise InputError(f"{name} has {len(matrix)} rows but groups of shape {names.shape}: one group a row")
        parts[name] = matrix, labels, names
    everything = np.concatenate([names for _, _, names in parts.values()])
    grouped = grouping(everything, len(everything))
    strata = np.concatenate([labels for _, labels, _ in parts.values()]).astype(float)
    held_out = grouped_split(grouped, np.stack([strata, 1 - strata], 1), test=test, seed=seed)
    ends = np.cumsum([0, *(len(labels) for _, labels, _ in parts.values())])
    sides = {name: held_out[start:end] for name, start, end in zip(parts, ends, ends[1:], strict=False)}
    found: dict[tuple[str, str], Estimate] = {}
    for one, (rows, labels, _) in parts.items():
        training = ~sides[one]
        scorer = fit(rows[torch.from_numpy(training)], labels[training])
        for two, (others, truth, names) in parts.items():
            side = sides[two]
            codes = grouping(names[side], int(side.sum())).codes
            scores = scored(scorer, others[torch.from_numpy(side)])
            found[one, two] = auc_tested(truth[side], scores, codes, seed=seed)
    return Transfer(names=tuple(parts), auc=found)


def _inconsistency(p: Float[Tensor, " n"], q: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    return (p - (1 - q)).square() + torch.minimum(p, q).square()


def _in_order(differences: np.ndarray) -> np.ndarray:
    return (differences > 0) + 0.5 * (differences == 0)


def _youden(labels: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"]) -> float:
    """The score above which a row is called positive that maximises TPR - FPR; the lowest of equals."""
    order = np.sort(np.unique(scores))
    called = scores[:, None] > order[None]
    gap = called[labels].mean(0) - called[~labels].mean(0)
    return float(order[int(np.argmax(gap))])
