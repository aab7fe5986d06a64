"""Read against write: the angle between what reads a concept and what writes it, with its exact null (E34).

A read-out is a covector, a direction a vector; their cosine as they stand depends on the coordinates. The covariance of
the activations is the bridge: `Sigma w` is the vector that goes with the covector. Both are reported.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `pattern` | cos(Sigma w, v) | scalar | the read-out's own direction against the write | specs/evaluation.md, section 1 and E34 |
| `plain` | cos(w, v) | scalar | the covector as if it were a vector | same |
| `p_value` | cos^2 ~ Beta(1/2, (d - 1)/2) | scalar | of two random directions | specs/evaluation.md, section 8 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from unweave.errors import FingerprintError, InputError
from unweave.features.direction import Direction, Readout
from unweave.tensors.arrays import as_matrix, check_finite
from unweave.tensors.estimate import Estimate
from unweave.tensors.resampling import WARN_BELOW, multinomial_counts
from unweave.tensors.splits import grouping


@dataclass(frozen=True, kw_only=True)
class ReadWrite:
    """How the read and the write of one concept lie to each other."""

    pattern: Estimate
    """cos(Sigma w, v)."""
    plain: Estimate
    """cos(w, v), without an interval: it does not depend on the rows."""

    def __repr__(self) -> str:
        """Both cosines."""
        return f"ReadWrite(cos(Sigma w, v) {self.pattern.value:+.3f}, cos(w, v) {self.plain.value:+.3f})"


def read_write_angle(
    readout: Readout, direction: Direction, X: Any, groups: Any = None, seed: int = 0, *, draws: int = 2000
) -> ReadWrite:
    """The cosines between a read-out and a direction of one site.

    Args:
        readout: w.
        direction: v.
        X: Rows (n, d), whose covariance is Sigma; not those that the two were fitted on.
        groups: (n,) the document of each row.
        seed: Of the bootstrap.
        draws: Of groups.

    Returns:
        Each with null 0 and the exact two-sided p-value of random directions.

    Raises:
        InputError: Other widths or sites, a zero vector, or rows along which the read-out does not vary.
        FingerprintError: Of different models.

    Example:
        >>> X = torch.randn(500, 3, dtype=torch.float64) * torch.tensor([1.0, 5.0, 1.0])
        >>> w, v = Readout(covector=[1.0, 1.0, 0.0]), Direction(vector=[0.0, 1.0, 0.0])
        >>> found = read_write_angle(w, v, X)
        >>> found.pattern.value > 0.99, round(found.plain.value, 3)
        (True, 0.707)
    """
    rows = as_matrix(X, name="X").double()
    check_finite(rows, name="X")
    w, v = readout.covector.double(), direction.vector.double()
    if not len(w) == len(v) == rows.shape[1]:
        raise InputError(f"the widths are {len(w)}, {len(v)} and {rows.shape[1]} (rows): one site has one width")
    if None not in (readout.site, direction.site) and readout.site != direction.site:
        raise InputError(f"the read-out is at {readout.site}, the direction at {direction.site}: take both at one site")
    models = {one.provenance.model for one in (readout, direction)} - {None}
    if len(models) > 1:
        raise FingerprintError("read-out and direction come from different models: their angle means nothing")
    if not (float(w.norm()) > 0 and float(v.norm()) > 0):
        raise InputError("a zero vector has no angle")
    grouped = grouping(groups, len(rows))
    centred = rows - rows.mean(0)
    weighted = centred * (centred @ w)[:, None]
    sums = torch.zeros(grouped.count, len(w), dtype=torch.float64).index_add_(
        0, torch.from_numpy(grouped.codes), weighted
    )
    pattern = sums.sum(0)
    if not float(pattern.norm()) > 0:
        raise InputError("the read-out does not vary over these rows: it has no pattern")
    low, high = float("nan"), float("nan")
    if grouped.count > 1:
        drawn = torch.tensor(multinomial_counts(grouped.count, draws, seed)) @ sums
        cosines = (drawn @ v) / (drawn.norm(dim=1) * v.norm()).clamp_min(torch.finfo(torch.float64).tiny)
        low, high = _reflected(_cosine(pattern, v), cosines.numpy())
    warnings = []
    if grouped.count < WARN_BELOW:
        warnings.append(f"only {grouped.count} groups: the interval is rough")
    if groups is None:
        warnings.append("no groups: every row counts as independent")
    value, plain = _cosine(pattern, v), _cosine(w, v)
    facts: dict[str, Any] = {"n": len(rows), "n_groups": grouped.count, "null": 0.0, "seed": seed}
    return ReadWrite(
        pattern=Estimate(
            value=value, low=low, high=high, p_value=random_cosine_p(value, len(w)), warnings=tuple(warnings), **facts
        ),
        plain=Estimate(value=plain, low=plain, high=plain, p_value=random_cosine_p(plain, len(w)), **facts),
    )


def random_cosine_p(cosine: float, width: int) -> float:
    """The chance that a random direction of this width has a cosine of at least this size.

    Args:
        cosine: Observed.
        width: d.

    Example:
        >>> round(random_cosine_p(0.5, 3), 6), random_cosine_p(1.0, 8)  # in three dimensions the cosine is uniform
        (0.5, 0.0)
    """
    from scipy.stats import beta

    if width == 1:
        return 1.0
    return float(beta.sf(min(1.0, cosine * cosine), 0.5, (width - 1) / 2))


def _reflected(value: float, draws: np.ndarray) -> tuple[float, float]:
    """The interval with its draws turned about the value: a draw has more noise than the rows, which shortens every
    cosine, and the value itself is too short by about as much.
    """
    low, high = np.quantile(draws, (0.025, 0.975))
    return max(-1.0, min(value, 2 * value - high)), min(1.0, max(value, 2 * value - low))


def _cosine(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(first @ second / (first.norm() * second.norm()))
