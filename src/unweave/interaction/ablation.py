"""How many directions of a layer the model needs: its score with all but the first n taken out.

The number counts the constant: with n kept, `h` becomes `mean + (h - mean) C C+` of the n - 1 first coordinates; with
n = 0 the constant is gone too, and with it every bias behind, so the model gives zeros. What the cut of the basis left
out comes back at once: from the kept rank on, the model is as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unweave.engine.local import map_units
from unweave.errors import InputError, unknown_name
from unweave.features.affine import AffineFeaturizer
from unweave.features.neurons import as_affine
from unweave.interaction import schedules
from unweave.interaction.result import InteractionResult
from unweave.interaction.stream import Local, Stream, count_inputs, layer_names
from unweave.models.sections import Section

SCHEDULES = ("exponential", "linear", "bisect")
NARROW = 64
"""Chains up to this width are run in float64: time is no matter there, and small importances are no matter either."""
SCORES = ("accuracy", "loss")
"""Share of the largest output that is the target; mean nats of the target."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A score with some of the nodes or edges kept."""

    kept: int
    score: float
    low: float
    """Lower end of its 95 % interval over inputs."""
    high: float
    """Upper end."""


@dataclass(frozen=True, kw_only=True)
class NodeAblation:
    """Score against kept directions, a layer."""

    layer: str
    score: str
    base: Point
    """The model as it is; `kept` is the width with the constant."""
    points: tuple[Point, ...]
    """By rising number of kept nodes."""
    needed: int | None
    """Smallest tried number from which on all tried ones are within the tolerance; None if not even all are."""
    tolerance: float

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a point."""
        return [
            {"layer": self.layer, "n": one.kept, self.score: one.score, "low": one.low, "high": one.high}
            for one in self.points
        ]

    def __repr__(self) -> str:
        """What is needed."""
        return f"NodeAblation({self.layer}: {self.needed} of {self.base.kept}, {self.score} {self.base.score:.4f})"


def ablate_nodes(
    result: InteractionResult,
    sections: Sequence[Section],
    inputs: Any,
    targets: Any,
    *,
    layers: Sequence[str] | None = None,
    schedule: Any = "exponential",
    score: str = "accuracy",
    tolerance: float = 0.001,
    head: Callable[[Tensor], Tensor] | None = None,
    batch: int = 2048,
    workers: int | None = None,
) -> list[NodeAblation]:
    """The score with the first n directions of a layer alone, layer by layer.

    Args:
        result: A fit of these sections.
        sections: The chain; its last outputs are scores of the targets.
        inputs: As in `fit`.
        targets: (n,) the right output of each input, or (n, positions).
        layers: Which; None takes all but the last.
        schedule: `exponential`, `linear`, `bisect`, or the numbers themselves; all count the constant.
        score: `accuracy`, or `loss` in nats.
        tolerance: How far from the model's own score is close enough.
        head: The chain's last rows -> outputs, where the chain ends before them.
        batch: Inputs computed at once.
        workers: Layers at once; None takes the processors.

    Returns:
        One `NodeAblation` a layer.

    Raises:
        InputError: Sections that are not those of the result, an unknown name, a basis that is not affine, or targets
            that do not fit the inputs.

    Source:
        arXiv 2405.10928, ablation experiments; specs/lib.md 6.

    Example:
        >>> from unweave.interaction.builders import mlp
        >>> from unweave.interaction.fit import fit
        >>> net = mlp([(torch.eye(3), torch.zeros(3)), (torch.eye(3), torch.zeros(3))])
        >>> X = torch.rand(60, 3).double()
        >>> ablate_nodes(fit(net, X), net, X, X.argmax(1))[0].base.score
        1.0
    """
    wanted = _check(result, sections, layers, score, inputs, targets)
    if isinstance(schedule, str) and schedule not in SCHEDULES:
        raise unknown_name("schedule", schedule, SCHEDULES)
    scorer = Scorer(
        sections=tuple(sections), inputs=inputs, targets=torch.as_tensor(targets), score=score, batch=batch, head=head
    )

    def one(layer: str) -> NodeAblation:
        return _nodes(result, scorer, layer, schedule, tolerance)

    return list(map_units(one, wanted, workers=workers))


@dataclass(frozen=True, kw_only=True, eq=False)
class Scorer:
    """The model from a layer on, and how right it is on each input."""

    sections: tuple[Section, ...]
    inputs: Any
    targets: Tensor
    score: str
    batch: int
    head: Callable[[Tensor], Tensor] | None = None
    """Last rows -> outputs; None where the last rows are the outputs."""

    def batches(self, number: int) -> Iterator[tuple[list[Local], Tensor]]:
        """The sections from a layer on at each batch, with the targets."""
        stream = Stream(self.sections, self.inputs, self.batch)
        first = 0
        for found in stream.each_batch():
            rows = found[number:]
            count = len(rows[0].x)
            yield rows, self.targets[first : first + count]
            first += count

    @property
    def dtype(self) -> torch.dtype | None:
        """What the sections run in: float32 where all have closed forms and one is wide, else their own precision."""
        if any(one.form is None for one in self.sections):
            return None
        return torch.float64 if max(one.d_in for one in self.sections) <= NARROW else torch.float32

    def rest(self, found: Sequence[Local], x: Tensor) -> Tensor:
        """The outputs from rows at the start of these sections."""
        own = found[0].x.dtype if found else x.dtype
        x = x.to(own if self.dtype is None else self.dtype)
        with torch.no_grad():
            for one in found:
                x = one.function(x)
        return self.outputs(x)

    def outputs(self, x: Tensor) -> Tensor:
        """The outputs from the chain's last rows."""
        with torch.no_grad():
            return x if self.head is None else self.head(x)

    def right(self, outputs: Tensor, targets: Tensor) -> np.ndarray:
        """The score of each input, the mean over its positions."""
        if targets.ndim == 1:
            outputs = outputs[:, -1]
        if self.score == "accuracy":
            found = (outputs.argmax(-1) == targets).double()
        else:
            picked = torch.log_softmax(outputs.double(), -1).gather(-1, targets[..., None])
            found = -picked[..., 0]
        return (found if found.ndim == 1 else found.mean(1)).numpy()

    def is_good(self, value: float, base: float, tolerance: float) -> bool:
        """Whether a score is close enough to the model's own."""
        return value >= base - tolerance if self.score == "accuracy" else value <= base + tolerance


