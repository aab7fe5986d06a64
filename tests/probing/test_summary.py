"""Mean F1 over features and differences between bases: values and intervals against an explicit loop."""

import dataclasses

import numpy as np
import pytest

import unweave as uw
from unweave.activations.token_strings import token_string_features
from unweave.errors import InputError
from unweave.features.bases import random_rotation
from unweave.probing.summary import mean_f1, mean_f1_difference

SITE, OTHER = "blocks.0.mlp_act", "blocks.1.resid_post"


@pytest.fixture(scope="module")
def tables(store, model):
    features = token_string_features(store, model.tokenizer)
    options = {"ks": (1, 4), "rows": 400, "shuffles": 3}
    plain = uw.probing.sweep_many(store, features, **options)
    rotated = uw.probing.sweep_many(
        store, features, sites=SITE, featurizer=random_rotation(48, seed=0, site=SITE), **options
    )
    return plain, rotated


def f1_of(probe, drawn):
    """F1 when each held-out document counts as often as it was drawn."""
    tp, fp, fn = sum(
        drawn.get(group, 0) * np.array(counts, float) for group, counts in zip(probe.groups, probe.counts, strict=True)
    )
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0


def probes_of(table, site, k):
    return [sweep.probe(k) for (_, where), sweep in table.sweeps.items() if where == site]


@pytest.mark.parametrize("site", [SITE, OTHER])
@pytest.mark.parametrize("k", [1, 4])
def test_the_mean_is_the_mean_of_the_table(tables, site, k):
    rows = [row for row in tables[0].table() if row["site"] == site and row["k"] == k]
    found = mean_f1(tables[0], site, k)
    assert found.value == pytest.approx(np.mean([row["f1"] for row in rows]), abs=1e-12)
    assert found.control == pytest.approx(np.mean([row["control_f1"] for row in rows]), abs=1e-12)
    assert found.n == sum(row["n_test"] for row in rows)
    assert found.low < found.value < found.high


def test_the_difference_is_the_difference_of_the_means(tables):
    plain, rotated = tables
    found = mean_f1_difference(plain, rotated, SITE, 1)
    assert found.value == pytest.approx(mean_f1(plain, SITE, 1).value - mean_f1(rotated, SITE, 1).value, abs=1e-12)
    back = mean_f1_difference(rotated, plain, SITE, 1)
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low), abs=1e-9)


def test_a_basis_does_not_differ_from_itself(tables):
    found = mean_f1_difference(tables[0], tables[0], SITE, 4)
    assert (found.value, found.low, found.high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_the_spread_is_that_of_drawing_documents_one_by_one(tables):
    """A loop draws documents, rescores every probe on them and averages; the intervals have that spread."""
    plain, rotated = tables
    one, two = probes_of(plain, SITE, 4), probes_of(rotated, SITE, 4)
    documents = sorted({group for probe in one for group in probe.groups})
    rng = np.random.default_rng(0)
    means, differences = [], []
    for _ in range(600):
        drawn = dict(zip(*np.unique(rng.choice(documents, len(documents)), return_counts=True), strict=True))
        first, second = (np.mean([f1_of(probe, drawn) for probe in probes]) for probes in (one, two))
        means.append(first)
        differences.append(first - second)
    for found, looped in ((mean_f1(plain, SITE, 4), means), (mean_f1_difference(plain, rotated, SITE, 4), differences)):
        # the interval of a dozen documents is studentised, so wider than 2 * 1.96 deviations of the loop, up to twice;
        # the loop's deviation itself is right to 1/sqrt(1200) = 3 %
        width = (found.high - found.low) / (2 * 1.96 * np.std(looped))
        assert 0.9 < width < 2.2
        assert found.n_groups == len(documents)


def test_other_splits_or_features_are_not_compared(tables):
    plain, rotated = tables
    with pytest.raises(InputError, match="other features or held-out documents: only probes on one split compare"):
        mean_f1_difference(plain, dataclasses.replace(rotated, held_out=(1, 2, 3)), SITE, 1)
    fewer = dataclasses.replace(rotated, sweeps=dict(list(rotated.sweeps.items())[1:]))
    with pytest.raises(InputError, match="other features or held-out documents"):
        mean_f1_difference(plain, fewer, SITE, 1)


def test_a_site_or_k_without_probes_is_named(tables):
    with pytest.raises(InputError, match=r"no probes at blocks\.0\.mlp_out: the table has \['blocks\.0\.mlp_act', 'bl"):
        mean_f1(tables[0], "blocks.0.mlp_out", 1)
    with pytest.raises(InputError, match=r"no probe with k = 2: the sweep has \[1, 4\]"):
        mean_f1(tables[0], SITE, 2)


def test_without_shuffles_there_is_no_control(store, in_unit_five):
    table = uw.probing.sweep_many(store, [in_unit_five], sites=SITE, ks=(1,), shuffles=0)
    assert mean_f1(table, SITE, 1).control is None
