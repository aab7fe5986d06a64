"""`unweave ndm ...`: partitions of representation space into subspaces."""

from __future__ import annotations

import json as jsonlib
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unweave.cli.options import Debug, DryRun, Json, OutPlace, Quiet

if TYPE_CHECKING:
    from unweave.ndm.result import NDMResult

HELP = """Partitions of representation space into orthogonal subspaces, without labels.

\b
    unweave ndm fit store --site blocks.3.resid_post --unit-size 32 --out partition
    unweave ndm toy --groups 20,20 --width 12 --seed 7
"""
FIT_HELP = """Part the activations of a site into orthogonal subspaces in which neighbours are close.

\b
    unweave ndm fit store --site blocks.3.resid_post --unit-size 32 --preset laptop --out partition

Blocks start at the unit size and are joined while they share information. With --out the fit is kept while it
runs, and the same command goes on after an interruption. In Python: uw.load("partition/result").
"""
TOY_HELP = """The toy experiment: train a small autoencoder on groups of exclusive features, then find the groups.

\b
    unweave ndm toy --groups 20,20 --width 12 --seed 7 --json

A model that does not keep its groups apart cannot be parted: `separable` says so, and the score is then of the
groups that are connected.
"""

ndm = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=HELP)


def fit(
    store: Annotated[str, typer.Argument(help="Directory or URL that `unweave collect` wrote.")],
    site: Annotated[
        str | None, typer.Option("--site", "-s", help="Site of the store; not needed if there is only one.")
    ] = None,
    unit_size: Annotated[int | None, typer.Option("--unit-size", help="Size of the blocks at the start.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="laptop, quick, toy, gpt2, ...")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Most steps.")] = None,
    pool: Annotated[int | None, typer.Option("--pool", help="Keys among which the nearest is sought.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Queries a step.")] = None,
    merge_thr: Annotated[str | None, typer.Option("--merge-thr", help="Nats per dimension, auto, or never.")] = None,
    method: Annotated[str | None, typer.Option("--method", help="merge or split.")] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="euclidean or cosine.")] = None,
    memory: Annotated[str | None, typer.Option("--memory", help="What it may hold, such as 2GB.")] = None,
    out: OutPlace = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of every random choice.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by FIT_HELP."""
    from unweave.activations.store import open_store
    from unweave.artifact import save
    from unweave.cli.numbers import without_nan
    from unweave.cli.plans import partition_cost, tell
    from unweave.cli.progress import listener
    from unweave.errors import InputError
    from unweave.ndm.config import threshold_of
    from unweave.ndm.fit import fit as fit_rows
    from unweave.ndm.fit import plan
    from unweave.ndm.presets import settled

    opened = open_store(store)
    names = [str(one) for one in opened.sites]
    if site is None and len(names) > 1:
        raise InputError(f"{store} has {len(names)} sites: give --site, one of {', '.join(names[:6])}")
    column = opened[site or names[0]]
    options: dict[str, Any] = {
        "unit_size": unit_size, "steps": steps, "pool": pool, "batch": batch, "method": method, "metric": metric,
        "memory": memory, "merge_thr": threshold_of(_threshold(merge_thr)), "seed": seed,
    }  # fmt: skip
    told = plan(settled(preset, options), *column.shape)
    progress = listener(quiet=quiet)
    if dry_run:
        tell(told, _plan_line(told), partition_cost(column, options, preset=preset), as_json=json)
        return
    progress.note(_plan_line(told))
    start = time.perf_counter()
    kept = None if out is None else out / "checkpoint"
    given = {key: value for key, value in options.items() if value is not None}
    result = fit_rows(column, preset=preset, checkpoint=kept, progress=progress, **given)
    if out is not None:
        save(result, out / "result")
        save(result.featurizer, out / "featurizer")
    if json:
        facts = _facts(result, out, site=str(column.site), seconds=time.perf_counter() - start)
        typer.echo(jsonlib.dumps(without_nan(facts)))
        return
    _show(result)
    if out is not None:
        typer.echo(f"partition: {out / 'result'}, featurizer: {out / 'featurizer'}")


def toy(
    groups: Annotated[str, typer.Option("--groups", help="Features of each group, such as 20,20.")] = "20,20",
    width: Annotated[int, typer.Option("--width", help="Hidden dimensions of the autoencoder.")] = 12,
    restarts: Annotated[
        int, typer.Option("--restarts", help="Models to train; the one that reconstructs best is kept.")
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of model and fit.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by TOY_HELP."""
    from unweave.cli.numbers import without_nan
    from unweave.cli.progress import listener
    from unweave.errors import InputError
    from unweave.study.ndm_toy import ndm_toy

    try:
        sizes = tuple(int(part) for part in groups.split(","))
    except ValueError:
        raise InputError(
            f"--groups is {groups!r}: numbers with commas between them are needed, such as 20,20"
        ) from None
    run = ndm_toy(sizes, width, seed, restarts=restarts, progress=listener(quiet=quiet))
    if json:
        typer.echo(jsonlib.dumps(without_nan(run.facts())))
        return
    facts = run.facts()
    typer.echo(f"{run.model}: ranks {facts['ranks']}")
    of = "its groups" if run.model.is_separable else f"the connected groups {facts['connected']}"
    typer.echo(
        f"partition {facts['partition']}, energy purity {run.purity:.4f} of {of},"
        f" {'recovered' if run.is_recovered else 'not recovered'}, {run.cpu_seconds:.1f} CPU-s"
        f" (model {run.training_seconds:.1f})"
    )


fit.__doc__ = FIT_HELP
toy.__doc__ = TOY_HELP
ndm.command("fit")(fit)
ndm.command("toy")(toy)


def _threshold(text: str | None) -> float | str | None:
    from unweave.errors import InputError

    if text in (None, "auto", "never"):
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--merge-thr is {text!r}: a number, auto or never is needed") from None


def _plan_line(told: dict[str, Any]) -> str:
    return (
        f"{told['rows']:,} rows of width {told['width']}, {told['blocks']} blocks of {told['unit_size']}, pool"
        f" {told['pool']:,}, {told['steps']:,} steps ({told['bytes'] / 1e6:,.0f} MB, about {told['seconds']:,.0f}"
        " CPU-s)"
    )


def _facts(result: NDMResult, out: Any, *, site: str, seconds: float) -> dict[str, Any]:
    return {
        "out": None if out is None else str(out),
        "site": site,
        "partition": result.partition,
        "distance": result.distance,
        "weighted_distance": result.weighted_distance,
        "pool": result.pool,
        "start": result.start,
        "outcome": result.outcome.value,
        "blocks": result.table(),
        "history": result.history,
        "merge_tree": result.merge_tree,
        "mi": result.mi.tolist(),
        "mi_null": list(result.mi_null),
        "warnings": list(result.warnings),
        "cpu_seconds": result.seconds,
        "seconds": round(seconds, 3),
    }


def _show(result: NDMResult) -> None:
    from unweave.cli.tables import show

    rows = [
        [
            str(block.number),
            str(block.size),
            f"{block.variance_share:.3f}",
            f"{block.distance:.4g}",
            f"{block.relative_distance:.3f}",
            f"{block.effective_dimension:.1f}",
            f"{block.duplicates:.3f}",
        ]
        for block in result.blocks
    ]
    columns = ["block", "size", "variance", "distance", "relative", "effective", "duplicates"]
    show("Blocks, largest first; distances on held-out rows", columns, rows)
    for warning in result.warnings:
        typer.echo(f"warning: {warning}")
    typer.echo(result.summary())
