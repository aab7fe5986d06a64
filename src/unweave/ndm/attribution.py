"""Which input tokens make a position resemble a query in a block: integrated gradients of the block similarity, from
hardly any embeddings to the real ones.

The number of steps is raised until the attributions add up to the difference of the two similarities; what is left
is printed with them. Attention moves with the path here (the published viewer froze its patterns at the real run).

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `attributions` | (x - x0) . mean over the path of grad f | (pos,) | similarity that each token adds | Sundararajan et al. 2017, eq. 1 |
| `gap` | f(x) - f(x0) - sum of the attributions | scalar | 0 for an exact integral | same, completeness |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.features.featurizer import Featurizer, block_slices
from unweave.features.neurons import as_affine
from unweave.models.model import Model

FIRST_STEPS, MOST_STEPS = 8, 128
GAP = 0.02
"""Share of the difference of similarities that may be left over before more steps are taken."""
DISSIMILAR = 0.8
START = 1e-3
"""Share of the embeddings at the start of the path: at zero itself a cosine has no value, and just above it has one."""
POWER = 6
"""The path is walked as a power of the step: a norm makes the similarity jump near zero embeddings."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Attribution:
    """What each token adds to a similarity."""

    tokens: tuple[str, ...]
    values: Float[Tensor, " pos"]
    """0 behind the position that is explained."""
    similarity: float
    baseline: float
    """Similarity with hardly any embeddings."""
    gap: float
    """What the values miss of `similarity - baseline`."""
    steps: int
    warnings: tuple[str, ...] = ()


def attribute(
    model: Model,
    text: str,
    position: int,
    target: Float[Tensor, " d"],
    featurizer: Featurizer,
    *,
    block: int | Sequence[int],
    most_steps: int = MOST_STEPS,
) -> Attribution:
    """What each token of a text adds to the cosine between a position and a target activation, in a block.

    Args:
        model: A transformer whose residual stream the featurizer reads.
        text: The input.
        position: Of the token that is explained, special tokens counted.
        target: The query's activation at the featurizer's site.
        featurizer: With a site.
        block: Number of the block, or several.
        most_steps: Of the path.

    Raises:
        InputError: A featurizer without a site, or a position outside the text.

    Source:
        arXiv 2508.01916, the viewer of preimages; specs/ndm.md, section 10.

    Example:
        >>> model = uw.load_model("zoo:docs")
        >>> f = uw.AffineFeaturizer(read=np.eye(192), blocks=(96, 96), site="blocks.1.resid_post")
        >>> found = attribute(model, "The for statement", 2, torch.ones(192), f, block=0)
        >>> abs(float(found.values.sum()) + found.gap - (found.similarity - found.baseline)) < 1e-4
        True
    """
    if featurizer.site is None or isinstance(featurizer.site, tuple):
        raise InputError(f"the featurizer's site is {featurizer.site}: one site of the model is needed")
    tokens = model.tokenize([text])
    length = int(tokens.lengths()[0])
    if not 0 <= position < length:
        raise InputError(f"position is {position} but the text has {length} tokens: 0..{length - 1}")
    part = model.section("blocks.0.resid_pre", str(featurizer.site))
    with torch.no_grad():
        x, context = part.inputs(tokens)
    columns = _columns(featurizer, block)
    wanted = (target.to(x) - as_affine(featurizer).origin.to(x)) @ columns.to(x)

    def similarity(point: Tensor) -> Tensor:
        here = part(point, context)[:, position] - as_affine(featurizer).origin.to(x)
        return torch.cosine_similarity(here @ columns.to(x), wanted[None], dim=1)

    with torch.no_grad():
        end, start = float(similarity(x)), float(similarity(START * x))
    steps = FIRST_STEPS
    while True:
        values = _integrated(similarity, x, steps)
        gap = end - start - float(values.sum())
        if abs(gap) <= GAP * max(abs(end - start), 1e-3) or steps * 2 > most_steps:
            break
        steps *= 2
    warnings = []
    if end < DISSIMILAR:
        warnings.append(f"the similarity is only {end:.2f}: the position hardly resembles the query")
    if abs(gap) > GAP * max(abs(end - start), 1e-3):
        warnings.append(f"the attributions miss {gap:.3f} of a difference of {end - start:.3f} after {steps} steps")
    return Attribution(
        tokens=_strings(model, tokens, length),
        values=values,
        similarity=end,
        baseline=start,
        gap=gap,
        steps=steps,
        warnings=tuple(warnings),
    )


def _integrated(function: Any, x: Tensor, steps: int) -> Float[Tensor, " pos"]:
    """The integral by the midpoint rule, summed over the width; most steps are near zero, where norms turn."""
    total = torch.zeros_like(x)
    for number in range(steps):
        share = (number + 0.5) / steps
        slope = (1 - START) * POWER * share ** (POWER - 1)
        with torch.enable_grad():
            point = ((START + (1 - START) * share**POWER) * x).detach().requires_grad_(True)
            total += slope * torch.autograd.grad(function(point).sum(), point)[0]
    return (x * total / steps).sum(2)[0].detach()


def _columns(featurizer: Featurizer, block: int | Sequence[int]) -> Tensor:
    blocks = (block,) if isinstance(block, int) else tuple(block)
    count = len(featurizer.blocks)
    if not blocks or not all(0 <= one < count for one in blocks):
        raise InputError(f"block is {block}: the featurizer has blocks 0..{count - 1}")
    slices = block_slices(featurizer)
    return torch.cat([as_affine(featurizer).read[:, slices[one]] for one in blocks], 1)


def _strings(model: Model, tokens: Any, length: int) -> tuple[str, ...]:
    return tuple(model.tokenizer.convert_ids_to_tokens(tokens.ids[0, :length].tolist()))
