"""`unweave study`: the main job."""

from __future__ import annotations

import json as jsonlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unweave.cli.options import ConfigFile, Debug, DryRun, Force, Json, Out, Quiet, Sites

if TYPE_CHECKING:
    from unweave.study.config import StudyConfig

HELP = """Find which units carry which features, what they cause, and how sure one can be; write a report.

Without options it runs on bundled models and the documentation that ships with Python:

\b
    unweave study --out run

On your own model and text, with your own labels:

\b
    unweave study --model path/to/model --text corpus.txt --labels labels.jsonl --site 'blocks.*.mlp_act' --out run

A second run uses what is valid of the first. A configuration file has the same keys as the options (models,
text, labels, sites, ks, rows, seed, ...):

\b
    unweave study config.toml
"""


def study(
    config: ConfigFile = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Model: zoo:docs, minilm, a directory, a Hugging Face name. Repeatable."),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Text: .txt, .jsonl, .csv or a directory.")] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", help="Labels (.jsonl): feature, label, document, and start and end, position, or neither."
        ),
    ] = None,
    site: Sites = None,
    k: Annotated[str | None, typer.Option("--k", help="Numbers of units a probe may use, such as 1,2,4,8,16.")] = None,
    rows: Annotated[int | None, typer.Option("--rows", help="Most labelled tokens a feature uses.")] = None,
    selector: Annotated[
        str | None, typer.Option("--selector", help="How units are chosen: std_mean_diff (fast), auto (a search), ...")
    ] = None,
    out: Out = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of every random choice.")] = None,
    json: Json = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by HELP."""
    from unweave.cli.numbers import numbers, without_nan
    from unweave.cli.progress import listener
    from unweave.study.config import StudyConfig
    from unweave.study.flow import run_study

    given = {
        "models": model,
        "text": text,
        "labels": labels,
        "sites": site,
        "ks": numbers(k),
        "rows": rows,
        "selector": selector,
        "seed": seed,
    }
    asked = _configuration(StudyConfig, config, {key: value for key, value in given.items() if value is not None})
    progress = listener(quiet=quiet)
    if dry_run:
        _say_plan(asked, as_json=json)
        return
    result = run_study(asked, out, force=force, command=shlex.join(["unweave", *sys.argv[1:]]), progress=progress)
    if json:
        typer.echo(jsonlib.dumps(without_nan(result.summary())))
        return
    for record in result.records:
        for sentence in record.summary:
            typer.echo(f"{record.model}: {sentence}")
    typer.echo(f"report: {result.report}  ({result.seconds:.0f} s)")


study.__doc__ = HELP


def _say_plan(asked: StudyConfig, *, as_json: bool) -> None:
    """What a study would cost and which default models it would leave out."""
    from unweave.cli.progress import listener
    from unweave.study.flow import plan_study

    planned, left_out = plan_study(asked, listener(quiet=True))
    plans = [  # of the whole study, over those of the collection
        {
            "model": one.model.name, **vars(one.plan), "seconds": one.seconds, "peak_bytes": one.peak_bytes,
            "disk_bytes": one.disk_bytes,
        }
        for one in planned
    ]  # fmt: skip
    if as_json:
        typer.echo(jsonlib.dumps({"plans": plans, "left_out": left_out}))
        return
    left = [f"{name} is left out: {reason}" for name, reason in left_out.items()]
    typer.echo("\n".join([*left, *(f"{one.model.name}: {one.line()}" for one in planned)]))


def _configuration(kind: Any, path: Path | None, options: dict[str, Any]) -> Any:
    from unweave.config import config_from, read_mapping

    values = read_mapping(path) if path is not None else {}
    return config_from(kind, {**values, **options}, source=str(path) if path is not None else "options")
