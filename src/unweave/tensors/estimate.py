"""`Estimate`: what every measured number is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its interval, its sample and what it is to be compared with.

    Example:
        >>> Estimate(value=0.8, low=0.7, high=0.9, n=100, n_groups=20, control=0.1)
        Estimate(0.800 [0.700, 0.900], n=100, groups=20, control=0.100)
    """

    value: float
    """The estimate on held-out data."""
    low: float
    """Lower end of the 95 % interval; NaN where there are too few groups for one."""
    high: float
    """Upper end of the 95 % interval."""
    n: int
    """Rows it rests on."""
    n_groups: int
    """Groups (documents) it rests on; the interval resamples these."""
    null: float | None = None
    """The value if there were nothing to find, where theory gives it."""
    p_value: float | None = None
    """Chance of a value at least this far from the null."""
    control: float | None = None
    """The same measurement on the control (shuffled labels, random units)."""
    seed: int | None = None
    """Seed of the resampling."""
    warnings: tuple[str, ...] = ()
    """What a reader must know before using the number."""

    def __repr__(self) -> str:
        """One line: value, interval, sample, control."""
        control = "" if self.control is None else f", control={self.control:.3f}"
        p_value = "" if self.p_value is None else f", p={self.p_value:.3g}"
        return (
            f"Estimate({self.value:.3f} [{self.low:.3f}, {self.high:.3f}], n={self.n},"
            f" groups={self.n_groups}{control}{p_value})"
        )
