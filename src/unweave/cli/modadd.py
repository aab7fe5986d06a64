"""`unweave lib modadd`: the interaction graph of a transformer that adds modulo a prime, with both ablations."""

from __future__ import annotations

import json as jsonlib
import time
from pathlib import Path
from typing import Annotated

import typer

from unweave.cli.options import Debug, Json, Out, Quiet, Report, local, typed

HELP = """Fit the basis of a modular-addition transformer and count the directions and edges that it needs.

\b
    unweave lib modadd --report page
    unweave lib modadd --checkpoint modadd_seed0.pt --basis pca --json

The checkpoint is a state dict as the code of arXiv 2405.10928 writes it; without one the bundled zoo:modadd is
taken. Bases and edges are fitted on the training pairs, ablations scored on the held-out ones. Edges and directions
needed are those that keep the accuracy within 0.1 points.
"""


def modadd(
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            parser=typed,
            callback=local,
            metavar="<path>",
            help="State dict (.pt, .safetensors); zoo:modadd if not given.",
        ),
    ] = None,
    basis: Annotated[str, typer.Option("--basis", help="lib, pca, neuron, random, global.")] = "lib",
    sources: Annotated[int | None, typer.Option("--sources", help="Random sources; exact if not given.")] = None,
    abs_threshold: Annotated[
        float | None, typer.Option("--abs-threshold", help="Cut eigenvalues here, as the reference does (1e-15).")
    ] = None,
    out: Out = None,
    report: Report = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of random bases and sources.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by HELP."""
    from unweave.cli.lib_tables import check_asked, keep, peak_mb, show_run
    from unweave.cli.numbers import without_nan
    from unweave.cli.progress import listener
    from unweave.interaction.measuring import measure_subject
    from unweave.interaction.subjects import modadd_subject
    from unweave.models.checkpoints import read_state
    from unweave.models.loading import load_model

    start = time.perf_counter()
    check_asked(basis, out, report)
    source = load_model("zoo:modadd") if checkpoint is None else read_state(checkpoint)
    subject = modadd_subject(source, "zoo:modadd" if checkpoint is None else checkpoint.stem)
    found = measure_subject(
        subject,
        basis=basis,
        seed=seed,
        null=0 if json and report is None else 100,
        options={"sources": sources, "abs_threshold": abs_threshold},
        progress=listener(quiet=quiet),
    )
    kept = keep(found, subject, out, report)
    facts = {**found.facts(), "seconds": round(time.perf_counter() - start, 3), "peak_mb": peak_mb()}
    if json:
        typer.echo(jsonlib.dumps(without_nan(facts)))
        return
    show_run(found)
    needed = found.needed()
    told = ", ".join(f"{layer} {share:.0%} of {needed[layer]}" for layer, share in found.truth.items())
    typer.echo(f"needed directions with 90 % of their power at one frequency: {told or 'none is needed'}")
    typer.echo("\n".join([f"{facts['seconds']} s, {facts['peak_mb']} MB", *kept]))


modadd.__doc__ = HELP
