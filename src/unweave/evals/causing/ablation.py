"""`ablate`: what a model loses without some units, against what it loses without as many random ones.

ablation = mean-ablation edit + effect + paired comparison with random units of the same featurizer. Every chosen unit
is set to its mean over the training rows, the residual is kept, at every real token. The control draws the same number
of other units; the difference is paired document by document.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweave.errors import DataError, InputError
from unweave.evals.causing.effects import Effects, PlainRun, effects_of
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Featurizer, units
from unweave.features.neurons import NeuronFeaturizer
from unweave.models.edits import Edit
from unweave.models.model import Model
from unweave.models.operators import set_to
from unweave.tensors.estimate import Estimate
from unweave.tensors.grouped import grouped_mean


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """The effect of removing one set of units."""

    name: str
    """What the units stand for."""
    basis: str
    units: tuple[int, ...]
    unit: str
    """Of the effect."""
    effect: Estimate
    """Mean effect at the places of interest; its control is the mean over random sets of units."""
    difference: Estimate
    """Effect minus control, paired by document."""
    elsewhere: Estimate | None
    """Mean effect at the other places, where there are any."""
    draws: int
    """Random sets in the control."""

    def row(self) -> dict[str, Any]:
        """The ablation as one row of a table."""
        elsewhere = self.elsewhere
        return {
            "name": self.name,
            "basis": self.basis,
            "units": list(self.units),
            "unit": self.unit,
            "effect": self.effect.value,
            "effect_low": self.effect.low,
            "effect_high": self.effect.high,
            "control": self.effect.control,
            "difference": self.difference.value,
            "difference_low": self.difference.low,
            "difference_high": self.difference.high,
            "elsewhere": None if elsewhere is None else elsewhere.value,
            "n": self.effect.n,
            "n_groups": self.effect.n_groups,
        }


def ablate(
    model: Model,
    featurizer: Featurizer,
    chosen: Mapping[str, Sequence[int]],
    plain: PlainRun,
    groups: Int[np.ndarray, " windows"],
    *,
    means: Float[Tensor, " units"],
    places: Mapping[str, Bool[np.ndarray, " places"]] | None = None,
    draws: int = 5,
    seed: int = 0,
) -> list[Ablation]:
    """The effect of ablating each set of units, with random sets of the same size as control.

    Args:
        model: The model.
        featurizer: Whose units are ablated, at its own site.
        chosen: Name -> units; all sets of one size, chosen on other documents than those of `plain`.
        plain: The plain run over the windows to measure on.
        groups: The document of each window.
        means: What each unit is set to: its mean over training rows.
        places: Name -> which places of the effects are of interest; None = all of them.
        draws: Random sets of units in the control, the same for all names.
        seed: Of the random sets and the intervals.

    Raises:
        InputError: A featurizer without a site, no sets, sets of different size, or groups, means or places that do not
            fit.
        DataError: No token of the windows shows an effect.

    Example:
        >>> import unweave as uw
        >>> from unweave.evals.causing.effects import plain_run
        >>> model, site = uw.load_model("zoo:docs"), "blocks.1.mlp_act"
        >>> neurons = NeuronFeaturizer(width=model.width(site), site=site)
        >>> plain = plain_run(model, [model.tokenize(["The text of a test.", "And of another one."])])
        >>> means = unit_means(neurons, [model.capture(batch, [site])[site].flatten(0, 1) for batch in plain.batches])
        >>> (found,) = ablate(model, neurons, {"two of them": [3, 5]}, plain, np.arange(2), means=means)
        >>> found.units, found.effect.n_groups
        ((3, 5), 2)
    """
    if featurizer.site is None or isinstance(featurizer.site, tuple):
        raise InputError("the featurizer must belong to one site: give it site=...")
    sizes = {len(set(one)) for one in chosen.values()}
    if len(sizes) != 1 or 0 in sizes:
        raise InputError(
            f"sets of {sorted(sizes)} units: all must have the same number, at least 1, to share a control"
        )
    _check_shapes(featurizer, chosen, plain, groups, means, places)
    size = sizes.pop()
    taken = {unit for one in chosen.values() for unit in one}
    controls = [
        ablated(model, featurizer, units_, means, plain)
        for units_ in random_sets(units(featurizer), size, exclude=taken, count=draws, seed=seed)
    ]
    found = []
    for name, one in chosen.items():
        effects = ablated(model, featurizer, list(one), means, plain)
        where = None if places is None else places[name]
        found.append(measured(name, featurizer, one, effects, controls, groups, where, seed))
    return found


def _check_shapes(
    featurizer: Featurizer,
    chosen: Mapping[str, Sequence[int]],
    plain: PlainRun,
    groups: np.ndarray,
    means: Tensor,
    places: Mapping[str, np.ndarray] | None,
) -> None:
    windows = sum(len(batch) for batch in plain.batches)
    if groups.shape != (windows,):
        raise InputError(
            f"groups has shape {groups.shape} but there are {windows} windows: one document a window is needed"
        )
    count = units(featurizer)
    if means.shape != (count,):
        raise InputError(
            f"means has shape {tuple(means.shape)} but the featurizer has {count} units: one mean a unit is needed"
        )
    for name, one in chosen.items():
        if not all(0 <= unit < count for unit in one):
            raise InputError(f"the units of {name!r} are {list(one)[:8]}: numbers from 0 to {count - 1} are needed")
    missing = [name for name in chosen if places is not None and name not in places]
    if missing:
        raise InputError(f"places has no entry for {missing}: name the places of interest of every set, or none")


def unit_means(featurizer: Featurizer, rows: Iterable[Float[Tensor, "n d"]]) -> Float[Tensor, " units"]:
    """The mean of each unit over a stream of activations, in float64; for a map without a nonlinearity, the units of
    the mean activation.

    Args:
        featurizer: Whose units.
        rows: Chunks of activations.

    Raises:
        DataError: No rows.

    Example:
        >>> import torch
        >>> unit_means(NeuronFeaturizer(width=2), [torch.tensor([[1.0, 4.0]]), torch.tensor([[3.0, 4.0]])]).tolist()
        [2.0, 4.0]
    """
    linear = isinstance(featurizer, NeuronFeaturizer) or (
        isinstance(featurizer, AffineFeaturizer) and featurizer.act.kind == "identity"
    )
    total, count = None, 0
    for chunk in rows:
        exact = chunk.double()
        sums = (exact if linear else featurizer.encode(exact)[0]).sum(0)
        total, count = sums if total is None else total + sums, count + len(chunk)
    if total is None or not count:
        raise DataError("the mean of no rows: there are no training rows")
    return featurizer.encode(total / count)[0] if linear else total / count


def random_sets(count_units: int, size: int, *, exclude: set[int], count: int, seed: int) -> list[list[int]]:
    """Sets of random units, none of the excluded ones where enough others are left."""
    pool = np.array([unit for unit in range(count_units) if unit not in exclude])
    pool = pool if len(pool) >= size else np.arange(count_units)
    rng = np.random.default_rng([seed, 3])
    return [sorted(rng.choice(pool, size=size, replace=False).tolist()) for _ in range(count)]


def ablated(model: Model, featurizer: Featurizer, chosen: Sequence[int], means: Tensor, plain: PlainRun) -> Effects:
    """The effect of setting these units to their means, everywhere."""
    edit = Edit(
        site=str(featurizer.site), operator=set_to(means[list(chosen)]), featurizer=featurizer, units=list(chosen)
    )
    return effects_of(model, plain, edit)


def measured(
    name: str,
    featurizer: Featurizer,
    chosen: Sequence[int],
    effects: Effects,
    controls: Sequence[Effects],
    groups: np.ndarray,
    where: np.ndarray | None,
    seed: int,
) -> Ablation:
    """The ablation of one set of units from the effects of it and of its controls, at the places of interest."""
    if not len(effects.values):
        raise DataError("no token of the windows is predicted from another: windows of two tokens or more are needed")
    interest = np.ones(len(effects.values), dtype=bool) if where is None else where
    if interest.shape != effects.values.shape:
        raise InputError(
            f"places of {name!r} has shape {interest.shape} but there are {len(effects.values)} effects: one entry an"
            " effect is needed"
        )
    control = np.mean([one.values for one in controls], axis=0) if controls else np.zeros_like(effects.values)
    codes = np.unique(groups[effects.window], return_inverse=True)[1].reshape(-1)
    level = float(control[interest].mean()) if controls and interest.any() else None
    rest = ~interest
    return Ablation(
        name=name,
        basis=featurizer.provenance.method,
        units=tuple(int(unit) for unit in chosen),
        unit=effects.unit,
        effect=replace(_mean_at(interest, effects.values, codes, seed), control=level),
        difference=_mean_at(interest, effects.values - control, codes, seed),
        elsewhere=_mean_at(rest, effects.values, codes, seed) if rest.any() else None,
        draws=len(controls),
    )


def _mean_at(places: np.ndarray, values: np.ndarray, codes: np.ndarray, seed: int) -> Estimate:
    return grouped_mean(np.where(places, values, np.nan), codes, seed=seed)
