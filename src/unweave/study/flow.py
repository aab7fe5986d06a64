"""`run_study`: every model through every step, the report written again after each, nothing done twice.

A step is done when its record lies in the run with the key of everything it depends on: the configuration it reads, the
text, the model, the labels file, the version of the step, and the key of the step before. Change one of them and it
runs again, and so do those after it.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from unweave.activations.collect import CollectOptions, resolve_sites
from unweave.activations.plan import CollectionPlan, plan_collection
from unweave.activations.store import open_store
from unweave.artifact import fingerprint
from unweave.config import Config, config_json
from unweave.engine.local import default_workers
from unweave.errors import InputError, Interrupted, StoreError
from unweave.log import SILENT, Progress
from unweave.models.fingerprints import tokenizer_fingerprint
from unweave.models.loading import load_model
from unweave.models.model import Model
from unweave.places import local_place, place_of
from unweave.probing.ranking import SELECTORS
from unweave.report.page import REPORT, write_report
from unweave.report.record import RUN, ModelEntry, Record, Run, read_record, write_record, write_run
from unweave.study.config import StudyConfig
from unweave.study.steps.order import STEPS, Step
from unweave.study.texts import StudyText, study_text
from unweave.study.work import STORE, Found, NotPossible, Work, need_tokens

FIXED, KEPT = 22.0, 18_000_000
"""Seconds of the steps whose size does not follow from the text (partition, interaction basis, evidence, superposition,
figures), and bytes of what a study keeps beside the activations: measured on one small model.
"""
DRAWING = 280_000_000
"""Bytes of the libraries that solve and draw; the engine that draws the figures is two thirds of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Planned:
    """One model of a study before anything is computed."""

    model: Model
    text: StudyText
    plan: CollectionPlan
    seconds: float
    """Estimate for all steps."""
    peak_bytes: int
    """The same of memory."""
    disk_bytes: int
    """And of what is kept."""

    def line(self) -> str:
        """The plan as one line."""
        return f"{self.plan.line()}; whole study about {self.seconds:,.0f} s and {self.peak_bytes / 1e6:,.0f} MB"


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyResult:
    """What a study leaves: where it is, and what is in it."""

    folder: Path
    report: Path
    seconds: float
    run: Run
    records: tuple[Record, ...]

    def summary(self) -> dict[str, Any]:
        """Plain values for programs."""
        collected = [record.results for record in self.records if record.step == "collect"]
        probes = [
            {"model": record.model, **probe} for record in self.records for probe in record.results.get("probes", ())
        ]
        return {
            "run": str(self.folder),
            "report": str(self.report),
            "seconds": round(self.seconds, 3),
            "rows": sum(results["rows"] for results in collected),
            "sites": list(dict.fromkeys(site for results in collected for site in results["sites"])),
            "models": [
                {"name": entry.name, "fingerprint": entry.fingerprint, "text": entry.text} for entry in self.run.models
            ],
            "left_out": dict(self.run.left_out),
            "skipped": {
                record.model: record.results["skipped"] for record in self.records if "skipped" in record.results
            },
            "probes": probes,
            "warnings": [warning for record in self.records for warning in record.warnings],
        }


def run_study(
    config: StudyConfig | None = None,
    out: str | Path | None = None,
    *,
    force: bool = False,
    command: str = "",
    progress: Progress = SILENT,
) -> StudyResult:
    """Runs a study into a directory and writes its report there.

    Args:
        config: What to do; None is the default study.
        out: The run directory; None is `unweave-runs/study-HASH` under the current one. What is valid in it is used
            again.
        force: Do every step again.
        command: How the run was started, for the report.
        progress: Who is told the plan and how far it is.

    Raises:
        InputError: A model, text, site or label that does not exist or fit; `out` is something else than a run.
        Interrupted: Ctrl-C; what is finished is kept and the report shows it.
    """
    start = time.perf_counter()
    asked = config or StudyConfig()
    folder = run_directory(out, asked)
    planned, left_out = plan_study(asked, progress)
    _clear(folder, force)
    run = Run(
        command=command or "unweave.study.run_study()",
        config=config_json(asked),
        versions=versions(),
        left_out=left_out,
        planned=tuple(step.title for step in STEPS),
    )
    keeper = _Keeper(folder=folder, run=run, start=start)
    keeper.announce(planned)
    try:
        for one in planned:
            _run_model(one, asked, keeper, progress)
    except (KeyboardInterrupt, Interrupted):
        keeper.close("interrupted")
        raise Interrupted(
            f"interrupted: what is finished is kept in {folder}; the same command goes on from there"
        ) from None
    except BaseException:
        keeper.close("failed")
        raise
    keeper.close("complete")
    return StudyResult(
        folder=folder,
        report=folder / REPORT,
        seconds=time.perf_counter() - start,
        run=keeper.run,
        records=tuple(keeper.records),
    )


