"""`unweave zoo`: the bundled models."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer

from unweave.cli.options import Debug, DryRun, Json, Quiet, local, typed

HELP = """The bundled models: small, trained by this project, with their recipes.

\b
    unweave zoo list
"""

zoo = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
)

LIST_HELP = """Show the bundled models and what is known about them.

\b
    unweave zoo list
"""
TRAIN_HELP = """Train a bundled model again, from what this installation carries.

\b
    unweave zoo train docs-xs --out my-docs
    unweave zoo train modadd --out my-modadd

docs-xs, -s and -m are one recipe in three sizes. docs-s takes most of an hour on two cores, docs-xs about a third
of that, docs-m about twice as long; modadd a quarter of an hour, digits seconds. A training that was stopped goes on
from its last finished epoch when the same command is given again, to the same end. Against the bundled models the
result is not equal to the bit: text and arithmetic depend on the Python and the machine.
"""


MEASURED = ("loss_nats_a_token", "loss_5gram_nats_a_token", "test_accuracy", "test_loss_nats")
"""What is told about a model on held-out data."""


def list_models(json: Json = False, debug: Debug = False) -> None:
    """Placeholder, replaced by LIST_HELP."""
    from unweave.models.zoo import ALIASES, facts, names

    known = {name: facts(name) for name in names()}
    if json:
        typer.echo(
            jsonlib.dumps(
                {"models": [{"source": f"zoo:{name}", **known[name]} for name in known], "aliases": dict(ALIASES)}
            )
        )
        return
    short = {full: alias for alias, full in ALIASES.items()}
    for name, found in known.items():
        alias = f" (also zoo:{short[name]})" if name in short else ""
        typer.echo(f"zoo:{name}{alias}: {found['parameters']:,} parameters, {_measured(found)}")


def train(
    name: Annotated[str, typer.Argument(help="Name of the model, such as docs.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", parser=typed, callback=local, metavar="<path>", help="Directory for the new model."
        ),
    ],
    json: Json = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by TRAIN_HELP."""
    from unweave.cli.plans import tell
    from unweave.cli.progress import listener
    from unweave.errors import InputError, unknown_name
    from unweave.models.zoo import ALIASES
    from unweave.models.zoo.modules import MODULE_RECIPES, train_module
    from unweave.models.zoo.planning import plan_training
    from unweave.models.zoo.recipe import RECIPES
    from unweave.models.zoo.recipe import train as train_model
    from unweave.models.zoo.resuming import STATE

    full = ALIASES.get(name, name)
    if full not in RECIPES and full not in MODULE_RECIPES:
        raise unknown_name("zoo model", name, [*ALIASES, *RECIPES, *MODULE_RECIPES])
    if out.is_file():
        raise InputError(f"{out} is a file: give a directory for the model")
    if out.exists() and any(out.iterdir()) and not (out / STATE).exists():
        raise InputError(f"{out} is not empty and holds no unfinished training: choose another directory")
    if dry_run:
        cost = plan_training(full)
        tell({"name": full, "steps": cost.rows}, f"{full}: {cost.rows:,} steps", cost, as_json=json)
        return
    progress = listener(quiet=quiet)
    if full in RECIPES:
        found = train_model(RECIPES[full], out, progress=progress)
    else:
        found = train_module(full, out, progress=progress)
    summary = {key: found[key] for key in ("name", "parameters", *MEASURED) if key in found}
    typer.echo(
        jsonlib.dumps(summary) if json else f"{out}: " + ", ".join(f"{key} {value}" for key, value in summary.items())
    )


def _measured(found: dict[str, Any]) -> str:
    if "test_accuracy" in found:
        return f"{found['test_accuracy']:.1%} right on {found['test_inputs']:,} held-out inputs"
    return (
        f"held-out loss {found['loss_nats_a_token']:.3f} nats a token (5-gram: {found['loss_5gram_nats_a_token']:.3f})"
    )


list_models.__doc__, train.__doc__ = LIST_HELP, TRAIN_HELP
zoo.command("list")(list_models)
zoo.command("train")(train)
