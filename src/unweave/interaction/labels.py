"""What the nodes stand for: labels by a function of the user's, the inputs that move a node most, and the Fourier terms
of nodes in modular addition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.features.graph import FeatureGraph
from unweave.interaction.result import InteractionResult
from unweave.interaction.stream import Stream
from unweave.models.sections import Section

COVERED = 0.995
"""Terms are listed until they hold this share of the power."""
LEAST = 0.005
"""Terms below this share are left out."""
MOST = 7
SAME = 0.01
"""cos(kx) and cos(ky) are one term where their shares differ by less."""


def coordinates(
    result: InteractionResult, sections: Sequence[Section], inputs: Any, layer: str, *, batch: int = 2048
) -> Float[Tensor, "n pos r"]:
    """The coordinates of one layer for every input and position.

    Args:
        result: A fit of these sections.
        sections: The chain.
        inputs: As in `fit`.
        layer: Which.
        batch: Inputs computed at once.
    """
    number = result.layers.index(layer)
    found = [result.bases[layer].encode(rows[number])[0] for rows in Stream(sections, inputs, batch).walk()]
    return torch.cat(found)


def label(
    result: InteractionResult,
    sections: Sequence[Section],
    inputs: Any,
    function: Callable[[tuple[str, int], Any, Float[Tensor, "n pos"]], str],
) -> dict[str, tuple[str, ...]]:
    """A label for every node from a function of its values.

    Args:
        result: A fit of these sections.
        sections: The chain.
        inputs: As in `fit`.
        function: (node, inputs, its values) -> label; a node is (layer, unit).

    Returns:
        Layer -> one label a node; `labelled` puts them on a graph.

    Example:
        >>> from unweave.interaction.builders import mlp
        >>> from unweave.interaction.fit import fit
        >>> net, X = mlp([(torch.eye(2), torch.zeros(2))]), torch.rand(20, 2).double()
        >>> label(fit(net, X), net, X, lambda node, inputs, z: f"spread {z.std() > 0}")["layers.0"]
        ('spread True', 'spread True')
    """
    found = {}
    for layer in result.layers:
        z = coordinates(result, sections, inputs, layer)
        found[layer] = tuple(function((layer, unit), inputs, z[..., unit]) for unit in range(z.shape[-1]))
    return found


def labelled(graph: FeatureGraph, labels: Mapping[str, Sequence[str]]) -> FeatureGraph:
    """The graph with these labels.

    Args:
        graph: A graph.
        labels: Layer -> one label a node; layers it leaves out keep theirs.
    """
    return replace(graph, labels={**graph.labels, **{layer: tuple(names) for layer, names in labels.items()}})


def top_inputs(
    result: InteractionResult, sections: Sequence[Section], inputs: Any, k: int = 5, *, layer: str
) -> list[list[tuple[int, int, float]]]:
    """For every node of a layer the inputs with the largest values of either sign.

    Args:
        result: A fit of these sections.
        sections: The chain.
        inputs: As in `fit`.
        k: How many.
        layer: Which.

    Returns:
        For each node a list of (input, position, value), largest size first.
    """
    z = coordinates(result, sections, inputs, layer)
    flat = z.flatten(0, 1)
    order = flat.abs().topk(min(k, len(flat)), dim=0).indices.T.tolist()
    return [
        [(row // z.shape[1], row % z.shape[1], float(flat[row, unit])) for row in rows]
        for unit, rows in enumerate(order)
    ]


def fourier_terms(values: Float[Tensor, "p p"]) -> list[tuple[str, float]]:
    """The two-dimensional Fourier terms of a function of (x, y) mod p, each with its share of the power, largest first.

    `cos(ax)` stands for any phase of it. Terms in both variables are told as `cos(ax+by)` and `cos(ax-by)`, or as
    products, whichever pair is more lopsided.

    Args:
        values: `values[x, y]`, p odd.

    Raises:
        InputError: Not square, or p even.

    Source:
        The labels of arXiv 2405.10928's code; specs/lib.md 6.

    Example:
        >>> x = torch.arange(7.0)
        >>> fourier_terms(torch.cos(2 * torch.pi * 2 * (x[:, None] + x) / 7))
        [('cos(2x+2y)', 1.0)]
    """
    size = len(values)
    if values.ndim != 2 or values.shape[1] != size or size % 2 == 0:
        raise InputError(f"values are {tuple(values.shape)}: one value a pair (x, y) modulo an odd number is needed")
    power = np.fft.fft2(values.double().numpy())
    power = power / np.sqrt((np.abs(power) ** 2).sum() or 1.0)
    square = np.abs(power) ** 2
    terms = {"const": float(square[0, 0])}
    for k in range(1, size // 2 + 1):
        alone_x, alone_y = float(square[k, 0] + square[-k, 0]), float(square[0, k] + square[0, -k])
        if abs(alone_x - alone_y) < SAME:
            terms[f"cos({k}x) + cos({k}y)"] = alone_x + alone_y
        else:
            terms |= {f"cos({k}x)": alone_x, f"cos({k}y)": alone_y}
        for m in range(1, size // 2 + 1):
            terms |= _pair_terms(k, m, power[k, m], power[k, -m])
    kept = sorted(((name, share) for name, share in terms.items() if share >= LEAST), key=lambda one: -one[1])
    found, covered = [], 0.0
    for name, share in kept[:MOST]:
        found.append((name, round(float(share), 6)))
        covered += share
        if covered >= COVERED:
            break
    return found


def _pair_terms(k: int, m: int, plus: complex, minus: complex) -> dict[str, float]:
    """The power at frequencies k and m together: as sum and difference of angles, or as products."""
    angles = {f"cos({k}x+{m}y)": 2 * abs(plus) ** 2, f"cos({k}x-{m}y)": 2 * abs(minus) ** 2}
    total = sum(angles.values())
    if total < LEAST:
        return {}
    products = {f"cos({k}x)cos({m}y)": abs(plus + minus) ** 2, f"sin({k}x)sin({m}y)": abs(plus - minus) ** 2}
    return angles if max(angles.values()) >= max(products.values()) else products


def fourier_labels(
    result: InteractionResult, sections: Sequence[Section], p: int = 113
) -> dict[str, list[list[tuple[str, float]]]]:
    """The Fourier terms of every node of a modular-addition transformer, over all p^2 inputs, summed over positions.

    Args:
        result: A fit of these sections.
        sections: As `modadd` builds them.
        p: The modulus.

    Returns:
        Layer -> for each node its terms with their shares.
    """
    found = _over_all_pairs(result, sections, p)
    return {layer: [fourier_terms(node.reshape(p, p)) for node in z.T] for layer, z in found.items()}


def pure_shares(
    result: InteractionResult, sections: Sequence[Section], kept: Mapping[str, int], p: int = 113, *, least: float = 0.9
) -> dict[str, float]:
    """Of the first nodes of some layers of a modular-addition transformer, the share that is about one frequency.

    Args:
        result: A fit of these sections.
        sections: As `modadd` builds them.
        kept: Layer -> how many of its nodes, most important first, such as those that the model needs.
        p: The modulus.
        least: Share of a node's power at one frequency from which on it is about that one.

    Returns:
        Layer -> share of those nodes; NaN where none is kept.

    Example:
        >>> from unweave.interaction.builders import modadd
        >>> from unweave.interaction.fit import fit
        >>> from unweave.models.modadd import ModularAddition, modadd_pairs
        >>> small = modadd(ModularAddition(modulus=7, width=6, heads=2, head_width=3, neurons=8))
        >>> 0 <= pure_shares(fit(small, modadd_pairs(7)[0]), small, {"unembed": 3}, 7)["unembed"] <= 1
        True
    """
    found = _over_all_pairs(result, sections, p)
    pure = {
        layer: [purity(fourier_terms(node.reshape(p, p))) >= least for node in found[layer].T[:count]]
        for layer, count in kept.items()
    }
    return {layer: float(np.mean(one)) if one else float("nan") for layer, one in pure.items()}


def _over_all_pairs(
    result: InteractionResult, sections: Sequence[Section], p: int
) -> dict[str, Float[Tensor, "pairs r"]]:
    """Layer -> coordinates for every pair (x, y), summed over positions."""
    numbers = torch.arange(p)
    tokens = torch.stack([numbers.repeat_interleave(p), numbers.repeat(p), torch.full((p * p,), p)], 1)
    found: dict[str, list[Tensor]] = {layer: [] for layer in result.layers}
    for rows in Stream(sections, tokens, 2048).walk():
        for layer, one in zip(result.layers, rows, strict=True):
            found[layer].append(result.bases[layer].encode(one)[0].sum(1))
    return {layer: torch.cat(z) for layer, z in found.items()}


def spelt(terms: Sequence[tuple[str, float]]) -> str:
    """The terms as one label.

    Example:
        >>> spelt([("cos(2x)", 0.51), ("const", 0.49)])
        '51% cos(2x)|49% const'
    """
    return "|".join(f"{share:.0%} {name}" for name, share in terms)


def purity(terms: Sequence[tuple[str, float]]) -> float:
    """Share of the power at the one frequency that has most: 1 for a node about one frequency alone, const left out.

    Example:
        >>> purity([("cos(2x)", 0.5), ("cos(2x+2y)", 0.25), ("cos(3y)", 0.25)])
        0.75
    """
    import re

    shares: dict[frozenset[str], float] = {}
    for name, share in terms:
        frequencies = frozenset(re.findall(r"(\d+)[xy]", name))
        if frequencies:
            shares[frequencies] = shares.get(frequencies, 0.0) + share
    return max(shares.values(), default=0.0)
