"""Rotation baseline: is the basis of the probed units special, or would any basis do?

The rows are centred on their training mean and multiplied by a random orthogonal matrix; then the same pipeline runs.
A dense probe cannot tell the two apart, a sparse one can, if the feature lies along few of the units.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `rotation_gap` | F1(X) - mean_b F1(X Q_b) | scalar a k | Q_b orthogonal, independent draws | specs/probing.md 7 |
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unweave.errors import InputError
from unweave.probing.config import ProbeConfig
from unweave.probing.controls import against, probes_of
from unweave.probing.problem import as_problem
from unweave.probing.result import Control
from unweave.tensors.arrays import computing_dtype
from unweave.tensors.rotations import rotated


def rotation_gap(
    X: Any, y: Any, *, groups: Any = None, config: ProbeConfig | None = None, draws: int = 5
) -> tuple[Control, ...]:
    """The probe against the same probe in randomly rotated bases.

    Args:
        X: Rows (n, d).
        y: (n,) binary labels.
        groups: (n,) the document of each row.
        config: Of the probe.
        draws: Rotations; each costs one product of the rows with a (d, d) matrix (a fast transform for large d) and one
            sweep.

    Raises:
        InputError: Shapes that do not fit, labels that are not binary, no draws.
        DataError: NaN, one class only, or a single group.

    Source:
        specs/probing.md 7.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = rng.random(600) < 0.3
        >>> X = rng.normal(size=(600, 30)); X[:, 7] += 3 * y
        >>> (found,) = rotation_gap(X, y, groups=np.arange(600) // 10, config=ProbeConfig(ks=(1,)))
        >>> found.difference.low > 0.1
        True
    """
    settings = config or ProbeConfig()
    rows, problem = as_problem(X, y, groups, settings)
    turned = [
        probes_of(one, problem, settings)
        for one in rotations(rows, ~torch.from_numpy(problem.held_out), draws=draws, seed=settings.seed)
    ]
    return against("rotation", probes_of(rows, problem, settings), turned, settings)


def rotations(rows: Tensor, training: Tensor, *, draws: int, seed: int) -> list[Tensor]:
    """The rows in so many random bases, centred on the mean of the training rows first: an offset that all rows share
    would otherwise be mixed into every unit.

    Args:
        rows: Activations (n, d).
        training: (n,) which rows the mean is of.
        draws: Number of bases.
        seed: Of the rotations.

    Raises:
        InputError: No draws.
    """
    if draws < 1:
        raise InputError(f"draws is {draws}: at least one rotation is needed")
    exact = rows.to(computing_dtype(rows.dtype))
    centred = exact - exact[training].double().mean(0).to(exact.dtype)
    return [rotated(centred, seed=_seed(seed, draw)) for draw in range(draws)]


def _seed(seed: int, draw: int) -> int:
    """A number of its own for every pair, as torch's generators take one number."""
    return (seed * 1_000_003 + draw) % (2**63)
