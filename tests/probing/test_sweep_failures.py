"""What `sweep` and `rank` refuse, and what they warn about."""

import numpy as np
import pytest
import torch

import unweave as uw
from laws_probing import planted
from unweave.errors import DataError, InputError, UnknownName


def sweep(**changes):
    """A sweep of planted rows with one thing changed."""
    X, y, groups = planted()
    given = {"X": X, "y": y, "groups": groups, "ks": (1, 2), "coordinates": 1} | changes
    return uw.probing.sweep(given.pop("X"), given.pop("y"), **given)


def rows_with(value, row=3, column=5):
    X = planted()[0].copy()
    X[row, column] = value
    return X


N = 400
FAULTS = {
    "length": ({"y": np.ones(N - 1)}, InputError, r"X is \(400, 20\) but y is \(399,\): one label a row is needed"),
    "column of labels": ({"y": np.ones((N, 1))}, InputError, r"y is \(400, 1\): one label a row"),
    "groups": ({"groups": np.ones(3)}, InputError, r"groups has shape \(3,\) but there are 400 rows: one group a row"),
    "vector": ({"X": np.ones(N)}, InputError, r"X has shape \(400,\): a matrix \(rows, width\) is needed"),
    "no rows": ({"X": np.ones((0, 4)), "y": []}, DataError, r"X has shape \(0, 4\): at least one row and one column"),
    "text": ({"X": [["a"]] * N}, InputError, "X holds <U1 values: numbers are needed"),
    "words as labels": ({"y": ["yes"] * N}, InputError, "y holds <U3 values: numbers are needed"),
    "three labels": (
        {"y": np.arange(N) % 3 + 0.5},
        InputError,
        r"y has the labels \[0.5, 1.5, 2.5\]: binary labels in",
    ),
    "a class on one side": (
        {"y": np.where(np.arange(N) < 5, 7, np.arange(N) % 2)},
        DataError,
        r"classes \[7\] are on one side of the split",
    ),
    "other labels": ({"y": np.arange(N) % 2 + 5}, InputError, r"y has the labels \[5, 6\]: binary labels in"),
    "many labels": ({"y": np.arange(N)}, InputError, r"\[0, 1, 2, 3, 4, 5\] \.\.\.: binary labels in \{0, 1\}"),
    "NaN labels": ({"y": np.full(N, np.nan)}, InputError, r"y has the labels \[nan\]: binary labels"),
    "no positives": ({"y": np.zeros(N)}, DataError, "y has only the label 0.0: a probe needs rows of both classes"),
    "no negatives": ({"y": np.ones(N, bool)}, DataError, "y has only the label True: a probe needs rows of both"),
    "a row of NaN": (
        {"X": rows_with(np.nan, column=slice(None))},
        DataError,
        "every column of X has a NaN or infinite entry, the first is nan at row 3, column 0: drop or repair such rows",
    ),
    "one group": ({"groups": np.zeros(N)}, DataError, "all rows are of one group: a held-out test needs at least two"),
    "positives in one group": (
        {"y": np.arange(N) < 5},
        DataError,
        "rows have no positives: positives are in 1 of 40 groups, at least 2 are needed for an honest split",
    ),
    "negatives in one group": (
        {"y": np.arange(N) >= 5},
        DataError,
        "rows have no negatives: negatives are in 1 of 40 groups, at least 2 are needed",
    ),
    "selector": ({"selector": "std_mean_dif"}, InputError, "unknown selector 'std_mean_dif'; nearest: 'std_mean_diff'"),
    "ks fall": ({"ks": (4, 2)}, InputError, r"ks: must be increasing numbers, at least one, got \(4, 2\)"),
    "ks repeat": ({"ks": (2, 2)}, InputError, "ks: must be increasing numbers"),
    "no ks": ({"ks": ()}, InputError, "ks: must be increasing numbers, at least one"),
    "k of nothing": ({"ks": (0, 1)}, InputError, r"ks\.0: input should be greater than or equal to 1, got 0"),
    "lam": ({"lam": 0.0}, InputError, "lam: input should be greater than 0, got 0.0"),
    "test": ({"test": 1.0}, InputError, "test: input should be less than 1, got 1.0"),
    "shuffles": ({"shuffles": -1}, InputError, "shuffles: input should be greater than or equal to 0, got -1"),
    "seed": ({"seed": -1}, InputError, "seed: input should be greater than or equal to 0, got -1"),
    "bootstrap": ({"bootstrap": 10}, InputError, "bootstrap: input should be greater than or equal to 100, got 10"),
}


@pytest.mark.parametrize(("changes", "kind", "message"), FAULTS.values(), ids=FAULTS)
def test_bad_input_is_named(changes, kind, message):
    with pytest.raises(kind, match=message) as caught:
        sweep(**changes)
    assert "\n" not in str(caught.value)


def test_several_faults_are_told_at_once():
    with pytest.raises(InputError, match=r"ks: .*; lam: .*; test: "):
        sweep(ks=(2, 1), lam=-1.0, test=2.0)


def test_groups_that_cannot_be_split_honestly_are_found_even_if_only_negatives_are_rare():
    """Two documents have the only negatives: one must be held out and one not, whatever the seed."""
    X, _, groups = planted()
    y = ~np.isin(np.arange(N), (7, 391))
    for seed in range(10):
        assert uw.probing.sweep(X, y, groups=groups, ks=(1,), seed=seed, shuffles=0, coordinates=0).probe(1).n_train < N


