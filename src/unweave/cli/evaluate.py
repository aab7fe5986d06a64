"""`unweave evaluate ...`: tests of what a representation does, and how good the tests are."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer

from unweave.cli.options import Debug, DryRun, Json, NewDirectory, Quiet

HELP = """Tests of what a representation does, and how good the tests are.

\b
    unweave evaluate run partition/featurizer --model gpt2 --suite ioi
    unweave evaluate planted --seed 3
"""
RUN_HELP = """Every test of a suite on a partition, beside identity, random and PCA partitions of equal sizes.

\b
    unweave evaluate run partition/featurizer --model gpt2 --suite ioi --json

Without an artifact whole sites are measured alone. Where the model does not do the task, the row says so.
"""
PLANTED_HELP = """False-positive rate, power and calibration of every causal test on worlds whose truth is known.

\b
    unweave evaluate planted --seed 3 --json
"""

evaluate = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=HELP)


def run(
    artifact: Annotated[
        Path | None, typer.Argument(help="Directory of a featurizer or partition; none measures whole sites.")
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Model directory, Hugging Face name or zoo:NAME.")] = "",
    suite: Annotated[str, typer.Option("--suite", help="ioi or greater-than.")] = "ioi",
    site: Annotated[str | None, typer.Option("--site", "-s", help="Site, where the artifact names none.")] = None,
    prompts: Annotated[int, typer.Option("--prompts", help="Prompts of each test.")] = 1000,
    out: NewDirectory = None,
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
    from unweave.errors import InputError
    from unweave.evals.suites.running import run_suite, suite_tests
    from unweave.models.loading import load_model

    if not model:
        raise InputError("no model was given: --model is a directory, a Hugging Face name or zoo:NAME")
    if prompts < 2:
        raise InputError(f"--prompts is {prompts}: at least 2")
    loaded = load_model(model)
    chosen = None if artifact is None else featurizer_at(artifact, site)
    if dry_run:
        tests = suite_tests(loaded, suite, count=2, seed=seed)
        blocks = 1 if chosen is None else 5 * len(chosen.blocks)
        passes = len(tests) * prompts * (2 + blocks)
        told = {"tests": [one.name for one in tests], "sites": [one.site for one in tests], "passes": passes}
        cost = suite_cost(loaded, chosen, suite, prompts=prompts, seed=seed)
        tell(told, f"{len(tests)} tests, at most {passes:,} passes behind the sites", cost, as_json=json)
        return
    found = run_suite(loaded, chosen, suite, count=prompts, seed=seed, progress=listener(quiet=quiet))
    if out is not None:
        save(found, out)
    if json:
        facts = {"suite": suite, "model": loaded.name, "rows": found.table(), "gini": found.ginis(), "out": _text(out)}
        typer.echo(jsonlib.dumps(without_nan(facts)))
        return
    _show_suite(found)


def planted(
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of worlds and claims.")] = 0,
    repeats: Annotated[int, typer.Option("--repeats", help="True and false claims of each test.")] = 100,
    test: Annotated[list[str] | None, typer.Option("--test", help="One test alone. Repeatable.")] = None,
    calibration: Annotated[
        int, typer.Option("--calibration", help="Claims at each effect size and number of pairs; 0 leaves it out.")
    ] = 8,
    out: NewDirectory = None,
    json: Json = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by PLANTED_HELP."""
    from unweave.cli.plans import planted_cost, tell
    from unweave.cli.progress import listener
    from unweave.cli.tables import show
    from unweave.evals.planted.suite import evaluate_planted
    from unweave.report.record import write_whole

    if dry_run:
        cost = planted_cost(seed=seed, repeats=repeats, tests=test or None, calibration=calibration)
        tell({"repeats": repeats}, f"{repeats} true and {repeats} false claims of each test", cost, as_json=json)
        return
    found = evaluate_planted(
        seed=seed, repeats=repeats, tests=test or None, calibration=calibration, progress=listener(quiet=quiet)
    )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / "planted.json", jsonlib.dumps(found, indent=1) + "\n")
    if json:
        typer.echo(jsonlib.dumps(found))
        return
    rows = [
        [name, f"{one['false_positive_rate']:.3f}", f"{one['power']:.3f}", str(one["n"])]
        for name, one in found["tests"].items()
    ]
    show(f"Share of claims supported, effect {found['effect']}", ["test", "false", "true", "n"], rows)
    worlds = [[name, f"{one['supported_rate']:.3f}", str(one["n"])] for name, one in found["negative_worlds"].items()]
    if worlds:
        show("Cards supported where there is nothing", ["world", "supported", "n"], worlds)


run.__doc__ = RUN_HELP
planted.__doc__ = PLANTED_HELP
evaluate.command("run")(run)
evaluate.command("planted")(planted)


def _show_suite(found: Any) -> None:
    from unweave.cli.tables import show

    rows = []
    for one in found.rows:
        whole = "-" if one.whole is None else f"{one.whole.value:.3f}"
        best = "-" if not one.spreads else f"{one.spreads[0].top_share:.3f}"
        rows.append([one.test, one.measure, one.site, f"{one.done:.2f}", f"{one.plain.value:.3f}", whole, best])
    show(f"Suite {found.suite}", ["test", "measure", "site", "done", "plain", "whole site", "top share"], rows)
    for note in dict.fromkeys(one.note for one in found.rows if one.note):
        typer.echo(note)
    for basis, value in found.ginis().items():
        typer.echo(f"mean Gini, {basis}: {value:.3f}")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
