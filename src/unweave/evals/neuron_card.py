"""`neuron_card`: what is known of one neuron on one page: its weights, when it fires, what a label misses of it, which
neurons fire with it.

A label is not a meaning: a neuron that predicts "athlete" may fire for sports in general. So a card lists, besides the
score, the contexts in which neuron and label disagree, and every other feature the neuron tells too.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `percentile` | rank of the neuron in its layer | scalar | percent of neurons with less | specs/probing.md 9 |
| `correlation` | r_ij | (d,) | of the unit with every unit of the site, over all rows | same |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweave.activations.labels import LabelledFeature, groups_of
from unweave.activations.store import ActivationStore
from unweave.errors import DataError, InputError
from unweave.evals.contexts import Context, contexts
from unweave.models.model import Model
from unweave.models.neuron_weights import neuron_weights, written_tokens
from unweave.probing.config import ProbeConfig
from unweave.probing.controls import fixed_probe
from unweave.probing.problem import Problem
from unweave.probing.result import Probe
from unweave.probing.search import Search, UnitScore
from unweave.site import Site
from unweave.tensors.splits import grouping

BINS = 40


@dataclass(frozen=True, kw_only=True)
class WeightStatistic:
    """One number of a neuron's weights."""

    name: str
    value: float
    percentile: float
    """Percent of the neurons of the layer with a smaller value."""


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How often a unit has which value, by class."""

    edges: tuple[float, ...]
    counts: tuple[tuple[str, tuple[int, ...]], ...]
    """Class -> rows in each bin."""


@dataclass(frozen=True, eq=False, kw_only=True)
class NeuronCard:
    """What is known of one neuron."""

    site: str
    unit: int
    feature: str | None
    """The label it is held against, if any."""
    probe: Probe | None
    """Of this neuron alone, for that label, on held-out documents."""
    weights: tuple[WeightStatistic, ...]
    """Nothing for units that have no weights of their own."""
    raises: tuple[tuple[str, float], ...]
    """Tokens whose logit it raises most."""
    lowers: tuple[tuple[str, float], ...]
    """Tokens whose logit it lowers most."""
    histogram: Histogram
    contexts: tuple[tuple[str, tuple[Context, ...]], ...]
    """Kind -> contexts: `top`, `active`, `inactive`, and with a label `false positive`, `false negative`."""
    correlated: tuple[tuple[int, float], ...]
    """The units that go with it most, and their correlation."""
    also: tuple[UnitScore, ...]
    """Other features it tells, by the search that was given."""

    def table(self) -> list[dict[str, Any]]:
        """The weight statistics."""
        return [{"statistic": one.name, "value": one.value, "percentile": one.percentile} for one in self.weights]

    def of(self, kind: str) -> tuple[Context, ...]:
        """The contexts of one kind, none if there is no such kind."""
        return dict(self.contexts).get(kind, ())

    def __repr__(self) -> str:
        """Neuron, label and F1."""
        told = "" if self.probe is None else f", {self.feature}: F1 {self.probe.f1.value:.3f}"
        return f"NeuronCard({self.site} neuron {self.unit}{told})"


def neuron_card(
    model: Model,
    store: ActivationStore,
    site: str,
    unit: int,
    *,
    feature: LabelledFeature | None = None,
    held_out: Sequence[int] = (),
    search: Search | None = None,
    each: int = 10,
    seed: int = 0,
) -> NeuronCard:
    """The card of one neuron, from one pass over its site.

    Args:
        model: The model of the store.
        store: The activations.
        site: Where the neuron is.
        unit: Its number.
        feature: A label of tokens to hold it against.
        held_out: Documents that the score is of and that disagreements are listed from; the others fit the threshold.
        search: Where other features that it tells are looked up.
        each: Contexts of each kind, and tokens a side.
        seed: Of the random contexts.

    Raises:
        UnknownName: The store does not have the site.
        InputError: No such unit, a label of documents, or a label without `held_out`.
        DataError: The label has one class only on either side of the split.

    Example:
        >>> import tempfile
        >>> import unweave as uw
        >>> from unweave.activations.token_strings import token_string_features
        >>> model = uw.load_model("zoo:docs")
        >>> texts = [f"{n} and {n + 1} make {2 * n + 1}, and that is all. " * 4 for n in range(12)]
        >>> store = uw.collect(model, texts, "blocks.2.mlp_act", tempfile.mkdtemp() + "/store")
        >>> digits = token_string_features(store, model.tokenizer)[0]
        >>> card = neuron_card(model, store, "blocks.2.mlp_act", 5, feature=digits, held_out=range(8, 12))
        >>> card.feature, len(card.of("top")), len(card.correlated)
        ('contains_digit', 10, 5)
    """
    column = store[site]
    if not 0 <= unit < column.shape[1]:
        raise InputError(f"unit is {unit}: {site} has units 0..{column.shape[1] - 1}")
    values, correlation = _pass(store, site, unit)
    problem, probe, side = _held_against(store, values, feature, held_out)
    weights, written = _weights(model, site, unit, each)
    correlation[unit] = -np.inf
    order = np.argsort(-np.abs(np.where(np.isfinite(correlation), correlation, 0.0)), kind="stable")[:5]
    return NeuronCard(
        site=str(Site(site)),
        unit=unit,
        feature=None if feature is None else feature.name,
        probe=probe,
        weights=weights,
        raises=written[: len(written) // 2],
        lowers=written[len(written) // 2 :][::-1],
        histogram=_histogram(values, feature),
        contexts=tuple(_contexts(store, values, feature, problem, side, each, seed).items()),
        correlated=tuple((int(other), float(correlation[other])) for other in order if other != unit),
        also=() if search is None else tuple(
            one for one in search.of(str(Site(site)), unit) if feature is None or one.feature != feature.name
        ),
    )  # fmt: skip


def _pass(store: ActivationStore, site: str, unit: int) -> tuple[np.ndarray, np.ndarray]:
    """The unit's value at every row, and its correlation with every unit."""
    parts, count = [], 0
    total = squares = products = torch.zeros(store[site].shape[1], dtype=torch.float64)
    origin: Tensor | None = None
    for chunk in store[site].chunks():
        rows = chunk.double()
        parts.append(rows[:, unit].numpy())
        origin = rows.mean(0) if origin is None else origin  # near the mean, so that sums of squares keep their digits
        rows = rows - origin
        total, squares = total + rows.sum(0), squares + rows.square().sum(0)
        products = products + rows.T @ rows[:, unit]
        count += len(rows)
    if not count:
        raise DataError(f"the store has no rows at {site}: there is nothing to show of a unit")
    mean = total / count
    spread = (squares / count - mean.square()).clamp_min(0).sqrt()
    covariance = products / count - mean * mean[unit]
    correlation = covariance / (spread * spread[unit])
    correlation[spread < 1e-9] = torch.nan
    return np.concatenate(parts), correlation.numpy()


