"""A direction at every layer from contrast pairs or labelled texts, each with how well it reads other groups.

The pairs are split by group: directions, their signs and the choice of a layer come from the fit part, the numbers from
the report part, which is looked at once. The p-values are Holm's over the layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweave import directions
from unweave.activations.concepts import ContrastPair, Example
from unweave.activations.pooled_texts import text_rows
from unweave.errors import DataError, InputError, unknown_name
from unweave.evals.reading.detecting import pair_accuracy, scored
from unweave.evals.reading.reading_writing import ReadWrite, read_write_angle
from unweave.evals.reading.unembedding import Unembedding, unembedding
from unweave.features.bundle import Bundle
from unweave.features.direction import Direction
from unweave.models.model import Model
from unweave.tensors.auc_intervals import auc_tested
from unweave.tensors.estimate import Estimate
from unweave.tensors.multiplicity import holm
from unweave.tensors.splits import grouped_split, grouping

OF_PAIRS: Mapping[str, Callable[..., Any]] = {
    "contrast_pca": directions.contrast_pca,
    "ccs": directions.ccs,
}
OF_LABELS: Mapping[str, Callable[..., Any]] = {
    "mean_difference": directions.mean_difference,
    "lda": directions.lda,
    "logistic": directions.logistic,
}
METHODS = (*OF_LABELS, *OF_PAIRS)
"""Names of what can be fitted at every layer; those of labels take pairs too, as rows of two classes."""


@dataclass(frozen=True, kw_only=True)
class LayerReading:
    """One layer."""

    site: str
    score: Estimate
    """Of report groups: pairs in order, or AUC for labelled texts."""
    p_holm: float
    """Its p-value over all layers."""
    angle: ReadWrite | None
    """Between the LDA read-out and the mean difference of the fit part, over the report rows."""
    words: Unembedding | None
    """None where the model has no unembedding, or for read-outs."""
    norm: float
    """Length of the direction or covector."""

    def row(self) -> dict[str, Any]:
        """Plain values."""
        found: dict[str, Any] = {
            "site": self.site, "score": self.score.value, "low": self.score.low, "high": self.score.high,
            "control": self.score.control, "p_value": self.score.p_value, "p_holm": self.p_holm, "n": self.score.n,
            "n_groups": self.score.n_groups, "norm": self.norm,
        }  # fmt: skip
        if self.angle is not None:
            found |= {"cos_pattern_write": self.angle.pattern.value, "cos_read_write": self.angle.plain.value}
        if self.words is not None:
            found |= {"entropy": self.words.normed.value, "entropy_percentile": self.words.normed.percentile}
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerStudy:
    """Directions at several layers and what they read on other groups."""

    bundle: Bundle
    """Site -> direction or read-out, fitted on the fit part."""
    layers: tuple[LayerReading, ...]
    best: str
    """The site chosen on the fit part alone."""
    method: str
    scope: str
    """`pairs in order` or `AUC`."""
    fitted: int
    """Pairs or texts that were fitted on."""
    seed: int
    warnings: tuple[str, ...] = ()

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a layer."""
        return [one.row() for one in self.layers]

    def reading(self, site: str) -> LayerReading:
        """The layer of a site."""
        return next(one for one in self.layers if one.site == str(site))

    def __repr__(self) -> str:
        """Method and the chosen layer."""
        return (
            f"LayerStudy({self.method}, {len(self.layers)} sites, best {self.best}: {self.reading(self.best).score!r})"
        )


