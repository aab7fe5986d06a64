"""The shape of a decomposition and of the rows: interference of vectors, dimensions, circles, dependence of subspaces.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `gram` | W_hat W_hat' | (k, k) | cosines of what the units write; its off-diagonal is the interference | specs/evaluation.md, E28 |
| `effective_rank` | (sum l)^2 / sum l^2 | scalar | l eigenvalues of the covariance | E29 |
| `two_nn` | n / sum log(r2 / r1) | scalar | intrinsic dimension from the two nearest neighbours | Facco et al. 2017 |
| `circularity` | 1 - sum norm(y - y_hat)^2 / sum norm(y - mean)^2 | scalar | y = (cos, sin), predicted linearly on held-out groups | E29 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import DataError, InputError
from unweave.evals.averages import mean_estimate, ratio_estimate
from unweave.features.featurizer import Featurizer, block_slices
from unweave.features.neurons import as_affine
from unweave.tensors.arrays import as_matrix, as_tensor, check_finite
from unweave.tensors.estimate import Estimate
from unweave.tensors.information import pairwise_information
from unweave.tensors.linalg import symmetric_eigen
from unweave.tensors.multiplicity import rank_p
from unweave.tensors.resampling import multinomial_counts
from unweave.tensors.splits import grouped_split, grouping

RIDGE = 1e-3
SHUFFLES = 20
NEIGHBOUR_ROWS = 2000


@dataclass(frozen=True, kw_only=True, eq=False)
class Interference:
    """How much the units' vectors overlap."""

    gram: Float[Tensor, "k k"]
    """Signed cosines of all pairs."""
    mean_size: float
    """Mean abs(cosine) of different units."""
    null: float
    """The same of random vectors of this width: E abs(cos)."""
    largest: float
    """The cosine of largest size, with its sign."""
    pair: tuple[int, int]
    """The two units of it."""

    def __repr__(self) -> str:
        """Mean and largest overlap."""
        return (
            f"Interference(mean {self.mean_size:.3f}, random {self.null:.3f}, largest {self.largest:+.3f} {self.pair})"
        )


def interference(featurizer: Featurizer) -> Interference:
    """The cosines between what the units write; a change of sign or length of a unit changes no size.

    Args:
        featurizer: Affine, or neurons, with two units or more.

    Raises:
        InputError: Not affine, one unit only, or a unit that writes nothing.

    Example:
        >>> from unweave.features.bases import random_rotation
        >>> interference(random_rotation(5)).mean_size < 1e-12
        True
    """
    write = as_affine(featurizer).write.double()
    norms = write.norm(dim=1, keepdim=True)
    if len(write) < 2 or not bool((norms > 0).all()):
        raise InputError(
            f"{len(write)} units, of which {int((norms == 0).sum())} write nothing: two vectors are needed"
        )
    units = write / norms
    gram = units @ units.T
    off = gram - torch.diag(gram.diagonal())
    place = int(off.abs().argmax())
    pair = place // len(gram), place % len(gram)
    width = write.shape[1]
    # E abs(cos) of random directions: Gamma(d/2) / (sqrt(pi) Gamma((d+1)/2))
    logs = torch.lgamma(torch.tensor([width / 2, (width + 1) / 2], dtype=torch.float64))
    return Interference(
        gram=gram,
        mean_size=float(off.abs().sum() / (len(gram) * (len(gram) - 1))),
        null=float(torch.exp(logs[0] - logs[1]) / torch.pi**0.5),
        largest=float(off[pair]),
        pair=pair,
    )


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """How many dimensions the rows fill."""

    effective_rank: Estimate
    """(sum l)^2 / sum l^2 of the covariance; its interval is over groups."""
    two_nn: Estimate
    """Intrinsic dimension from the two nearest neighbours."""
    width: int

    def __repr__(self) -> str:
        """Both."""
        return (
            f"Dimensions(effective {self.effective_rank.value:.1f}, intrinsic {self.two_nn.value:.1f} of {self.width})"
        )


