"""The best single unit: chosen without the held-out documents, and the price of choosing with them."""

import numpy as np
import pytest

import unweave as uw
from laws_probing import planted
from unweave.errors import DataError, InputError
from unweave.probing.config import ProbeConfig


def test_the_honest_score_is_that_of_a_probe_of_the_one_column():
    X, y, groups = planted(units=(7,), strength=1.5)
    found = uw.probing.best_unit({"layer": X}, y, groups=groups, candidates=5)
    twin = uw.probing.sweep(X[:, [found.unit]], y, groups=groups, ks=(1,), shuffles=0).probe(1)
    assert (found.site, found.unit) == ("layer", 7)
    assert found.honest.value == pytest.approx(twin.f1.value, abs=1e-12)
    assert (found.honest.low, found.honest.high) == pytest.approx((twin.f1.low, twin.f1.high), abs=1e-12)


def test_the_held_out_documents_do_not_choose():
    """The column that is perfect on held-out documents alone wins naively and never honestly."""
    X, y, groups = planted(units=(7,), strength=1.5)
    from unweave.probing.problem import as_problem

    held_out = as_problem(X, y, groups, ProbeConfig())[1].held_out
    X[held_out, 3] += 8 * y[held_out]
    X[~held_out, 3] += 0.4 * y[~held_out]
    found = uw.probing.best_unit({"layer": X}, y, groups=groups, candidates=20)
    assert found.unit == 7
    assert found.naive_unit in (3, 7)
    assert found.naive.naive >= found.honest.value


def test_of_noise_the_naive_score_is_flattered_and_the_others_are_not():
    """AUC cannot be had from F1, so chance is the F1 of calling half of the rows positive: 2 pi q / (pi + q)."""
    naive, honest, corrected = [], [], []
    for seed in range(12):
        rng = np.random.default_rng([8, seed])
        y = rng.permutation(np.arange(600) % 3 == 0)
        found = uw.probing.best_unit(
            {"a": rng.normal(size=(600, 200))}, y, groups=np.arange(600) // 10, config=ProbeConfig(seed=seed)
        )
        naive.append(found.naive.naive)
        honest.append(found.honest.value)
        corrected.append(found.naive.corrected)
    chance = 2 * (1 / 3) * 0.5 / (1 / 3 + 0.5)
    assert np.mean(naive) - chance > 4 * np.std(naive, ddof=1) / np.sqrt(12)
    assert abs(np.mean(honest) - chance) < 4 * np.std(honest, ddof=1) / np.sqrt(12)
    assert np.mean(corrected) < np.mean(naive) - 0.02


def test_the_row_tells_everything():
    X, y, groups = planted()
    row = uw.probing.best_unit({"layer": X}, y, groups=groups).row()
    assert row["candidates"] == 20
    assert row["optimism"] == row["naive_f1"] - row["corrected_f1"]


def test_inputs_that_cannot_be_chosen_from_are_named():
    X, y, groups = planted()
    with pytest.raises(InputError, match="sites is empty"):
        uw.probing.best_unit({}, y, groups=groups)
    with pytest.raises(InputError, match="candidates is 0: at least one unit"):
        uw.probing.best_unit({"a": X}, y, groups=groups, candidates=0)
    with pytest.raises(DataError, match="no unit of any site varies"):
        uw.probing.best_unit({"a": np.ones_like(X)}, y, groups=groups)
    one = np.zeros(400, dtype=bool)
    one[[0, 399]] = True  # positives in two documents, one on each side
    with pytest.raises(DataError, match="a class is in one of the 28 training groups: nothing can be chosen"):
        uw.probing.best_unit({"a": X}, one, groups=groups)
