"""Label shuffles and what a probe measures, from the labels up."""

import numpy as np
import pytest
import torch

import unweave as uw
from laws_probing import planted
from unweave.probing.kernel import shuffled
from unweave.probing.problem import Problem
from unweave.probing.ranking import best_columns, scores_and_live
from unweave.tensors.splits import grouping


def problem(labels, groups):
    grouped = grouping(groups, len(labels))
    return Problem(
        labels=labels, groups=grouped, names=tuple(range(grouped.count)), held_out=np.zeros(len(labels), dtype=bool)
    )


def test_token_labels_are_shuffled_within_their_document():
    rng = np.random.default_rng(0)
    labels, groups = rng.random(300) < 0.3, np.repeat(np.arange(30), 10)[rng.permutation(300)]
    draws = shuffled(problem(labels, groups), 20, 0)
    before = np.bincount(groups, weights=labels)
    for draw in draws:
        assert np.array_equal(np.bincount(groups, weights=draw), before)
    assert any(not np.array_equal(draw, labels) for draw in draws)
    # a label moves anywhere in its document: over 20 draws every place of a mixed document is positive at some time
    mixed = (before > 2) & (before < 10)
    assert np.any(draws, axis=0)[mixed[groups]].mean() > 0.9


def test_document_labels_are_shuffled_over_documents():
    groups = np.repeat(np.arange(20), 5)
    labels = (np.arange(20) < 8)[groups]
    for draw in shuffled(problem(labels, groups), 20, 0):
        by_document = draw.reshape(20, 5)
        assert (by_document == by_document[:, :1]).all()
        assert by_document[:, 0].sum() == 8


def test_shuffles_depend_on_the_seed_alone():
    labels, groups = np.arange(100) % 3 == 0, np.arange(100) // 10
    one, again, other = (np.array(shuffled(problem(labels, groups), 5, seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_the_control_selects_its_own_units():
    """A control that kept the units of the true labels would miss the search over columns: with 2,000 noise columns
    and 40 training rows, the best of them separates shuffled training labels almost perfectly.
    """
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2000)), np.arange(60) % 2 == 0
    labellings = np.stack([y, *shuffled(problem(y, np.zeros(60)), 5, 0)])
    masks = torch.from_numpy(labellings.T.astype(float))
    order = best_columns(*scores_and_live(torch.from_numpy(X), masks, torch.ones_like(masks), "std_mean_diff"), 1)
    assert len(set(order[:, 0].tolist())) >= 5


@pytest.mark.parametrize("shuffles", [0, 3])
def test_without_shuffles_there_is_no_control(shuffles):
    X, y, groups = planted()
    row = uw.probing.sweep(X, y, groups=groups, ks=(1,), shuffles=shuffles).table()[0]
    assert (row["control_f1"] is None) == (row["p_value"] is None) == (shuffles == 0)


def test_counts_by_document_add_up_to_the_scores():
    X, y, groups = planted(strength=1.0)
    found = uw.probing.sweep(X, y, groups=groups, ks=(2,))
    probe = found.probe(2)
    held_out = np.isin(groups, probe.groups)
    predicted, truth = found.predict(X, 2)[held_out], y[held_out]
    for group, (tp, fp, fn) in zip(probe.groups, probe.counts, strict=True):
        here = groups[held_out] == group
        assert tp == np.sum(predicted[here] & truth[here])
        assert fp == np.sum(predicted[here] & ~truth[here])
        assert fn == np.sum(~predicted[here] & truth[here])
    tp, fp, fn = np.sum(probe.counts, axis=0)
    assert probe.f1.value == pytest.approx(2 * tp / (2 * tp + fp + fn), abs=1e-15)
    assert probe.positive_rate == truth.mean()
    assert found.table()[0]["all_positive_f1"] == pytest.approx(2 * truth.mean() / (1 + truth.mean()), abs=1e-15)