def dimensionality(X: Any, groups: Any = None, seed: int = 0, *, draws: int = 200) -> Dimensions:
    """Linear and nonlinear numbers of dimensions: they differ where rows lie on a curved surface.

    Args:
        X: Rows (n, d).
        groups: (n,) the document of each row.
        seed: Of draws and of the rows whose neighbours are sought (2000 at most).
        draws: Of the bootstrap of the effective rank.

    Raises:
        DataError: NaN, fewer than ten rows, or rows that are all equal.

    Source:
        Facco et al. 2017 (two nearest neighbours); specs/evaluation.md, E29.

    Example:
        >>> t = torch.rand(400, dtype=torch.float64) * 6.28
        >>> found = dimensionality(torch.stack([t.cos(), t.sin(), 0 * t], 1))
        >>> found.two_nn.value < 1.3, found.effective_rank.value > 1.8  # a circle: one dimension in a plane
        (True, True)
    """
    rows = as_matrix(X, name="X").double()
    check_finite(rows, name="X")
    if len(rows) < 10:
        raise DataError(f"{len(rows)} rows: dimensions need at least ten")
    grouped = grouping(groups, len(rows))
    centred = rows - rows.mean(0)
    if not bool(centred.abs().max() > 0):
        raise DataError("the rows are all equal: they fill no dimension")
    weights = torch.tensor(multinomial_counts(grouped.count, draws, seed))[:, grouped.codes]
    sample = np.array([_effective_rank(centred, one) for one in weights])
    value = _effective_rank(centred, torch.ones(len(rows), dtype=torch.float64))
    # turned about the value: a draw repeats rows, which lowers its rank by about as much as having n rows only does
    high, low = 2 * value - np.quantile(sample, (0.025, 0.975))
    warnings = ("no groups: every row counts as independent",) if groups is None else ()
    rank = Estimate(
        value=value, low=max(1.0, min(value, float(low))), high=max(value, float(high)), n=len(rows),
        n_groups=grouped.count, seed=seed, warnings=warnings,
    )  # fmt: skip
    return Dimensions(effective_rank=rank, two_nn=_two_nn(rows, grouped.codes, seed), width=rows.shape[1])


def circularity(X: Any, angle: Any, groups: Any = None, seed: int = 0) -> Estimate:
    """The share of (cos, sin) of an angle that a linear map of the rows predicts on groups it was not fitted on.

    Args:
        X: Rows (n, d).
        angle: (n,) in radians: a day of the week, a token's place in a line.
        groups: (n,) the document of each row.
        seed: Of split, bootstrap and shuffles.

    Returns:
        Its null is 0; its control is the mean over shuffles of the angles.

    Raises:
        InputError: Not one angle a row.
        DataError: NaN, or a single group.

    Example:
        >>> t = torch.rand(300, dtype=torch.float64) * 6.28
        >>> X = torch.cat([t.cos()[:, None], t.sin()[:, None], torch.randn(300, 3)], 1)
        >>> circularity(X, t).low > 0.95
        True
    """
    rows = as_matrix(X, name="X").double()
    check_finite(rows, name="X")
    turns = as_tensor(angle, name="angle").double()
    if turns.shape != (len(rows),) or not bool(torch.isfinite(turns).all()):
        raise InputError(
            f"X is {tuple(rows.shape)} but angle is {tuple(turns.shape)}: one finite angle a row is needed"
        )
    grouped = grouping(groups, len(rows))
    held_out = grouped_split(grouped, np.zeros((len(rows), 0)), test=0.3, seed=seed)
    target = torch.stack([turns.cos(), turns.sin()], 1)
    report, fit = (torch.from_numpy(one) for one in (held_out, ~held_out))
    missed, spread = _predicted(rows, target, fit, report)
    rng = np.random.default_rng([seed, 13])
    shuffles = [
        _predicted(rows, target[torch.from_numpy(rng.permutation(len(rows)))], fit, report) for _ in range(SHUFFLES)
    ]
    control = float(np.mean([1 - miss.sum() / all_.sum() for miss, all_ in shuffles]))
    return ratio_estimate(
        (spread - missed).numpy(), spread.numpy(), grouped.codes[held_out], seed=seed, null=0.0, control=control
    )


@dataclass(frozen=True, kw_only=True)
class Dependence:
    """What two subspaces tell of one another."""

    nats: float
    """Mutual information by nearest neighbours; it may be slightly negative."""
    nats_a_dimension: float
    """Over the sum of both sizes."""
    null: float
    """Mean over shuffles of one of them between rows."""
    p_value: float
    """Share of shuffles that tell as much."""


