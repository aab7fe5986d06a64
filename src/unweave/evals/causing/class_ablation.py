"""`ablate_by_class`: what removing some neurons costs, class of token by class of token.

One run with the neurons at their mean serves all classes; the control is sets of other neurons of the layer, each
matched in mean absolute activation, since a silent neuron costs nothing whoever removes it. The tokens where the loss
rises most are listed as the token read and as the token to be predicted: a neuron can matter for either.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `rise` | CE_ablated - CE | (places,) | nats a token, float32 (the reference rounds to float16) | specs/probing.md 9 |
| `percent` | 100 (ablated - clean) / clean | (windows,) | of a window's summed loss | same |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweave.errors import InputError
from unweave.evals.causing.ablation import Ablation, ablated, measured
from unweave.evals.causing.effects import LOSS, Effects, PlainRun
from unweave.features.featurizer import Featurizer, units
from unweave.models.model import Model
from unweave.tensors.estimate import Estimate
from unweave.tensors.grouped import grouped_mean

MATCHED_AMONG = 20
"""A neuron is matched with one of so many of the most similar mean absolute activation."""
LEAST_PLACES = 3
"""Tokens that occur less often are not listed: their mean rise says little."""


@dataclass(frozen=True, kw_only=True)
class TokenRise:
    """The mean rise of the loss where one token is read, or is to be predicted."""

    token: int
    string: str
    rise: float
    places: int


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassAblation:
    """The effect of removing some neurons, by class of token."""

    classes: tuple[Ablation, ...]
    """One a class, against the same matched neurons."""
    percent: Estimate | None
    """Rise of a window's loss in percent of it, mean over windows; None for models without a loss."""
    as_current: tuple[TokenRise, ...]
    """Tokens read where the loss rises most."""
    as_next: tuple[TokenRise, ...]
    """Tokens predicted where the loss rises most."""

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a class."""
        return [one.row() for one in self.classes]

    def __repr__(self) -> str:
        """Effects by class."""
        return f"ClassAblation({', '.join(f'{one.name} {one.difference.value:+.3f}' for one in self.classes)})"


def ablate_by_class(
    model: Model,
    featurizer: Featurizer,
    chosen: Sequence[int],
    plain: PlainRun,
    groups: Int[np.ndarray, " windows"],
    *,
    means: Float[Tensor, " units"],
    strength: Float[Tensor, " units"],
    classes: Mapping[str, Bool[np.ndarray, " places"]],
    draws: int = 20,
    seed: int = 0,
) -> ClassAblation:
    """What removing the chosen units costs at each class of places, beyond matched random units.

    Args:
        model: The model.
        featurizer: Whose units are removed, at its own site.
        chosen: The units, chosen on other documents than those of `plain`.
        plain: The plain run over the windows to measure on.
        groups: The document of each window.
        means: What each unit is set to: its mean over training rows; zeros give the ablation of the paper.
        strength: What the random units are matched in: the mean absolute activation of each unit.
        classes: Name -> which places of the effects belong to it.
        draws: Matched sets of units in the control.
        seed: Of the sets and the intervals.

    Raises:
        InputError: No classes or units, units that do not exist, or means, strength or classes that do not fit.

    Example:
        >>> import unweave as uw
        >>> from unweave.evals.causing.ablation import unit_means
        >>> from unweave.evals.causing.effects import effects_of, plain_run
        >>> from unweave.features.neurons import NeuronFeaturizer
        >>> model, site = uw.load_model("zoo:docs"), "blocks.1.mlp_act"
        >>> neurons = NeuronFeaturizer(width=model.width(site), site=site)
        >>> plain = plain_run(model, [model.tokenize(["The text of a test.", "And of another one."])])
        >>> rows = [model.capture(batch, [site])[site].flatten(0, 1) for batch in plain.batches]
        >>> everywhere = np.ones(len(effects_of(model, plain, None).values), dtype=bool)
        >>> found = ablate_by_class(
        ...     model, neurons, [3, 5], plain, np.arange(2), means=unit_means(neurons, rows),
        ...     strength=unit_means(neurons, [one.abs() for one in rows]), classes={"all": everywhere}, draws=2,
        ... )
        >>> found.classes[0].name, found.percent.n_groups
        ('all', 2)
    """
    count = units(featurizer)
    if not classes:
        raise InputError("classes is empty: name at least one class of places")
    if not len(chosen) or not all(0 <= unit < count for unit in chosen):
        raise InputError(f"the units are {list(chosen)[:8]}: at least one number from 0 to {count - 1} is needed")
    for name, values in (("means", means), ("strength", strength)):
        if values.shape != (count,):
            raise InputError(f"{name} has shape {tuple(values.shape)} but there are {count} units: one each is needed")
    effects = ablated(model, featurizer, list(chosen), means, plain)
    controls = [
        ablated(model, featurizer, others, means, plain)
        for others in matched_sets(strength.double().numpy(), chosen, count=draws, seed=seed)
    ]
    found = tuple(
        measured(name, featurizer, chosen, effects, controls, groups, where, seed) for name, where in classes.items()
    )
    return ClassAblation(
        classes=found,
        percent=_percent(effects, plain, groups, seed) if effects.unit == LOSS else None,
        as_current=_rises(model, effects, plain, shift=0) if effects.unit == LOSS else (),
        as_next=_rises(model, effects, plain, shift=1) if effects.unit == LOSS else (),
    )


def matched_sets(
    strength: Float[np.ndarray, " units"], chosen: Sequence[int], *, count: int, seed: int
) -> list[list[int]]:
    """Sets of other units, one for each chosen one, each among those most like it in strength.

    Args:
        strength: Of every unit.
        chosen: The units to be matched.
        count: Sets.
        seed: Of the draws.

    Example:
        >>> matched_sets(np.arange(100.0), [50], count=200, seed=0)[0][0] in range(35, 66)
        True
    """
    rng = np.random.default_rng([seed, 11])
    found = []
    for _ in range(count):
        taken, own = set(chosen), []
        for unit in chosen:
            near = [other for other in np.argsort(np.abs(strength - strength[unit])).tolist() if other not in taken]
            if not near:  # more units are chosen than are left
                near = [other for other in range(len(strength)) if other not in own]
            own.append(int(rng.choice(near[:MATCHED_AMONG])))
            taken.add(own[-1])
        found.append(sorted(own))
    return found


def _percent(effects: Effects, plain: PlainRun, groups: np.ndarray, seed: int) -> Estimate:
    """Mean over windows of 100 (ablated - clean) / clean, interval over documents."""
    losses = torch.cat([loss.double().flatten() for loss in _by_window(plain)]).numpy()
    lengths = np.concatenate([[len(loss) for loss in _by_window(plain)]])
    starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    clean = np.bincount(
        effects.window, weights=losses[starts[effects.window] + effects.position], minlength=len(groups)
    )
    rise = np.bincount(effects.window, weights=effects.values, minlength=len(groups))
    used = clean > 0
    codes = np.unique(groups[used], return_inverse=True)[1].reshape(-1)
    return grouped_mean(100 * rise[used] / clean[used], codes, seed=seed)


def _by_window(plain: PlainRun) -> list[Tensor]:
    return [row for output in plain.outputs for row in output]


def _rises(model: Model, effects: Effects, plain: PlainRun, *, shift: int, most: int = 10) -> tuple[TokenRise, ...]:
    ids = [row for batch in plain.batches for row in batch.ids.tolist()]
    tokens = np.array(
        [ids[window][position + shift] for window, position in zip(effects.window, effects.position, strict=True)],
        dtype=np.int64,
    )
    distinct, codes, places = np.unique(tokens, return_inverse=True, return_counts=True)
    mean = np.bincount(codes.reshape(-1), weights=effects.values) / places
    kept = np.flatnonzero(places >= LEAST_PLACES)
    order = kept[np.argsort(-mean[kept], kind="stable")][:most]
    return tuple(
        TokenRise(
            token=int(distinct[place]),
            string=f"token {distinct[place]}" if model.tokenizer is None else model.tokenizer.decode([distinct[place]]),
            rise=float(mean[place]),
            places=int(places[place]),
        )
        for place in order
    )
