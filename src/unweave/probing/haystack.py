"""The haystack on one model: build the collections that the inputs allow, collect their rows, probe every feature.

`build_all` and `names` make and name the collections, `run` does it all; over several models, with a report:
`unweave probe haystack`, or `unweave.study.haystack.run.run_haystack`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unweave.activations.collect import CollectOptions, run_collection
from unweave.activations.haystack import COLLECTIONS as COLLECTIONS
from unweave.activations.haystack import Built as Built
from unweave.activations.haystack import HaystackInputs as HaystackInputs
from unweave.activations.haystack import build_all as build_all
from unweave.activations.haystack import names as names
from unweave.activations.labels import groups_of
from unweave.activations.store import ActivationStore
from unweave.config import config_from
from unweave.errors import DataError, FingerprintError, InputError
from unweave.log import SILENT, Progress
from unweave.models.model import Model
from unweave.places import local_place
from unweave.probing.best_site import BestSite
from unweave.probing.result import ProbeTable
from unweave.probing.sweep_many import sweep_many


@dataclass(frozen=True, kw_only=True, eq=False)
class Haystack:
    """The probes of one model by collection, and what was left out."""

    tables: Mapping[str, ProbeTable]
    reports: Mapping[str, tuple[dict[str, Any], ...]]
    """Collection -> rows, positives and groups of each feature, or why it was skipped."""
    drops: Mapping[str, dict[str, int]]
    """Collection -> reason -> how many documents, sentences or mentions it took."""
    left_out: Mapping[str, str]
    """Collection -> why nothing of it could be probed."""

    def table(self) -> list[dict[str, Any]]:
        """One dictionary for each collection, feature, site and k."""
        return [{"collection": name, **row} for name, one in self.tables.items() for row in one.table()]

    def __repr__(self) -> str:
        """Collections and features."""
        features = sum(len(one.features()) for one in self.tables.values())
        return f"Haystack({len(self.tables)} collections, {features} features, {len(self.left_out)} left out)"


def run(
    model: Model,
    inputs: HaystackInputs | Mapping[str, Any],
    out: str | Path,
    *,
    collections: Sequence[str] | None = None,
    sites: Any = "blocks.*.mlp_act",
    ks: tuple[int, ...] = (1, 2, 4, 8, 16),
    rows: int | None = None,
    shuffles: int = 20,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Haystack:
    """The probes of every feature of the collections that the inputs allow.

    Args:
        model: From `load_model`, with a tokenizer.
        inputs: Files and directories, as `HaystackInputs` or a mapping with its keys.
        out: Directory for the stores of activations.
        collections: Which ones; None takes all that the inputs allow.
        sites: Names or patterns.
        ks: Numbers of units.
        rows: Most rows a feature; None takes as many as the paper.
        shuffles: Draws of the label-shuffle control.
        seed: Of rows, windows, split, shuffles and bootstrap.
        progress: Who is told how far it is.

    Raises:
        InputError: No input that allows a collection, or one that cannot be read.
        UnknownName: No such collection or site.

    Example:
        >>> import unweave as uw, json, pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> lines = [{"text": f"{word} {n} " * 20, "label": word} for n in range(25) for word in ("en", "fr")]
        >>> _ = (folder / "languages.jsonl").write_text("\\n".join(map(json.dumps, lines)))
        >>> inputs = {"languages": str(folder / "languages.jsonl")}
        >>> found = uw.probing.haystack.run(uw.load_model("zoo:docs"), inputs, folder / "run", ks=(1,), shuffles=1)
        >>> found, found.tables["natural_lang_id"].features()
        (Haystack(1 collections, 2 features, 0 left out), ['en', 'fr'])
    """
    folder = local_place(out, "a haystack of stores")
    asked = inputs if isinstance(inputs, HaystackInputs) else config_from(HaystackInputs, dict(inputs), source="inputs")
    if model.tokenizer is None or model.family is None:
        raise InputError(f"{model.name} cannot read text: a transformer of a known family with a tokenizer is needed")
    built = build_all(asked, model.tokenizer, collections=collections, most_context=model.context, rows=rows, seed=seed)
    tables: dict[str, ProbeTable] = {}
    left_out: dict[str, str] = {}
    for one in built:
        if not one.features:
            left_out[one.collection] = "no feature is large enough"
            continue
        store = collected(model, one, sites, folder, progress=progress)
        try:
            tables[one.collection] = sweep_many(
                store,
                one.labelled(store),
                sites=sites,
                ks=ks,
                rows=largest(one),
                shuffles=shuffles,
                seed=seed,
                selector="std_mean_diff",
                progress=progress,
            )
        except DataError as error:
            left_out[one.collection] = str(error)
    return Haystack(
        tables=tables,
        reports={one.collection: tuple(one.report()) for one in built},
        drops={one.collection: dict(one.drops) for one in built},
        left_out=left_out,
    )


def collected(
    model: Model, built: Built, sites: Any, folder: Path, *, dtype: Any = "float16", progress: Progress = SILENT
) -> ActivationStore:
    """The store of a collection; collections on the same sequences share one, and a finished one is used again."""
    options = CollectOptions(context=built.context, dtype=dtype, batch_tokens=max(1024, built.context))
    place = folder / store_name(built)
    try:
        return run_collection(model, built.sequences, sites, place, options, progress=progress).store
    except FingerprintError:  # the store of an earlier run with other inputs or settings
        return run_collection(model, built.sequences, sites, place, options, resume=False, progress=progress).store


def store_name(built: Built) -> str:
    """Of the folder of its rows: collections on the same sequences have one."""
    return "ewt" if built.collection.startswith("ewt_") else built.collection


def largest(built: Built) -> int:
    """Rows of the largest feature: the builder has drawn already, a sweep need not draw again."""
    return max(50, *(len(one.values) for one in built.features))


def false_positives(
    built: Built, store: ActivationStore, table: ProbeTable, best: Mapping[str, BestSite]
) -> list[dict[str, Any]]:
    """How often each kind of row is taken for the feature, at the feature's best site, on held-out groups.

    Args:
        built: A collection whose features have strata, such as compound words.
        store: Its rows.
        table: Its probes.
        best: From `best_sites`.

    Returns:
        One dictionary a feature and stratum: `feature, site, k, stratum, rows, rate`, the share predicted positive.
    """
    held_out = np.zeros(len(built.sequences), dtype=bool)
    held_out[list(table.held_out)] = True
    found = []
    labelled = {one.name: one for one in built.labelled(store)}
    for one in built.features:
        if not one.strata or one.name not in best:
            continue
        where = best[one.name]
        rows = labelled[one.name]
        test = held_out[groups_of(rows, store)]
        X = store[where.site][rows.index[test]].to(torch.float32)
        predicted = table.sweeps[one.name, where.site].predict(X, where.k).astype(bool)
        kinds = np.array(one.strata)[test]
        for kind in built.strata_kinds:
            chosen = predicted[kinds == kind]
            rate = float(chosen.mean()) if len(chosen) else float("nan")
            told = {"feature": one.name, "site": where.site, "k": where.k}
            found.append({**told, "stratum": kind, "rows": len(chosen), "rate": rate})
    return found
