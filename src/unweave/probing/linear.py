"""What all linear probes share, whatever they predict: they are found by their number of units, and score rows of one
width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.tensors.arrays import as_matrix


@runtime_checkable
class Linear(Protocol):
    """A probe on a few standardised units."""

    @property
    def k(self) -> int:
        """Number of units."""
        ...

    @property
    def support(self) -> tuple[int, ...]:
        """Which."""
        ...

    @property
    def mean(self) -> tuple[float, ...]:
        """Of each unit over the training rows."""
        ...

    @property
    def sd(self) -> tuple[float, ...]:
        """Of each unit over the training rows."""
        ...


P = TypeVar("P", bound=Linear)


def with_units(probes: Sequence[P], k: int) -> P:
    """The probe with k units.

    Raises:
        InputError: There is none.
    """
    for probe in probes:
        if probe.k == k:
            return probe
    raise InputError(f"no probe with k = {k}: the sweep has {[probe.k for probe in probes]}")


def standardised(X: Any, width: int, probe: Linear) -> Float[Tensor, "n k"]:
    """The units of the probe in rows of the width that it was fitted on, in its standard deviations.

    Raises:
        InputError: X has another width.
    """
    rows = as_matrix(X, name="X")
    if rows.shape[1] != width:
        raise InputError(f"X is {tuple(rows.shape)} but the probes were fitted on width {width}")
    mean, sd = (torch.tensor(one, dtype=torch.float64) for one in (probe.mean, probe.sd))
    return (rows[:, list(probe.support)].double() - mean) / sd