def point(kept: int, each: np.ndarray) -> Point:
    """The mean over inputs with its interval."""
    mean = float(each.mean())
    reach = 1.96 * float(each.std(ddof=1)) / len(each) ** 0.5 if len(each) > 1 else float("nan")
    return Point(kept=kept, score=mean, low=mean - reach, high=mean + reach)


def envelope(passes: dict[int, bool]) -> int | None:
    """The smallest number such that it and every larger tried one passes.

    Example:
        >>> envelope({5: True, 8: False, 9: True, 12: True})
        9
    """
    needed = None
    for number in sorted(passes, reverse=True):
        if not passes[number]:
            break
        needed = number
    return needed


def _nodes(result: InteractionResult, scorer: Scorer, layer: str, schedule: Any, tolerance: float) -> NodeAblation:
    featurizer = by_importance(result, layer)
    width = featurizer.width + 1
    number = result.layers.index(layer)
    each: dict[int, list[np.ndarray]] = {}

    def run(numbers: Sequence[int]) -> dict[int, np.ndarray]:
        fresh = sorted(set(numbers) - set(each))
        for found, targets in scorer.batches(number):
            for kept, outputs in _kept_outputs(scorer, found, featurizer, fresh):
                each.setdefault(kept, []).append(scorer.right(outputs, targets))
        return {kept: np.concatenate(each[kept]) for kept in numbers}

    base = run([width])[width]
    if schedule == "bisect":
        schedules.bisect(
            width, lambda kept: scorer.is_good(float(run([kept])[kept].mean()), float(base.mean()), tolerance)
        )
        numbers = sorted(each)
    else:
        table = {"exponential": schedules.exponential, "linear": schedules.linear}
        numbers = table[schedule](width) if isinstance(schedule, str) else sorted(set(map(int, schedule)))
    values = run(numbers)
    passes = {
        kept: scorer.is_good(float(value.mean()), float(base.mean()), tolerance) for kept, value in values.items()
    }
    return NodeAblation(
        layer=layer,
        score=scorer.score,
        base=point(width, base),
        points=tuple(point(kept, values[kept]) for kept in numbers),
        needed=envelope(passes),
        tolerance=tolerance,
    )


def _kept_outputs(
    scorer: Scorer, found: Sequence[Local], featurizer: AffineFeaturizer, numbers: Sequence[int]
) -> Iterator[tuple[int, Tensor]]:
    """The outputs with the first n nodes alone, n rising: each adds its directions to what stands."""
    x = found[0].x.double()  # an oblique basis loses in float32 what its small variances divide by
    origin, read, write = (one.to(x) for one in (featurizer.origin, featurizer.read, featurizer.write))
    z = (x - origin) @ read
    current, done = origin.expand_as(x).clone(), 0
    whole: Tensor | None = None
    for number in numbers:
        if number == 0 or number > read.shape[1]:
            whole = scorer.rest(found, x) if whole is None else whole
            yield number, torch.zeros_like(whole) if number == 0 else whole
            continue
        if number - 1 > done:
            current = current + z[..., done : number - 1] @ write[done : number - 1]
            done = number - 1
        yield number, scorer.rest(found, current)


def by_importance(result: InteractionResult, layer: str) -> AffineFeaturizer:
    """The basis of a layer with its most important coordinate first; fitted bases are in their own order."""
    featurizer = affine_basis(result, layer)
    if result.config.basis in ("lib", "pca", "global") and layer not in result.config.given:
        return featurizer
    order = result.lambdas[layer].argsort(descending=True)
    return AffineFeaturizer(read=featurizer.read[:, order], write=featurizer.write[order], origin=featurizer.origin)


def affine_basis(result: InteractionResult, layer: str) -> AffineFeaturizer:
    """The basis of a layer as matrices.

    Raises:
        InputError: It has a nonlinearity.
    """
    featurizer = as_affine(result.bases[layer])
    if featurizer.act.kind != "identity":
        raise InputError(
            f"the basis of {layer} has a nonlinearity ({featurizer.act.kind}): ablation needs a linear one"
        )
    return featurizer


def _check(
    result: InteractionResult,
    sections: Sequence[Section],
    layers: Sequence[str] | None,
    score: str,
    inputs: Any,
    targets: Any,
) -> list[str]:
    """The layers to ablate."""
    names = layer_names(sections)
    if names != result.layers:
        raise InputError(
            f"the sections go through {', '.join(names)} but the result is of {', '.join(result.layers)}: give the"
            " chain it was fitted on"
        )
    if score not in SCORES:
        raise unknown_name("score", score, SCORES)
    count = count_inputs(inputs)
    if count is not None and len(targets) != count:
        raise InputError(f"there are {count} inputs but {len(targets)} targets: one a input is needed")
    for layer in layers or ():
        if layer not in names[:-1]:
            raise unknown_name("layer", str(layer), names[:-1])
    return list(names[:-1] if layers is None else layers)
