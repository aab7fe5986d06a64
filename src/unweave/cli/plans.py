"""What the commands that fit or test would cost: each is rehearsed at a few small sizes (`engine.rehearsal`).

Every function does what its command does, with fewer features, steps, windows, texts or pairs, and says in which of
them the cost is linear. `collect` and the studies plan from one batch of the model instead (`activations.plan`).
"""

from __future__ import annotations

import json as jsonlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from unweave.cli.beginning import beginning
from unweave.engine.clock import idle_seconds
from unweave.engine.rehearsal import Amount, Cost, Rehearsal, bytes_in, rehearse
from unweave.errors import DataError

if TYPE_CHECKING:
    from unweave.activations.labels import LabelledFeature
    from unweave.activations.store import ActivationStore
    from unweave.evals.causing.pairs import Pairs
    from unweave.interaction.subjects import Subject
    from unweave.models.model import Model
    from unweave.probing.evidence import EvidenceConfig

FEWEST = 24
"""Records, prompts or pairs of the smallest rehearsal."""


def tell(what: Mapping[str, Any], line: str, cost: Cost, *, as_json: bool) -> None:
    """A plan on standard output: what the work is, and what the command costs, its own preparation with it."""
    began = beginning()
    if began is not None:
        preparing = max(0.0, idle_seconds() - began[0] - cost.rehearsed_seconds)
        peak = max(cost.peak_bytes + max(0, cost.begun_bytes - began[1]), cost.begun_peak - began[1])
        cost = replace(cost, seconds=cost.seconds + preparing, peak_bytes=peak)
    typer.echo(jsonlib.dumps({**what, **cost.facts()}) if as_json else f"{line}; {cost.line()}")


