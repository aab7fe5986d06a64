"""`sweep_values`: sparse probes of a number (a position, a length, a coordinate) instead of a class.

With squared loss everything follows from one Gram matrix of the screened columns, so a search over supports costs as much at a
million rows as at a thousand, and the best support of a few columns is found by looking at all of them.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `gram`, `slope` | Z'Z + lam I, Z'y | (m, m), (m,) | of standardised columns and the centred value; half of c_S' G_SS^-1 c_S is what a support takes off the loss | specs/probing.md 4.6 |
| `r2` | R2 = 1 - sum (y - y^)^2 / sum (y - mean)^2 | scalar | on held-out rows, about their own mean | same |
| `d2` | 1 - sum abs(y - y^) / sum abs(y - median) | scalar | same | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweave.config import config_from
from unweave.errors import InputError, unknown_name
from unweave.probing.columns import usable_rows
from unweave.probing.config import ProbeConfig
from unweave.probing.linear import standardised, with_units
from unweave.probing.ranking import LIVE
from unweave.tensors.arrays import as_tensor
from unweave.tensors.estimate import Estimate
from unweave.tensors.moments import class_sums
from unweave.tensors.multiplicity import rank_p
from unweave.tensors.quadratic import explained, forward, shrink, swaps
from unweave.tensors.resampling import ratio_intervals
from unweave.tensors.splits import Grouping, grouped_split, grouping

WIDTH = 256
"""Columns screened; twice the largest k if that is more."""
EXACT_AMONG, MOST_SUPPORTS = 50, 20_000
"""`exact` looks at all supports of the best so many columns, where these are no more than so many."""


@dataclass(frozen=True, kw_only=True)
class ValueProbe:
    """A linear probe of a number with k units, and how it does on held-out groups."""

    k: int
    selector: str
    support: tuple[int, ...]
    """The largest coefficient first."""
    coef: tuple[float, ...]
    """Per standard deviation of the unit over the training rows."""
    bias: float
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    r2: Estimate
    """Its control is the mean over shuffles of the values, through selection and refit."""
    explained_variance: float
    mean_abs_error: float
    median_abs_error: float
    max_abs_error: float
    d2: float
    n_train: int

    def row(self) -> dict[str, Any]:
        """The probe as one row of a table."""
        return {
            "k": self.k,
            "support": list(self.support),
            "selector": self.selector,
            "coef": list(self.coef),
            "bias": self.bias,
            "r2": self.r2.value,
            "r2_low": self.r2.low,
            "r2_high": self.r2.high,
            "control_r2": self.r2.control,
            "p_value": self.r2.p_value,
            "explained_variance": self.explained_variance,
            "mean_abs_error": self.mean_abs_error,
            "median_abs_error": self.median_abs_error,
            "max_abs_error": self.max_abs_error,
            "d2": self.d2,
            "n_train": self.n_train,
            "n_test": self.r2.n,
            "n_groups": self.r2.n_groups,
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class ValueSweep:
    """The probes of one number on one matrix, one for each k."""

    probes: tuple[ValueProbe, ...]
    width: int
    config: ProbeConfig
    seconds: float | None = None
    warnings: tuple[str, ...] = ()

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a k."""
        return [probe.row() for probe in self.probes]

    def probe(self, k: int) -> ValueProbe:
        """The probe with k units.

        Raises:
            InputError: No such k in the sweep.
        """
        return with_units(self.probes, k)

    def predict(self, X: Any, k: int) -> np.ndarray:
        """(n,) the number that the probe with k units says of each row."""
        probe = self.probe(k)
        coef = torch.tensor(probe.coef, dtype=torch.float64)
        return (standardised(X, self.width, probe) @ coef + probe.bias).numpy()

    def __repr__(self) -> str:
        """R2 by k."""
        shown = ", ".join(f"k={one.k}: {one.r2.value:.3f} [{one.r2.low:.3f}, {one.r2.high:.3f}]" for one in self.probes)
        return f"ValueSweep(R2 {shown})"


