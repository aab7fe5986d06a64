"""Several features at once: mean F1 with an interval over documents, and the difference between two bases on the same
documents.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
    return combined_f1(probes, weights, table.config, control=float(np.mean(controls)) if controls else None)


def mean_f1_difference(first: ProbeTable, second: ProbeTable, site: str, k: int) -> Estimate:
    """Mean F1 of the first minus that of the second, paired by feature and document.

    Raises:
        InputError: The two tables have other features or held-out documents.
    """
    if first.held_out != second.held_out or first.features() != second.features():
        raise InputError("the two tables have other features or held-out documents: only probes on one split compare")
    one, two = (_probes(table, site, k) for table in (first, second))
    weights = np.concatenate([np.full(len(one), 1 / len(one)), np.full(len(two), -1 / len(two))])
    return combined_f1([*one, *two], weights, first.config)


def _probes(table: ProbeTable, site: str, k: int) -> list[Probe]:
    found = [sweep.probe(k) for (_, where), sweep in table.sweeps.items() if where == site]
    if not found:
        raise InputError(f"no probes at {site}: the table has {sorted({where for _, where in table.sweeps})}")
    return found


def combined_f1(
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
        >>> combined_f1(found.probes, [-1.0, 1.0], found.config).value > 0  # four units tell more than one
        True
    """
    documents = sorted({group for probe in probes for group in probe.groups})
    place = {document: number for number, document in enumerate(documents)}
    top, bottom = np.zeros((len(documents), len(probes))), np.zeros((len(documents), len(probes)))
    for column, probe in enumerate(probes):
        rows = [place[group] for group in probe.groups]
        tp, fp, fn = np.array(probe.counts, dtype=np.float64).T
        top[rows, column], bottom[rows, column] = 2 * tp, 2 * tp + fp + fn
    interval = combination_interval(
        top, bottom, np.asarray(weights, dtype=np.float64), seed=config.seed, draws=config.bootstrap
    )
    return Estimate(
        value=float(interval.value[0]),
        low=float(interval.low[0]),
        high=float(interval.high[0]),
        n=sum(probe.f1.n for probe in probes),
        n_groups=len(documents),
        control=control,
        seed=config.seed,
        warnings=interval.warnings,
    )
