"""`unweave evaluate run` and `suites`: the suites by name, on any model, with what is known beforehand beside it."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unweave.cli.options import Debug, DryRun, Json, Out, Quiet

if TYPE_CHECKING:
    from unweave.evals.suites.result import SuiteResult
    from unweave.log import Progress

PLANTED = "planted"
"""The name of the model that does the suite's task by hand-set weights."""
RUN_HELP = """Every test of a suite, with its controls: on a partition, on whole sites, or on what the suite fits.

\b
    unweave evaluate run partition/featurizer --model gpt2 --suite ioi --out ioi
    unweave evaluate run --model planted --suite ravel
    unweave evaluate run --model path/to/chat-model --suite honesty --data pairs.jsonl --out study

Suites: ioi, greater-than, ravel, knowledge-conflict, honesty, induction, brackets, copying, modular-addition, planted;
`unweave evaluate suites` says what each tests and which file it takes. `--model planted` is a small model made here
that does the task, so that the answer is known. A model that does not do a task is told so and not patched. With --out
the result, its tables and report.html are kept.
"""
SUITES_HELP = """The suites: what each tests, on which models, and the file of your own that it takes.

\b
    unweave evaluate suites
"""


def run(
    artifact: Annotated[
        Path | None, typer.Argument(help="Directory of a featurizer or partition; none measures whole sites.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Model directory, name, zoo:NAME, file of weights, or planted.")
    ] = "",
    suite: Annotated[str, typer.Option("--suite", help="Name of a suite; see `unweave evaluate suites`.")] = "ioi",
    data: Annotated[
        Path | None, typer.Option("--data", help="A file of your own prompts, entities or pairs for the suite.")
    ] = None,
    site: Annotated[str | None, typer.Option("--site", "-s", help="Site, where the artifact names none.")] = None,
    prompts: Annotated[
        int | None,
        typer.Option("--prompts", help="Prompts, pairs or claims of each test; else the suite's number."),
    ] = None,
    out: Out = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of prompts and intervals.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by RUN_HELP."""
    from unweave.artifact import save
    from unweave.cli.featurizers import featurizer_at
    from unweave.cli.numbers import without_nan
    from unweave.cli.plans import suite_cost, tell
    from unweave.cli.progress import listener
    from unweave.errors import InputError, unknown_name
    from unweave.evals.suites.running import run_suite
    from unweave.evals.suites.table import SUITES
    from unweave.log import SILENT

    if suite not in SUITES:
        raise unknown_name("suite", suite, SUITES)
    if prompts is not None and prompts < 2:
        raise InputError(f"--prompts is {prompts}: at least 2")
    count = SUITES[suite].count if prompts is None else prompts
    loaded = _model(model, suite)
    chosen = None if artifact is None else featurizer_at(artifact, site)

    def measured(prompts: int, progress: Progress = SILENT) -> SuiteResult:
        return run_suite(loaded, chosen, suite, count=prompts, data=data, site=site, seed=seed, progress=progress)

    if dry_run:
        plan = _plan(loaded, chosen, suite, count, seed)
        line = "; ".join(f"{key}: {value}" for key, value in plan.items())
        write = None if out is None else lambda found, folder: _report(found, folder, _name(loaded))
        tell(plan, line, suite_cost(measured, prompts=count, write=write), as_json=json)
        return
    found = measured(count, listener(quiet=quiet))
    if out is not None:
        save(found, out / "suite")
    page = None if out is None else _report(found, out, _name(loaded))
    if json:
        facts = {**_facts(found), "model": _name(loaded), "seed": seed, "out": None if out is None else str(out)}
        typer.echo(jsonlib.dumps(without_nan(facts)))
        return
    _show(found)
    if page is not None:
        typer.echo(f"report: {page}")


def suites(json: Json = False, debug: Debug = False) -> None:
    """Placeholder, replaced by SUITES_HELP."""
    from unweave.cli.tables import show
    from unweave.evals.suites.table import SUITES

    if json:
        rows = {
            name: {"tests": one.title, "model": one.model, "data": one.data, "prompts": one.count}
            for name, one in SUITES.items()
        }
        typer.echo(jsonlib.dumps(rows))
        return
    show(
        "Suites of `unweave evaluate run --suite NAME`",
        ["suite", "what it tests", "--model", "--data"],
        [[name, one.title, one.model, one.data or "-"] for name, one in SUITES.items()],
    )


run.__doc__ = RUN_HELP
suites.__doc__ = SUITES_HELP


def _model(name: str, suite: str) -> Any:
    from unweave.errors import InputError
    from unweave.evals.suites.tasks.behaviour import planted_behaviour
    from unweave.evals.suites.tasks.by_hand import TASKS, planted_task
    from unweave.models.loading import load_model

    if suite == "planted":
        return None
    if name == PLANTED:
        if suite == "honesty":
            return planted_behaviour()
        if suite not in TASKS:
            raise InputError(
                f"there is no planted model for suite {suite!r}: {', '.join((*TASKS, 'honesty'))} have one"
            )
        return planted_task(suite)
    if not name and suite == "modular-addition":
        return load_model("zoo:modadd")
    if not name:
        raise InputError(
            "no model was given: --model is a directory, a Hugging Face name, zoo:NAME, a file of weights or planted"
        )
    return load_model(name)


def _name(loaded: Any) -> str:
    return "" if loaded is None else getattr(loaded, "model", loaded).name


def _plan(loaded: Any, chosen: Any, suite: str, count: int, seed: int) -> dict[str, Any]:
    from unweave.evals.suites.running import suite_tests
    from unweave.evals.suites.table import SUITES, TESTS

    if suite not in TESTS or not hasattr(loaded, "tokenize"):
        return {"suite": suite, "tests": SUITES[suite].title, "prompts": count}
    tests = suite_tests(loaded, suite, count=2, seed=seed)
    blocks = 1 if chosen is None else 5 * len(chosen.blocks)
    return {
        "suite": suite, "tests": [one.name for one in tests], "sites": [one.site for one in tests],
        "passes": len(tests) * count * (2 + blocks),
    }  # fmt: skip


def _facts(found: SuiteResult) -> dict[str, Any]:
    right, known = found.as_expected()
    return {
        "suite": found.suite, "tested": found.tested, "rows": found.table(), "claims": found.claim_table(),
        "as_expected": right, "known": known, "tables": {title: list(rows) for title, rows in found.tables.items()},
        "gini": found.ginis(), "notes": list(found.notes()),
    }  # fmt: skip


def _report(found: SuiteResult, out: Path, model: str) -> Path:
    from unweave.study.suite_record import write_suite_report

    return write_suite_report(
        found, out, model=model or "no model", command=f"unweave evaluate run --suite {found.suite}"
    )


def _show(found: SuiteResult) -> None:
    from unweave.cli.tables import show
    from unweave.study.suite_record import tables_of

    for table in tables_of(found):
        rows = [["-" if cell is None else _text(cell) for cell in row] for row in table.rows]
        show(table.title, table.columns, rows)
    right, known = found.as_expected()
    if known:
        typer.echo(f"{right} of {known} claims whose answer is known came out so")
    for basis, value in found.ginis().items():
        typer.echo(f"mean Gini, {basis}: {value:.3f}")
    for note in found.notes():
        typer.echo(f"note: {note}")


def _text(cell: Any) -> str:
    from unweave.report.page import shown

    return shown(cell)
