"""Does a direction spell words? The entropy of its direct unembedding among random directions (E33, requirement R5).

A direction whose unembedding is as broad as that of random ones says nothing in words, whatever its top tokens look
like. Three forms: as it is at its own length, through the final norm, and in context, as the shift of the predictions
when it is added to real activations of the last layer.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `raw` | H(softmax(v W_U)) | scalar | nats; log V - s^2/2 for logits of standard deviation s | specs/evaluation.md, E33 and fact 18 |
| `normed` | H(softmax(LN(v) W_U)) | scalar | nats; does not depend on the length of v | E33 |
| `shift` | mean KL(softmax(LN(h) W_U), softmax(LN(h + v) W_U)) | scalar | nats a row | E33 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from unweave.errors import FingerprintError, InputError
from unweave.features.direction import Direction
from unweave.models.model import Model
from unweave.models.points import find_point
from unweave.tensors.arrays import as_matrix, check_finite

LEAST_DRAWS = 200
CONTEXT_ROWS = 32


@dataclass(frozen=True, kw_only=True)
class Entropy:
    """One number of a direction among those of random directions of its length."""

    value: float
    """Nats."""
    low: float
    """2.5 % quantile of the random directions."""
    high: float
    """97.5 % quantile of them."""
    percentile: float
    """Share of random directions below it, 0 to 100; ties one half."""
    p_value: float
    """Two-sided chance of one as far out."""
    draws: int

    @property
    def is_ordinary(self) -> bool:
        """Whether it lies where random directions lie."""
        return self.low <= self.value <= self.high

    def __repr__(self) -> str:
        """Value and place."""
        random = f"[{self.low:.3f}, {self.high:.3f}]"
        return f"Entropy({self.value:.3f} nats, random {random}, percentile {self.percentile:.0f})"


@dataclass(frozen=True, kw_only=True)
class Unembedding:
    """What a direction says when it is read as logits."""

    raw: Entropy
    normed: Entropy
    shift: Entropy | None
    """None without rows."""
    raises: tuple[tuple[int, float], ...]
    """(token id, logit) of the highest logits, normed."""
    lowers: tuple[tuple[int, float], ...]
    """(token id, logit) of the lowest."""
    norm: float
    """Length at which `raw` and `shift` are taken."""

    def __repr__(self) -> str:
        """The three numbers."""
        return f"Unembedding(raw {self.raw!r}, normed {self.normed!r})"


def unembedding(
    model: Model, direction: Direction, X: Any = None, *, draws: int = LEAST_DRAWS, seed: int = 0, top: int = 10
) -> Unembedding:
    """The direction read as logits, against random directions of equal length.

    Args:
        model: A model with an unembedding.
        direction: At the residual stream, so of the width of the unembedding.
        X: Rows (n, d) of the last layer's residual stream, for the form in context (32 at most are used).
        draws: Random directions, 200 at least.
        seed: Of the random directions and of the rows.
        top: Tokens at either end.

    Raises:
        InputError: No unembedding, another width, a zero direction, or fewer than 200 draws.
        FingerprintError: A direction of another model.

    Example:
        >>> import unweave as uw
        >>> model = uw.load_model("zoo:docs")
        >>> token = model.module.get_output_embeddings().weight[42].detach()
        >>> found = unembedding(model, Direction(vector=50 * token / token.norm()))
        >>> found.raw.p_value < 0.02, found.raises[0][0]
        (True, 42)
    """
    weight, norm = _output(model)
    v = direction.vector.to(weight)
    if v.shape != (weight.shape[1],):
        raise InputError(
            f"the direction has width {len(v)} but the unembedding {weight.shape[1]}: take one of the stream"
        )
    own = direction.provenance.model
    if own is not None and own != model.fingerprint:
        raise FingerprintError(f"the direction is of another model ({own[:12]}, this one is {model.fingerprint[:12]})")
    if not direction.norm > 0:
        raise InputError("a zero direction has no unembedding")
    if draws < LEAST_DRAWS:
        raise InputError(f"draws is {draws}: a percentile needs at least {LEAST_DRAWS} random directions")
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(draws, len(v), generator=generator, dtype=torch.float64).to(weight)
    every = torch.cat([v[None], random / random.norm(dim=1, keepdim=True) * v.norm()])
    with torch.no_grad():
        normed = norm(every) @ weight.T
        raw, through = _entropies(every @ weight.T), _entropies(normed)
        shift = None if X is None else _shifts(weight, norm, every, X, generator)
    logits = normed[0]
    order = torch.argsort(logits, descending=True)
    return Unembedding(
        raw=_among(raw),
        normed=_among(through),
        shift=None if shift is None else _among(shift),
        raises=tuple((int(token), float(logits[token])) for token in order[:top]),
        lowers=tuple((int(token), float(logits[token])) for token in order.flip(0)[:top]),
        norm=direction.norm,
    )


def _output(model: Model) -> tuple[Float[Tensor, "vocabulary d"], nn.Module]:
    """The unembedding and the last norm."""
    head = None if model.family is None else cast(Any, model.module).get_output_embeddings()
    if head is None or not model.has_logits or getattr(head, "weight", None) is None:
        raise InputError("the model has no unembedding: its directions cannot be read as words")
    family = model.family
    norm: nn.Module = nn.Identity()
    if family is not None and "final_norm" in family.others:
        norm = find_point(model.module, family, "final_norm").module
    return head.weight.detach(), norm


def _entropies(logits: Float[Tensor, "m vocabulary"]) -> Float[np.ndarray, " m"]:
    logs = torch.log_softmax(logits.double(), -1)
    return -(logs.exp() * logs).sum(-1).cpu().numpy()


def _shifts(
    weight: Tensor, norm: nn.Module, every: Tensor, X: Any, generator: torch.Generator
) -> Float[np.ndarray, " m"]:
    rows = as_matrix(X, name="X")
    check_finite(rows, name="X")
    if rows.shape[1] != weight.shape[1]:
        raise InputError(f"X is {tuple(rows.shape)} but the unembedding has width {weight.shape[1]}")
    rows = rows[torch.randperm(len(rows), generator=generator)[:CONTEXT_ROWS]].to(weight)
    clean = torch.log_softmax(norm(rows) @ weight.T, -1)
    found = []
    for vector in every:
        moved = torch.log_softmax(norm(rows + vector) @ weight.T, -1)
        found.append(float((clean.exp() * (clean - moved)).sum(-1).mean()))
    return np.array(found)


def _among(values: Float[np.ndarray, " m"]) -> Entropy:
    own, random = values[0], values[1:]
    below, ties = int((random < own).sum()), int((random == own).sum())
    tail = min(below, len(random) - below - ties) + ties
    low, high = np.quantile(random, (0.025, 0.975))
    return Entropy(
        value=float(own),
        low=float(low),
        high=float(high),
        percentile=100 * (below + ties / 2) / len(random),
        p_value=min(1.0, 2 * (1 + tail) / (1 + len(random))),
        draws=len(random),
    )
