"""The evidence of a sweep over a store: each part is that of its own verb on the same rows and split."""

import dataclasses

import numpy as np
import pytest
import torch

import unweave as uw
from unweave.activations.labels import groups_of
from unweave.errors import InputError
from unweave.probing.evidence import EvidenceConfig, _Place, _tokens
from unweave.probing.problem import Problem
from unweave.probing.sampling import draw
from unweave.probing.token_baseline import token_control
from unweave.tensors.splits import grouping

SITES = ("blocks.0.mlp_act", "blocks.1.resid_post")
FEW = EvidenceConfig(shuffles=19, candidates=5, rotations=2, tasks=2, coordinates=2, matched=2)
OPTIONS = {"ks": (1, 2), "selector": "std_mean_diff", "shuffles": 2, "bootstrap": 200}


@pytest.fixture(scope="module")
def table(store, in_unit_five, about_documents):
    return uw.probing.sweep_many(store, [in_unit_five, about_documents], sites=SITES, **OPTIONS)


@pytest.fixture(scope="module")
def found(store, in_unit_five, about_documents, table):
    return uw.probing.evidence(store, [in_unit_five, about_documents], table=table, options=FEW)


def test_the_planted_unit_wins_at_its_site(found):
    one = found.of("unit 5")
    assert (one.winner.site, one.winner.unit) == (SITES[0], 5)
    assert one.winner.honest.value > 0.9
    best = found.search.best[0]
    assert (best.feature, best.site, best.unit, best.p_adjusted) == ("unit 5", SITES[0], 5, 0.05)


def test_every_control_is_there_where_the_store_can_serve_it(found):
    names = {control.name for control in found.of("unit 5").controls}
    assert names == {"rotation", "random coordinates", "coordinates matched in spread", "selectivity"}
    assert {control.k for control in found.of("unit 5").controls} == {1, 2}
    documents = found.of("unit 7")
    assert {control.name for control in documents.controls} == names - {"selectivity"}
    assert documents.token_baseline is None
    assert set(documents.left_out) == {"selectivity", "token baseline"}
    assert all("rows are no tokens" in why for why in documents.left_out.values())


def test_scores_are_those_of_the_sweep(found, table):
    for feature in ("unit 5", "unit 7"):
        one = found.of(feature)
        sweep = table.sweeps[feature, one.winner.site]
        for probe in sweep.probes:
            assert one.auc[probe.k].value == pytest.approx(probe.auc, abs=1e-9)
            for name in ("f1", "mcc", "precision", "recall"):
                reference = probe.f1.value if name == "f1" else getattr(probe, name)
                assert probe.metrics[name] == pytest.approx(reference, abs=1e-9)


def test_the_token_baseline_is_its_own_verb(found, store, in_unit_five, about_documents, table):
    sample = draw(store, [in_unit_five, about_documents], table.config)
    feature = sample.features[0]
    groups = groups_of(feature, store)
    held_out = np.isin(groups, table.held_out)
    problem = Problem(
        labels=feature.values, groups=grouping(groups, len(groups)), names=tuple(np.unique(groups).tolist()),
        held_out=held_out,
    )  # fmt: skip
    nothing = torch.zeros(0, 1)
    place = _Place(store=store, feature=feature, rows=nothing, problem=problem, probes={}, config=table.config)
    ids, before = _tokens(place)
    for row, token, previous in zip(feature.index[:50], ids, before, strict=False):
        assert store.rows["token_id"][row] == token
        first = row == 0 or store.rows["document"][row - 1] != store.rows["document"][row]
        assert previous == (-1 if first else store.rows["token_id"][row - 1])
    own = token_control(ids, before, problem, table.config)
    assert own == found.of("unit 5").token_baseline


def test_tables_have_a_row_each_and_it_saves(found, tmp_path):
    assert len(found.table()) == 2 * 4 + 2 * 3
    assert [row["feature"] for row in found.winners()] == ["unit 5", "unit 7"]
    again = uw.load(uw.save(found, tmp_path / "evidence"))
    assert again.table() == found.table()
    assert again.search.table() == found.search.table()


def test_nothing_asked_for_is_nothing_done(store, in_unit_five, table, about_documents):
    none = EvidenceConfig(shuffles=0, candidates=1, rotations=0, tasks=0, coordinates=0, matched=0, tokens=False)
    found = uw.probing.evidence(store, [in_unit_five, about_documents], table=table, options=none)
    assert found.table() == []
    assert found.of("unit 5").token_baseline is None
    assert found.of("unit 5").left_out == {}


def test_the_same_for_any_number_of_workers(store, in_unit_five, about_documents, table, found, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    again = uw.probing.evidence(store, [in_unit_five, about_documents], table=table, options=FEW)
    assert again.table() == found.table()
    assert again.winners() == found.winners()


def test_another_table_is_refused(store, in_unit_five, about_documents, table):
    with pytest.raises(
        InputError, match=r"these give .* or another split: give the store and features that were swept"
    ):
        uw.probing.evidence(store, [in_unit_five], table=table)
    rotated = uw.probing.sweep_many(
        store, [in_unit_five], sites=SITES[0], featurizer=uw.NeuronFeaturizer(width=48, site=SITES[0]), **OPTIONS
    )
    other = dataclasses.replace(rotated, basis="pca")
    with pytest.raises(InputError, match="the table is of the basis 'pca': controls of a store are of its neurons"):
        uw.probing.evidence(store, [in_unit_five], table=other)
    with pytest.raises(InputError, match="no evidence for 'x': there is for unit 5, unit 7"):
        uw.probing.evidence(store, [in_unit_five, about_documents], table=table, options=FEW).of("x")
