"""`unweave collect`: activations to disk."""

from __future__ import annotations

import json as jsonlib
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unweave.cli.options import Debug, DryRun, Force, Json, Quiet, Sites

if TYPE_CHECKING:
    from unweave.activations.collect import Collected

HELP = """Collect the activations of a model on a text into a store.

\b
    unweave collect --model zoo:docs --site 'blocks.*.resid_post' --text corpus.txt --out store

The same command again goes on where an interrupted one stopped, or says that the store is complete. In
Python: uw.open_store("store").
"""


def collect(
    model: Annotated[
        str, typer.Option("--model", "-m", help="Model: zoo:docs, minilm, a directory, a Hugging Face name.")
    ],
    text: Annotated[
        str,
        typer.Option(
            "--text",
            help="Text: .txt, .jsonl, .csv, a directory, a URL, hub:NAME:SPLIT:COLUMN, or - for standard input.",
        ),
    ],
    out: Annotated[
        str, typer.Option("--out", "-o", help="Directory of the store, or a URL such as s3://bucket/store.")
    ],
    site: Sites = None,
    context: Annotated[int, typer.Option("--context", help="Most tokens of a window, special ones included.")] = 128,
    dtype: Annotated[
        str, typer.Option("--dtype", help="float16, bfloat16, float32 or uint8, of the stored values.")
    ] = "float16",
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps or auto.")] = "cpu",
    workers: Annotated[
        int | None,
        typer.Option("--workers", help="Threads; one a processor if not given. The store does not depend on it."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by HELP."""
    from unweave.activations.collect import CollectOptions, run_collection
    from unweave.activations.plan import plan_collection
    from unweave.activations.texts import read_texts
    from unweave.cli.progress import listener
    from unweave.config import config_from
    from unweave.errors import InputError
    from unweave.models.loading import load_model
    from unweave.places import place_of

    if not site:
        raise InputError("no --site was given: name at least one, such as --site 'blocks.*.resid_post'")
    progress = listener(quiet=quiet)
    place = place_of(out)
    options = config_from(CollectOptions, {"context": context, "dtype": dtype}, source="options")
    loaded = load_model(model, device=device)
    texts = list(read_texts(text)) if text == "-" else text
    if dry_run or not quiet:
        plan = plan_collection(loaded, texts, site, options, workers=workers)
        if dry_run:
            typer.echo(jsonlib.dumps(vars(plan)) if json else plan.line())
            return
        progress.note(plan.line())
    start = time.perf_counter()
    done = run_collection(loaded, texts, site, place, options, resume=not force, workers=workers, progress=progress)
    facts = _facts(done, out, seconds=time.perf_counter() - start)
    if json:
        typer.echo(jsonlib.dumps(facts))
        return
    _show(done, out)


def _show(done: Collected, out: str) -> None:
    """What a person reads."""
    state = "was complete already" if not done.made else f"complete: {done.made} shards made, {done.reused} were there"
    typer.echo(f"{out}: {len(done.store):,} rows at {len(done.store.sites)} sites, {state}")
    for name, lost in done.store.rounding.items():
        typer.echo(f"  {name}: values differ by at most {lost.largest_error:.3g}, {lost.lost:.2g} of the variance")


def _facts(done: Collected, out: str, *, seconds: float) -> dict[str, Any]:
    """What the store holds, as plain values."""
    from unweave.config import config_json

    shards = done.store.manifest.shards
    return {
        "store": out,
        "rows": len(done.store),
        "documents": sum(shard.documents for shard in shards),
        "sites": [str(one) for one in done.store.sites],
        "shards": len(shards),
        "made": done.made,
        "reused": done.reused,
        "complete": True,
        "rounding": {site: config_json(one) for site, one in done.store.rounding.items()},
        "bytes": sum(shard.tensors_bytes + shard.text_bytes for shard in shards),
        "fingerprint": done.store.fingerprint,
        "seconds": round(seconds, 3),
    }


collect.__doc__ = HELP
