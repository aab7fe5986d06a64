"""Which rows each feature of a store uses, and one split of the documents for all of them.

Rows are drawn from one random order of all rows, the same for every feature, so that features share rows and a site is
read once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from unweave.activations.labels import LabelledFeature, groups_of
from unweave.activations.store import ActivationStore
from unweave.errors import DataError
from unweave.probing.config import ProbeConfig
from unweave.tensors.splits import grouped_split, grouping

LEAST_POSITIVES = 20
LEAST_GROUPS = 5
LEAST_SHARE, MOST_SHARE = 0.2, 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """The features that can be probed, with the rows they use, and the split."""

    features: tuple[LabelledFeature, ...]
    skipped: Mapping[str, str]
    held_out: Bool[np.ndarray, " documents"]
    """For each document of the store."""


def draw(store: ActivationStore, features: Sequence[LabelledFeature], config: ProbeConfig) -> Sample:
    """Rows and split for the features of a store.

    Raises:
        DataError: Not one feature has enough of both classes; each reason is given.
    """
    order = np.random.default_rng([config.seed, 2]).permutation(len(store))
    skipped: dict[str, str] = {}
    kept: list[LabelledFeature] = []
    for feature in features:
        reason = why_not(feature, store)
        if reason:
            skipped[feature.name] = reason
        else:
            kept.append(subsampled(feature, order, config.rows) if feature.level == "token" else feature)
    held_out = split_documents(store, kept, config) if kept else np.zeros(0, dtype=bool)
    lopsided = [feature.name for feature in kept if not _both_classes_on_both_sides(feature, store, held_out)]
    skipped |= dict.fromkeys(lopsided, "no split that serves the other features has both classes on both sides")
    probed = tuple(feature for feature in kept if feature.name not in lopsided)
    if not probed:
        raise DataError(
            "no feature can be probed: " + "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        )
    return Sample(features=probed, skipped=skipped, held_out=held_out)


def _both_classes_on_both_sides(
    feature: LabelledFeature, store: ActivationStore, held_out: Bool[np.ndarray, " documents"]
) -> bool:
    test = held_out[groups_of(feature, store)]
    return all(len(np.unique(feature.values[side])) == 2 for side in (test, ~test))


def why_not(feature: LabelledFeature, store: ActivationStore) -> str:
    """Why a feature cannot be probed, or an empty string."""
    groups = groups_of(feature, store)
    for name, chosen in (("positives", feature.values), ("negatives", ~feature.values)):
        count, documents = int(chosen.sum()), len(np.unique(groups[chosen]))
        if not count:
            return f"no {name}"
        if count < LEAST_POSITIVES or documents < LEAST_GROUPS:
            return f"{count} {name} in {documents} documents: at least {LEAST_POSITIVES} in {LEAST_GROUPS} are needed"
    return ""


def subsampled(feature: LabelledFeature, order: Int[np.ndarray, " rows"], most: int) -> LabelledFeature:
    """At most `most` rows, with a share of positives of at least a fifth (where there are as many) and at most a
    half.
    """
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    positives, negatives = (feature.index[chosen] for chosen in (feature.values, ~feature.values))
    share = min(max(feature.positives / len(feature.index), LEAST_SHARE), MOST_SHARE)
    total = min(most, int(len(positives) / share), int(len(negatives) / (1 - share)))
    wanted = round(total * share)
    chosen = np.concatenate(
        [rows[np.argsort(rank[rows])][:count] for rows, count in ((positives, wanted), (negatives, total - wanted))]
    )
    place = np.searchsorted(feature.index, np.sort(chosen))
    return LabelledFeature(
        name=feature.name,
        level=feature.level,
        index=feature.index[place],
        values=feature.values[place],
        note=feature.note,
    )


def split_documents(
    store: ActivationStore, features: Sequence[LabelledFeature], config: ProbeConfig
) -> Bool[np.ndarray, " documents"]:
    """Which documents are held out: one split for all features, each with about its share of positives and negatives
    on both sides.
    """
    count = sum(shard.documents for shard in store.manifest.shards)
    table = np.zeros((count, 2 * len(features)))
    for column, feature in enumerate(features):
        np.add.at(table, (groups_of(feature, store), 2 * column + feature.values), 1)
    used = np.zeros(count, dtype=bool)
    for feature in features:
        used[groups_of(feature, store)] = True
    documents = np.flatnonzero(used)
    held_out = np.zeros(count, dtype=bool)
    held_out[documents] = grouped_split(
        grouping(documents, len(documents)), table[documents], test=config.test, seed=config.seed
    )
    return held_out
