"""What a search of the haystack will cost: the collections are built, one batch runs through each model, and the probes
of each collection are made at one site of noise with the right labels, groups and width.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unweave.activations.collect import CollectOptions
from unweave.activations.haystack import Built
from unweave.activations.importing import import_rows
from unweave.activations.labels import LabelledFeature
from unweave.activations.plan import plan_collection
from unweave.engine.clock import idle_seconds
from unweave.engine.local import default_workers
from unweave.probing.haystack import largest, store_name
from unweave.probing.sweep_many import sweep_many
from unweave.study.haystack.config import HaystackConfig
from unweave.study.haystack.reading import built_for, reading_model

MOST = 1 << 26
"""Values of noise: where a collection has more, fewer of its features are probed and the time is carried on."""


def plan_haystack(config: HaystackConfig) -> list[dict[str, Any]]:
    """One dictionary for each model and collection: features built and skipped, rows, bytes and an estimate of time.
    Collections on the same sequences share a store, which counts for the first of them.

    Args:
        config: Models, inputs and settings.
    """
    found = []
    for source in config.models:
        model, stores = reading_model(source), set()
        for one in built_for(config, model):
            told = {
                "model": model.name,
                "collection": one.collection,
                "features": len(one.features),
                "skipped": dict(one.skipped),
                "drops": dict(one.drops),
            }
            if one.features:
                options = CollectOptions(context=one.context, dtype=config.dtype)
                plan = plan_collection(model, one.sequences, list(config.sites), options)
                own = store_name(one) not in stores
                stores.add(store_name(one))
                seconds = own * plan.seconds + probe_seconds(one, plan.sites, config)
                told |= {
                    "rows": plan.rows,
                    "bytes": own * plan.activation_bytes,
                    "seconds": round(seconds * (2 if config.random_weights else 1), 1),
                }
            found.append(told)
    return found


def probe_seconds(built: Built, sites: Mapping[str, int], config: HaystackConfig) -> float:
    """Time of the probes at all sites, from those of some features at one site of noise.

    Args:
        built: The collection.
        sites: Site -> width.
        config: Of the probes.
    """
    width = round(sum(sites.values()) / len(sites))
    features = list(built.features)
    place = [one.sequence * (built.context + 1) + one.position for one in features]
    while len(features) > 1 and len(np.unique(np.concatenate(place))) * width > MOST:
        features, place = features[: len(features) // 2], place[: len(place) // 2]
    key = np.unique(np.concatenate(place))
    noise = np.random.default_rng(config.seed).standard_normal((len(key), width), dtype=np.float32)
    labelled = [
        LabelledFeature(name=one.name, level="token", index=np.searchsorted(key, own), values=one.values)
        for one, own in zip(features, place, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        documents = _numbered(built, key // (built.context + 1))
        store = import_rows({"noise": noise}, Path(folder) / "store", documents=documents, workers=1)
        start = idle_seconds()
        sweep_many(
            store, labelled, ks=config.ks, rows=largest(built), shuffles=config.shuffles, bootstrap=config.bootstrap,
            test=config.test, seed=config.seed, selector="std_mean_diff", workers=1,
        )  # fmt: skip
        spent = idle_seconds() - start
    share = sum(len(one.values) for one in features) / sum(len(one.values) for one in built.features)
    return spent / share * len(sites) / min(default_workers(), len(sites))


def _numbered(built: Built, sequences: np.ndarray) -> np.ndarray:
    """Sequences of one group under one number, as runs of rows: a store has the rows of a document together."""
    groups = np.array([one.group or f"#{number}" for number, one in enumerate(built.sequences)])
    codes = np.unique(groups[sequences], return_inverse=True)[1]
    return np.cumsum(np.concatenate([[0], codes[1:] != codes[:-1]]))
