"""Several features at once: mean F1 with an interval over documents, and the difference between two bases on the same
documents.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from unweave.errors import InputError
from unweave.probing.config import ProbeConfig
from unweave.probing.result import Probe, ProbeTable
from unweave.tensors.estimate import Estimate
from unweave.tensors.resampling import combination_interval


def mean_f1(table: ProbeTable, site: str, k: int) -> Estimate:
    """Mean F1 over the features at one site and k, with an interval over held-out documents; its control is the mean
    over features and shuffles.
    """
    probes = _probes(table, site, k)
    weights = np.full(len(probes), 1 / len(probes))
    controls = [probe.f1.control for probe in probes if probe.f1.control is not None]
    return probes_f1(probes, weights, table.config, control=float(np.mean(controls)) if controls else None)


def mean_f1_difference(first: ProbeTable, second: ProbeTable, site: str, k: int) -> Estimate:
    """Mean F1 of the first minus that of the second, paired by feature and document.

    Raises:
        InputError: The two tables have other features or held-out documents.
    """
    if first.held_out != second.held_out or first.features() != second.features():
        raise InputError("the two tables have other features or held-out documents: only probes on one split compare")
    one, two = (_probes(table, site, k) for table in (first, second))
    weights = np.concatenate([np.full(len(one), 1 / len(one)), np.full(len(two), -1 / len(two))])
    return probes_f1([*one, *two], weights, first.config)


def _probes(table: ProbeTable, site: str, k: int) -> list[Probe]:
    found = [sweep.probe(k) for (_, where), sweep in table.sweeps.items() if where == site]
    if not found:
        raise InputError(f"no probes at {site}: the table has {sorted({where for _, where in table.sweeps})}")
    return found


def probes_f1(
    probes: Sequence[Probe], weights: Sequence[float] | np.ndarray, config: ProbeConfig, *, control: float | None = None
) -> Estimate:
    """A weighted sum of the F1 of several probes on one split, its interval over the documents that any of them was
    scored on.

    Args:
        probes: On one split of the documents.
        weights: One a probe: 1/n each for a mean, 1 and -1 for a difference.
        config: Whose seed and number of draws the interval uses.
        control: What the sum is to be compared with, for the estimate to carry.

    Example:
        >>> from unweave.probing.sweep import sweep
        >>> rng = np.random.default_rng(0)
        >>> y = rng.random(400) < 0.3
        >>> found = sweep(rng.normal(size=(400, 9)) + 2 * y[:, None], y, groups=np.arange(400) // 10, ks=(1, 4))
        >>> probes_f1(found.probes, [-1.0, 1.0], found.config).value > 0  # four units tell more than one
        True
    """
    counted = [(probe.groups, probe.counts) for probe in probes]
    rows = sum(probe.f1.n for probe in probes)
    return combined_f1(counted, np.asarray(weights, dtype=np.float64), config, rows=rows, control=control)


def combined_f1(
    counted: Sequence[tuple[Sequence[int], Sequence[tuple[int, int, int]]]],
    weights: Float[np.ndarray, " p"],
    config: ProbeConfig,
    *,
    rows: int,
    control: float | None = None,
) -> Estimate:
    """The weighted sum of several F1 with an interval over held-out groups, paired where they share groups.

    Args:
        counted: For each F1 the held-out groups, and true positives, false positives and false negatives in each.
        weights: Of each F1.
        config: Whose bootstrap and seed are used.
        rows: Rows behind them, for the record.
        control: The same sum for a control, for the record.
    """
    documents = sorted({group for groups, _ in counted for group in groups})
    place = {document: number for number, document in enumerate(documents)}
    top, bottom = np.zeros((len(documents), len(counted))), np.zeros((len(documents), len(counted)))
    for column, (groups, counts) in enumerate(counted):
        rows_of = [place[group] for group in groups]
        tp, fp, fn = np.array(counts, dtype=np.float64).T
        top[rows_of, column], bottom[rows_of, column] = 2 * tp, 2 * tp + fp + fn
    interval = combination_interval(top, bottom, weights, seed=config.seed, draws=config.bootstrap)
    return Estimate(
        value=float(interval.value[0]),
        low=float(interval.low[0]),
        high=float(interval.high[0]),
        n=rows,
        n_groups=len(documents),
        control=control,
        seed=config.seed,
        warnings=interval.warnings,
    )
