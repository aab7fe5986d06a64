"""`unweave lib fit`: the interaction basis of a model on its data, with ablations."""

from __future__ import annotations

import json as jsonlib
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unweave.cli.options import Debug, DryRun, Json, Out, Quiet, Report

if TYPE_CHECKING:
    from unweave.interaction.subjects import Subject

HELP = """Fit the local interaction basis of a model and count the directions that it needs.

\b
    unweave lib fit --model zoo:digits --out digits --report page
    unweave lib fit --model zoo:docs --text corpus.txt --block 5 --basis pca --out pca

A language model is taken one block at a time, from the stream before it to the last norm, and scored by its
next-token loss on windows that nothing was fitted on; nodes needed keep it within 0.01 nats. Its edges are ablated
only with --edges: each coordinate is then a run of its own. In Python: uw.load("digits"). --report writes a page:
curves, the graph, and cards of the most important directions with the inputs that move them most.
"""


def fit(
    model: Annotated[str, typer.Option("--model", "-m", help="zoo:modadd, zoo:digits, zoo:docs, a directory, a name.")],
    text: Annotated[str | None, typer.Option("--text", help="Text: .txt, .jsonl, .csv or a directory.")] = None,
    basis: Annotated[str, typer.Option("--basis", help="lib, pca, neuron, random, whitened_random, global.")] = "lib",
    sources: Annotated[
        int | None, typer.Option("--sources", min=0, help="Random sources over positions; 0 = all positions exactly.")
    ] = None,
    block: Annotated[
        int | None, typer.Option("--block", min=0, help="Block of a language model; the last if not given.")
    ] = None,
    context: Annotated[int, typer.Option("--context", min=1, help="Tokens of a window.")] = 64,
    windows: Annotated[int, typer.Option("--windows", min=1, help="Windows to fit on, and as many to score.")] = 32,
    edges: Annotated[bool, typer.Option("--edges", help="Ablate edges of a language model too.")] = False,
    out: Out = None,
    report: Report = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by HELP."""
    from unweave.activations.texts import read_texts
    from unweave.cli.lib_tables import check_asked, keep, peak_mb, show_run
    from unweave.cli.numbers import without_nan
    from unweave.cli.plans import basis_cost, tell
    from unweave.cli.progress import listener
    from unweave.interaction.measuring import measure_subject
    from unweave.interaction.subjects import subject_of
    from unweave.models.loading import load_model

    start = time.perf_counter()
    check_asked(basis, out, report)
    texts = None if text is None else (one.text for one in read_texts(text))
    subject = subject_of(load_model(model), texts, block=block, context=context, windows=windows)
    closed = all(one.form is not None for one in subject.sections)
    plan = _plan(subject)
    progress = listener(quiet=quiet)
    options: dict[str, Any] = {
        "basis": basis, "seed": seed, "null": 100, "with_edges": edges or subject.score == "accuracy",
        "options": {"sources": _sources(sources, closed=closed), "batch": 256 if closed else 8},
    }  # fmt: skip
    if dry_run:
        tell(plan, _plan_line(plan), basis_cost(subject, options), as_json=json)
        return
    progress.note(_plan_line(plan))
    found = measure_subject(subject, **options, progress=progress)
    kept = keep(found, subject, out, report)
    facts = {**found.facts(), "seconds": round(time.perf_counter() - start, 3), "peak_mb": peak_mb()}
    if json:
        typer.echo(jsonlib.dumps(without_nan(facts)))
        return
    show_run(found)
    typer.echo("\n".join([f"{facts['seconds']} s, {facts['peak_mb']} MB", *kept]))


fit.__doc__ = HELP


def _sources(count: int | None, *, closed: bool) -> tuple[int, None] | None:
    """Over positions, hidden coordinates exactly; by default one where sections have no closed form."""
    if count is None:
        return None if closed else (1, None)
    return (count, None) if count > 0 else None


def _plan(subject: Subject) -> dict[str, Any]:
    """What will be computed and held."""
    rows = len(subject.inputs) * (1 if subject.inputs.ndim == 1 else subject.inputs.shape[-1])
    widest = max(max(one.d_in, one.d_out) for one in subject.sections)
    return {
        "model": subject.name,
        "sections": [one.name for one in subject.sections],
        "inputs": len(subject.inputs),
        "held_out": len(subject.held_out),
        "bytes": 8 * rows * widest + 40 * widest**2,
    }


def _plan_line(plan: dict[str, Any]) -> str:
    return (
        f"{plan['model']}: {len(plan['sections'])} sections, {plan['inputs']:,} inputs to fit on,"
        f" {plan['held_out']:,} to score, about {plan['bytes'] / 1e6:,.0f} MB"
    )
