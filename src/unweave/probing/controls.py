"""What a probe is to be measured against: other units, other labels, other bases, all through the same pipeline and on
the same split.

A control is `F1 of the probe - mean F1 of its stand-ins`, paired by held-out group, so that an interval above zero says
that the stand-ins do not explain the score. The stand-ins of this file are random coordinates; `selectivity`,
`rotation` and `token_baseline` have files of their own.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `random_coordinates` | F1(S) - mean_b F1(S_b) | scalar a k | S_b: k random units that vary, refitted | specs/probing.md 7 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unweave.errors import InputError
from unweave.probing.auto import Chosen
from unweave.probing.config import ProbeConfig
from unweave.probing.kernel import probe_all
from unweave.probing.problem import Problem, as_problem
from unweave.probing.ranking import LIVE
from unweave.probing.result import RANDOM_UNITS, Control, Probe
from unweave.probing.summary import probes_f1

MATCHED_AMONG = 10
"""A unit is matched in spread with one of so many units of the most similar standard deviation."""


def probes_of(rows: Tensor, problem: Problem, config: ProbeConfig) -> dict[int, Probe]:
    """The probes of one problem by k, without shuffles and with rough intervals: a control needs their counts."""
    quick = config.model_copy(update={"shuffles": 0, "bootstrap": 100})
    return {probe.k: probe for probe in probe_all(rows, problem, quick)}


def fixed_probe(rows: Tensor, problem: Problem, units: Sequence[int], config: ProbeConfig) -> Probe:
    """The probe on exactly these units; its support counts within them."""
    only = config.model_copy(update={"ks": (len(units),), "shuffles": 0})
    everything = torch.arange(len(units)).unsqueeze(0)
    given = Chosen(supports={len(units): everything}, by={len(units): ("given",)})
    (found,) = probe_all(rows[:, list(units)], problem, only, chosen=given)
    return found


def against(
    name: str, probes: dict[int, Probe], stand_ins: Sequence[dict[int, Probe]], config: ProbeConfig
) -> tuple[Control, ...]:
    """The controls of every k that the probe and all its stand-ins have."""
    found = []
    for k, probe in probes.items():
        others = [one[k] for one in stand_ins if k in one]
        if len(others) < max(1, len(stand_ins)):
            continue
        scores = [one.f1.value for one in others]
        difference = probes_f1(
            [probe, *others], [1.0, *[-1 / len(others)] * len(others)], config, control=float(np.mean(scores))
        )
        found.append(
            Control(
                name=name,
                k=k,
                f1=probe.f1.value,
                difference=difference,
                spread=float(np.std(scores, ddof=1)) if len(scores) > 1 else float("nan"),
                draws=len(others),
            )
        )
    return tuple(found)


def random_coordinates(
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    config: ProbeConfig | None = None,
    draws: int = 20,
    matched: bool = False,
) -> tuple[Control, ...]:
    """The probe against probes of k random units.

    Args:
        X: Rows (n, d).
        y: (n,) binary labels.
        groups: (n,) the document of each row.
        config: Of the probe; its split, selector and ks.
        draws: Sets of random units a k.
        matched: Draw each unit among those whose spread is most like that of a chosen one, instead of among all.

    Raises:
        InputError: Shapes that do not fit, labels that are not binary.
        DataError: NaN, one class only, or a single group.

    Source:
        specs/probing.md 7.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = rng.random(400) < 0.3
        >>> X = rng.normal(size=(400, 20)); X[:, 7] += 3 * y
        >>> one, two = random_coordinates(X, y, groups=np.arange(400) // 10, config=ProbeConfig(ks=(1, 2)))
        >>> one.k, one.difference.low > 0.2
        (1, True)
    """
    settings = config or ProbeConfig()
    rows, problem = as_problem(X, y, groups, settings)
    return coordinates_control(rows, problem, settings, draws=draws, matched=matched)


def coordinates_control(
    rows: Tensor,
    problem: Problem,
    config: ProbeConfig,
    *,
    draws: int,
    matched: bool,
    probes: dict[int, Probe] | None = None,
) -> tuple[Control, ...]:
    """`random_coordinates` for a problem that is there already, and its probes if they are."""
    if draws < 1:
        raise InputError(f"draws is {draws}: at least one set of random units is needed")
    probes = probes_of(rows, problem, config) if probes is None else probes
    deviation = rows[torch.from_numpy(~problem.held_out)].double().std(0, unbiased=False)
    live = torch.nonzero(deviation >= LIVE).flatten().numpy()
    rng = np.random.default_rng([config.seed, 6 + matched])
    quick = config.model_copy(update={"bootstrap": 100})  # only the difference to the probe needs its interval
    stand_ins: list[dict[int, Probe]] = [{} for _ in range(draws)]
    for k, probe in probes.items():
        if k > len(live):
            continue
        for stand_in in stand_ins:
            units = _matched(probe.support, deviation.numpy(), live, rng) if matched else _drawn(live, k, rng)
            stand_in[k] = fixed_probe(rows, problem, units.tolist(), quick)
    name = "coordinates matched in spread" if matched else RANDOM_UNITS
    return against(name, probes, stand_ins, config)


def _drawn(live: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    return rng.choice(live, size=k, replace=False)


def _matched(support: Sequence[int], deviation: np.ndarray, live: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each unit of the support, one of those most like it in spread; none of the support, none twice."""
    taken = set(support)
    found = []
    for unit in support:
        near = [other for other in live[np.argsort(np.abs(deviation[live] - deviation[unit]))] if other not in taken]
        if not near:
            near = [other for other in live if other not in found]  # narrower than the support needs
        choice = int(rng.choice(near[:MATCHED_AMONG]))
        taken.add(choice)
        found.append(choice)
    return np.array(found)
