"""`unweave directions`: a direction at every layer from contrast pairs or labelled texts."""

from __future__ import annotations

import json as jsonlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unweave.cli.options import Debug, DryRun, Json, Out, Quiet, Sites

if TYPE_CHECKING:
    from unweave.evals.layer_study import LayerStudy
    from unweave.models.model import Model

HELP = """A direction at every layer, from contrast pairs or labelled texts, and what it reads on texts it has not seen.

\b
    unweave directions --model zoo:docs pairs.jsonl --layers all --out calm

A line of the file is {"positive": ..., "negative": ..., "group": ...} or {"text": ..., "label": 0 or 1, "group": ...};
texts of one group (an entity, a template) stay on one side of the split. Scores are of the held-out groups, the layer
is chosen on the others. In Python: uw.load("calm/directions") is one bundle, site -> direction.
"""


def directions(
    pairs: Annotated[Path, typer.Argument(help="Contrast pairs or labelled texts (.jsonl).")],
    model: Annotated[str, typer.Option("--model", "-m", help="Model: a name, a directory, zoo:NAME.")],
    layers: Annotated[str, typer.Option("--layers", help="all, numbers such as 2,4, or a range such as 2..8.")] = "all",
    site: Sites = None,
    method: Annotated[
        str, typer.Option("--method", help="mean_difference, lda, logistic, contrast_pca or ccs.")
    ] = "mean_difference",
    position: Annotated[str, typer.Option("--position", help="Token of each text: last, mean or a number.")] = "last",
    test: Annotated[float, typer.Option("--test", help="Share of the groups held out.")] = 0.3,
    gguf: Annotated[
        Path | None, typer.Option("--gguf", help="Also write a control vector for llama.cpp to this file.")
    ] = None,
    out: Out = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of split, fits and bootstrap.")] = 0,
    device: Annotated[str, typer.Option("--device", help="Where the model runs.")] = "cpu",
    json: Json = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by HELP."""
    from unweave.activations.concepts import read_records
    from unweave.artifact import save
    from unweave.cli.numbers import without_nan
    from unweave.cli.plans import layers_cost, tell
    from unweave.cli.progress import listener
    from unweave.evals.layer_study import layer_study
    from unweave.features.foreign.gguf import save_gguf
    from unweave.models.loading import load_model

    start = time.perf_counter()
    records = read_records(pairs)
    place = _position(position)
    loaded = load_model(model, device=device)
    sites = _sites(loaded, layers, site)
    plan = {"records": len(records), "sites": sites, "method": method, "texts": _texts(records), "seed": seed}
    options = {"method": method, "position": place, "test": test, "seed": seed}
    if dry_run:
        tell(plan, _plan_line(plan), layers_cost(loaded, records, sites, options), as_json=json)
        return
    listener(quiet=quiet).note(_plan_line(plan))
    found = layer_study(loaded, records, sites, method=method, position=place, test=test, seed=seed)
    if gguf is not None:
        save_gguf(found.bundle, gguf, model_hint=loaded.name)
    if out is not None:
        save(found.bundle, out / "directions")
        save(found, out / "layers")
    if json:
        facts = _facts(found, loaded, out, seconds=time.perf_counter() - start)
        typer.echo(jsonlib.dumps(without_nan(facts)))
        return
    _show(found)
    if out is not None:
        typer.echo(f"directions: {out / 'directions'}, scores: {out / 'layers'}")


directions.__doc__ = HELP


def _position(text: str) -> int | str:
    from unweave.errors import InputError

    if text in ("last", "mean"):
        return -1 if text == "last" else "mean"
    try:
        return int(text)
    except ValueError:
        raise InputError(f"--position is {text!r}: last, mean or a whole number is needed") from None


def _sites(model: Model, layers: str, patterns: list[str] | None) -> list[str]:
    """The sites that `--layers` (of the residual stream) or `--site` names."""
    from unweave.errors import InputError
    from unweave.site import expand_sites

    available = [str(one) for one in model.sites()]
    if patterns is not None:
        if layers != "all":
            raise InputError("--layers and --site are two ways to say the same: give one of them")
        return [str(one) for one in expand_sites(patterns, available)]
    stream = [one for one in available if one.endswith(".resid_post")]
    if not stream:
        raise InputError(f"{model.name} has no residual stream: give --site, one of {', '.join(available[:4])}")
    if layers == "all":
        return stream
    spelt = [part.strip() for part in layers.split(",")]
    try:
        wanted = [name for part in spelt for name in _range(part)]
    except ValueError:
        raise InputError(f"--layers is {layers!r}: all, numbers such as 2,4, or a range such as 2..8") from None
    if not wanted:
        raise InputError(f"--layers is {layers!r}, which names no block: a range goes upwards, such as 2..8")
    return [str(one) for one in expand_sites([f"blocks.{number}.resid_post" for number in wanted], available)]


def _range(part: str) -> range:
    first, dots, last = part.partition("..")
    return range(int(first), int(last) + 1) if dots else range(int(part), int(part) + 1)


def _texts(records: list[Any]) -> int:
    return sum(2 if hasattr(one, "positive") else 1 for one in records)


def _plan_line(plan: dict[str, Any]) -> str:
    return f"{plan['records']} records, {plan['texts']} texts at {len(plan['sites'])} sites, {plan['method']}"


def _facts(found: LayerStudy, model: Model, out: Path | None, *, seconds: float) -> dict[str, Any]:
    return {
        "out": None if out is None else str(out),
        "model": model.name,
        "fingerprint": model.fingerprint,
        "method": found.method,
        "metric": found.scope,
        "fitted": found.fitted,
        "best": found.best,
        "layers": found.table(),
        "warnings": list(found.warnings),
        "seed": found.seed,
        "seconds": round(seconds, 3),
    }


def _show(found: LayerStudy) -> None:
    from unweave.cli.tables import show

    columns = ["site", found.scope, "low", "high", "random", "p (Holm)", "cos read", "cos pattern", "entropy pct"]
    rows = []
    for one in found.layers:
        angle, words = one.angle, one.words
        rows.append(
            [
                f"{one.site}{' *' if one.site == found.best else ''}",
                f"{one.score.value:.3f}",
                f"{one.score.low:.3f}",
                f"{one.score.high:.3f}",
                "" if one.score.control is None else f"{one.score.control:.3f}",
                f"{one.p_holm:.2g}",
                "" if angle is None else f"{angle.plain.value:+.2f}",
                "" if angle is None else f"{angle.pattern.value:+.2f}",
                "" if words is None else f"{words.normed.percentile:.0f}",
            ]
        )
    show(f"{found.method}: held-out groups; * chosen on the others", columns, rows)
    for warning in found.warnings:
        typer.echo(f"warning: {warning}")