def sizes_for(count: int) -> tuple[int, ...]:
    """Parts of so many: a twentieth, an eighth, a half, all; the first with enough of them to be worked on."""
    small = min(count, max(FEWEST, count // 20))
    wanted = (small, max(3 * small, count // 8), count // 2, count)
    return tuple(sorted({min(count, one) for one in wanted if one >= small}))


def sweep_cost(
    store: ActivationStore,
    features: Sequence[LabelledFeature],
    sites: Sequence[str],
    asked: Mapping[str, Any],
    options: EvidenceConfig | None,
) -> Cost:
    """Of `probe sweep`: in rows x columns of a feature at a site, and in rows of a feature."""
    from unweave.config import config_from
    from unweave.engine.local import default_workers
    from unweave.probing.config import ProbeConfig
    from unweave.probing.evidence import evidence
    from unweave.probing.sampling import draw
    from unweave.probing.sweep_many import MOST_MEMORY, held_together, sweep_many

    config = config_from(ProbeConfig, asked, source="options")
    sample = draw(store, features, config)
    used = {one.name: len(one.index) for one in sample.features}
    middle = sorted(sample.features, key=lambda one: used[one.name])
    middle = middle[len(middle) // 2 :] + middle[: len(middle) // 2][::-1]
    named = {one.name: one for one in features}
    width = {site: store[site].shape[1] for site in sites}

    def run(count: int, at: int) -> list[Any]:
        chosen = [named[one.name] for one in middle[:count]]
        table = sweep_many(store, chosen, sites=sites[:at], **asked)
        return [table] if options is None else [table, evidence(store, chosen, table=table, options=options)]

    def work(count: int, at: int) -> tuple[int, int]:
        rows = sum(used[one.name] for one in middle[:count])
        return rows * sum(width[site] for site in sites[:at]), rows

    many, places = len(middle), len(sites)
    parts = [(1, 1), *([(1, 2)] if places > 1 else []), *([(2, 1)] if many > 1 else []), (many, places)]
    parts = list(dict.fromkeys(parts))
    rehearsed = rehearse([Rehearsal(run=partial(run, *part), work=work(*part)) for part in parts], least=3)
    grows = 0
    if len(rehearsed.work) < len(parts):  # else all of it was done
        few = {one.name for one in middle[:2]}
        workers = min(default_workers(), places)
        whole, part = (
            count * held_together(chosen, max(width.values()), config, MOST_MEMORY // workers)
            for count, chosen in (
                (workers, sample.features),
                (min(workers, 2), [one for one in sample.features if one.name in few]),
            )
        )
        grows = max(0, whole - part)
    every = {int(row) for one in sample.features for row in one.index}
    return rehearsed.cost(work(many, places), rows=len(every), grows=grows)


def partition_cost(column: Any, options: Mapping[str, Any], *, preset: str | None) -> Cost:
    """Of `ndm fit`: in steps, those of the two pilots among them, and at most: a fit may end early."""
    from unweave.ndm.fit import PILOT_STEPS, planned_steps
    from unweave.ndm.fit import fit as fit_rows
    from unweave.ndm.presets import settled

    given = {key: value for key, value in options.items() if value is not None}
    config = settled(preset, dict(options))
    found = {}

    def run(steps: int) -> list[Any]:
        with tempfile.TemporaryDirectory(prefix="unweave-") as folder:
            made = fit_rows(column, preset=preset, checkpoint=Path(folder) / "c", **{**given, "steps": steps})
            found["start"] = made.start
            return [made, made.featurizer, bytes_in(Path(folder))]

    def work(steps: int) -> tuple[int]:
        return (steps + (2 * min(PILOT_STEPS, steps) if config.init == "auto" else 0),)

    few = [steps for steps in (20, 60) if steps < planned_steps(config, "")] or [planned_steps(config, "")]
    parts = [Rehearsal(run=partial(run, steps), work=work(steps)) for steps in few]
    rehearsed = rehearse(parts)
    return rehearsed.cost(work(planned_steps(config, found["start"])), rows=len(column), grows=0)


def basis_cost(subject: Subject, options: Mapping[str, Any]) -> Cost:
    """Of `lib fit`: in inputs that are fitted on and scored."""
    from unweave.interaction.measuring import measure_subject

    count = len(subject.inputs)

    def run(share: float) -> list[Any]:
        fitted, scored = (max(2, round(share * len(part))) for part in (subject.inputs, subject.held_out))
        part = replace(
            subject, inputs=subject.inputs[:fitted], held_out=subject.held_out[:scored],
            targets=subject.targets[:scored],
        )  # fmt: skip
        return [measure_subject(part, **options)]

    shares = (0.125, 0.25, 0.5, 1.0) if count >= 16 else (0.5, 1.0)
    return rehearse([Rehearsal(run=partial(run, one), work=(one,)) for one in shares]).cost((1.0,), rows=count)


def layers_cost(model: Model, records: Sequence[Any], sites: Sequence[str], options: Mapping[str, Any]) -> Cost:
    """Of `directions`: in texts."""
    from unweave.evals.layer_study import layer_study

    def run(count: int) -> list[Any]:
        chosen = [records[number * len(records) // count] for number in range(count)]
        made = layer_study(model, chosen, sites, **options)
        return [made, made.bundle]

    parts = [Rehearsal(run=partial(run, count), work=(count,)) for count in sizes_for(len(records))]
    return _where_it_can(parts, (len(records),), rows=len(records))


def suite_cost(run: Callable[[int], Any], *, prompts: int, write: Callable[[Any, Path], Any] | None = None) -> Cost:
    """Of `evaluate run`: in prompts; `write` writes the report."""

    def some(count: int) -> list[Any]:
        found = run(count)
        if write is None:
            return [found]
        with tempfile.TemporaryDirectory(prefix="unweave-") as folder:
            write(found, Path(folder))
            return [found, bytes_in(Path(folder))]

    parts = [Rehearsal(run=partial(some, count), work=(count,)) for count in sizes_for(prompts)]
    return _where_it_can(parts, (prompts,), rows=prompts)


def planted_cost(*, seed: int, repeats: int, tests: Sequence[str] | None, calibration: int) -> Cost:
    """Of `evaluate planted`: in repetitions, and in claims of the calibration curve."""
    from unweave.evals.planted.suite import evaluate_planted

    def run(repeated: int, calibrated: int) -> list[Any]:
        found = evaluate_planted(seed=seed, repeats=repeated, tests=tests, calibration=calibrated)
        return [len(jsonlib.dumps(found, indent=1)) + 1]

    few = min(2, repeats)
    parts = [(few, 0), (min(3 * few, repeats), 0), *([(few, 1)] if calibration else [])]
    least = len(set(parts))
    parts += [(max(few, repeats // 2), calibration // 2), (repeats, calibration)]
    kinds = [Rehearsal(run=partial(run, *part), work=part) for part in dict.fromkeys(parts)]
    return rehearse(kinds, least=least).cost((repeats, calibration), rows=repeats, grows=0)


def contest_cost(task: Pairs, run: Callable[[Pairs], Any]) -> Cost:
    """Of `compare`: in pairs."""
    from unweave.evals.causing.pairs import some_pairs

    def some(count: int) -> list[Any]:
        return [run(some_pairs(task, [number * len(task) // count for number in range(count)]))]

    parts = [Rehearsal(run=partial(some, count), work=(count,)) for count in sizes_for(len(task))]
    return _where_it_can(parts, (len(task),), rows=len(task))


def text_lab_cost(source: Any, config: Any, told: Mapping[str, Any]) -> Cost:
    """Of `superpose text`: in steps of a model, and in models that are scored; the text is read anew each time."""
    from unweave.study.superposition.lab import text_lab
    from unweave.study.superposition.run import write_text_lab

    def lab_of(small: Any) -> list[Any]:
        with tempfile.TemporaryDirectory(prefix="unweave-") as folder:
            write_text_lab(text_lab(source(), small), Path(folder) / "lab", "")
            return [bytes_in(Path(folder))]

    def run(epochs: int, decays: int) -> list[Any]:
        few = {"widths": config.widths[:1], "decays": config.decays[:decays], "seeds": config.seeds[:1]}
        return lab_of(config.model_copy(update={**few, "epochs": epochs}))

    width, epochs = config.widths[0], told["epochs"]
    trained = len(config.decays) * len(config.seeds)
    each = max(1, told["steps"] // epochs)
    few = [max(1, epochs // part) for part in (24, 6)]  # enough steps to be seen beside what a model is scored with
    parts = dict.fromkeys([(few[0], 1), (few[1], 1), *([(few[0], 2)] if len(config.decays) > 1 else [])])
    full = (told["steps"] * trained * sum(config.widths), len(config.widths) * (1 + trained))
    kinds = [Rehearsal(run=partial(run, *part), work=(part[0] * each * width * part[1], 1 + part[1])) for part in parts]
    rehearsed = rehearse([*kinds, Rehearsal(run=partial(lab_of, config), work=full)], least=len(kinds))
    grows = 12 * config.vocab * (sum(config.widths) * trained - width)
    return rehearsed.cost(full, rows=told["windows"], grows=grows if len(rehearsed.work) == len(kinds) else 0)


def world_lab_cost(config: Any, told: Mapping[str, Any]) -> Cost:
    """Of `superpose synthetic`: in steps of all models together."""
    from unweave.study.superposition.run import write_world_lab
    from unweave.study.superposition.worlds import world_lab

    def run(steps: int) -> list[Any]:
        with tempfile.TemporaryDirectory(prefix="unweave-") as folder:
            lab = world_lab(config.model_copy(update={"steps": steps, "bases": config.bases[:1]}))
            write_world_lab(lab, Path(folder) / "lab", "")
            return [bytes_in(Path(folder))]

    few = [max(1, config.steps // part) for part in (40, 15, 4, 1)]
    bases = len(config.bases)
    parts = [Rehearsal(run=partial(run, steps), work=(steps,)) for steps in dict.fromkeys(few)]
    grows = told["bytes"] * (bases - 1) // bases
    return rehearse(parts).cost((config.steps * bases,), rows=config.rows, grows=grows)


def _where_it_can(parts: Sequence[Rehearsal], full: Sequence[Amount], *, rows: int) -> Cost:
    """The rehearsals; the larger alone where the data of the smaller one do not allow it: a class or a group is missing
    in a few records.
    """
    start = idle_seconds()
    try:
        found = rehearse(parts)
    except DataError:
        if len(parts) == 1:
            raise
        found = rehearse(parts[1:])
    return replace(found.cost(full, rows=rows), rehearsed_seconds=idle_seconds() - start)
