"""Curves of what a few parts keep of a behaviour, and the places of a run where it can be restored.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `faithful` | f(k) = (B_k - B_corr) / (B_full - B_corr) | (k,) | only the k first kept, the rest from the source | specs/evaluation.md E19 |
| `complete` | 1 - f(without the k first) | (k,) | the k first from the source, the rest kept | same |
| `exact` | P(corrupt + restored) - P(corrupt) | (sites, positions) | indirect effect, one place at a time | E17 |
| `screened` | <z_src - z_base, dB/dz> | (sites, positions) | the same to first order | section 11 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from unweave.errors import InputError
from unweave.evals.causing.behaviours import Behaviour
from unweave.evals.causing.changes import exchange, source_of, units_of
from unweave.evals.causing.patching import Change, Patching, gradient, patching, scores
from unweave.features.featurizer import Featurizer
from unweave.models.model import Model
from unweave.tensors.multiplicity import rank_p

KEPT = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Shares of the parts at which curves are taken."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """What a few parts keep of a behaviour, and what is missing without them."""

    kept: tuple[float, ...]
    """Shares of the parts."""
    faithful: tuple[float, ...]
    complete: tuple[float, ...]
    area: float
    """Under `faithful`: larger is better; .999 for parts that each keep all."""
    error_area: float
    """Under abs(1 - faithful): 0 is perfect."""
    random_area: tuple[float, ...]
    """`area` of random orders."""
    p_value: float
    """Rank of `area` among them."""

    def __repr__(self) -> str:
        """Areas."""
        middle = float(np.median(self.random_area)) if self.random_area else float("nan")
        return f"Curves(area {self.area:.3f}, random {middle:.3f}, p={self.p_value:.3g})"


def faithfulness(
    patched: Patching,
    featurizer: Featurizer,
    order: Sequence[int],
    behaviour: Behaviour,
    *,
    kept: Sequence[float] = KEPT,
    draws: int = 19,
    seed: int = 0,
) -> Curves:
    """The share of a behaviour that the first blocks of an order keep when all else comes from the corrupted source.

    Args:
        patched: Clean base and corrupted source.
        featurizer: With the blocks.
        order: All blocks, most important first, ranked on other inputs.
        behaviour: What is measured.
        kept: Shares of the blocks, ascending, rounded up to whole blocks.
        draws: Random orders.
        seed: Of the orders.

    Raises:
        InputError: The order is not one of all blocks, or the corruption changes nothing.

    Example:
        >>> from unweave.evals.planted.module import variable_world
        >>> from unweave.evals import logit_difference
        >>> from unweave.evals.causing.causal import ready_pairs
        >>> world = variable_world(seed=0)
        >>> pairs = world.pairs(20, seed=1)
        >>> ready = ready_pairs(world.model, world.featurizer, pairs)
        >>> measure = logit_difference(pairs.base_answer, pairs.answer)
        >>> faithfulness(ready, world.featurizer, list(range(24)), measure).faithful[-1]
        1.0
    """
    count = len(featurizer.blocks)
    if sorted(order) != list(range(count)):
        raise InputError(f"the order has {len(order)} entries: all {count} blocks, each once, are needed")
    rng = np.random.default_rng([seed, 17])
    orders = [list(order), *(rng.permutation(count).tolist() for _ in range(draws))]
    wanted = [min(count, math.ceil(share * count)) for share in kept]
    numbers = sorted(set(wanted))
    changes: list[Change | None] = []
    for one in orders:
        changes += [_only(patched, featurizer, one[:number]) for number in numbers]
    changes += [_without(patched, featurizer, orders[0][:number]) for number in numbers]
    values = scores(patched, [None, exchange(patched, featurizer, None), *changes], behaviour).mean(1)
    full, corrupt = values[0], values[1]
    if abs(full - corrupt) < 1e-9:
        raise InputError("the corrupted source changes the behaviour by nothing: there is nothing to be faithful to")
    shares = (values[2:] - corrupt) / (full - corrupt)
    table = shares.reshape(len(orders) + 1, len(numbers))[:, np.searchsorted(numbers, wanted)]
    places = list(kept)
    areas = [float(np.trapezoid(row, places)) for row in table[:-1]]
    return Curves(
        kept=tuple(places),
        faithful=tuple(table[0].tolist()),
        complete=tuple((1 - table[-1]).tolist()),
        area=areas[0],
        error_area=float(np.trapezoid(np.abs(1 - table[0]), places)),
        random_area=tuple(areas[1:]),
        p_value=rank_p(areas[0], areas[1:]),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """Where a corrupted run can be restored."""

    sites: tuple[str, ...]
    positions: tuple[int, ...]
    screened: Float[np.ndarray, "sites positions"]
    """Effect to first order, from one pass forward and one back a site."""
    exact: Float[np.ndarray, "sites positions"]
    """Indirect effect where it was confirmed, NaN elsewhere."""
    agreement: float
    """Rank correlation of screen and truth among the confirmed."""
    whole: float
    """B(clean) - B(corrupt)."""

    def __repr__(self) -> str:
        """Size and agreement."""
        return f"Trace({len(self.sites)} sites x {len(self.positions)} positions, agreement {self.agreement:.2f})"


def trace(
    model: Model,
    clean: Any,
    corrupt: Any,
    sites: Sequence[str],
    positions: Sequence[int],
    behaviour: Behaviour,
    *,
    confirm: int = 8,
) -> Trace:
    """Causal tracing: each site and position of a corrupted run restored from the clean one, screened by slope and the
    largest confirmed exactly.

    Args:
        model: The model.
        clean: Inputs that show the behaviour.
        corrupt: As many that do not; runs are of these.
        sites: Where.
        positions: Which tokens, one at a time; negative ones from the end.
        behaviour: What is measured; smooth, for the screen.
        confirm: Places that are run exactly.

    Source:
        Meng et al. 2022, arXiv 2202.05262 (causal tracing); Nanda 2023 and Syed et al. 2023, arXiv 2310.10348
        (attribution patching).

    Example:
        >>> from unweave.evals.planted.language import TAG_AGAINST, TAG_FOR, style_world
        >>> from unweave.evals import logit_difference
        >>> world = style_world(seed=0)
        >>> clean, corrupt = (world.prompts(6, seed=0, tag=tag) for tag in (TAG_FOR, TAG_AGAINST))
        >>> own, other = (world.words(of_the_style=kind)[0] for kind in (True, False))
        >>> measure = logit_difference([own] * 6, [other] * 6)
        >>> int(trace(world.model, clean, corrupt, ["blocks.0.resid_pre"], [0, 1], measure).exact.argmax())
        0
    """
    screened = np.zeros((len(sites), len(positions)))
    exact = np.full_like(screened, np.nan)
    ready: Mapping[tuple[int, int], Patching] = {
        (s, p): patching(model, site, corrupt, clean, positions=[position])
        for s, site in enumerate(sites)
        for p, position in enumerate(positions)
    }
    for place, one in ready.items():
        shift = source_of(one) - one.base
        screened[place] = float((shift * gradient(one, behaviour)).sum()) / behaviour.item_count(one.rows)
    order = np.argsort(-np.abs(screened), axis=None)[:confirm]
    for s, p in zip(*np.unravel_index(order, screened.shape), strict=True):
        one = ready[int(s), int(p)]
        values = scores(one, [None, lambda _v, places, one=one: source_of(one)[places]], behaviour)
        exact[s, p] = float((values[1] - values[0]).mean())
    runs = [scores(patching(model, sites[0], inputs), [None], behaviour)[0].mean() for inputs in (clean, corrupt)]
    known = np.isfinite(exact)
    return Trace(
        sites=tuple(str(site) for site in sites),
        positions=tuple(int(position) for position in positions),
        screened=screened,
        exact=exact,
        agreement=rank_correlation(screened[known], exact[known]),
        whole=float(runs[0] - runs[1]),
    )


def _only(patched: Patching, featurizer: Featurizer, kept: Sequence[int]) -> Change | None:
    """Everything from the source but the kept blocks."""
    if len(kept) == len(featurizer.blocks):
        return None
    whole = exchange(patched, featurizer, None)
    if not kept:
        return whole
    chosen = units_of(featurizer, kept)
    source = source_of(patched)

    def change(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        z, residual = featurizer.encode(source[places])
        moved = z.clone()
        moved[..., chosen] = featurizer.encode(values)[0][..., chosen]
        return featurizer.decode(moved, residual)

    return change


def _without(patched: Patching, featurizer: Featurizer, taken: Sequence[int]) -> Change | None:
    return exchange(patched, featurizer, taken) if taken else None


def rank_correlation(one: np.ndarray, two: np.ndarray) -> float:
    """Spearman's correlation; NaN where one does not vary.

    Args:
        one: Values.
        two: As many.
    """
    from scipy.stats import rankdata

    if len(one) < 2:
        return float("nan")
    first, second = rankdata(one), rankdata(two)
    spread_ = first.std() * second.std()
    return float(((first - first.mean()) * (second - second.mean())).mean() / spread_) if spread_ else float("nan")