def sweep_values(
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    ks: tuple[int, ...] = (1, 2, 4, 8, 16),
    seed: int = 0,
    selector: str = "auto",
    lam: float = 1.0,
    test: float = 0.3,
    shuffles: int = 20,
    bootstrap: int = 2000,
) -> ValueSweep:
    """Ridge probes with k units of X for the number y, for every k, scored on held-out groups.

    Args:
        X: Rows (n, d).
        y: (n,) numbers.
        groups: (n,) the document of each row; None makes every row a group of its own.
        ks: Numbers of units.
        seed: Of split, shuffles and bootstrap.
        selector: "correlation" ranks by absolute correlation; "forward" and "telescope" search up and down, each then
            improved by exchanges; "exact" looks at all supports of the 50 best columns where these are few enough, and
            is "auto" beyond; "auto" takes the one with the lowest training loss, which for squared loss is the target.
        lam: Ridge penalty on standardised columns.
        test: Share of the groups held out.
        shuffles: Draws of the control: values permuted within groups, or over groups where each has one value.
        bootstrap: Draws of groups for the interval of R2.

    Raises:
        InputError: Shapes that do not fit, values that are not finite or do not vary, unknown selector.
        DataError: No finite column, or a single group.

    Source:
        arXiv 2305.01610, appendix on position; specs/probing.md 4.6.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(600, 20)); y = 3 * X[:, 4] - X[:, 9] + 5
        >>> found = sweep_values(X, y, groups=np.arange(600) // 10, ks=(1, 2))
        >>> found.probe(2).support, round(found.probe(2).r2.value, 3), found.probe(1).r2.high < 1
        ((4, 9), 1.0, True)
    """
    start = time.perf_counter()
    if selector not in SELECTORS:
        raise unknown_name("selector", selector, SELECTORS)
    options = {"ks": ks, "seed": seed, "lam": lam, "test": test, "shuffles": shuffles, "bootstrap": bootstrap}
    config = config_from(ProbeConfig, options, source="options")
    rows, excluded = usable_rows(X)
    values = _values(y, tuple(rows.shape))
    grouped = grouping(groups, len(rows))
    held_out = grouped_split(grouped, _quantile_strata(values), test=config.test, seed=config.seed)
    labellings = np.stack([values, *_shuffles(values, grouped, config)])
    probes = _probes(rows, labellings, grouped, held_out, selector, config)
    warnings = [f"no probe for k = {k}: fewer columns vary" for k in ks if k not in {one.k for one in probes}]
    if excluded:
        warnings.insert(0, f"{len(excluded)} of {rows.shape[1]} columns have a NaN or infinite entry, never chosen")
    return ValueSweep(
        probes=tuple(probes),
        width=rows.shape[1],
        config=config,
        seconds=time.perf_counter() - start,
        warnings=tuple(warnings),
    )


def _values(y: Any, shape: tuple[int, ...]) -> Float[np.ndarray, " n"]:
    values = as_tensor(y, name="y").double().numpy()
    if values.shape != shape[:1]:
        raise InputError(f"X is {shape} but y is {values.shape}: one number a row is needed")
    if not np.isfinite(values).all():
        raise InputError(f"y has {values[~np.isfinite(values)][0]}: finite numbers are needed")
    if np.ptp(values) == 0:
        raise InputError(f"y is {values[0]} throughout: a probe needs numbers that vary")
    return values


