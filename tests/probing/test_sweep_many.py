"""Many features and sites at once: the same as one at a time, on one split of the documents."""

import numpy as np
import pytest

import unweave as uw
from twins_probing import slow_probe
from unweave.activations.labels import LabelledFeature
from unweave.activations.token_strings import token_string_features
from unweave.errors import DataError, FingerprintError, InputError, UnknownName
from unweave.features.bases import neurons, pca, random_rotation
from unweave.features.featurizer import Provenance
from unweave.features.neurons import NeuronFeaturizer
from unweave.probing.sampling import draw

SELECTOR = "std_mean_diff"
SITE, OTHER = "blocks.0.mlp_act", "blocks.1.resid_post"


@pytest.fixture(scope="module")
def features(store, model, in_unit_five, about_documents):
    strings = token_string_features(store, model.tokenizer)
    return [in_unit_five, about_documents, *strings]


@pytest.fixture(scope="module")
def table(store, features):
    return uw.probing.sweep_many(store, features, ks=(1, 4), rows=500, selector=SELECTOR)


def test_a_planted_unit_is_found_at_its_site_and_not_elsewhere(table):
    here, elsewhere = (table.sweeps["unit 5", site].probe(1) for site in (SITE, OTHER))
    assert here.support == (5,)
    assert here.f1.low > elsewhere.f1.high


def test_a_planted_unit_of_documents_is_found_in_their_means(table):
    assert table.sweeps["unit 7", SITE].probe(1).support == (7,)


def test_one_feature_at_a_time_by_the_slow_pipeline_finds_the_same(store, features, table):
    """The explicit loop: for every feature and site gather its rows, pool documents, rank, refit, score."""
    sample = draw(store, features, table.config)
    document = store.rows["document"]
    checked = 0
    for feature in sample.features:
        for site in (SITE, OTHER):
            rows = store[site][:].numpy().astype(np.float64)
            if feature.level == "token":
                X, groups = rows[feature.index], document[feature.index]
            else:
                X = np.stack([rows[document == number].mean(0) for number in feature.index])
                groups = feature.index
            held_out = np.isin(groups, table.held_out)
            for probe in table.sweeps[feature.name, site].probes:
                slow = slow_probe(X, feature.values, held_out, probe.k)
                assert probe.support == slow.support
                assert probe.f1.value == pytest.approx(slow.f1, abs=1e-12)
                assert probe.auc == pytest.approx(slow.auc, abs=1e-12)
                checked += 1
    assert checked == 2 * 2 * len(sample.features)


def test_every_probe_is_scored_on_documents_that_no_probe_was_fitted_on(store, table):
    documents = set(range(40))
    assert 8 <= len(table.held_out) <= 16
    for sweep in table.sweeps.values():
        for probe in sweep.probes:
            assert set(probe.groups) <= set(table.held_out) < documents
            assert probe.f1.n_groups == len(probe.groups)


def test_features_with_too_few_rows_are_skipped_with_the_reason(store, in_unit_five):
    index = np.arange(400)
    few = LabelledFeature(name="few", level="token", index=index, values=index < 7)
    none = LabelledFeature(name="none", level="token", index=index, values=np.zeros(400, bool))
    everywhere = LabelledFeature(name="all", level="token", index=index, values=np.ones(400, bool))
    found = uw.probing.sweep_many(store, [few, none, everywhere, in_unit_five], sites=SITE, ks=(1,), selector=SELECTOR)
    assert found.features() == ["unit 5"]
    assert found.skipped == {
        "few": "7 positives in 1 documents: at least 20 in 5 are needed",
        "none": "no positives",
        "all": "no negatives",
    }


def test_no_feature_that_can_be_probed_is_an_error_with_every_reason(store):
    index = np.arange(200)
    none = LabelledFeature(name="none", level="token", index=index, values=np.zeros(200, bool))
    with pytest.raises(DataError, match="no feature can be probed: none: no positives"):
        uw.probing.sweep_many(store, [none], selector=SELECTOR)


def test_an_unknown_site_is_answered_with_the_nearest(store, in_unit_five):
    with pytest.raises(UnknownName, match=r"unknown site 'blocks\.0\.mlp_atc'; nearest: 'blocks\.0\.mlp_act'"):
        uw.probing.sweep_many(store, [in_unit_five], sites="blocks.0.mlp_atc", selector=SELECTOR)


def test_bad_options_are_named(store, in_unit_five):
    with pytest.raises(InputError, match="rows: input should be greater than or equal to 50, got 3"):
        uw.probing.sweep_many(store, [in_unit_five], rows=3, selector=SELECTOR)


def test_the_same_seed_and_any_number_of_workers_give_the_same_table(store, features, table):
    again = uw.probing.sweep_many(store, features, ks=(1, 4), rows=500, workers=3, selector=SELECTOR)
    assert again.table() == table.table()
    other = uw.probing.sweep_many(store, features, ks=(1, 4), rows=500, seed=1, selector=SELECTOR)
    assert other.held_out != table.held_out