def layer_study(
    model: Model,
    records: Sequence[Any],
    sites: Sequence[str],
    *,
    method: str = "mean_difference",
    position: int | str = -1,
    test: float = 0.3,
    seed: int = 0,
) -> LayerStudy:
    """A direction at every site from pairs or labelled texts, tested on groups that were not fitted on.

    Args:
        model: With a tokenizer.
        records: Contrast pairs, or examples with the values 0 and 1.
        sites: Where.
        method: One of `METHODS`.
        position: Which token of each text, or `mean`.
        test: Share of the groups held out.
        seed: Of split, fits and bootstrap.

    Raises:
        UnknownName: An unknown method.
        InputError: Texts with labels for a method that needs pairs.
        DataError: Fewer than four records, one group, or one class.

    Example:
        >>> import unweave as uw
        >>> pairs = [ContrastPair(positive=f"{n} is a number", negative=f"{n} is a name") for n in range(12)]
        >>> found = layer_study(uw.load_model("zoo:docs"), pairs, ["blocks.0.resid_post", "blocks.1.resid_post"])
        >>> len(found.table()), found.bundle.kind, found.fitted < 12
        (2, 'direction', True)
    """
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    given = _given(model, records, sites, position, method)
    held_out = _split(given, test, seed)
    fit, report = (np.flatnonzero(side) for side in (~held_out, held_out))
    bundle = Bundle(parts={site: _fitted(given, site, fit, method, seed, model) for site in sites})
    scores = {site: _scored(given, site, report, bundle[site], seed) for site in sites}
    adjusted = holm([float(one.p_value if one.p_value is not None else 1.0) for one in scores.values()])
    layers = tuple(
        LayerReading(
            site=str(site),
            score=scores[site],
            p_holm=adjusted[number],
            angle=_angle(given, site, fit, report, seed),
            words=_words(model, bundle[site], seed),
            norm=bundle[site].norm,
        )
        for number, site in enumerate(sites)
    )
    told = {one for part in bundle.values() for one in part.provenance.warnings}
    return LayerStudy(
        bundle=bundle,
        layers=layers,
        best=_chosen(given, fit, method, seed, model),
        method=method,
        scope="pairs in order" if given.paired else "AUC",
        fitted=len(fit),
        seed=seed,
        warnings=(*given.warnings, *sorted(told)),
    )


def labelled_rows(
    model: Model, records: Sequence[Any], site: str, *, position: int | str = -1
) -> tuple[Float[Tensor, "n d"], Bool[np.ndarray, " n"], np.ndarray]:
    """(rows, labels, groups) of contrast pairs, two rows each, or of labelled texts.

    Args:
        model: With a tokenizer.
        records: Contrast pairs, or examples with the values 0 and 1.
        site: Where.
        position: Which token of each text, or `mean`.

    Raises:
        InputError: Records of another kind.
        DataError: Fewer than four records, or one class.
    """
    given = _given(model, records, [site], position, "mean_difference")
    names = np.array(given.groups)
    rows, labels = given.stacked(site, np.arange(len(names)))
    return rows, labels, np.concatenate([names, names]) if given.paired else names