def plan_study(config: StudyConfig, progress: Progress = SILENT) -> tuple[list[Planned], dict[str, str]]:
    """Loads the models, reads the text and says what each will cost, which is noted; and which default models are left
    out, with the reason.
    """
    _check_files(config)
    planned: list[Planned] = []
    left_out: dict[str, str] = {}
    own_text = None if config.text is None else study_text(config.text, "")
    for source in config.models:
        try:
            model = load_model(source)
        except InputError as error:
            asked_for = "models" in config.model_fields_set
            if asked_for or not str(error).startswith(f"{source} is not installed"):
                raise
            left_out[source] = str(error)
            progress.note(f"{source} is left out: {error}")
            continue
        if model.family is None or model.tokenizer is None:
            raise InputError(
                f"{source} cannot be studied on text: a transformer of a known family (bert, gpt2, gpt_neox, llama)"
                " with a tokenizer is needed"
            )
        text = own_text or study_text(None, source)
        plan = plan_collection(
            model, text.texts, list(config.sites), CollectOptions(context=config.context, dtype=config.dtype)
        )
        one = Planned(
            model=model, text=text, plan=plan, seconds=_estimate(plan, config), peak_bytes=_peak(plan, config),
            disk_bytes=plan.activation_bytes + KEPT,
        )  # fmt: skip
        progress.note(f"{model.name}: {one.line()}")
        planned.append(one)
    return planned, left_out


def run_directory(out: str | Path | None, config: Config, kind: str = "study") -> Path:
    """The directory of a run of this kind; one named after the configuration if none is given.

    Raises:
        InputError: It holds something else.
    """
    own = f"{kind}-{fingerprint(config_json(config))[:8]}"
    folder = local_place(out, "a run") if out is not None else Path("unweave-runs") / own
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / RUN).exists())):
        raise InputError(f"{folder} exists and is not a run of a study: choose another directory")
    return folder


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    from importlib import metadata

    names = ("unweave", "torch", "transformers", "numpy", "scipy")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}


class _Keeper:
    """Keeps `run.json` and the report in step with what has been done."""

    def __init__(self, *, folder: Path, run: Run, start: float) -> None:
        """Starts with an empty run."""
        self.folder, self.run, self.start = folder, run, start
        self.records: list[Record] = []

    def announce(self, planned: list[Planned]) -> None:
        """Writes the run with all its models, none of them begun."""
        names = distinct([one.model.name for one in planned])
        folders = distinct([slug(name) for name in names], mark="{}-{}")
        entries = tuple(
            ModelEntry(
                name=name,
                folder=f"models/{folder}",
                description=describe(one.model),
                fingerprint=one.model.fingerprint,
                text=one.text.description,
                plan=one.line(),
            )
            for name, folder, one in zip(names, folders, planned, strict=True)
        )
        self.run = self.run.model_copy(update={"models": entries})
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{self.folder} cannot be made ({error.strerror or error}): choose another directory"
            ) from error
        write_run(self.folder, self.run)

    def entry_of(self, model: Model) -> ModelEntry:
        """The entry of a model, by its fingerprint and the order of the run."""
        return next(
            entry
            for entry in self.run.models
            if entry.fingerprint == model.fingerprint and len(entry.steps) < len(STEPS)
        )

    def add(self, entry: ModelEntry, record: Record, *, show: bool) -> None:
        """Notes a finished step and writes the page again."""
        self.records.append(record)
        models = tuple(
            one.model_copy(update={"steps": (*one.steps, record.step)}) if one.name == entry.name else one
            for one in self.run.models
        )
        self.run = self.run.model_copy(update={"models": models, "seconds": time.perf_counter() - self.start})
        write_run(self.folder, self.run)
        if show:
            write_report(self.folder)

    def close(self, status: str) -> None:
        """Writes the last state of the run and its page."""
        self.run = self.run.model_copy(update={"status": status, "seconds": time.perf_counter() - self.start})
        if self.folder.exists():
            write_run(self.folder, self.run)
            write_report(self.folder)


