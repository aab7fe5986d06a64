"""`unweave evaluate ...`: tests of what a representation does, and how good the tests are."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated

import typer

from unweave.cli.options import Debug, DryRun, Json, Out, Quiet
from unweave.cli.suites import run, suites

HELP = """Tests of what a representation does, and how good the tests are.

\b
    unweave evaluate run partition/featurizer --model gpt2 --suite ioi
    unweave evaluate suites
    unweave evaluate planted --seed 3
"""
PLANTED_HELP = """False-positive rate, power and calibration of every causal test on worlds whose truth is known.

\b
    unweave evaluate planted --seed 3 --json
    unweave evaluate planted --out planted

With --out also report.html, with the curves over effect size and number of pairs.
"""

evaluate = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=HELP)


def planted(
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of worlds and claims.")] = 0,
    repeats: Annotated[int, typer.Option("--repeats", help="True and false claims of each test.")] = 100,
    test: Annotated[list[str] | None, typer.Option("--test", help="One test alone. Repeatable.")] = None,
    calibration: Annotated[
        int, typer.Option("--calibration", help="Claims at each effect size and number of pairs; 0 leaves it out.")
    ] = 8,
    out: Out = None,
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
    from unweave.evals.suites.planted_truth import planted_result
    from unweave.report.record import write_whole
    from unweave.study.suite_record import write_suite_report

    if dry_run:
        cost = planted_cost(seed=seed, repeats=repeats, tests=test or None, calibration=calibration)
        tell({"repeats": repeats}, f"{repeats} true and {repeats} false claims of each test", cost, as_json=json)
        return
    found = evaluate_planted(
        seed=seed, repeats=repeats, tests=test or None, calibration=calibration, progress=listener(quiet=quiet)
    )
    page = None
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / "planted.json", jsonlib.dumps(found, indent=1) + "\n")
        page = write_suite_report(planted_result(found), out, model="no model", command="unweave evaluate planted")
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
    if page is not None:
        typer.echo(f"report: {page}")


planted.__doc__ = PLANTED_HELP
evaluate.command("run")(run)
evaluate.command("suites")(suites)
evaluate.command("planted")(planted)
