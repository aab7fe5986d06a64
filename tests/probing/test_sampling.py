"""Which rows a feature uses, and one split of the documents for all features."""

import numpy as np
import pytest

import unweave as uw
from laws_probing import subsamples_are_balanced_and_in_order
from unweave.activations.labels import LabelledFeature
from unweave.errors import DataError
from unweave.probing.config import ProbeConfig
from unweave.probing.sampling import draw, split_documents, subsampled, why_not


def feature(values, *, index=None, level="token", name="f"):
    values = np.asarray(values, dtype=bool)
    index = np.arange(len(values)) if index is None else index
    return LabelledFeature(name=name, level=level, index=index, values=values)


def test_law():
    subsamples_are_balanced_and_in_order(subsampled)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.02, 0.2), (0.2, 0.2), (0.35, 0.35), (0.5, 0.5), (0.6, 0.5), (0.99, 0.5)]
)
def test_the_share_of_positives_is_moved_into_a_fifth_to_a_half(share, expected):
    n = 10_000
    rng = np.random.default_rng(0)
    found = subsampled(feature(np.arange(n) < share * n), rng.permutation(n), 400)
    assert len(found.index) <= 400
    assert found.positives / len(found.index) == pytest.approx(expected, abs=0.005)  # one row of 200 or more
    assert len(found.index) == min(400, int(min(share * n / expected, (1 - share) * n / (1 - expected))))


def test_all_features_share_one_order_so_that_their_rows_overlap():
    n, order = 1000, np.random.default_rng(1).permutation(1000)
    rng = np.random.default_rng(2)
    one, two = (subsampled(feature(rng.random(n) < 0.5), order, 200) for _ in range(2))
    # each takes 100 of about 500 rows a class, the first in the order: the union is near the first 200 of the order,
    # where independent draws of 200 from 1000 would share 40
    assert len(np.intersect1d(one.index, two.index)) > 120
    assert np.isin(one.index, order[:300]).all()


def test_rows_keep_their_labels_and_their_note():
    values = np.random.default_rng(0).random(500) < 0.1
    given = LabelledFeature(name="f", level="token", index=np.arange(500) * 3, values=values, note="hidden")
    found = subsampled(given, np.random.default_rng(1).permutation(1500), 50)
    assert np.array_equal(found.values, values[found.index // 3])
    assert (found.name, found.level, found.note) == ("f", "token", "hidden")


@pytest.mark.parametrize("seed", [0, 1])
def test_a_draw_uses_at_most_the_rows_asked_for_and_depends_on_the_seed_alone(store, in_unit_five, seed):
    config = ProbeConfig(rows=100, seed=seed)
    first, again = (draw(store, [in_unit_five], config).features[0] for _ in range(2))
    assert len(first.index) == 100
    assert np.array_equal(first.index, again.index)
    other = draw(store, [in_unit_five], ProbeConfig(rows=100, seed=seed + 2)).features[0]
    assert not np.array_equal(first.index, other.index)


def test_documents_are_not_subsampled(store, about_documents):
    found = draw(store, [about_documents], ProbeConfig(rows=50)).features[0]
    assert np.array_equal(found.index, about_documents.index)


def test_the_split_is_of_documents_and_keeps_the_share_of_every_feature(store):
    rng = np.random.default_rng(3)
    document = store.rows["document"]
    features = [
        feature(rng.random(len(store)) < 0.3, name="anywhere"),
        feature(document % 2 == 0, name="even documents"),
        feature(document < 10, name="first documents"),
    ]
    held_out = split_documents(store, features, ProbeConfig(test=0.3))
    assert abs(held_out.mean() - 0.3) <= 0.05  # 12 of 40 documents, give or take two
    for one in features:
        test = held_out[document[one.index]]
        # a document in forty is 2.5 % of a class that all have, a tenth of one that ten have
        assert abs(one.values[test].mean() - one.values[~test].mean()) < 0.15


def test_rare_negatives_are_dealt_to_both_sides(store):
    """Negatives are in five documents only: whatever the seed, both sides have some."""
    values = ~np.isin(store.rows["document"], (3, 9, 17, 28, 36))
    for seed in range(10):
        sample = draw(store, [feature(values)], ProbeConfig(seed=seed, rows=200))
        test = sample.held_out[store.rows["document"][sample.features[0].index]]
        for side in (test, ~test):
            assert 0 < sample.features[0].values[side].sum() < side.sum()


def test_a_feature_that_the_common_split_cannot_serve_is_skipped_not_scored(store, in_unit_five, monkeypatch):
    """Were all positives of a feature on one side, its scores would mean nothing."""
    lopsided = feature(store.rows["document"] < 6, name="lopsided")
    monkeypatch.setattr(
        "unweave.probing.sampling.split_documents", lambda *_: np.isin(np.arange(40), np.arange(20, 32))
    )
    sample = draw(store, [lopsided, in_unit_five], ProbeConfig())
    assert [one.name for one in sample.features] == ["unit 5"]
    assert "both classes on both sides" in sample.skipped["lopsided"]
    with pytest.raises(DataError, match="no feature can be probed: lopsided: no split that serves"):
        draw(store, [lopsided], ProbeConfig())


@pytest.mark.parametrize(
    ("positives", "reason"),
    [
        (slice(0, 0), "no positives"),
        (slice(0, 19), "19 positives in 1 documents: at least 20 in 5 are needed"),
        (slice(0, 200), "200 positives in 4 documents: at least 20 in 5 are needed"),
        (slice(0, 2308, 100), ""),
    ],
)
def test_why_a_feature_cannot_be_probed(store, positives, reason):
    values = np.zeros(len(store), bool)
    values[positives] = True
    assert why_not(feature(values), store) == reason
    assert why_not(feature(~values), store) == reason.replace("positives", "negatives")


def test_the_same_rows_are_drawn_through_the_public_verb(store, in_unit_five):
    found = uw.probing.sweep_many(store, [in_unit_five], sites="blocks.0.mlp_act", ks=(1,), rows=100)
    probe = found.sweeps["unit 5", "blocks.0.mlp_act"].probe(1)
    assert probe.n_train + probe.f1.n == 100
