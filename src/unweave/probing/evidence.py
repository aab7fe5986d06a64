"""`evidence`: the controls of a sweep over a store, each wherever the store can serve it.

For every feature one unit and one site are chosen on inner folds of the training documents (`winners`); the controls
that refit a probe many times run at that site alone, so the cost grows with features, not with features times sites.

| part | runs at | cost a feature |
|---|---|---|
| search over all units (t-tests, false discovery rate, max-statistic) | every site | one pass over its training rows, and `shuffles` rows of a matrix product |
| best unit, honest and corrected | every site | `4 candidates` one-column fits |
| rotation, selectivity, random coordinates | the chosen site | `rotations + tasks` sweeps without shuffles, `coordinates` fits a k |
| token baseline | no site | one fit on one-hot columns |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from unweave.activations.labels import LabelledFeature, groups_of, pooled
from unweave.activations.store import ActivationStore
from unweave.config import Config
from unweave.engine.local import map_units
from unweave.errors import DataError, InputError
from unweave.log import SILENT, Progress
from unweave.probing.config import ProbeConfig
from unweave.probing.controls import against, coordinates_control, probes_of
from unweave.probing.linear import standardised
from unweave.probing.problem import Problem
from unweave.probing.result import Control, Probe, ProbeTable
from unweave.probing.rotation import rotations
from unweave.probing.sampling import Sample, draw
from unweave.probing.search import Search, SiteScan, collected, scan
from unweave.probing.selectivity import selectivity_control
from unweave.probing.token_baseline import token_control
from unweave.probing.winners import Candidates, Winner, site_candidates, winner
from unweave.tensors.auc_intervals import auc_estimate
from unweave.tensors.estimate import Estimate
from unweave.tensors.splits import grouping


class EvidenceConfig(Config):
    """How many stand-ins every probe is compared with; 0 leaves a control out."""

    shuffles: Annotated[int, Field(ge=0)] = 200
    """Label shuffles of the max-statistic over everything searched."""
    candidates: Annotated[int, Field(ge=1)] = 30
    """Units of each site that compete for the best one."""
    rotations: Annotated[int, Field(ge=0)] = 5
    """Randomly rotated bases."""
    tasks: Annotated[int, Field(ge=0)] = 5
    """Control tasks of the selectivity."""
    coordinates: Annotated[int, Field(ge=0)] = 20
    """Sets of random units."""
    matched: Annotated[int, Field(ge=0)] = 20
    """Sets of units matched in spread with the chosen ones."""
    tokens: bool = True
    """Whether to fit the baseline on token identity."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """False discovery rate that counts as found."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureEvidence:
    """The controls of one feature at the site chosen for it."""

    feature: str
    winner: Winner
    auc: Mapping[int, Estimate]
    """k -> AUC of the probe at the chosen site, with its interval."""
    controls: tuple[Control, ...]
    token_baseline: Estimate | None
    """F1 of a probe that sees only which token it is and which came before."""
    left_out: Mapping[str, str]
    """Control -> why it could not be made."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """What stands for and against every feature of a sweep."""

    features: tuple[FeatureEvidence, ...]
    search: Search
    config: EvidenceConfig
    probe: ProbeConfig
    seconds: float | None = None

    def table(self) -> list[dict[str, Any]]:
        """One dictionary for each feature, control and k."""
        return [
            {"feature": one.feature, "site": one.winner.site, **control.row()}
            for one in self.features
            for control in one.controls
        ]

    def winners(self) -> list[dict[str, Any]]:
        """One dictionary a feature: its best unit, honestly and naively."""
        return [one.winner.row() for one in self.features]

    def of(self, feature: str) -> FeatureEvidence:
        """The evidence of one feature.

        Raises:
            InputError: No such feature.
        """
        for one in self.features:
            if one.feature == feature:
                return one
        raise InputError(f"no evidence for {feature!r}: there is for {', '.join(one.feature for one in self.features)}")

    def __repr__(self) -> str:
        """Features and search."""
        return f"Evidence({len(self.features)} features, {self.search})"


def evidence(
    store: ActivationStore,
    features: Sequence[LabelledFeature],
    *,
    table: ProbeTable,
    options: EvidenceConfig | None = None,
    progress: Progress = SILENT,
) -> Evidence:
    """The controls of a sweep over neurons of a store, on its rows and split.

    Args:
        store: The store that was swept.
        features: The features that were given to the sweep.
        table: What `sweep_many` gave.
        options: How many stand-ins; None takes the usual numbers.
        progress: Who is told how far it is.

    Raises:
        InputError: The table is of another basis than neurons, or of other features.

    Example:
        >>> import tempfile
        >>> from unweave.activations.token_strings import token_string_features
        >>> model = uw.load_model("zoo:docs")
        >>> texts = [f"{n} and {n + 1} make {2 * n + 1}, and that is all. " * 4 for n in range(12)]
        >>> store = uw.collect(model, texts, "blocks.2.mlp_act", tempfile.mkdtemp() + "/store")
        >>> digits = token_string_features(store, model.tokenizer)[:1]
        >>> table = uw.probing.sweep_many(store, digits, ks=(1,))
        >>> few = EvidenceConfig(shuffles=20, rotations=2, tasks=2, coordinates=2, matched=2)
        >>> uw.probing.evidence(store, digits, table=table, options=few).of("contains_digit").token_baseline.value > 0.9
        True
    """
    start = time.perf_counter()
    asked = options or EvidenceConfig()
    sample = _sample(store, features, table)
    sites = list(dict.fromkeys(site for _, site in table.sweeps))
    scans: dict[str, list[SiteScan]] = {feature.name: [] for feature in sample.features}
    candidates: dict[str, list[Candidates]] = {feature.name: [] for feature in sample.features}
    with progress.task("controls", 2 * len(sites), "site") as advance:
        for site in sites:
            looked = map_units(
                partial(_looked, site, table.config, asked), _problems(store, site, sample.features, sample)
            )
            for name, units, best in looked:
                scans[name].append(units)
                candidates[name].append(best)
            advance(1)
        winners = {name: winner(name, parts, table.config) for name, parts in candidates.items()}
        found: dict[str, FeatureEvidence] = {}
        for site in sites:
            here = [feature for feature in sample.features if winners[feature.name].site == site]
            places = [
                _Place(
                    store=store,
                    feature=feature,
                    rows=rows,
                    problem=problem,
                    probes={probe.k: probe for probe in table.sweeps[feature.name, site].probes},
                    config=table.config,
                )
                for feature, rows, problem in _problems(store, site, here, sample)
            ]
            weighed = map_units(lambda place: _evidence_of(place, winners[place.feature.name], asked), places)
            found |= {one.feature: one for one in weighed}
            advance(1)
    return Evidence(
        features=tuple(found[feature.name] for feature in sample.features),
        search=collected(
            scans, level=asked.level, most=10, also={name: (one.site, one.unit) for name, one in winners.items()}
        ),
        config=asked,
        probe=table.config,
        seconds=time.perf_counter() - start,
    )


def _looked(
    site: str, config: ProbeConfig, options: EvidenceConfig, labelled: tuple[LabelledFeature, Tensor, Problem]
) -> tuple[str, SiteScan, Candidates]:
    """The feature, all units of a site for it, and the best of them each as a probe."""
    feature, rows, problem = labelled
    found = scan(site, rows, problem, shuffles=options.shuffles, seed=config.seed)
    strength = np.abs(found.t)
    best = site_candidates(site, rows, problem, config, most=options.candidates, strength=strength)
    return feature.name, found, best


@dataclass(frozen=True, eq=False, kw_only=True)
class _Place:
    """One feature at its site."""

    store: ActivationStore
    feature: LabelledFeature
    rows: Tensor
    problem: Problem
    probes: Mapping[int, Probe]
    """Of the sweep."""
    config: ProbeConfig


def _sample(store: ActivationStore, features: Sequence[LabelledFeature], table: ProbeTable) -> Sample:
    """The rows and the split of the sweep, which follow from its configuration."""
    if table.basis != "neurons":
        raise InputError(f"the table is of the basis {table.basis!r}: controls of a store are of its neurons")
    sample = draw(store, features, table.config)
    names = [feature.name for feature in sample.features]
    if names != table.features() or tuple(np.flatnonzero(sample.held_out).tolist()) != table.held_out:
        raise InputError(
            f"the table has the features {table.features()[:4]}, these give {names[:4]} or another split: give the"
            " store and features that were swept"
        )
    return sample


def _problems(
    store: ActivationStore, site: str, features: Sequence[LabelledFeature], sample: Sample
) -> Iterator[tuple[LabelledFeature, Tensor, Problem]]:
    """The rows of each feature at a site, which is read once, and their labels and split; in the order of the features
    of tokens, then those of documents.
    """
    for level in ("token", "document"):
        own = [feature for feature in features if feature.level == level]
        if not own:
            continue
        index = np.unique(np.concatenate([feature.index for feature in own]))
        rows = store[site][index].float() if level == "token" else pooled(store[site], index)
        for feature in own:
            groups = groups_of(feature, store)
            problem = Problem(
                labels=feature.values,
                groups=grouping(groups, len(groups)),
                names=tuple(np.unique(groups).tolist()),
                held_out=sample.held_out[groups],
            )
            yield feature, rows[torch.from_numpy(np.searchsorted(index, feature.index))], problem


def _evidence_of(place: _Place, best: Winner, options: EvidenceConfig) -> FeatureEvidence:
    probes = dict(place.probes)
    tokens = _tokens(place)
    left_out: dict[str, str] = {}
    controls: list[Control] = []
    if options.rotations:
        training = torch.from_numpy(~place.problem.held_out)
        bases = rotations(place.rows, training, draws=options.rotations, seed=place.config.seed)
        turned = [probes_of(rows, place.problem, place.config) for rows in bases]
        controls += against("rotation", probes, turned, place.config)
    for draws, matched in ((options.coordinates, False), (options.matched, True)):
        if draws:
            controls += coordinates_control(
                place.rows, place.problem, place.config, draws=draws, matched=matched, probes=probes
            )
    if options.tasks and tokens is not None:
        try:
            controls += selectivity_control(place.rows, place.problem, tokens[0], place.config, draws=options.tasks)
        except DataError as error:
            left_out["selectivity"] = str(error)
    elif options.tasks:
        left_out["selectivity"] = NO_TYPES
    baseline = None
    if options.tokens and tokens is not None:
        baseline = token_control(*tokens, place.problem, place.config)
    elif options.tokens:
        left_out["token baseline"] = NO_TYPES
    return FeatureEvidence(
        feature=place.feature.name,
        winner=best,
        auc={k: _auc(place, probe) for k, probe in probes.items()},
        controls=tuple(controls),
        token_baseline=baseline,
        left_out=left_out,
    )


NO_TYPES = "the rows are no tokens: there is no type that a probe could have learnt by heart"


def _tokens(place: _Place) -> tuple[np.ndarray, np.ndarray] | None:
    """(token id, id of the token before or -1) of every row, None where rows are no tokens."""
    columns = place.store.rows
    if place.feature.level != "token" or place.store.collection.kind == "tensors":
        return None
    ids, document = columns["token_id"].astype(np.int64), columns["document"]
    before = np.concatenate([[-1], np.where(document[1:] == document[:-1], ids[:-1], -1)])
    return ids[place.feature.index], before[place.feature.index]


def _auc(place: _Place, probe: Probe) -> Estimate:
    """AUC with its interval on the held-out rows."""
    test = place.problem.held_out
    standard = standardised(place.rows[torch.from_numpy(test)], place.rows.shape[1], probe)
    values = (standard @ torch.tensor(probe.coef, dtype=torch.float64) + probe.bias).numpy()
    codes = np.unique(place.problem.groups.codes[test], return_inverse=True)[1].reshape(-1)
    draws = min(place.config.bootstrap, 1000)
    return auc_estimate(place.problem.labels[test], values, codes, seed=place.config.seed, draws=draws)
