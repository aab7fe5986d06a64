"""`run_haystack`: every collection that the inputs allow, on every model, with random weights beside it and one report.

A collection of a model is done when its record lies in the run with the key of everything it depends on; change one of
them and it is done again. The stores of random weights are taken away when a model is done.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unweave.activations.haystack import Built
from unweave.activations.haystack.built import identity
from unweave.activations.haystack.inputs import chosen_collections
from unweave.artifact import fingerprint, load, save
from unweave.config import config_json
from unweave.errors import DataError, Interrupted, StoreError
from unweave.log import SILENT, Progress
from unweave.models.model import Model
from unweave.models.reinit import with_random_weights
from unweave.probing.best_site import best_sites
from unweave.probing.haystack import collected, false_positives, largest
from unweave.probing.result import ProbeTable
from unweave.probing.sweep_many import sweep_many
from unweave.report.page import REPORT, write_report
from unweave.report.record import ModelEntry, Record, Run, read_record, write_record, write_run
from unweave.study.flow import describe, distinct, run_directory, slug, versions
from unweave.study.haystack.config import HaystackConfig
from unweave.study.haystack.dynamics import Sized, compared
from unweave.study.haystack.reading import built_for, reading_model
from unweave.study.haystack.record import Probed, collection_found
from unweave.study.work import Found

VERSION = 1
"""Raised when a collection's results would come out otherwise: earlier ones are then not used again."""
PROBES, RANDOM = "probes", "random_probes"
COMPARISON = "all models"


@dataclass(frozen=True, kw_only=True, eq=False)
class HaystackResult:
    """What a search leaves: where it is, and what is in it."""

    folder: Path
    report: Path
    seconds: float
    records: tuple[Record, ...]

    def summary(self) -> dict[str, Any]:
        """Plain values for programs."""
        collections = [record for record in self.records if record.model != COMPARISON]
        return {
            "run": str(self.folder),
            "report": str(self.report),
            "seconds": round(self.seconds, 3),
            "collections": [{"model": one.model, "collection": one.step, **one.results} for one in collections],
            "comparison": next((one.results for one in self.records if one.model == COMPARISON), None),
            "warnings": [warning for record in self.records for warning in record.warnings],
        }


class _Search:
    """A search on its way: the run directory, what is written and what the models have shown."""

    def __init__(self, config: HaystackConfig, folder: Path, run: Run, progress: Progress, start: float) -> None:
        """Starts with an empty run."""
        self.config, self.folder, self.run = config, folder, run
        self.progress, self.start = progress, start
        self.records: list[Record] = []
        self.sized: list[Sized] = []

    def add(self, entry: ModelEntry, record: Record) -> None:
        """Notes a finished collection and writes the page again."""
        self.records.append(record)
        there = {one.name: one for one in self.run.models}
        there[entry.name] = there.get(entry.name, entry)
        there[entry.name] = there[entry.name].model_copy(update={"steps": (*there[entry.name].steps, record.step)})
        first = sorted(there.values(), key=lambda one: one.name != COMPARISON)  # what all models say together
        self.run = self.run.model_copy(update={"models": tuple(first)})
        self.write("running")

    def write(self, status: str) -> None:
        """Writes `run.json` and the page."""
        self.run = self.run.model_copy(update={"status": status, "seconds": time.perf_counter() - self.start})
        write_run(self.folder, self.run)
        write_report(self.folder)


def run_haystack(
    config: HaystackConfig, out: str | Path | None = None, *, command: str = "", progress: Progress = SILENT
) -> HaystackResult:
    """Searches the haystack on every model and writes records, probes and a report.

    Args:
        config: Models, inputs and settings.
        out: The run directory; None is `unweave-runs/haystack-HASH` under the current one. What is valid in it is used
            again.
        command: How the run was started, for the report.
        progress: Who is told how far it is.

    Raises:
        InputError: A model, file, collection or site that does not exist or fit.
        Interrupted: Ctrl-C; what is finished is kept and the report shows it.
    """
    start = time.perf_counter()
    wanted = chosen_collections(config.inputs, config.collections)
    folder = run_directory(out, config, "haystack")
    models = [reading_model(source) for source in config.models]
    run = Run(
        command=command or "unweave probe haystack, from Python",
        config=config_json(config),
        versions=versions(),
        planned=wanted,
    )
    search = _Search(config, folder, run, progress, start)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be made ({error.strerror or error}): choose another directory") from error
    names = distinct([model.name for model in models])
    try:
        for name, place, model in zip(names, distinct([slug(one) for one in names], "{}-{}"), models, strict=True):
            _search_model(search, model, name, f"models/{place}")
        if len(models) > 1:
            _compare(search)
    except (KeyboardInterrupt, Interrupted):
        search.write("interrupted")
        raise Interrupted(
            f"interrupted: what is finished is kept in {folder}; the same command goes on from there"
        ) from None
    except BaseException:
        search.write("failed")
        raise
    search.write("complete")
    return HaystackResult(
        folder=folder,
        report=folder / REPORT,
        seconds=time.perf_counter() - start,
        records=tuple(search.records),
    )


