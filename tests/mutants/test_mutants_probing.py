"""Deliberately broken probing: each law must notice."""

import functools
import importlib

import numpy as np
import pytest
import torch

import laws_probing as laws
import unweave as uw
from unweave.activations.labels import LabelledFeature
from unweave.probing import choosing, kernel, ranking
from unweave.tensors.moments import class_moments
from unweave.tensors.splits import Grouping, grouped_split

sweep = functools.partial(uw.probing.sweep, coordinates=1)
"""No law of a sweep asks about the control by random coordinates, whose twenty sets cost four fifths of one."""
PROBLEM = importlib.import_module("unweave.probing.problem")
SWEEP = importlib.import_module("unweave.probing.sweep")  # the package has a function of the same name


def caught(law, implementation):
    with pytest.raises(AssertionError):
        law(implementation)


def test_groups_ignored():
    def mutant(X, y, *, groups=None, **options):
        return sweep(X, y, **options)

    caught(laws.groups_are_never_cut, mutant)


def test_split_by_row_with_groups_only_counted(monkeypatch):
    def by_row(groups, strata, *, test, seed):
        alone = Grouping(codes=np.arange(len(strata)), count=len(strata))
        return grouped_split(alone, strata, test=test, seed=seed)

    monkeypatch.setattr(PROBLEM, "grouped_split", by_row)
    caught(laws.groups_are_never_cut, sweep)


def test_split_strata_without_negatives(monkeypatch):
    """Positives alone as strata make another split when the classes change places."""

    def positives_only(groups, strata, *, test, seed):
        return grouped_split(groups, strata[:, :1], test=test, seed=seed)

    monkeypatch.setattr(PROBLEM, "grouped_split", positives_only)
    caught(laws.flipping_labels_negates_scores, sweep)


def test_standardised_on_all_rows(monkeypatch):
    def leaky(rows, problem, config):
        return kernel.probe_all((rows - rows.mean(0)) / rows.std(0), problem, config)

    monkeypatch.setattr(SWEEP, "probe_all", leaky)
    caught(laws.held_out_rows_do_not_matter, sweep)


def test_units_chosen_on_all_rows(monkeypatch):
    """The search sees the held-out rows."""

    def leaky(rows, problem, config):
        labels = kernel.all_labellings(problem, config)
        options = {name: getattr(config, name) for name in ("selector", "lam", "seed")}
        chosen = choosing.choose(rows, labels, problem.groups, config.ks, **options)
        return kernel.probe_all(rows, problem, config, labellings=labels, chosen=chosen)

    monkeypatch.setattr(SWEEP, "probe_all", leaky)
    caught(laws.held_out_rows_do_not_matter, sweep)


def test_signed_mean_difference(monkeypatch):
    """Without the absolute value only units that rise with the feature are found."""

    def signed(rows, positives, members, deviation):
        above, below = (class_moments(rows, masks).mean for masks in (positives, members - positives))
        difference = above - below
        return difference / deviation.clamp_min(ranking.LIVE)

    monkeypatch.setattr(ranking, "SELECTORS", {"std_mean_diff": signed})
    caught(laws.flipping_labels_negates_scores, functools.partial(sweep, selector="std_mean_diff"))


def test_penalty_relative_to_the_rows(monkeypatch):
    """Weights that sum to 1 make the penalty grow with the rows: rows that come twice are then no weight of 2."""

    def normalised(rows, signs, weights, supports, *, lam):
        return fit(rows, signs, weights / weights.sum(1, keepdim=True), supports, lam=lam)

    fit = kernel.fit_many
    monkeypatch.setattr(kernel, "fit_many", normalised)
    caught(laws.duplicates_are_weights, sweep)


def test_raw_mean_difference():
    caught(laws.scores_do_not_see_units_of_measurement, lambda X, y: uw.probing.rank(X, y, "mean_diff"))
    caught(
        laws.moving_columns_changes_nothing,
        lambda *given, **options: sweep(*given, **options, selector="mean_diff"),
    )


def test_not_standardised_before_the_refit(monkeypatch):
    def raw(rows, signs, weights, supports, *, lam):
        return fit(100 * rows, signs, weights, supports, lam=lam)

    fit = kernel.fit_many
    X, y, groups = laws.planted()
    plain = sweep(X, y, groups=groups, ks=(1,))
    monkeypatch.setattr(kernel, "fit_many", raw)
    with pytest.raises(AssertionError):
        laws.same_probes(plain, sweep(X, y, groups=groups, ks=(1,)))


def test_sums_of_squares_about_zero_in_float32():
    def naive(X, y):
        rows, labels = torch.from_numpy(X).float(), torch.from_numpy(y)
        variance = (rows.square().mean(0) - rows.mean(0).square()).clamp_min(1e-12)
        return (rows[labels].mean(0) - rows[~labels].mean(0)).abs() / variance.sqrt()

    caught(laws.scores_see_a_small_signal_on_a_large_offset, naive)


def test_the_place_of_a_column_matters():
    """Noise on the second half of the columns, whichever they are."""

    def biased(X, y, **options):
        rows = np.array(X)
        half = rows.shape[1] // 2
        rows[:, half:] += np.random.default_rng(0).normal(size=(len(rows), half))
        return sweep(rows, y, **options)

    caught(laws.permuting_columns_permutes_supports, biased)


def test_split_by_row_number():
    def mutant(X, y, *, groups, **options):
        return sweep(X, y, groups=np.arange(len(groups)) // 10, **options)

    caught(laws.row_order_does_not_matter, mutant)


def test_unseeded():
    counter = iter(range(1000))

    def mutant(X, y, *, seed=0, **options):
        return sweep(X, y, seed=next(counter), **options)

    caught(laws.same_seed_same_table, mutant)


def test_seed_ignored():
    def mutant(X, y, *, seed=0, **options):
        return sweep(X, y, **options)

    caught(laws.same_seed_same_table, mutant)


def _some(feature, chosen):
    place = np.searchsorted(feature.index, chosen)
    return LabelledFeature(name="f", level="token", index=chosen, values=feature.values[place])


def test_rows_as_they_come():
    """The first rows, whatever their labels: rare positives stay rare."""
    caught(
        laws.subsamples_are_balanced_and_in_order, lambda feature, _order, most: _some(feature, feature.index[:most])
    )


def test_rows_drawn_for_each_feature_anew():
    def mutant(feature, order, most):
        from unweave.probing.sampling import subsampled

        return subsampled(feature, np.random.default_rng(99).permutation(len(order)), most)

    caught(laws.subsamples_are_balanced_and_in_order, mutant)