def test_columns_that_do_not_vary_are_left_out_and_named():
    X, *_ = planted()
    X[:, [0, 13]] = 4.0
    found = sweep(X=X, ks=(1, 18, 19, 20))
    assert [probe.k for probe in found.probes] == [1, 18]
    assert not {0, 13} & {unit for probe in found.probes for unit in probe.support}
    assert found.warnings == (
        "2 of 20 columns do not vary over the training rows, never chosen: 0, 13",
        "no probe for k = [19, 20]: only 18 columns vary",
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_columns_that_are_not_finite_are_left_out_and_named(value):
    X, y, groups = planted()
    without = X.copy()
    without[:, 5] = 0.0
    X[3, 5] = value
    found = uw.probing.sweep(X, y, groups=groups, ks=(1, 19, 20), shuffles=2, coordinates=1)
    assert found.warnings == (
        "1 of 20 columns have a NaN or infinite entry, never chosen: 5",
        "no probe for k = [20]: only 19 columns vary",
    )
    assert found.probes == uw.probing.sweep(without, y, groups=groups, ks=(1, 19), shuffles=2, coordinates=1).probes
    assert np.isfinite(found.scores(np.delete(X, 3, axis=0), 1)).all()
    assert uw.probing.rank(X, y)[5] == 0
    assert 5 not in uw.probing.best_subset(X, y, 2).support


def test_columns_that_repeat_an_earlier_one_are_left_out_and_named():
    X, y, groups = planted()
    X[:, 12] = X[:, 7]
    X[:, 3] = X[:, 7]
    X[:, 4] = X[:, 5] = 1.0  # constant columns are no copies of each other
    found = uw.probing.sweep(X, y, groups=groups, ks=(1, 2), shuffles=2)
    assert found.probe(1).support == (3,)
    assert not {7, 12} & set(found.probe(2).support)
    assert found.warnings[0] == "2 of 20 columns repeat an earlier one, never chosen: 7 = 3, 12 = 3"
    assert found.warnings[1].endswith("never chosen: 4, 5")


def test_rows_that_do_not_vary_at_all_have_no_probe():
    found = sweep(X=np.ones((N, 9)))
    assert found.table() == []
    assert found.warnings[0].endswith("never chosen: 0, 1, 2, 3, 4, 5, 6, 7, ...")
    assert found.warnings[1] == "no probe for k = [1, 2]: only 0 columns vary"


def test_a_column_that_varies_only_in_held_out_rows_is_not_chosen():
    X, y, groups = planted()
    first = uw.probing.sweep(X, y, groups=groups, ks=(1,)).probe(1)
    X[~np.isin(groups, first.groups), 7] = 0.5
    found = uw.probing.sweep(X, y, groups=groups, ks=(19, 20))
    assert [probe.k for probe in found.probes] == [19]
    assert 7 not in found.probe(19).support


@pytest.mark.parametrize(("n", "positives"), [(40, 20), (400, 9)])
def test_too_few_rows_or_positives_are_warned_about(n, positives):
    X = np.random.default_rng(0).normal(size=(n, 3))
    y = np.arange(n) % (n // positives) == 0
    found = uw.probing.sweep(X, np.where(np.cumsum(y) <= positives, y, False), ks=(1,))
    assert f"{n} rows with {positives} positives: too few to trust" in found.warnings


def test_few_groups_are_warned_about():
    assert sweep(groups=np.arange(N) // 50).probe(1).f1.warnings == ("only 2 groups: the interval is rough",)


def test_predicting_needs_rows_of_the_same_width_and_a_known_k():
    X, *_ = planted()
    found = sweep()
    with pytest.raises(InputError, match=r"X is \(400, 19\) but the probes were fitted on width 20"):
        found.predict(X[:, :19], 1)
    with pytest.raises(InputError, match=r"no probe with k = 3: the sweep has \[1, 2\]"):
        found.scores(X, 3)


def test_rank_refuses_what_sweep_refuses():
    X, y, _ = planted()
    with pytest.raises(UnknownName, match="unknown selector 'mean'; nearest: 'mean_diff'") as caught:
        uw.probing.rank(X, y, "mean")
    assert "mean_diff" in caught.value.suggestions
    with pytest.raises(InputError, match=r"X is \(400, 20\) but y is \(3,\): one label a row is needed"):
        uw.probing.rank(X, y[:3])
    with pytest.raises(DataError, match="every column of X has a NaN or infinite entry"):
        uw.probing.rank(rows_with(np.nan, column=slice(None)), y)
    with pytest.raises(DataError, match="y has only the label"):
        uw.probing.rank(X, np.zeros(N))
    with pytest.raises(InputError, match="binary labels"):
        uw.probing.rank(X, np.arange(N))


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_a_misspelt_selector_is_answered_with_the_right_one(share):
    """Random typos of the selectors, one letter lost, doubled or swapped."""
    rng = np.random.default_rng(int(100 * share))
    for name in uw.probing.SELECTORS:
        for _ in range(20):
            place = int(rng.integers(len(name) - 1))
            typo = (name[:place] + name[place + 1 :], name[:place] + name[place] + name[place:])[int(rng.integers(2))]
            if typo not in uw.probing.SELECTORS:
                with pytest.raises(InputError, match=f"'{name}'"):
                    sweep(selector=typo)


def test_labels_may_be_tensors_on_any_integer_type():
    _, y, _ = planted()
    expected = sweep().table()
    for labels in (torch.from_numpy(y), torch.from_numpy(y).to(torch.uint8), torch.from_numpy(y).float()):
        assert sweep(y=labels).table() == expected