def _search_model(search: _Search, model: Model, name: str, place: str) -> None:
    config, folder = search.config, search.folder / place
    builts = built_for(config, model)
    entry = ModelEntry(
        name=name,
        folder=place,
        description=describe(model),
        fingerprint=model.fingerprint,
        text="Collections from " + ", ".join(_named(config)) + ".",
        plan=f"{len(builts)} collections, {sum(len(one.sequences) for one in builts):,} sequences",
    )
    search.progress.note(f"{name}: {entry.plan}")
    random = with_random_weights(model, seed=config.seed) if config.random_weights else None
    tables: dict[str, ProbeTable] = {}
    for built in builts:
        record, table = _collection(search, (model, random), built, entry)
        search.add(entry, record)
        if table is not None:
            tables[built.collection] = table
    shutil.rmtree(folder / "random-stores", ignore_errors=True)
    size = sum(parameter.numel() for parameter in model.module.parameters())
    search.sized.append(Sized(name=name, parameters=size, layers=_layers(model), tables=tables))


def _collection(
    search: _Search, models: tuple[Model, Model | None], built: Built, entry: ModelEntry
) -> tuple[Record, ProbeTable | None]:
    """The record of a collection on a model and its probes, found again or made."""
    config, (model, random) = search.config, models
    folder = search.folder / entry.folder
    place = folder / built.collection
    key = _key(config, model, built)
    there = read_record(place)
    if there is not None and there.key == key:
        search.progress.note(f"{entry.name}: {built.collection}: used again")
        return there, load(place / PROBES) if (place / PROBES).exists() else None
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    found, table = Found(warnings=(f"No feature of {built.collection} is large enough.",)), None
    if built.features:
        try:
            probed = _probed(search, model, random, built, folder)
            table = probed.table
            found = collection_found(probed, config)
            save(probed.table, place / PROBES)
            if probed.random is not None:
                save(probed.random, place / RANDOM)
        except DataError as error:
            found = Found(warnings=(f"No probe of {built.collection}: {error}.",))
    record = found.record(built.collection, entry.name, f"Collection {built.collection}", key)
    write_record(place, record)
    return record, table


def _probed(search: _Search, model: Model, random: Model | None, built: Built, folder: Path) -> Probed:
    """Probes of a collection on the model and on the same with random weights, on the same rows and split."""
    config = search.config

    def swept(one: Model, stores: str) -> tuple[ProbeTable, Any]:
        store = collected(one, built, list(config.sites), folder / stores, dtype=config.dtype, progress=search.progress)
        table = sweep_many(
            store,
            built.labelled(store),
            ks=config.ks,
            rows=largest(built),
            shuffles=config.shuffles,
            bootstrap=config.bootstrap,
            test=config.test,
            seed=config.seed,
            selector="std_mean_diff",
            progress=search.progress,
        )
        return table, store

    table, store = swept(model, "stores")
    least = min((probe.k for sweep in table.sweeps.values() for probe in sweep.probes), default=1)
    strata = false_positives(built, store, table, best_sites(table, least)) if built.strata_kinds else []
    fresh = swept(random, "random-stores")[0] if random is not None else None
    return Probed(built=built, table=table, random=fresh, strata=strata, layers=_layers(model))


def _compare(search: _Search) -> None:
    found = compared(search.sized, search.config)
    parts = {one.name: sorted(one.tables) for one in search.sized}
    entry = ModelEntry(
        name=COMPARISON,
        folder="comparison",
        description="The same collections over models, from the smallest to the largest",
        fingerprint=fingerprint(parts),
        text="",
        plan="",
    )
    (search.folder / "comparison" / "dynamics").mkdir(parents=True, exist_ok=True)
    record = found.record("dynamics", COMPARISON, "What changes with depth and size", fingerprint(parts))
    write_record(search.folder / "comparison" / "dynamics", record)
    search.add(entry, record)


def _key(config: HaystackConfig, model: Model, built: Built) -> str:
    values = config_json(config)
    used = ("sites", "dtype", "ks", "shuffles", "bootstrap", "test", "random_weights", "seed")
    return fingerprint(
        {
            "model": model.fingerprint,
            "built": identity(built, model.tokenizer),
            "uses": {name: values[name] for name in used},
            "version": VERSION,
        }
    )


def _layers(model: Model) -> int:
    return 1 + max(site.layer for site in model.sites() if site.layer is not None)


def _named(config: HaystackConfig) -> Sequence[str]:
    given: Mapping[str, Any] = config_json(config.inputs)
    paths = [path for value in given.values() if value for path in (value if isinstance(value, list) else [value])]
    return list(dict.fromkeys(paths))