def _held_against(
    store: ActivationStore, values: np.ndarray, feature: LabelledFeature | None, held_out: Sequence[int]
) -> tuple[Problem | None, Probe | None, np.ndarray]:
    """The labelled rows as a problem, the probe of the unit alone, and its score at every row of the store; without a
    label the score is the value itself.
    """
    if feature is None:
        return None, None, values
    if feature.level != "token":
        raise InputError(f"{feature.name!r} is a label of documents: a card shows tokens, give a label of tokens")
    groups = groups_of(feature, store)
    test = np.isin(groups, np.asarray(held_out, dtype=np.int64))
    problem = Problem(
        labels=feature.values,
        groups=grouping(groups, len(groups)),
        names=tuple(np.unique(groups).tolist()),
        held_out=test,
    )
    for side, rows in (("held-out", test), ("other", ~test)):
        if len(np.unique(feature.values[rows])) < 2:
            raise DataError(
                f"{feature.name!r} has {int(feature.values[rows].sum())} positives of {int(rows.sum())} rows in the"
                f" {side} documents: both classes are needed on both sides, give other documents in held_out"
            )
    own = torch.from_numpy(values[feature.index]).unsqueeze(1)
    if float(own[torch.from_numpy(~test)].std(unbiased=False)) < 1e-6:
        raise DataError("the unit does not vary over the training rows: there is nothing to hold a label against")
    probe = fixed_probe(own, problem, [0], ProbeConfig(ks=(1,)))
    scores = (values - probe.mean[0]) / probe.sd[0] * probe.coef[0] + probe.bias
    return problem, probe, scores


def _weights(
    model: Model, site: str, unit: int, each: int
) -> tuple[tuple[WeightStatistic, ...], tuple[tuple[str, float], ...]]:
    try:
        found = neuron_weights(model, site)
    except InputError:  # units of a stream or of a plain module: nothing to say from weights
        return (), ()
    told = tuple(
        WeightStatistic(
            name=name,
            value=float(all_of[unit]),
            percentile=100 * float((all_of < all_of[unit]).double().mean()),
        )
        for name, all_of in found.statistics().items()
    )
    return told, written_tokens(model, found.writes[unit], most=each)


def _histogram(values: Float[np.ndarray, " rows"], feature: LabelledFeature | None) -> Histogram:
    classes = {"all rows": values}
    if feature is not None:
        own = values[feature.index]
        classes = {"has the feature": own[feature.values], "has it not": own[~feature.values]}
    shown = np.concatenate(list(classes.values()))
    low, high = float(shown.min()), float(shown.max())
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    return Histogram(
        edges=tuple(edges.tolist()),
        counts=tuple((name, tuple(np.histogram(own, edges)[0].tolist())) for name, own in classes.items()),
    )


def _contexts(
    store: ActivationStore,
    values: np.ndarray,
    feature: LabelledFeature | None,
    problem: Problem | None,
    scores: np.ndarray,
    each: int,
    seed: int,
) -> dict[str, tuple[Context, ...]]:
    """Contexts by kind; the false ones from held-out documents, the surest first."""
    if store.collection.kind == "tensors":
        return {}
    rng = np.random.default_rng([seed, 10])
    shuffled = rng.permutation(len(values))
    kinds: dict[str, np.ndarray] = {
        "top": _one_a_window(store, np.argsort(-scores, kind="stable"), each),
        "active": np.sort(shuffled[scores[shuffled] > 0][:each]),
        "inactive": np.sort(shuffled[scores[shuffled] <= 0][:each]),
    }
    labels: dict[int, bool] = {}
    if feature is not None and problem is not None:
        labels = dict(zip(feature.index.tolist(), feature.values.tolist(), strict=True))
        rows, truth = feature.index[problem.held_out], feature.values[problem.held_out]
        own = scores[rows]
        for kind, wrong, order in (
            ("false positive", (own > 0) & ~truth, -own),
            ("false negative", (own <= 0) & truth, own),
        ):
            chosen = np.flatnonzero(wrong)
            kinds[kind] = rows[chosen[np.argsort(order[chosen], kind="stable")]][:each]
    return {
        kind: tuple(
            replace(one, label=labels.get(row))
            for one, row in zip(contexts(store, values, rows), rows.tolist(), strict=True)
        )
        for kind, rows in kinds.items()
    }


def _one_a_window(store: ActivationStore, order: Int[np.ndarray, " n"], most: int) -> Int[np.ndarray, " k"]:
    """The first rows of the order, at most one from a window: the same word again and again shows little."""
    _, first = np.unique(store.rows["sequence"][order], return_index=True)
    return order[np.sort(first)[:most]]
