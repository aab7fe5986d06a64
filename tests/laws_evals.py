"""Laws of effects and ablations as functions of an implementation, for the tests and for the mutants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

import tiny
from unweave.models.edits import Edit
from unweave.models.operators import scale
from unweave.models.tokens import Tokens, pad

WINDOWS = ([5, 9, 2, 60, 41, 7], [3, 3, 8], [11, 4], [90, 17, 33, 2, 6, 6, 1, 12])
SITE = "blocks.0.mlp_act"


def batches_of(windows: Any, *, batch: int = 8, side: str = "right", extra: int = 0) -> list[Tokens]:
    """The windows in padded batches, with `extra` columns of padding that no window needs."""
    found = []
    for first in range(0, len(windows), batch):
        ids, mask = pad(windows[first : first + batch], side=side)
        if extra:
            more = torch.zeros(len(ids), extra, dtype=torch.long)
            parts = ([ids, more], [mask, more.bool()])
            ids, mask = (torch.cat(part if side == "right" else part[::-1], dim=1) for part in parts)
        found.append(Tokens(ids=ids, mask=mask))
    return found


def effects(module: Any, model: Any, batches: Any, edit: Any) -> Any:
    """Effects by a module that has `plain_run` and `effects_of`."""
    return module.effects_of(model, module.plain_run(model, batches), edit)


def no_edit_has_no_effect(module: Any) -> None:
    """No edit, and an edit that changes nothing, have effect 0 everywhere."""
    for family in tiny.FAMILIES:
        model = tiny.model_of(family)
        for edit in (None, Edit(site=SITE, operator=scale(1.0))):
            values = effects(module, model, batches_of(WINDOWS), edit).values
            assert len(values)
            np.testing.assert_allclose(values, 0, atol=1e-15)  # 1 - cosine of equal vectors rounds to 2e-16
        assert (
            np.abs(effects(module, model, batches_of(WINDOWS), Edit(site=SITE, operator=scale(0.0))).values).max() > 0
        )


def batch_and_padding_do_not_matter(module: Any) -> None:
    """The same windows in one batch or alone, padded left or right or far beyond their end: the same effects at the
    same tokens.
    """
    for family in tiny.FAMILIES:
        model, edit = tiny.model_of(family), Edit(site=SITE, operator=scale(0.0))
        alone = effects(module, model, batches_of(WINDOWS, batch=1), edit)
        expected = [alone.values[alone.window == window] for window in range(len(WINDOWS))]
        for options in ({}, {"batch": 3}, {"side": "left"}, {"extra": 5}, {"side": "left", "extra": 5}):
            found = effects(module, model, batches_of(WINDOWS, **options), edit)
            assert len(found.values) == len(alone.values)
            for window, values in enumerate(expected):
                # float32 sums of 32 numbers in another order: 1e-6 of a loss near 5
                np.testing.assert_allclose(found.values[found.window == window], values, atol=1e-5)


def padding_ids_do_not_matter(module: Any) -> None:
    """Whatever ids stand at padding, they are not there."""
    for family in tiny.FAMILIES:
        model, edit = tiny.model_of(family), Edit(site=SITE, operator=scale(0.0))
        (batch,) = batches_of(WINDOWS)
        other = replace(batch, ids=torch.where(batch.mask, batch.ids, 77))
        first, second = (effects(module, model, [one], edit).values for one in (batch, other))
        assert np.array_equal(first, second)


EFFECT_LAWS = (no_edit_has_no_effect, batch_and_padding_do_not_matter, padding_ids_do_not_matter)


def controls_leave_the_chosen_units_alone(random_sets: Callable[..., Any]) -> None:
    """As many units as asked for, each once, none of the chosen ones, another set a draw, the same for the same
    seed.
    """
    for seed in range(5):
        sets = random_sets(40, 6, exclude={3, 9, 30}, count=8, seed=seed)
        assert len(sets) == 8
        for one in sets:
            assert len(set(one)) == 6
            assert not {3, 9, 30} & set(one)
            assert all(0 <= unit < 40 for unit in one)
        assert len({tuple(one) for one in sets}) > 1
        assert sets == random_sets(40, 6, exclude={3, 9, 30}, count=8, seed=seed)
    assert random_sets(40, 6, exclude=set(), count=3, seed=0) != random_sets(40, 6, exclude=set(), count=3, seed=1)
    drawn = {unit for one in random_sets(40, 6, exclude={3, 9, 30}, count=200, seed=0) for unit in one}
    assert drawn == set(range(40)) - {3, 9, 30}


def means_are_means_of_units(unit_means: Callable[..., Any]) -> None:
    """The mean of what the units are, whatever the map and however the rows come in chunks."""
    from unweave.features.activation import Activation
    from unweave.features.affine import AffineFeaturizer
    from unweave.features.neurons import NeuronFeaturizer

    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.normal(size=(50, 6)) + 1)
    shape = {"read": rng.normal(size=(6, 9)), "write": rng.normal(size=(9, 6)), "origin": rng.normal(size=6)}
    kinds = (
        NeuronFeaturizer(width=6, index=[4, 0]),
        AffineFeaturizer(**shape, bias=rng.normal(size=9)),
        AffineFeaturizer(**shape, act=Activation(kind="relu")),
        AffineFeaturizer(**shape, act=Activation(kind="top_k", k=2)),
    )
    for featurizer in kinds:
        expected = featurizer.encode(rows)[0].mean(0)
        for chunks in ([rows], [rows[:1], rows[1:30], rows[30:]]):
            np.testing.assert_allclose(unit_means(featurizer, iter(chunks)), expected, atol=1e-12)
