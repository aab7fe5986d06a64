"""`fit`: the basis of every node layer and the edges between neighbours, from last layer to first.

One pass for the moments of all layers, one a section for what its successor pulls back, one a section for the edges.
Each pass sums over batches, so shards and processes add up to the whole.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from unweave.config import config_from
from unweave.engine.local import one_intra_op_thread
from unweave.interaction.basis import LayerBasis
from unweave.interaction.config import BasisConfig, ComputeConfig
from unweave.interaction.passes import (
    SectionEdges,
    Work,
    constant_importances,
    layer_basis,
    layer_moments,
    section_edges,
    variances,
)
from unweave.interaction.result import InteractionResult
from unweave.interaction.stream import Stream
from unweave.log import SILENT, Progress
from unweave.models.sections import Section

NARROW = 512
"""Coordinates of a layer up to which products are so small that a second thread of one doubles the time."""


def fit(
    sections: Sequence[Section],
    inputs: Any,
    *,
    basis: Any = "lib",
    edges: str = "squared",
    center: bool = True,
    rotate_final: bool = False,
    isolate_norm: bool = True,
    rel_D: float | None = None,
    rel_L: float | None = None,
    abs_threshold: float | None = None,
    integration: str = "gradient",
    intervals: int = 0,
    sources: Any = None,
    edge_sources: int = 1,
    fold_bias: bool = False,
    batch: int = 256,
    dtype: str = "float64",
    matmul: str = "float32",
    seed: int = 0,
    progress: Progress | None = None,
) -> InteractionResult:
    """The interaction basis of every node layer of a chain of sections, and the edges between neighbouring layers.

    `E[z_i^2] = Lam_i`: the scale of a coordinate is its importance to the next layer. Edges are mean squared
    attributions, `E_ij = 1/(N S) sum (sum_s dz'_i/dz_sj z_sj)^2`.

    Args:
        sections: A chain, as `chain`, `mlp` or `modadd` build it.
        inputs: What the first section's `inputs` takes: a tensor, `Tokens` without padding, a list of either, or a
            store of its start. In a `torch.distributed` run each process gives its own share.
        basis: `lib`; `pca`; `neuron`; `random` and `whitened_random` (a rotation of what varies); `global` (against the
            last layer instead of the next); or `{layer: Featurizer}`, with `lib` for the layers it leaves out.
        edges: `squared`; `stochastic` (random signs over output positions); `none`.
        center: Whether the mean is the origin.
        rotate_final: Whether the last layer is given its principal components.
        isolate_norm: Whether a norm's variance in front of a layer stays a direction of its own.
        rel_D: Variances below this share of a layer's largest are cut; None takes 10 d eps.
        rel_L: The same for importances.
        abs_threshold: Both cuts at this value instead, as the reference implementation does.
        integration: `gradient`; `trapezoidal` or `gauss_legendre` average the Jacobian over the path from zero.
        intervals: Of that rule.
        sources: None is exact; a number of random sources over positions and hidden coordinates, or a pair of numbers
            for each, None being exact. Closed forms of sections that do not mix positions stay exact.
        edge_sources: Draws of signs for stochastic edges.
        fold_bias: Whether biases are weights of a constant input, so that the path from zero scales them too.
        batch: Inputs computed at once.
        dtype: What sections with closed forms run in: `float64`, or `float32`, whose rounding then stands in the
            activations. Moments, metrics and eigenproblems are float64 either way; other sections run in their model's.
        matmul: Precision of the products of edges; their sums are float64.
        seed: Of random bases and sources.
        progress: Who listens.

    Returns:
        An `InteractionResult`.

    Raises:
        InputError: Sections that do not chain, unknown options, a basis of another width.
        DataError: NaN, or a layer at which nothing varies.

    Source:
        arXiv 2405.10928, section 3 and appendix; specs/lib.md 3 to 5.

    Example:
        >>> import torch
        >>> from unweave.interaction.builders import mlp
        >>> sections = mlp([(torch.randn(4, 3).double(), torch.zeros(3)), (torch.randn(3, 2).double(), torch.zeros(2))])
        >>> found = fit(sections, torch.randn(50, 4).double())
        >>> found.layers, len(found.lambdas["layers.1"]), list(found.edges)
        (('layers.0', 'layers.1', 'output'), 2, [('layers.0', 'layers.1'), ('layers.1', 'output')])
    """
    given = dict(basis) if isinstance(basis, Mapping) else {}
    config = config_from(
        BasisConfig,
        {
            "basis": "lib" if given else basis,
            "center": center,
            "rotate_final": rotate_final,
            "isolate_norm": isolate_norm,
            "rel_variance": rel_D,
            "rel_lambda": rel_L,
            "abs_threshold": abs_threshold,
            "given": tuple(map(str, given)),
        },
        source="options",
    )
    compute = config_from(
        ComputeConfig,
        {
            "edges": edges,
            "integration": integration,
            "intervals": intervals,
            "sources": sources,
            "edge_sources": edge_sources,
            "fold_bias": fold_bias,
            "batch": batch,
            "dtype": dtype,
            "matmul": matmul,
            "seed": seed,
        },
        source="options",
    )
    stream = Stream(sections, inputs, batch, dtype=getattr(torch, compute.dtype))
    narrow = max(section.d_in for section in sections) <= NARROW
    with one_intra_op_thread() if narrow else nullcontext():
        return _fit(Work(stream=stream, given=given, config=config, compute=compute), progress or SILENT)


def _fit(work: Work, progress: Progress) -> InteractionResult:
    stream, layers = work.stream, work.stream.layers
    start = time.perf_counter()
    with progress.task("moments", None, "batch") as advance:
        sums, positions, inputs = layer_moments(stream, advance)
    moments_done = time.perf_counter()
    bases: dict[str, LayerBasis] = {}
    errors: dict[str, Tensor] = {}
    with progress.task("bases", len(layers), "layer") as advance:
        for number in reversed(range(len(layers))):
            layer = layers[number]
            bases[layer], errors[layer] = layer_basis(work, number, sums[number], bases)
            advance(1)
    bases_done = time.perf_counter()
    found: dict[tuple[str, str], SectionEdges] = {}
    with progress.task("edges", len(stream.sections), "section") as advance:
        for number, pair in enumerate(pairwise(layers)):
            if work.compute.edges != "none":
                found[pair] = section_edges(work, number, sums[number].count, bases)
            advance(1)
    return InteractionResult(
        layers=layers,
        bases={layer: bases[layer].featurizer for layer in layers},
        lambdas={layer: bases[layer].lambdas for layer in layers},
        lambda_se={layer: errors[layer] for layer in layers if len(errors[layer])},
        variances={layer: variances(one, bases[layer], work.config) for layer, one in zip(layers, sums, strict=True)},
        ranks={layer: bases[layer].rank for layer in layers},
        metrics={layer: bases[layer].metric for layer in layers},
        edges={pair: value.edges for pair, value in found.items()},
        edge_se={pair: value.grouped.mean_error(value.grouped.sums) for pair, value in found.items()},
        edge_parts={pair: torch.stack(value.grouped.sums).float() for pair, value in found.items()},
        edge_rows={pair: torch.tensor(value.grouped.rows) for pair, value in found.items()},
        constant=constant_importances(layers, positions, found),
        constant_edges={pair: value.constant for pair, value in found.items()},
        degenerate={layer: bases[layer].degenerate for layer in layers},
        config=work.config,
        compute=work.compute,
        inputs=inputs,
        seconds={
            "moments": moments_done - start,
            "bases": bases_done - moments_done,
            "edges": time.perf_counter() - bases_done,
        },
    )