def _quantile_strata(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n q"]:
    """Membership in quarters of the values: both sides of the split get all of them."""
    edges = np.unique(np.quantile(values, [0.25, 0.5, 0.75]))
    return (np.searchsorted(edges, values, side="right")[:, None] == np.arange(len(edges) + 1)).astype(float)


def _shuffles(values: np.ndarray, groups: Grouping, config: ProbeConfig) -> list[np.ndarray]:
    rng = np.random.default_rng([config.seed, 1])
    first = np.zeros(groups.count)
    first[groups.codes] = values
    settled = np.argsort(groups.codes, kind="stable")
    drawn = []
    for _ in range(config.shuffles):
        if np.array_equal(first[groups.codes], values):
            drawn.append(rng.permutation(first)[groups.codes])
            continue
        permuted = np.empty_like(values)
        permuted[settled] = values[np.lexsort((rng.random(len(values)), groups.codes))]
        drawn.append(permuted)
    return drawn


def _probes(
    rows: Tensor, labellings: np.ndarray, groups: Grouping, held_out: np.ndarray, selector: str, config: ProbeConfig
) -> list[ValueProbe]:
    train, test = (torch.from_numpy(np.flatnonzero(side)) for side in (~held_out, held_out))
    targets = torch.from_numpy(labellings[:, ~held_out])
    offsets = targets.mean(1)
    training = rows[train]
    centre, sums, squares = class_sums(
        training, torch.cat([torch.ones(1, len(train)).double(), targets - offsets[:, None]]).T,
        squared=torch.ones(len(train), 1),
    )  # fmt: skip
    shift = sums[0] / len(train)
    mean, sd = centre + shift, (squares[0] / len(train) - shift.square()).clamp_min(0).sqrt()
    live = sd >= LIVE
    strength = torch.where(live, (sums[1:] / sd.clamp_min(LIVE)).abs(), -1.0)
    usable = int(live.sum())
    ks = [k for k in config.ks if k <= usable]
    if not ks:
        return []
    width = min(usable, max(WIDTH, 2 * max(ks)))
    found: dict[int, list[tuple[Tensor, Tensor, np.ndarray]]] = {k: [] for k in ks}
    for target, offset, order in zip(targets, offsets, torch.argsort(-strength, dim=1, stable=True), strict=True):
        pool = order[:width]
        standard = (training.index_select(1, pool).double() - mean[pool]) / sd[pool]
        gram = standard.T @ standard + config.lam * torch.eye(width, dtype=torch.float64)
        slope = standard.T @ (target - offset)
        for k, support in SELECTORS[selector](gram, slope, ks).items():
            beta = torch.linalg.solve(gram[support[:, None], support], slope[support])
            by_size = torch.argsort(-beta.abs(), stable=True)
            units, beta = pool[support][by_size], beta[by_size]
            there = (rows[test][:, units].double() - mean[units]) / sd[units]
            found[k].append((units, beta, (there @ beta + offset).numpy()))
    truth = labellings[:, held_out]
    codes = groups.codes[held_out]
    scale = _Scale(mean=mean, sd=sd, offset=float(offsets[0]), rows=len(train))
    return [_measured(k, found[k], truth, codes, scale, selector, config) for k in ks]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scale:
    """Of the training rows: mean and deviation of every column, mean of the values, and their number."""

    mean: Float[Tensor, " d"]
    sd: Float[Tensor, " d"]
    offset: float
    rows: int


def _measured(
    k: int,
    found: list[tuple[Tensor, Tensor, np.ndarray]],
    truth: np.ndarray,
    codes: np.ndarray,
    scale: _Scale,
    selector: str,
    config: ProbeConfig,
) -> ValueProbe:
    from sklearn import metrics

    present, places = np.unique(codes, return_inverse=True)
    units, beta, said = found[0]
    own = truth[0]
    control = [float(metrics.r2_score(true, other)) for true, (_, _, other) in zip(truth[1:], found[1:], strict=True)]
    residual, spread = ((own - said) ** 2, (own - own.mean()) ** 2)
    top, bottom = (np.bincount(places.reshape(-1), weights=one, minlength=len(present)) for one in (residual, spread))
    interval = ratio_intervals(top[:, None], bottom[:, None], seed=config.seed, draws=config.bootstrap)
    value = 1 - float(interval.value[0])
    return ValueProbe(
        k=k,
        selector=selector,
        support=tuple(units.tolist()),
        coef=tuple(beta.tolist()),
        bias=scale.offset,
        mean=tuple(scale.mean[units].tolist()),
        sd=tuple(scale.sd[units].tolist()),
        r2=Estimate(
            value=value,
            low=1 - float(interval.high[0]),
            high=min(1.0, 1 - float(interval.low[0])),
            n=len(own),
            n_groups=len(present),
            control=float(np.mean(control)) if control else None,
            p_value=rank_p(value, control) if control else None,
            seed=config.seed,
            warnings=interval.warnings,
        ),
        explained_variance=float(metrics.explained_variance_score(own, said)),
        mean_abs_error=float(np.abs(own - said).mean()),
        median_abs_error=float(np.median(np.abs(own - said))),
        max_abs_error=float(np.abs(own - said).max()),
        d2=float(metrics.d2_absolute_error_score(own, said)),
        n_train=scale.rows,
    )


Gram = Float[Tensor, "m m"]
Slope = Float[Tensor, " m"]
Found = dict[int, Int[Tensor, " k"]]


def _correlation(_gram: Gram, slope: Slope, ks: list[int]) -> Found:
    """The best columns of the screen, which is in the order of abs(correlation)."""
    return {k: torch.arange(k) for k in ks if k <= len(slope)}


def _forward(gram: Gram, slope: Slope, ks: list[int]) -> Found:
    order = forward(gram[None], slope[None], max(ks))
    return {k: swaps(gram[None], slope[None], order[:, :k])[0] for k in ks}


def _telescope(gram: Gram, slope: Slope, ks: list[int]) -> Found:
    inverse = torch.linalg.inv(gram)[None]
    beta = (inverse[0] @ slope)[None]
    kept = torch.arange(len(slope))
    found: Found = {}
    for k in sorted(ks, reverse=True):
        if k < len(kept):
            inverse, beta, stay = shrink(inverse, beta, k)
            kept = kept[stay[0]]
        found[k] = swaps(gram[None], slope[None], kept[None])[0]
    return found


def _auto(gram: Gram, slope: Slope, ks: list[int]) -> Found:
    proposed = [_correlation(gram, slope, ks), _forward(gram, slope, ks), _telescope(gram, slope, ks)]
    return {k: max((one[k] for one in proposed), key=lambda support: _fall(gram, slope, support)) for k in ks}


def _exact(gram: Gram, slope: Slope, ks: list[int]) -> Found:
    found = _auto(gram, slope, ks)
    among = min(EXACT_AMONG, len(slope))
    for k in ks:
        if k <= among and math.comb(among, k) <= MOST_SUPPORTS:
            every = torch.combinations(torch.arange(among), k)
            many = len(every)
            fall = explained(gram.expand(many, -1, -1), slope.expand(many, -1), every)
            found[k] = every[int(fall.argmax())]
    return found


def _fall(gram: Gram, slope: Slope, support: Tensor) -> float:
    return float(explained(gram[None], slope[None], support[None]))


SELECTORS: Mapping[str, Callable[[Tensor, Tensor, list[int]], Found]] = MappingProxyType(
    {"auto": _auto, "correlation": _correlation, "forward": _forward, "telescope": _telescope, "exact": _exact}
)
"""How supports of a number are chosen."""