@dataclass(frozen=True, kw_only=True, eq=False)
class _Given:
    """Rows of every site, one a record; of pairs the positive and the negative side."""

    rows: Mapping[str, tuple[Float[Tensor, "n d"], Float[Tensor, "n d"] | None]]
    labels: Bool[np.ndarray, " n"] | None
    groups: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def paired(self) -> bool:
        return self.labels is None

    def stacked(self, site: str, chosen: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """Rows and labels, pairs as two rows each."""
        first, second = self.rows[site]
        if second is None:
            return first[chosen], (self.labels if self.labels is not None else np.empty(0, bool))[chosen]
        return torch.cat([first[chosen], second[chosen]]), np.repeat([True, False], len(chosen))


def _given(model: Model, records: Sequence[Any], sites: Sequence[str], position: int | str, method: str) -> _Given:
    if len(records) < 4:
        raise DataError(f"{len(records)} records: directions and their test need at least four, in two groups")
    paired = isinstance(records[0], ContrastPair)
    if not paired and not isinstance(records[0], Example):
        raise InputError(f"the records are {type(records[0]).__name__}s: contrast pairs or labelled texts are needed")
    if method in OF_PAIRS and not paired:
        raise InputError(f"{method} needs contrast pairs (positive, negative), got labelled texts: use mean_difference")
    names = tuple(one.group or f"record {number}" for number, one in enumerate(records))
    alone = all(not one.group for one in records)
    warnings = ("no groups: every record counts as independent",) if alone else ()
    if paired:
        plus, minus = (text_rows(model, [getattr(one, side) for one in records], sites, position=position)
                       for side in ("positive", "negative"))  # fmt: skip
        return _Given(
            rows={site: (plus[site], minus[site]) for site in sites}, labels=None, groups=names, warnings=warnings
        )
    values = {str(one.value) for one in records}
    kinds = {"0", "1", "0.0", "1.0", "False", "True"}
    if not values <= kinds or len({float(bool(float(one.value))) for one in records}) < 2:
        raise DataError(f"the texts have the labels {sorted(values)[:4]}: both 0 and 1 are needed")
    rows = text_rows(model, [one.text for one in records], sites, position=position)
    labels = np.array([bool(one.value) for one in records])
    return _Given(rows={site: (rows[site], None) for site in sites}, labels=labels, groups=names, warnings=warnings)


def _split(given: _Given, test: float, seed: int) -> Bool[np.ndarray, " n"]:
    labels = np.zeros(len(given.groups), bool) if given.labels is None else given.labels
    strata = np.stack([labels, ~labels], 1).astype(float)
    return grouped_split(grouping(np.array(given.groups), len(labels)), strata, test=test, seed=seed)


def _fitted(given: _Given, site: str, chosen: np.ndarray, method: str, seed: int, model: Model) -> Any:
    options: dict[str, Any] = {"site": site, "model": model.fingerprint}
    if method in OF_PAIRS:
        first, second = given.rows[site]
        if second is None:
            raise RuntimeError("labelled texts have no pairs")
        sides = first[chosen], second[chosen]
        if method != "ccs":
            return OF_PAIRS[method](*sides, **options)
        found = directions.ccs(*sides, seed=seed, **options).readout
        order = scored(found, sides[0]) - scored(found, sides[1])
        return found if (order > 0).mean() >= 0.5 else -found  # consistency does not say which side is which
    if method == "logistic":
        names = np.array(given.groups)[chosen]
        options |= {"seed": seed, "groups": np.concatenate([names, names]) if given.paired else names}
    return OF_LABELS[method](*given.stacked(site, chosen), **options)


def _scored(given: _Given, site: str, chosen: np.ndarray, scorer: Any, seed: int) -> Estimate:
    names = np.array(given.groups)[chosen]
    first, second = given.rows[site]
    if second is not None:
        return pair_accuracy(scorer, first[chosen], second[chosen], groups=names, seed=seed)
    rows, labels = given.stacked(site, chosen)
    return auc_tested(labels, scored(scorer, rows), grouping(names, len(names)).codes, seed=seed)


def _chosen(given: _Given, fit: np.ndarray, method: str, seed: int, model: Model) -> str:
    """The site that does best on one half of the fit part with a direction of the other half."""
    part = _Given(
        rows={site: (one[fit], None if two is None else two[fit]) for site, (one, two) in given.rows.items()},
        labels=None if given.labels is None else given.labels[fit],
        groups=tuple(np.array(given.groups)[fit].tolist()),
        warnings=(),
    )
    try:
        half = _split(part, 0.5, seed)
        one, two = (np.flatnonzero(side) for side in (~half, half))
        values = {
            site: _scored(part, site, two, _fitted(part, site, one, method, seed, model), seed).value
            for site in part.rows
        }
    except DataError:  # too few groups to divide once more
        return str(list(part.rows)[len(part.rows) // 2])
    return str(max(values, key=lambda site: values[site]))


def _angle(given: _Given, site: str, fit: np.ndarray, report: np.ndarray, seed: int) -> ReadWrite | None:
    rows, labels = given.stacked(site, fit)
    others, _ = given.stacked(site, report)
    names = np.array(given.groups)[report]
    groups = np.concatenate([names, names]) if given.paired else names
    try:
        read = directions.lda(rows, labels, shrinkage=0.1)
        return read_write_angle(read, directions.mean_difference(rows, labels), others, groups, seed=seed, draws=500)
    except (DataError, InputError):  # rows that do not vary at this site
        return None


def _words(model: Model, part: Any, seed: int) -> Unembedding | None:
    if not model.predicts_next or not isinstance(part, Direction):
        return None
    try:
        return unembedding(model, part, seed=seed)
    except InputError:  # a site that is not of the width of the unembedding
        return None
