"""`sweep_many`: sparse probes of many features at many sites of a store, each site read once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from unweave.activations.labels import LabelledFeature, groups_of, pooled
from unweave.activations.store import ActivationStore
from unweave.config import config_from
from unweave.engine.local import default_workers, map_units
from unweave.errors import FingerprintError, InputError
from unweave.features.featurizer import Featurizer, units
from unweave.log import SILENT, Progress
from unweave.probing.config import ProbeConfig
from unweave.probing.problem import Problem
from unweave.probing.ranking import SELECTORS
from unweave.probing.result import ProbeSweep, ProbeTable
from unweave.probing.sampling import Sample, draw
from unweave.probing.together import probe_together
from unweave.site import Site
from unweave.tensors.splits import grouping

MOST_MEMORY = 2 << 30
"""Bytes of activations that the workers together hold."""


def sweep_many(
    store: ActivationStore,
    features: Sequence[LabelledFeature],
    *,
    sites: Any = "*",
    featurizer: Featurizer | None = None,
    ks: tuple[int, ...] = (1, 2, 4, 8, 16),
    seed: int = 0,
    selector: str = "auto",
    lam: float = 1.0,
    test: float = 0.3,
    shuffles: int = 20,
    bootstrap: int = 2000,
    rows: int = 10_000,
    max_memory: int = MOST_MEMORY,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> ProbeTable:
    """Probes for each feature at each site, all on one split of the documents.

    Args:
        store: The activations.
        features: From `read_labels` or `token_string_features`.
        sites: Names or patterns among the store's sites.
        featurizer: Probe its units instead of the neurons, at its own site; the sites must then be that one.
        ks: As in `sweep`, and so are `seed`, `selector`, `lam`, `test`, `shuffles` and `bootstrap`.
        seed: See `sweep`; also of the sampling of rows.
        selector: See `sweep`.
        lam: See `sweep`.
        test: See `sweep`.
        shuffles: See `sweep`.
        bootstrap: See `sweep`.
        rows: Most labelled rows a feature uses, a fifth to a half of them positive.
        max_memory: Bytes of activations that the workers together may hold; features are probed in blocks that fit, and
            each block reads its rows of the site once. The plan is told to `progress` before the work starts. The
            result does not depend on it.
        workers: Threads; the result does not depend on it.
        progress: Who is told how far it is.

    Raises:
        DataError: Not one feature has 20 positives and 20 negatives in 5 documents each.
        UnknownName: A site that the store does not have.
        InputError: The featurizer belongs to another site.
        FingerprintError: The featurizer was fitted on another model.

    Example:
        >>> import unweave as uw, tempfile
        >>> from unweave.activations.token_strings import token_string_features
        >>> model = uw.load_model("zoo:docs")
        >>> texts = [f"{n} and {n + 1} make {2 * n + 1}, and that is all. " * 4 for n in range(12)]
        >>> store = uw.collect(model, texts, "blocks.2.mlp_act", tempfile.mkdtemp() + "/store")
        >>> digits = token_string_features(store, model.tokenizer)[0]
        >>> table = uw.probing.sweep_many(store, [digits], ks=(1, 2))
        >>> table, table.sweeps["contains_digit", "blocks.2.mlp_act"].probe(1).f1.value > 0.7
        (ProbeTable(1 features x 1 sites, 0 skipped, basis neurons), True)
    """
    start = time.perf_counter()
    options = {
        "ks": ks,
        "seed": seed,
        "selector": selector,
        "lam": lam,
        "test": test,
        "shuffles": shuffles,
        "bootstrap": bootstrap,
        "rows": rows,
    }
    config = config_from(ProbeConfig, options, source="options")
    chosen = store.expand(sites)
    _check_featurizer(featurizer, chosen, store)
    sample = draw(store, features, config)
    blocks, needed = feature_blocks(
        sample.features, _width(store, chosen, featurizer), max_memory // (workers or default_workers())
    )
    progress.note(
        f"{len(sample.features)} features at {len(chosen)} sites in {len(blocks)} blocks a site, at most"
        f" {needed / 2**20:.0f} MiB of activations a worker"
    )
    found: dict[tuple[str, str], ProbeSweep] = {}
    with progress.task("probe", len(chosen), "site") as advance:
        for site, sweeps in zip(
            chosen,
            map_units(
                lambda site: probe_site(store, site, sample, featurizer, config, blocks), chosen, workers=workers
            ),
            strict=True,
        ):
            found |= {(name, str(site)): one for name, one in sweeps.items()}
            advance(1)
    return ProbeTable(
        sweeps=found,
        skipped=dict(sample.skipped),
        notes={feature.name: feature.note for feature in features if feature.note},
        held_out=tuple(np.flatnonzero(sample.held_out).tolist()),
        config=config,
        basis="neurons" if featurizer is None else featurizer.provenance.method or "units",
        seconds=time.perf_counter() - start,
    )


def _check_featurizer(featurizer: Featurizer | None, sites: Sequence[Site], store: ActivationStore) -> None:
    if featurizer is None:
        return
    if featurizer.site is not None and list(sites) != [featurizer.site]:
        raise InputError(
            f"the featurizer belongs to {featurizer.site} but the sites are {', '.join(sites[:4])}: probe its units"
            f" with sites={featurizer.site!r}"
        )
    fitted_on = featurizer.provenance.model
    if fitted_on is not None and fitted_on != store.collection.model:
        raise FingerprintError(
            f"the featurizer was fitted on another model ({fitted_on[:12]}, the store is of"
            f" {store.collection.model[:12]}): fit it on rows of this store"
        )


def _width(store: ActivationStore, sites: Sequence[Site], featurizer: Featurizer | None) -> int:
    """Columns of the widest matrix that is held."""
    coordinates = 0 if featurizer is None else units(featurizer)
    return max(coordinates, *(store[site].shape[1] for site in sites))


def feature_blocks(
    features: Sequence[LabelledFeature], width: int, most_bytes: int
) -> tuple[list[list[LabelledFeature]], int]:
    """Features of one level whose rows together fit into the memory given, and the bytes that the largest block needs:
    its rows in float32, and those of one feature beside them. A feature too large for it is a block by itself.

    Args:
        features: With the rows they use.
        width: Columns of a site.
        most_bytes: Of activations at once.
    """
    blocks: list[list[LabelledFeature]] = []
    largest = 0
    for level in ("token", "document"):
        held, block, widest = np.zeros(0, dtype=np.int64), [], 0
        for feature in (one for one in features if one.level == level):
            union = np.union1d(held, feature.index)
            if block and 4 * width * (len(union) + max(widest, len(feature.index))) > most_bytes:
                blocks.append(block)
                union, block, widest = feature.index, [], 0
            held, widest = union, max(widest, len(feature.index))
            block.append(feature)
            largest = max(largest, 4 * width * (len(held) + widest))
        if block:
            blocks.append(block)
    return blocks, largest


def held_together(features: Sequence[LabelledFeature], width: int, config: ProbeConfig, max_memory: int) -> int:
    """Bytes that one worker holds at its peak beside what a probe of one feature takes: the rows of the largest block
    of features, and where a selector ranks all labellings of the block together their weights of every row, three
    copies in float64 (labels, members, and both side by side for the product with the rows).

    Args:
        features: With the rows they use.
        width: Columns of a site.
        config: Selector and shuffles.
        max_memory: Of activations at once.
    """
    blocks, needed = feature_blocks(features, width, max_memory)
    if config.selector not in SELECTORS:
        return needed
    rows = [len(np.unique(np.concatenate([one.index for one in block]))) for block in blocks]
    return needed + max(
        3 * 8 * count * len(block) * (1 + config.shuffles) for count, block in zip(rows, blocks, strict=True)
    )


def probe_site(
    store: ActivationStore,
    site: Site,
    sample: Sample,
    featurizer: Featurizer | None,
    config: ProbeConfig,
    blocks: Sequence[Sequence[LabelledFeature]],
) -> dict[str, ProbeSweep]:
    """The sweeps of all features at one site, a block of features at a time."""
    found: dict[str, ProbeSweep] = {}
    for features in blocks:
        found |= _probe_block(store, site, features, sample, featurizer, config)
    return {feature.name: found[feature.name] for feature in sample.features}


def _probe_block(
    store: ActivationStore,
    site: Site,
    features: Sequence[LabelledFeature],
    sample: Sample,
    featurizer: Featurizer | None,
    config: ProbeConfig,
) -> dict[str, ProbeSweep]:
    """The sweeps of features of tokens, or of documents: their rows are read once and ranked together."""
    start = time.perf_counter()
    index = np.unique(np.concatenate([feature.index for feature in features]))
    rows = store[site][index].float() if features[0].level == "token" else pooled(store[site], index)
    rows = rows if featurizer is None else featurizer.encode(rows)[0].to(rows.dtype)
    problems = [_problem(feature, store, sample) for feature in features]
    places = [np.searchsorted(index, feature.index) for feature in features]
    found = probe_together(rows, problems, places, config)
    return {
        feature.name: ProbeSweep(
            probes=tuple(probes),
            labels=(False, True),
            width=rows.shape[1],
            config=config,
            seconds=(time.perf_counter() - start) / len(features),
        )
        for feature, probes in zip(features, found, strict=True)
    }


def _problem(feature: LabelledFeature, store: ActivationStore, sample: Sample) -> Problem:
    groups = groups_of(feature, store)
    return Problem(
        labels=feature.values,
        groups=grouping(groups, len(groups)),
        names=tuple(np.unique(groups).tolist()),
        held_out=sample.held_out[groups],
    )
