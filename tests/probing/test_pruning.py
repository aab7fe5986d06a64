"""Iterative pruning: an ensemble decays slowly, a special neuron leaves a cliff."""

import numpy as np
import pytest

import unweave as uw
from laws_probing import planted
from unweave.errors import InputError


def test_one_special_unit_is_a_cliff_and_an_ensemble_is_not():
    X, y, groups = planted(n=600, units=(7,), strength=4.0)
    cliff = uw.probing.prune(X, y, groups=groups, k=2, steps=3)
    assert cliff.steps[0].removed == 7
    assert cliff.steps[0].f1.value > 0.85 > 0.6 > cliff.steps[1].f1.value
    X, y, groups = planted(n=600, units=tuple(range(6)), strength=4.0)
    slope = uw.probing.prune(X, y, groups=groups, k=2, steps=3)
    assert all(step.f1.value > 0.85 for step in slope.steps)
    assert {step.removed for step in slope.steps} <= set(range(6))


def test_what_was_removed_does_not_come_back_and_the_table_says_so():
    X, y, groups = planted(n=600, units=(1, 4, 9))
    found = uw.probing.prune(X, y, groups=groups, k=2, steps=4, screen=10)
    for number, step in enumerate(found.steps):
        gone = {one.removed for one in found.steps[:number]}
        assert not gone & set(step.support)
        assert step.removed in step.support
    rows = found.table()
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert rows[0]["single_f1"] == found.steps[0].single_f1.value


def test_the_unit_removed_is_the_best_single_one_of_training_rows():
    """Held-out labels do not decide: with them turned round the same units go."""
    from unweave.probing.problem import as_problem

    X, y, groups = planted(n=600, units=(1, 4, 9), strength=2.0)
    held_out = as_problem(X, y, groups, uw.probing.ProbeConfig())[1].held_out
    turned = X.copy()
    turned[held_out] = -turned[held_out]
    first, second = (uw.probing.prune(rows, y, groups=groups, k=2, steps=3) for rows in (X, turned))
    assert [one.removed for one in first.steps] == [one.removed for one in second.steps]
    assert first.steps[0].f1.value > second.steps[0].f1.value


def test_more_steps_than_units_are_refused():
    X, y, groups = planted()
    with pytest.raises(
        InputError, match=r"k is 5 and steps is 17: at least 1 each, and k \+ steps - 1 units of the 20"
    ):
        uw.probing.prune(X, y, groups=groups, k=5, steps=17)
    with pytest.raises(InputError, match="k is 0"):
        uw.probing.prune(X, y, groups=groups, k=0)
    assert len(uw.probing.prune(X, np.asarray(y), groups=groups, k=5, steps=16).steps) == 16
