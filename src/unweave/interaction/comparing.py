"""Bases side by side: a basis alone says nothing, so principal components, neurons and random rotations stand beside
it, over seeds where there is chance in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unweave.errors import InputError
from unweave.interaction.measuring import BasisRun

QUANTITIES = ("nodes", "edges", "projected", "modularity", "rewired", "p", "truth")
"""Of a run."""
OF_A_LAYER = ("nodes", "edges", "gini", "truth")


def compare(runs: Sequence[BasisRun], *, each_layer: bool = False) -> list[dict[str, Any]]:
    """One row for every model and basis: means over seeds with their ranges, and what `lib` needs less or more.

    Args:
        runs: Of the same models under several bases and seeds. A seed is that of the random basis, or of the model's
            own training where several models have one name.
        each_layer: One row for every layer instead, without what is known of the whole chain alone.

    Returns:
        Dictionaries with `model`, `basis` (and `layer`), `seeds`, and means over seeds: `nodes` and `edges` (needed,
            summed over layers; the constant counts once a layer; None where a layer reaches its target with no number),
            `projected` (the score with every layer put through its basis at once), `modularity` with `rewired` (the
            mean of its null) and `p`, `truth` (share of the needed nodes that are of the known kind, where one is
            known), or of a layer `nodes`, `edges`, `gini`, `truth`. Each is followed by its smallest and largest value
            over seeds, as `edges range`. At the end `edges against lib` and `nodes against lib`: means of differences
            paired by seed (with the run of seed 0 where `lib` has no other), positive where `lib` needs fewer, with
            their ranges, and `pairs`.

    Raises:
        InputError: No runs, or the same model, basis and seed twice.

    Example:
        >>> from unweave.interaction.builders import mlp
        >>> from unweave.interaction.measuring import measure
        >>> import torch
        >>> net, X = mlp([(torch.eye(4), torch.zeros(4)), (torch.eye(4), torch.zeros(4))]), torch.rand(99, 4)
        >>> runs = [measure(net, X, X, X.argmax(1), basis=name, null=0) for name in ("neuron", "pca")]
        >>> row = compare(runs)[0]
        >>> row["edges"], row["edges range"]
        (8.0, [8.0, 8.0])
    """
    if not runs:
        raise InputError("no runs to compare: give at least one")
    for place, one in enumerate(runs):
        if any((one.model, one.basis, one.seed) == (other.model, other.basis, other.seed) for other in runs[:place]):
            raise InputError(f"two runs of {one.model}, basis {one.basis}, seed {one.seed}: give each seed once")
    found = []
    for model, basis in dict.fromkeys((one.model, one.basis) for one in runs):
        mine = [one for one in runs if (one.model, one.basis) == (model, basis)]
        lib = {one.seed: one for one in runs if one.model == model and one.basis == "lib"}
        layers = dict.fromkeys(nodes.layer for one in mine for nodes in one.nodes)
        found += [
            {"model": model, "basis": basis}
            | ({} if layer is None else {"layer": layer})
            | {"seeds": len(mine)}
            | _means(mine, layer)
            | _against(mine, {} if basis == "lib" else lib, layer)
            for layer in (layers if each_layer else (None,))
        ]
    return found


def _means(runs: Sequence[BasisRun], layer: str | None) -> dict[str, Any]:
    values = [_of_chain(one) if layer is None else _of_layer(one, layer) for one in runs]
    return _told({name: [one[name] for one in values] for name in values[0]})


def _against(runs: Sequence[BasisRun], lib: dict[int, BasisRun], layer: str | None) -> dict[str, Any]:
    """Differences from the runs of `lib`."""
    pairs = [(one, lib.get(one.seed, lib.get(0))) for one in runs]
    found: dict[str, list[float | None]] = {}
    for name, value in {"edges": _edges, "nodes": _nodes}.items():
        both = [(value(one, layer), value(other, layer)) for one, other in pairs if other is not None]
        found[f"{name} against lib"] = [a - b for a, b in both if a is not None and b is not None]
    return _told(found) | {"pairs": len(found["nodes against lib"])}


def _told(values: dict[str, list[float | None]]) -> dict[str, Any]:
    """Means and ranges; None where a value is missing."""
    told: dict[str, Any] = {}
    for name, some in values.items():
        known = [one for one in some if one is not None]
        complete = bool(known) and len(known) == len(some)
        told[name] = float(np.mean(known)) if complete else None
        told[f"{name} range"] = [float(min(known)), float(max(known))] if complete else None
    return told


def _of_chain(run: BasisRun) -> dict[str, float | None]:
    needed = run.needed()
    counted = sum(needed[layer] for layer in run.truth)
    modules = run.modules
    return {
        "nodes": _nodes(run, None),
        "edges": _edges(run, None),
        "projected": run.projected.score,
        "modularity": None if modules is None else modules.modularity,
        "rewired": None if modules is None or not modules.null else float(np.mean(modules.null)),
        "p": None if modules is None else modules.p_value,
        "truth": sum(share * needed[layer] for layer, share in run.truth.items()) / counted if counted else None,
    }


def _of_layer(run: BasisRun, layer: str) -> dict[str, float | None]:
    gini = {row["source"]: row["gini"] for row in run.result.sparsity()}
    return {
        "nodes": _nodes(run, layer),
        "edges": _edges(run, layer),
        "gini": gini.get(layer),
        "truth": run.truth.get(layer),
    }


def _nodes(run: BasisRun, layer: str | None) -> float | None:
    return _sum([one.needed for one in run.nodes if layer in (None, one.layer)])


def _edges(run: BasisRun, layer: str | None) -> float | None:
    return _sum([one.needed for one in run.edges if layer in (None, one.layer)])


def _sum(values: Sequence[int | None]) -> float | None:
    known = [one for one in values if one is not None]
    return float(sum(known)) if known and len(known) == len(values) else None
