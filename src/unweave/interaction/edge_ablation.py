"""How many edges between two layers the model needs: each coordinate of the later layer computed from the kept edges
that lead to it, the rest of the model as it is.

The k largest edges stay (ties at the k-th all of them), the constant's are free. Scores are not monotone in k, so the
number at one crossing is not the smallest: the envelope over all numbers tried, with a grid around the crossing, is
given beside it, with an interval from resampled inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweave.engine.local import map_units
from unweave.errors import InputError
from unweave.interaction import schedules
from unweave.interaction.ablation import Point, Scorer, _check, affine_basis, envelope, point
from unweave.interaction.masked import masked
from unweave.interaction.result import InteractionResult
from unweave.models.sections import Section

GRID = (0.7, 0.8, 0.9, 0.95, 1.05, 1.1, 1.25, 1.5)
"""Numbers of edges around the crossing that are tried too, as shares of it."""
DRAWS = 200


@dataclass(frozen=True, kw_only=True, eq=False)
class EdgeAblation:
    """Score against kept edges between a layer and the next."""

    layer: str
    score: str
    base: Point
    """The model as it is."""
    points: tuple[Point, ...]
    """By rising number of kept edges."""
    needed: int | None
    """Edges at the crossing that bisection finds; None: even all do not reach the target."""
    envelope: int | None
    """Smallest tried number from which on all tried ones reach it."""
    envelope_low: int | None
    """Lower end of its 95 % interval over resampled inputs."""
    envelope_high: int | None
    """Upper end."""
    is_monotone: bool
    """Whether no tried number passes that is smaller than one that does not."""
    mask: Bool[Tensor, "r_out r_in"]
    """The edges that are kept at the crossing; all, where none reaches the target."""
    tolerance: float
    total: int
    """Edges of the layer pair at full width, the constant's included."""

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a point."""
        return [
            {"layer": self.layer, "edges": one.kept, self.score: one.score, "low": one.low, "high": one.high}
            for one in self.points
        ]

    def __repr__(self) -> str:
        """What is needed."""
        needed = "none reaches the target" if self.needed is None else f"{self.needed} (envelope {self.envelope})"
        return f"EdgeAblation({self.layer}: {needed} of {self.total}, {self.score} {self.base.score:.4f})"


def ablate_edges(
    result: InteractionResult,
    sections: Sequence[Section],
    inputs: Any,
    targets: Any,
    *,
    layers: Sequence[str] | None = None,
    schedule: Any = "bisect",
    tolerance: float = 0.001,
    envelope: bool = True,
    precision: float = 0.0,
    score: str = "accuracy",
    head: Callable[[Tensor], Tensor] | None = None,
    batch: int = 4096,
    seed: int = 0,
    workers: int | None = None,
) -> list[EdgeAblation]:
    """The score with the largest edges alone, layer pair by layer pair.

    Args:
        result: A fit of these sections, with edges.
        sections: The chain; its last outputs are scores of the targets.
        inputs: As in `fit`.
        targets: (n,) the right output of each input, or (n, positions).
        layers: Layers whose outgoing edges are ablated; None takes all but the last.
        schedule: `bisect`, or numbers of edges to try.
        tolerance: How far from the model's own score is close enough.
        envelope: Whether a grid of numbers around the crossing is tried too.
        precision: Bisection ends once the number is known to this share of it: .01 halves the cost of dense graphs.
        score: `accuracy`, or `loss` in nats.
        head: The chain's last rows -> outputs, where the chain ends before them.
        batch: Inputs computed at once.
        seed: Of the resampling.
        workers: Layers at once; None takes the processors.

    Returns:
        One `EdgeAblation` a layer.

    Raises:
        InputError: As in `ablate_nodes`, or a result without edges.

    Source:
        arXiv 2405.10928, edge ablation; specs/lib.md 6.

    Example:
        >>> from unweave.interaction.builders import mlp
        >>> from unweave.interaction.fit import fit
        >>> net = mlp([(torch.eye(3), torch.zeros(3)), (torch.eye(3), torch.zeros(3))])
        >>> X = torch.rand(60, 3).double()
        >>> found = fit(net, X, basis="neuron")
        >>> [one.needed for one in ablate_edges(found, net, X, X.argmax(1))]
        [3, 3]
    """
    wanted = _check(result, sections, layers, score, inputs, targets)
    if not result.edges:
        raise InputError("the result has no edges: fit with edges='squared'")
    if isinstance(schedule, str) and schedule != "bisect":
        raise InputError(f"schedule is {schedule!r}: 'bisect', or numbers of edges")
    scorer = Scorer(
        sections=tuple(sections), inputs=inputs, targets=torch.as_tensor(targets), score=score, batch=batch, head=head
    )

    def one(layer: str) -> EdgeAblation:
        trials = _Trials(result=result, scorer=scorer, layer=layer, tolerance=tolerance)
        return _edges(trials, schedule, seed=seed, grid=envelope, precision=precision)

    return list(map_units(one, wanted, workers=workers))


def kept_thresholds(result: InteractionResult, found: Sequence[EdgeAblation]) -> dict[tuple[str, str], float]:
    """The smallest edge that the model needs, for each pair of layers.

    Args:
        result: The fit that was ablated.
        found: What `ablate_edges` gave; layers whose target no number of edges reaches are left out.
    """
    after = dict(pairwise(result.layers))
    return {
        (one.layer, after[one.layer]): float(result.edges[one.layer, after[one.layer]][one.mask].min())
        for one in found
        if one.needed is not None
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trials:
    """The numbers of edges of one layer that were tried, with the score of each input."""

    result: InteractionResult
    scorer: Scorer
    layer: str
    tolerance: float
    batches: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    """Masks -> coordinates of the next layer, a batch each."""
    each: dict[int, np.ndarray] = field(default_factory=dict)

    @property
    def number(self) -> int:
        return self.result.layers.index(self.layer)

    @property
    def edges(self) -> Float[Tensor, "r_out r_in"]:
        return self.result.edges[self.layer, self.result.layers[self.number + 1]]

    @property
    def total(self) -> int:
        """At full width with the constant, as in the reference; the last layer has none."""
        last = self.number + 2 == len(self.result.layers)
        section = self.scorer.sections[self.number]
        return (section.d_in + 1) * (section.d_out + (not last))

    def base(self) -> np.ndarray:
        """The score of each input as the model is."""
        if 0 not in self.each:
            if not self.batches:
                source, target = (
                    affine_basis(self.result, self.result.layers[place]) for place in (self.number, self.number + 1)
                )
                section = self.scorer.sections[self.number]
                for rows, targets in self.scorer.batches(self.number):
                    start = rows[0] if self.scorer.dtype is None else rows[0].at(self.scorer.dtype)
                    self.batches.append(([start, *rows[1:]], targets))
                    self.outputs.append(masked(section, start, source, target))
            whole = [(self.scorer.rest(found, found[0].x), targets) for found, targets in self.batches]
            self.each[0] = np.concatenate([self.scorer.right(*one) for one in whole])
        return self.each[0]

    def mask(self, kept: int) -> Bool[Tensor, "r_out r_in"]:
        """The `kept` largest edges, with all that equal the smallest of them."""
        flat = self.edges.flatten()
        if kept >= len(flat):
            return torch.ones_like(self.edges, dtype=torch.bool)
        return self.edges >= flat.topk(kept).values[-1]

    def run(self, kept: int) -> np.ndarray:
        """The score of each input with so many edges."""
        if kept not in self.each:
            masks = self.mask(kept)
            target = affine_basis(self.result, self.result.layers[self.number + 1])
            found = []
            self.base()
            for (rows, targets), outputs in zip(self.batches, self.outputs, strict=True):
                z = outputs(masks)
                x = z @ target.write.to(z) + target.origin.to(z)
                found.append(self.scorer.right(self.scorer.rest(rows[1:], x), targets))
            self.each[kept] = np.concatenate(found)
        return self.each[kept]

    def passes(self, kept: int) -> bool:
        """Whether so many are enough."""
        mean = float(self.run(kept).mean())
        return self.scorer.is_good(mean, float(self.base().mean()), self.tolerance)


def _edges(trials: _Trials, schedule: Any, *, seed: int, grid: bool, precision: float) -> EdgeAblation:
    total = trials.total
    if schedule == "bisect":
        needed = schedules.bisect(total, trials.passes, precision=precision)
        trials.run(total)  # one mask for all outputs: cheap, and the end of every envelope
        if grid and needed is not None:
            for share in GRID:
                trials.run(min(max(round(share * needed), 1), total))
    else:
        numbers = sorted({int(number) for number in schedule})
        needed = next((number for number in numbers if trials.passes(number)), None)
    tried = sorted(set(trials.each) - {0})
    passes = {kept: trials.passes(kept) for kept in tried}
    low, high = _envelope_interval(trials, tried, seed)
    found = envelope(passes)
    return EdgeAblation(
        layer=trials.layer,
        score=trials.scorer.score,
        base=point(total, trials.base()),
        points=tuple(point(kept, trials.each[kept]) for kept in tried),
        needed=needed,
        envelope=found,
        envelope_low=low,
        envelope_high=high,
        is_monotone=not any(passes[kept] for kept in tried if found is None or kept < found),
        mask=trials.mask(total if needed is None else needed),
        tolerance=trials.tolerance,
        total=total,
    )


def _envelope_interval(trials: _Trials, tried: Sequence[int], seed: int) -> tuple[int | None, int | None]:
    """The envelope over resampled inputs, among the numbers that were tried."""
    each = np.stack([trials.base(), *(trials.each[kept] for kept in tried)])
    generator = np.random.default_rng(seed)
    count = each.shape[1]
    found = []
    for _ in range(DRAWS):
        weights = np.bincount(generator.integers(0, count, count), minlength=count)
        base, *means = (each @ weights / count).tolist()
        passes = {
            kept: trials.scorer.is_good(mean, base, trials.tolerance) for kept, mean in zip(tried, means, strict=True)
        }
        found.append(envelope(passes))
    known = sorted(one for one in found if one is not None)
    if len(known) < DRAWS // 2:
        return None, None
    return known[int(0.025 * len(known))], known[min(int(0.975 * len(known)), len(known) - 1)]