def subspace_dependence(
    featurizer: Featurizer, X: Any, *, pairs: Any = None, seed: int = 0, shuffles: int = 19, rows: int = NEIGHBOUR_ROWS
) -> Mapping[tuple[int, int], Dependence]:
    """The mutual information of pairs of blocks, against the same with the rows of one block shuffled.

    Args:
        featurizer: With two blocks or more.
        X: Rows (n, d) at its site.
        pairs: Pairs of block numbers; None is all.
        seed: Of rows and shuffles.
        shuffles: Draws of the null; the p-value is 1 / (1 + shuffles) at least.
        rows: Most rows that are used.

    Raises:
        InputError: One block only, or another width.

    Source:
        Kraskov et al. 2004, k = 1; specs/evaluation.md, E30.

    Example:
        >>> from unweave.features.bases import neurons
        >>> X = torch.randn(400, 3, dtype=torch.float64); X[:, 1] = X[:, 0] + 0.3 * X[:, 1]
        >>> found = subspace_dependence(neurons(3), X)
        >>> found[0, 1].p_value < 0.06, found[0, 1].nats > 0.5, found[0, 2].nats < 0.2
        (True, True, True)
    """
    if len(featurizer.blocks) < 2:
        raise InputError("the featurizer has one block: dependence is between two")
    matrix = as_matrix(X, name="X").double()
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(matrix), generator=generator)[:rows]
    z, _ = featurizer.encode(matrix[chosen])
    own = torch.arange(len(z))
    sizes = featurizer.blocks
    observed = pairwise_information(z, z, sizes, own=own, pairs=pairs)
    nulls: dict[tuple[int, int], list[float]] = {pair: [] for pair in observed}
    slices = block_slices(featurizer)
    for _ in range(shuffles):
        mixed = torch.cat([z[torch.randperm(len(z), generator=generator)][:, part] for part in slices], 1)
        for pair, found in pairwise_information(mixed, mixed, sizes, own=own, pairs=list(observed)).items():
            nulls[pair].append(found.nats)
    return {
        pair: Dependence(
            nats=found.nats,
            nats_a_dimension=found.nats / (sizes[pair[0]] + sizes[pair[1]]),
            null=float(np.mean(nulls[pair])) if shuffles else float("nan"),
            p_value=rank_p(found.nats, nulls[pair]),
        )
        for pair, found in observed.items()
    }


def _effective_rank(centred: Float[Tensor, "n d"], weights: Float[Tensor, " n"]) -> float:
    """Of the weighted covariance: (tr C)^2 / tr C^2, through the smaller Gram matrix."""
    total = weights.sum()
    shifted = (centred - (weights @ centred) / total) * (weights / total).sqrt()[:, None]
    gram = shifted.T @ shifted if shifted.shape[1] <= shifted.shape[0] else shifted @ shifted.T
    squares = float(gram.square().sum())
    return float(gram.trace()) ** 2 / squares if squares else 0.0


def _two_nn(rows: Float[Tensor, "n d"], codes: np.ndarray, seed: int) -> Estimate:
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:NEIGHBOUR_ROWS]
    asked = rows[chosen]
    distances = torch.cdist(asked, rows)
    distances[torch.arange(len(chosen)), chosen] = torch.inf
    near = distances.topk(2, dim=1, largest=False).values
    usable = near[:, 0] > 0  # a row that occurs twice has no dimension
    logs = torch.log(near[usable, 1] / near[usable, 0])
    names = codes[chosen[usable].numpy()]
    inverse = mean_estimate(logs, names, seed=seed)
    ends = sorted(1 / end if end > 0 else float("inf") for end in (inverse.low, inverse.high))
    return Estimate(
        value=1 / inverse.value if inverse.value else float("inf"), low=ends[0], high=ends[1], n=inverse.n,
        n_groups=inverse.n_groups, seed=seed, warnings=inverse.warnings,
    )  # fmt: skip


def _predicted(rows: Tensor, target: Tensor, fit: Tensor, report: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error and spread of each reported row, by a ridge map of the fitted ones."""
    mean, centre = rows[fit].mean(0), target[fit].mean(0)
    centred = rows[fit] - mean
    eigen = symmetric_eigen(centred.T @ centred)
    ridge = RIDGE * float(eigen.values.clamp_min(0).mean())
    cross = eigen.vectors.T @ (centred.T @ (target[fit] - centre))
    weights = eigen.vectors @ (cross / (eigen.values.clamp_min(0) + ridge)[:, None])
    missed = (target[report] - centre - (rows[report] - mean) @ weights).square().sum(1)
    return missed, (target[report] - target[report].mean(0)).square().sum(1)