def test_units_of_a_featurizer_are_probed_in_its_coordinates(store, features, table):
    rows = store[SITE][:].double()
    rotated = random_rotation(48, seed=3, site=SITE)
    found = uw.probing.sweep_many(
        store, features, sites=SITE, featurizer=rotated, ks=(1, 4), rows=500, selector=SELECTOR
    )
    assert found.basis == "random"
    assert found.held_out == table.held_out
    feature = next(one for one in draw(store, features, table.config).features if one.name == "contains_digit")
    X = (rows @ rotated.read).numpy()[feature.index]
    held_out = np.isin(store.rows["document"][feature.index], found.held_out)
    slow = slow_probe(X.astype(np.float32), feature.values, held_out, 4)  # probes see float32, as the store keeps it
    probe = found.sweeps["contains_digit", SITE].probe(4)
    assert probe.support == slow.support
    assert probe.f1.value == pytest.approx(slow.f1, abs=1e-12)


def test_the_neuron_featurizer_is_the_site_itself(store, features, table):
    found = uw.probing.sweep_many(
        store, features, sites=SITE, featurizer=neurons(48, site=SITE), ks=(1, 4), rows=500, selector=SELECTOR
    )
    assert found.table() == [row for row in table.table() if row["site"] == SITE]


def test_a_featurizer_of_another_site_or_model_is_refused(store, in_unit_five):
    at_another = pca(store[OTHER][:], site=OTHER)
    with pytest.raises(InputError, match=f"belongs to {OTHER} but the sites are {SITE}: probe its units"):
        uw.probing.sweep_many(store, [in_unit_five], sites=SITE, featurizer=at_another, selector=SELECTOR)
    with pytest.raises(InputError, match=f"but the sites are {SITE}, {OTHER}"):
        uw.probing.sweep_many(store, [in_unit_five], featurizer=at_another, selector=SELECTOR)
    of_another = NeuronFeaturizer(width=48, site=SITE, provenance=Provenance(method="neurons", model="f" * 64))
    with pytest.raises(FingerprintError, match=r"fitted on another model \(ffffffffffff, the store is of"):
        uw.probing.sweep_many(store, [in_unit_five], sites=SITE, featurizer=of_another, selector=SELECTOR)


def test_progress_is_told_site_by_site(store, in_unit_five):
    from listeners import Recorder

    listener = Recorder()
    uw.probing.sweep_many(store, [in_unit_five], ks=(1,), progress=listener, selector=SELECTOR)
    assert listener.tasks == [("probe", 2, "site", 2)]


def test_inputs_are_not_written_to(store, in_unit_five):
    before = store.fingerprint, in_unit_five.index.copy(), in_unit_five.values.copy()
    uw.probing.sweep_many(store, [in_unit_five], ks=(1,), selector=SELECTOR)
    store.check()
    assert before[0] == store.fingerprint
    assert np.array_equal(before[1], in_unit_five.index)
    assert np.array_equal(before[2], in_unit_five.values)


def test_the_table_prints_saves_and_loads(tmp_path, table):
    assert (
        repr(table)
        == f"ProbeTable({len(table.features())} features x 2 sites, {len(table.skipped)} skipped, basis neurons)"
    )
    row = table.table()[0]
    assert (row["feature"], row["site"], row["basis"], row["k"]) == ("unit 5", SITE, "neurons", 1)
    uw.save(table, tmp_path / "table")
    again = uw.load(tmp_path / "table")
    assert again.table() == table.table()
    for name in ("skipped", "notes", "held_out", "config", "basis", "seconds"):
        assert getattr(again, name) == getattr(table, name)


def test_a_bound_on_memory_changes_nothing_and_is_stated_beforehand(store, features, table):
    from listeners import Recorder
    from unweave.probing.sweep_many import feature_blocks

    least = 4 * 48 * 2 * 500  # the rows of one feature, twice
    listener = Recorder()
    found = uw.probing.sweep_many(
        store, features, ks=(1, 4), rows=500, selector=SELECTOR, max_memory=least, workers=1, progress=listener
    )
    for one, two in zip(found.table(), table.table(), strict=True):
        assert one["support"] == two["support"]
        assert one["f1"] == pytest.approx(two["f1"], abs=1e-12)
    sample = draw(store, features, table.config)
    blocks, needed = feature_blocks(sample.features, 48, least)
    assert [one.name for block in blocks for one in block] == sorted(
        (one.name for one in sample.features),
        key=lambda name: (name == "unit 7", [one.name for one in sample.features].index(name)),
    )
    assert len(blocks) > 2
    assert needed <= max(least, max(8 * 48 * len(one.index) for one in sample.features))
    assert f"{len(blocks)} blocks a site" in listener.notes[0]


def test_one_site_and_feature_of_the_table_is_the_sweep_of_its_rows(store, features, in_unit_five):
    """The same search on the same rows and split."""
    table = uw.probing.sweep_many(store, [in_unit_five], sites=SITE, ks=(2,), rows=500, shuffles=2, bootstrap=100)
    probe = table.sweeps["unit 5", SITE].probe(2)
    one = draw(store, [in_unit_five], table.config).features[0]
    from unweave.probing.kernel import probe_all
    from unweave.probing.problem import Problem
    from unweave.tensors.splits import grouping

    documents = store.rows["document"][one.index]
    problem = Problem(
        labels=one.values,
        groups=grouping(documents, len(documents)),
        names=tuple(np.unique(documents).tolist()),
        held_out=np.isin(documents, table.held_out),
    )
    alone = probe_all(store[SITE][one.index].float(), problem, table.config)[0]
    assert (alone.support, alone.selector, alone.f1) == (probe.support, probe.selector, probe.f1)
    np.testing.assert_allclose(alone.coef, probe.coef, atol=1e-7)
