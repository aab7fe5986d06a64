"""`description_length`: how many bits a row costs somebody who is sent the units' values instead of the activations (E26).

Each unit is rounded to steps that are equally long in the stream, the longest at which the rounded code still gives the
activations back within the tolerance. A unit that rounds to zero is inactive and costs little where it mostly is. How
often each step occurs is counted on some groups, and the code is paid for on the others, so that many units on few
rows are not flattered.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `bits` | sum_f H(active_f) + p_f H(value_f given active) | (n,) | bits a row; each term is the entropy of one rounded unit | specs/evaluation.md, E26 |
| `steps` | round(z_f norm(w_f) / step) | (n, k) | whole numbers; 0: inactive | our own |
| `step` | Delta | scalar | length in the stream of one step, the same for all units | our own |
| `seen` | (c_v + 1/2) / (n + (m + 1) / 2) | scalar | chance of a value counted c_v times, m different ones seen; the rest is for new ones | Krichevsky and Trofimov 1981 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweave.errors import DataError, InputError
from unweave.evals.averages import mean_estimate
from unweave.features.affine import AffineFeaturizer
from unweave.features.bases import pca, random_rotation
from unweave.features.featurizer import Featurizer, Within, block_slices, check_width
from unweave.features.neurons import as_affine
from unweave.tensors.arrays import as_matrix, check_finite
from unweave.tensors.estimate import Estimate
from unweave.tensors.splits import grouped_split, grouping

OCTAVE, FINEST = 32, 24
"""Steps are tried 32 to the octave, down to 2 ** -24 of the longest: neighbours differ by 1/32 bit an active unit."""


@dataclass(frozen=True, kw_only=True)
class DescriptionLength:
    """What a row costs."""

    bits: Estimate
    """A row, over held-out groups; its control is the same code in a random rotation."""
    saved: Estimate
    """Bits a row that principal components cost more, paired by row; below 0 where they cost less. Its p-value is that
    of sign flips over groups.
    """
    active: float
    """Units a row that do not round to zero."""
    error: float
    """Fraction of variance unexplained by the rounded code on the held-out groups."""
    tolerance: float
    """Asked for on the groups that the step was chosen on."""
    step: float

    def row(self) -> dict[str, Any]:
        """As one row of a table."""
        return {
            "bits": self.bits.value, "low": self.bits.low, "high": self.bits.high, "random": self.bits.control,
            "saved": self.saved.value, "saved_low": self.saved.low, "saved_high": self.saved.high,
            "p_value": self.saved.p_value, "active": self.active, "error": self.error, "tolerance": self.tolerance,
            "n": self.bits.n, "n_groups": self.bits.n_groups,
        }  # fmt: skip

    def __repr__(self) -> str:
        """Bits, beside principal components."""
        return (
            f"DescriptionLength({self.bits.value:.1f} bits a row at error {self.tolerance:g}, {self.saved.value:+.1f}"
            " saved against PCA)"
        )


def description_length(
    featurizer: Featurizer,
    X: Any,
    groups: Any = None,
    seed: int = 0,
    *,
    tolerance: float = 0.1,
    test: float | None = 0.3,
) -> DescriptionLength:
    """The bits a row that the units cost when they must give the activations back.

    Args:
        featurizer: Affine up to its nonlinearity; blocks that may be rotated are turned to their principal axes first.
        X: Rows (n, d) at its site, not those it was fitted on.
        groups: (n,) the document of each row.
        seed: Of split, random rotation and bootstrap.
        tolerance: Fraction of the variance that may be lost, what the units miss and what rounding loses together.
        test: Share of the groups that the code is paid for on; None pays on the rows that were counted, which is the
            plain formula and flatters many units on few rows.

    Raises:
        InputError: Another width, no affine map, or a tolerance outside 0 .. 1.
        DataError: NaN, rows that are all equal, or units that miss more than the tolerance.

    Source:
        specs/evaluation.md, E26; as a score of dictionaries Ayonrinde, Pearce and Sharkey 2024 (arXiv 2410.11179).

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> X = (torch.rand(600, 8, generator=generator) < 0.1).double()
        >>> from unweave.features.bases import neurons
        >>> found = description_length(neurons(8), X, tolerance=0.01)
        >>> 3 < found.bits.value < 5, found.saved.low > 0  # 8 H(.1) = 3.75
        (True, True)
    """
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance is {tolerance}: a fraction of the variance between 0 and 1 is needed")
    affine = as_affine(featurizer)
    rows = as_matrix(X, name="X").double()
    check_finite(rows, name="X")
    check_width(rows, affine.width, affine.site)
    codes = grouping(groups, len(rows)).codes
    paid = np.ones(len(rows), bool)
    if test is not None:
        paid = grouped_split(grouping(codes, len(rows)), np.ones((len(rows), 1)), test=test, seed=seed)
    counted = ~paid if test is not None else paid
    if not float((rows[torch.from_numpy(counted)] - rows[torch.from_numpy(counted)].mean(0)).square().sum()) > 0:
        raise DataError("the rows are all equal: there is nothing to describe")
    own = _coded(_settled(affine, rows, counted), rows, (counted, paid), tolerance, plain=test is None)
    others = [
        _coded(one, rows, (counted, paid), tolerance, plain=test is None)
        for one in (
            pca(rows[torch.from_numpy(counted)]),
            random_rotation(affine.width, seed=seed, origin=rows[torch.from_numpy(counted)].mean(0)),
        )
    ]
    inside = np.unique(codes[paid], return_inverse=True)[1].reshape(-1)
    told = ("no groups: every row counts as independent",) if groups is None else ()
    bits = mean_estimate(own.bits, inside, seed=seed, control=float(others[1].bits.mean()))
    saved = mean_estimate(others[0].bits - own.bits, inside, seed=seed, null=0.0)
    return DescriptionLength(
        bits=replace(bits, warnings=(*bits.warnings, *told)),
        saved=replace(saved, warnings=(*saved.warnings, *told)),
        active=own.active,
        error=own.error,
        tolerance=tolerance,
        step=own.step,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Code:
    bits: Float[np.ndarray, " n"]
    """Of each row that is paid for."""
    active: float
    error: float
    step: float


def _settled(affine: AffineFeaturizer, rows: Float[Tensor, "n d"], counted: Bool[np.ndarray, " n"]) -> AffineFeaturizer:
    """Blocks whose rotation is arbitrary on their principal axes: the bits must not depend on an arbitrary choice."""
    if affine.gauge.within is not Within.ROTATION:
        return affine
    z = affine.encode(rows[torch.from_numpy(counted)])[0].double()
    read, write = affine.read.double().clone(), affine.write.double().clone()
    for own in block_slices(affine):
        part = z[:, own] - z[:, own].mean(0)
        axes = torch.linalg.eigh(part.T @ part).eigenvectors
        read[:, own], write[own] = read[:, own] @ axes, axes.T @ write[own]
    return replace(affine, read=read, write=write)


def _coded(
    affine: AffineFeaturizer,
    rows: Float[Tensor, "n d"],
    sides: tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]],
    tolerance: float,
    *,
    plain: bool,
) -> _Code:
    counted, paid = (torch.from_numpy(side) for side in sides)
    z = affine.encode(rows)[0].double()
    lengths = affine.write.double().norm(dim=1)
    amounts = z * lengths
    rest = torch.nn.functional.normalize(affine.write.double(), dim=1)
    origin = affine.origin.double()
    step = _longest_step(amounts[counted], rest, rows[counted] - origin, tolerance)
    steps = (amounts / step).round()
    columns = steps.long().numpy()
    bits = np.zeros(int(paid.sum()))
    for unit in range(columns.shape[1]):
        bits += _cost(columns[sides[0], unit], columns[sides[1], unit], plain=plain)
    return _Code(
        bits=bits,
        active=float((columns[sides[1]] != 0).sum(1).mean()),
        error=_missed(steps[paid] * step, rest, rows[paid] - origin),
        step=step,
    )


def _longest_step(
    amounts: Float[Tensor, "n k"], rest: Float[Tensor, "k d"], rows: Float[Tensor, "n d"], tolerance: float
) -> float:
    """The longest step at which the rounded code stays within the tolerance, on a grid."""
    floor = _missed(amounts, rest, rows)
    if floor > tolerance:
        raise DataError(
            f"the units alone miss {floor:.3f} of the variance and the tolerance is {tolerance:g}: give a larger"
            " tolerance, or a decomposition that keeps more"
        )
    longest = 2 * float(amounts.abs().max().clamp_min(1e-300))
    low, high = 0, FINEST * OCTAVE
    while low < high:
        middle = (low + high) // 2
        step = longest * 2 ** (-middle / OCTAVE)
        if _missed((amounts / step).round() * step, rest, rows) <= tolerance:
            high = middle
        else:
            low = middle + 1
    return longest * 2 ** (-low / OCTAVE)


def _missed(amounts: Float[Tensor, "n k"], rest: Float[Tensor, "k d"], rows: Float[Tensor, "n d"]) -> float:
    """Fraction of the variance unexplained, about the mean of these rows."""
    spread = (rows - rows.mean(0)).square().sum().clamp_min(torch.finfo(torch.float64).tiny)
    return float((rows - amounts @ rest).square().sum() / spread)


def _cost(counted: Int[np.ndarray, " m"], paid: Int[np.ndarray, " n"], *, plain: bool) -> Float[np.ndarray, " n"]:
    """Bits of each value of one unit by the counts of the others; a value never seen pays for its digits as well."""
    values, counts = np.unique(counted, return_counts=True)
    if plain:
        return -np.log2(counts / len(counted))[np.searchsorted(values, paid)]
    whole = len(counted) + (len(values) + 1) / 2
    place = np.searchsorted(values, paid).clip(max=len(values) - 1)
    known = values[place] == paid
    seen = (counts[place] + 0.5) / whole
    new = 0.5 / whole
    digits = 2 * np.log2(np.abs(paid) + 1) + 1
    return np.where(known, -np.log2(seen), -np.log2(new) + digits)