def _run_model(planned: Planned, config: StudyConfig, keeper: _Keeper, progress: Progress) -> None:
    entry = keeper.entry_of(planned.model)
    folder = keeper.folder / entry.folder
    sites = tuple(point.site for point in resolve_sites(planned.model, list(config.sites)))
    work = Work(config=config, model=planned.model, text=planned.text, folder=folder, sites=sites, progress=progress)
    need_tokens(work)
    key = fingerprint(
        {
            "model": planned.model.fingerprint,
            "tokenizer": tokenizer_fingerprint(planned.model.tokenizer),
            "text": planned.text.sha256,
        }
    )
    for step in STEPS:
        key = fingerprint({"before": key, "step": step.name, "version": step.version, "uses": _used(step, config)})
        there = read_record(folder / step.name)
        if there is not None and there.key == key and (step.name != "collect" or _has_store(folder)):
            progress.note(f"{entry.name}: {step.title.lower()}: used again")
            keeper.add(entry, there, show=False)
            continue
        shutil.rmtree(folder / step.name, ignore_errors=True)
        found = _run_step(step, work)
        work.keep(step.name, found.artifacts)
        (folder / step.name).mkdir(parents=True, exist_ok=True)
        record = found.record(step.name, entry.name, step.title, key)
        write_record(folder / step.name, record)
        keeper.add(entry, record, show=bool(record.figures))


def _has_store(folder: Path) -> bool:
    """Whether the collected activations are whole, as far as sizes tell."""
    try:
        open_store(folder / STORE)
    except StoreError:
        return False
    return True


def _run_step(step: Step, work: Work) -> Found:
    try:
        return step.run(work)
    except NotPossible as reason:
        return Found(warnings=(str(reason),))
    except StoreError as error:
        if step.name == "collect":  # says itself what to do
            raise
        raise StoreError(f"{error}; a study does it with --force") from error


def _used(step: Step, config: StudyConfig) -> dict[str, Any]:
    values = config_json(config)
    used = {name: values[name] for name in step.uses}
    if used.get("labels"):
        used["labels"] = hashlib.sha256(place_of(used["labels"]).read_bytes()).hexdigest()
    return used


def _clear(folder: Path, force: bool) -> None:
    """With `force`, removes what earlier runs left, but nothing that is not a run's."""
    if force and (folder / RUN).exists():
        try:
            shutil.rmtree(folder / "models", ignore_errors=True)
            (folder / REPORT).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{folder} cannot be cleared ({error.strerror}): choose another directory") from error


def _check_files(config: StudyConfig) -> None:
    if config.text is not None and config.text != "-" and not place_of(config.text).exists():
        raise InputError(f"no text file at {config.text}: give one that exists")
    if config.labels is not None and not place_of(config.labels).is_file():
        raise InputError(f"no labels file at {config.labels}: give one that exists")


def _estimate(plan: CollectionPlan, config: StudyConfig) -> float:
    """Collection, then probes and bases by the sizes of their products, sites side by side, then the ablation runs and
    what takes its time anyway: rough, from timings on one machine.
    """
    fits = 11 * (1 + config.shuffles) * len(config.ks) * (len(plan.sites) + 2)
    probes = fits * config.rows * 1.2e-6 + sum(plan.sites.values()) * min(plan.rows, 3 * config.rows) * 1.2e-7
    if config.selector not in SELECTORS:  # a search takes longer than its fits
        probes += fits * config.rows * 1.5e-5
    runs = 3 * (config.ablation.draws + 4) + 1
    ablated = min(1.0, config.ablation.windows * config.context / max(1, plan.rows))
    return FIXED + plan.seconds * (1 + runs * ablated) + probes / min(default_workers(), len(plan.sites))


def _peak(plan: CollectionPlan, config: StudyConfig) -> int:
    """What drawing takes, and the labelled rows of the widest site, in float32 as they are read and in float64 where
    moments are taken, beside the model.
    """
    return DRAWING + plan.peak_bytes + 12 * min(plan.rows, 11 * config.rows) * max(plan.sites.values())


def describe(model: Model) -> str:
    """What a model is, in a sentence without a full stop."""
    size = sum(parameter.numel() for parameter in model.module.parameters())
    effect = "next-token loss" if model.predicts_next else "last hidden state"
    return f"{type(model.module).__name__}, {size:,} parameters; effects are shown on its {effect}"


def distinct(names: list[str], mark: str = "{} ({})") -> list[str]:
    """Names with a number where one comes twice."""
    found: list[str] = []
    for name in names:
        numbered = (mark.format(name, number) for number in count(2))
        found.append(name if name not in found else next(one for one in numbered if one not in found))
    return found


def slug(name: str) -> str:
    """A name as a folder: what other systems refuse in one becomes a hyphen."""
    plain = "".join(character if character.isalnum() or character in "-_." else "-" for character in name)
    return plain if plain.strip(".") else "model"
