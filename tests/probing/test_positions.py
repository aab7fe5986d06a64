"""Where a token stands, from the rows of a store."""

import numpy as np
import pytest

import tiny
import unweave as uw
from unweave.errors import DataError, UnknownName

SITE = "blocks.0.resid_pre"


@pytest.fixture(scope="module")
def gpt2_store(tmp_path_factory):
    """A tiny model with learnt positions, over documents longer than a window."""
    model = tiny.text_model("gpt2")
    rng = np.random.default_rng(0)
    documents = [" ".join(rng.choice(["a", "the", "of", "x", "42"], size=60)) for _ in range(30)]
    return uw.collect(model, documents, SITE, tmp_path_factory.mktemp("positions") / "store", context=32)


def test_positions_count_from_the_beginning_of_the_window(gpt2_store):
    rows = gpt2_store.rows
    place = uw.probing.positions(gpt2_store, "abs")
    assert place.max() < 32 < rows["position"].max()
    for document in (0, 7):
        for sequence in np.unique(rows["sequence"][rows["document"] == document]):
            here = (rows["document"] == document) & (rows["sequence"] == sequence)
            assert place[here].tolist() == list(range(here.sum()))
    np.testing.assert_allclose(uw.probing.positions(gpt2_store), np.log2(place + 1))
    assert uw.probing.positions(gpt2_store, "norm_rel").mean() == pytest.approx(0, abs=1e-12)
    assert uw.probing.positions(gpt2_store, "norm_abs").std() == pytest.approx(1)
    assert uw.probing.positions(gpt2_store, "rel").mean() == pytest.approx(0, abs=1e-9)


def test_learnt_positions_are_read_from_the_residual_stream(gpt2_store):
    found = uw.probing.sweep_positions(gpt2_store, kind="abs", ks=(1, 16, 999), shuffles=2)[SITE]
    assert [probe.k for probe in found.probes] == [1, 16]
    assert found.probe(16).r2.low > max(0.3, found.probe(1).r2.value)
    assert found.probe(16).r2.control < 0.1
    again = uw.probing.sweep_positions(gpt2_store, kind="norm_rel", ks=(16,), shuffles=0, rows=500)[SITE]
    assert again.probe(16).n_train + again.probe(16).r2.n == 500


def test_what_has_no_position_is_refused(gpt2_store, tmp_path):
    import torch

    with pytest.raises(UnknownName, match="unknown kind of position 'logs'; nearest"):
        uw.probing.positions(gpt2_store, "logs")
    plain = uw.load_model(torch.nn.Sequential(torch.nn.Linear(3, 4)))
    store = uw.collect(plain, [torch.randn(5, 3) for _ in range(4)], "0", tmp_path / "plain")
    with pytest.raises(DataError, match="the rows of this store are no tokens"):
        uw.probing.positions(store)
