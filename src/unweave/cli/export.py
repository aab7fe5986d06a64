"""`unweave export`: what a command wrote, as the file of another tool."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unweave.cli.options import Debug, Json, directory, typed

if TYPE_CHECKING:
    from collections.abc import Callable

HELP = """Write what a command found as the file of another tool.

\b
    unweave export partition/featurizer --to neuronpedia --model gpt2-small --out vectors.jsonl
    unweave export digits --to neuronpedia-graph --model my-model --out graph.json
    unweave export dictionary --to saelens --out sae
    unweave export run/directions --to gguf --model llama --out calm.gguf

neuronpedia: a line a unit with what it writes, at length 1, its label, model and hook. neuronpedia-graph: an
interaction graph, its strongest edges. saelens: a ReLU, TopK or JumpReLU dictionary. gguf: directions at the outputs of
blocks, for llama.cpp.
"""


def export(
    artifact: Annotated[Path, typer.Argument(help="Directory that a command wrote, or another library's file.")],
    to: Annotated[str, typer.Option("--to", help="neuronpedia, neuronpedia-graph, saelens or gguf.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", parser=typed, callback=directory, metavar="<path>", help="What to write.")
    ],
    model: Annotated[str, typer.Option("--model", "-m", help="What the other tool calls the model.")] = "",
    site: Annotated[str | None, typer.Option("--site", "-s", help="Site, where there are several or none.")] = None,
    unit: Annotated[list[int] | None, typer.Option("--unit", help="One unit alone. Repeatable.")] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="JSON: unit -> label, or a list with one label a unit.")
    ] = None,
    strength: Annotated[
        float | None, typer.Option("--strength", help="Default strength of steering; else each unit's own length.")
    ] = None,
    edges: Annotated[int, typer.Option("--edges", help="Most edges of a graph.")] = 2000,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by HELP."""
    from unweave.errors import unknown_name

    ways: dict[str, Callable[[], dict[str, Any]]] = {
        "neuronpedia": lambda: _vectors(artifact, out, model, site, unit, labels, strength),
        "neuronpedia-graph": lambda: _graph(artifact, out, model, edges),
        "saelens": lambda: _dictionary(artifact, out, model, site),
        "gguf": lambda: _directions(artifact, out, model),
    }
    if to not in ways:
        raise unknown_name("format", to, ways)
    said = {"out": str(out), "to": to, **ways[to]()}
    if json:
        typer.echo(jsonlib.dumps(said))
        return
    facts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in said.items() if name not in ("out", "to"))
    typer.echo(f"{out}: {facts}")


export.__doc__ = HELP


def _vectors(
    artifact: Path, out: Path, model: str, site: str | None, chosen: list[int] | None, labels: Path | None,
    strength: float | None,
) -> dict[str, Any]:  # fmt: skip
    from unweave.cli.featurizers import featurizer_at
    from unweave.features.featurizer import units
    from unweave.features.foreign.neuronpedia import save_neuronpedia_vectors

    found = featurizer_at(artifact, site)
    save_neuronpedia_vectors(found, out, model=model, chosen=chosen or None, labels=_labels(labels), strength=strength)
    return {"site": str(found.site), "vectors": len(chosen) if chosen else units(found)}


def _labels(path: Path | None) -> dict[int, str] | list[str] | None:
    from unweave.errors import InputError

    if path is None:
        return None
    try:
        given = jsonlib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}): give JSON, unit -> label or a list of labels") from None
    if isinstance(given, list) and all(isinstance(one, str) for one in given):
        return given
    if isinstance(given, dict) and all(unit.isdecimal() and isinstance(one, str) for unit, one in given.items()):
        return {int(unit): one for unit, one in given.items()}
    raise InputError(f"{path} holds neither unit -> label nor a list of labels")


def _graph(artifact: Path, out: Path, model: str, edges: int) -> dict[str, Any]:
    from unweave.artifact import load
    from unweave.errors import InputError
    from unweave.features.foreign.neuronpedia_graph import save_neuronpedia_graph
    from unweave.features.graph import FeatureGraph

    found = load(artifact)
    found = getattr(found, "result", found)
    found = found.graph(norm="share") if callable(getattr(found, "graph", None)) else found
    if not isinstance(found, FeatureGraph):
        raise InputError(f"{artifact} holds a {type(found).__name__}: a graph or the result of `unweave lib fit`")
    save_neuronpedia_graph(found, out, model=model, most_edges=edges)
    return jsonlib.loads(out.read_text(encoding="utf-8"))["metadata"]["pruning_settings"]


def _dictionary(artifact: Path, out: Path, model: str, site: str | None) -> dict[str, Any]:
    from unweave.cli.featurizers import featurizer_at
    from unweave.errors import InputError
    from unweave.features.affine import AffineFeaturizer
    from unweave.features.featurizer import units
    from unweave.features.foreign.saelens import save_saelens

    found = featurizer_at(artifact, site)
    if not isinstance(found, AffineFeaturizer):
        raise InputError(f"{artifact} holds a {type(found).__name__}: SAELens has dictionaries, which are affine")
    save_saelens(found, out, model_name=model)
    return {"site": str(found.site), "latents": units(found)}


def _directions(artifact: Path, out: Path, model: str) -> dict[str, Any]:
    from unweave.artifact import load
    from unweave.errors import InputError
    from unweave.features.bundle import Bundle
    from unweave.features.direction import Direction
    from unweave.features.foreign.gguf import save_gguf

    found = load(artifact)
    if isinstance(found, Direction) and found.site is not None and not isinstance(found.site, tuple):
        found = Bundle(parts={found.site: found})
    if not isinstance(found, Bundle):
        raise InputError(
            f"{artifact} holds a {type(found).__name__}: a control vector is made of directions with sites"
        )
    save_gguf(found, out, model_hint=model)
    return {"directions": len(found)}
