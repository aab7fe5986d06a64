"""What a fit gives: a basis a node layer, edges between neighbours, and how sure one can be of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError, unknown_name
from unweave.features.bundle import Bundle
from unweave.features.featurizer import block_slices
from unweave.features.graph import EdgeBlock, FeatureGraph
from unweave.interaction.basis import LayerRank
from unweave.interaction.config import BasisConfig, ComputeConfig
from unweave.tensors.resampling import ratio_intervals

NORMS = ("none", "sqrt", "share", "max", "log")
"""How edges are scaled for looking at them."""
INTERVALS_AT_ONCE = 1024
"""Edges whose draws are held together."""


@dataclass(frozen=True, eq=False, kw_only=True)
class InteractionResult:
    """The bases and the interaction graph of a chain of sections; it holds no model."""

    layers: tuple[str, ...]
    """The node layers, first to last."""
    bases: Mapping[str, Any]
    """Layer -> featurizer; its coordinates are the nodes, the constant not among them."""
    lambdas: Mapping[str, Tensor]
    """Layer -> importance of each coordinate: its mean square."""
    lambda_se: Mapping[str, Tensor]
    """Layer -> standard error of each importance, from the means of groups of batches; empty where it was not pulled
    or there was one batch.
    """
    variances: Mapping[str, Tensor]
    """Layer -> variance of each principal direction, descending, those below the floor too."""
    ranks: Mapping[str, LayerRank]
    """Layer -> what was kept, with the noise floors."""
    metrics: Mapping[str, Tensor]
    """Layer -> what a change there is worth to what follows."""
    edges: Mapping[tuple[str, str], Tensor]
    """(layer, next) -> mean squared attribution (coordinates of next, coordinates of layer)."""
    edge_se: Mapping[tuple[str, str], Tensor]
    """(layer, next) -> standard error of each edge, from the means of groups of batches."""
    edge_parts: Mapping[tuple[str, str], Tensor]
    """(layer, next) -> sums of squared attributions over each group of batches (groups, coordinates of next,
    coordinates of layer), from which intervals are drawn.
    """
    edge_rows: Mapping[tuple[str, str], Tensor]
    """(layer, next) -> rows in each of these groups."""
    constant: Mapping[str, float]
    """Layer -> importance of the constant; NaN where biases cannot be folded."""
    constant_edges: Mapping[tuple[str, str], Tensor]
    """(layer, next) -> edges that leave the constant (coordinates of next,)."""
    degenerate: Mapping[str, tuple[int, ...]]
    """Layer -> sizes of the runs of coordinates of equal importance, whose directions are arbitrary."""
    config: BasisConfig
    compute: ComputeConfig
    inputs: int
    """Inputs it was fitted on."""
    seconds: Mapping[str, float] | None = None
    """Of moments, bases and edges."""

    def edge_interval(
        self, source: str, target: str, *, level: float = 0.95, draws: int = 1000, seed: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Lower and upper ends of the intervals of the edges between two neighbouring layers: groups of batches are
        drawn with replacement and the means studentised.

        Args:
            source: The layer that edges leave.
            target: The next one.
            level: Share of such intervals that hold the edge.
            draws: Of groups.
            seed: Of the draws.

        Raises:
            UnknownName: No such pair.
            InputError: There was one batch only.
        """
        pair, edges = (source, target), self._edges(source, target)
        parts, rows = self.edge_parts[pair], self.edge_rows[pair]
        if len(parts) < 2:
            raise InputError("one batch has no spread: fit with a smaller batch to get intervals of the edges")
        ends: list[list[np.ndarray]] = [[], []]
        for some in parts.flatten(1).double().split(INTERVALS_AT_ONCE, 1):
            sizes = np.broadcast_to(rows.double().numpy()[:, None], some.shape)
            found = ratio_intervals(some.numpy(), sizes, seed=seed, draws=draws, level=level)
            ends[0].append(found.low.clip(0))
            ends[1].append(found.high)
        low, high = (torch.from_numpy(np.concatenate(one)).reshape(edges.shape) for one in ends)
        return low, high

    def block_edges(self, source: str, target: str) -> Float[Tensor, "blocks_out blocks_in"]:
        """The edges between the blocks of two neighbouring layers' featurizers: sums over their coordinates.

        Args:
            source: The layer that edges leave.
            target: The next one.

        Raises:
            UnknownName: No such pair.
        """
        edges = self._edges(source, target)
        rows, columns = (block_slices(self.bases[layer]) for layer in (target, source))
        return torch.stack([torch.stack([edges[row, column].sum() for column in columns]) for row in rows])

    def _edges(self, source: str, target: str) -> Tensor:
        if (source, target) not in self.edges:
            known = [" -> ".join(one) for one in self.edges]
            raise unknown_name("pair of layers", f"{source} -> {target}", known)
        return self.edges[source, target]

    def graph(
        self, norm: str = "log", threshold: float | Mapping[tuple[str, str], float] | None = None
    ) -> FeatureGraph:
        """The nodes with their edges, scaled for looking at them.

        Args:
            norm: `none`, `sqrt`, `share` (of all edges between two layers), `max` (of the largest), or `log`:
                `log10(edge / threshold)`, 0 below it.
            threshold: Edges not above it are 0, one number or one a pair of layers (`kept_thresholds` gives those
                that the model needs); None keeps all, and for `log` those above 1e-6 of the largest of their layers.

        Raises:
            UnknownName: An unknown norm.
        """
        if norm not in NORMS:
            raise unknown_name("norm of edges", norm, NORMS)
        parts = {layer: _placed(self.bases[layer], layer) for layer in self.layers}
        blocks = [
            EdgeBlock(source=pair[0], target=pair[1], weight=normed(value, norm, _of(threshold, pair)).T.contiguous())
            for pair, value in self.edges.items()
        ]
        labels = {
            layer: tuple(f"{layer} {unit + 1}" for unit in range(len(self.lambdas[layer]))) for layer in self.layers
        }
        return FeatureGraph(nodes=Bundle(parts=parts), edges=tuple(blocks), labels=labels)

    def sparsity(self) -> list[dict[str, Any]]:
        """One dictionary a pair of layers: number of edges, Gini, Hoyer, share of the sum in the largest 1 %."""
        from unweave.interaction.sparsity import sparsity

        return [{"source": a, "target": b, **sparsity(value)} for (a, b), value in self.edges.items()]

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a layer: widths, ranks, floors and the largest importances."""
        return [
            {
                "layer": layer,
                "width": rank.width,
                "variances": rank.variances,
                "kept": rank.kept,
                "floor_variance": rank.floor_variance,
                "floor_lambda": rank.floor_lambda,
                "lowest": rank.lowest,
                "top": self.lambdas[layer][:5].tolist(),
                "blocks": sum(size > 1 for size in self.degenerate.get(layer, ())),
            }
            for layer, rank in self.ranks.items()
        ]

    def __repr__(self) -> str:
        """Basis, layers and their kept ranks."""
        shown = ", ".join(f"{layer}: {len(self.lambdas[layer])}" for layer in self.layers)
        return f"InteractionResult({self.config.basis}; {shown}; {self.inputs} inputs)"


def normed(edges: Float[Tensor, "r_out r_in"], norm: str, threshold: float | None) -> Float[Tensor, "r_out r_in"]:
    """Edges scaled for looking at them; see `InteractionResult.graph`."""
    largest = float(edges.max()) if edges.numel() else 0.0
    least = threshold if threshold is not None else (1e-6 * largest if norm == "log" else 0.0)
    shown = torch.where(edges > least, edges, torch.zeros_like(edges))
    if norm == "sqrt":
        return shown.sqrt()
    if norm == "share":
        return shown / edges.sum().clamp_min(torch.finfo(edges.dtype).tiny)
    if norm == "max":
        return shown / max(largest, torch.finfo(edges.dtype).tiny)
    if norm == "log":
        return torch.where(shown > 0, (edges / max(least, torch.finfo(edges.dtype).tiny)).log10(), shown)
    return shown


def _of(threshold: float | Mapping[tuple[str, str], float] | None, pair: tuple[str, str]) -> float | None:
    return threshold.get(pair) if isinstance(threshold, Mapping) else threshold


def _placed(featurizer: Any, layer: str) -> Any:
    """The featurizer at the layer's own name: a layer of several sites is one site of the graph."""
    from dataclasses import replace

    return featurizer if featurizer.site is None else replace(featurizer, site=layer)
