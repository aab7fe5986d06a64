"""Logistic read-outs, factors, alignments and bundles: twins, planted truth, wrong input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import laws_directions as laws
import laws_features
import tiny
import unweave as uw
from unweave.errors import DataError, FingerprintError, InputError
from unweave.features.nonnegative import NonNegativeFeaturizer

D = uw.directions


def test_logistic_is_that_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    X, y = laws.classes(0, n=300, d=6)
    found = D.logistic(X, y, lams=(2.0,))
    standard = (X - X.mean(0)) / X.std(0)
    model = LogisticRegression(C=0.5, class_weight="balanced", tol=1e-10, max_iter=5000).fit(standard, y)
    np.testing.assert_allclose(
        found.score(torch.from_numpy(X)).numpy(), model.decision_function(standard), rtol=0, atol=1e-5
    )
    assert found.provenance.warnings == ()
    assert "lam 2, gap" in found.provenance.method


def test_the_penalty_is_chosen_on_folds_of_groups():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 10)), rng.random(200) < 0.5
    noise = D.logistic(X, y, groups=np.arange(200) // 5)
    assert "lam 1000" in noise.provenance.method  # there is nothing to learn
    X[:, 0] += 3 * y
    assert "lam 1000" not in D.logistic(X, y, groups=np.arange(200) // 5).provenance.method
    with pytest.raises(InputError, match="lams is empty"):
        D.logistic(X, y, lams=())


def test_a_constant_column_is_not_read():
    X, y = laws.classes(1, n=100, d=4)
    X[:, 2] = 7.0
    assert D.logistic(X, y).covector[2] == 0


def test_svd_is_about_zero_and_orthonormal():
    X = np.random.default_rng(0).normal(size=(60, 5)) + 3
    found = D.svd(X, rank=3)
    laws_features.round_trip_law(found)
    assert abs(laws.cosine(found.read[:, 0], X.mean(0))) > 0.95  # the mean comes first
    assert abs(laws.cosine(found.read[:, 1], np.linalg.svd(X)[2][1])) > 1 - 1e-10


def test_ica_finds_independent_sources_up_to_order_and_scale():
    rng = np.random.default_rng(0)
    sources = rng.uniform(-1, 1, size=(1500, 3))
    mixing = rng.normal(size=(3, 3))
    found = D.ica(sources @ mixing + 5)
    laws_features.round_trip_law(found)
    alike = np.abs(found.write.numpy() @ mixing.T) / np.outer(
        np.linalg.norm(found.write.numpy(), axis=1), np.linalg.norm(mixing, axis=1)
    )
    assert np.sort(alike.max(1))[0] > 0.99
    z, residual = found.encode(torch.from_numpy(sources @ mixing + 5))
    assert float(residual.abs().max()) < 1e-9  # lossless: the write is the mixing, not the transpose of the read
    assert float(z.std(0).sub(1).abs().max()) < 1e-2


def test_ica_that_has_not_enough_dimensions_says_so():
    flat = np.outer(np.arange(20.0), [1, 2, 3])
    with pytest.raises(DataError, match="span fewer than 2 dimensions"):
        D.ica(flat, rank=2)
    with pytest.raises(InputError, match=r"rank is 9 but 20 rows of width 3 allow 1\.\.3"):
        D.svd(flat, rank=9)


def test_nmf_amounts_are_those_of_scipy():
    from scipy.optimize import nnls

    rng = np.random.default_rng(0)
    X = rng.random((60, 2)) @ np.array([[1.0, 1, 0, 0], [0, 0, 2, 1]])
    found = D.nmf(X, rank=2)
    rows = torch.from_numpy(rng.normal(size=(20, 4)))
    z, _ = found.encode(rows)
    expected = np.stack([nnls(found.write.numpy().T, row)[0] for row in rows.numpy()])
    np.testing.assert_allclose(z.numpy(), expected, atol=1e-8)
    laws_features.round_trip_law(found)
    assert float(found.encode(torch.from_numpy(X))[1].abs().max()) < 0.02
    with pytest.raises(DataError, match="below 0: non-negative factors need non-negative rows"):
        D.nmf(-X, rank=2)
    with pytest.raises(InputError, match="an entry below 0 or a part that is zero"):
        NonNegativeFeaturizer(write=[[1.0, 0.0], [0.0, 0.0]])
    with pytest.raises(InputError, match=r"write has shape \(3,\)"):
        NonNegativeFeaturizer(write=[1.0, 0.0, 1.0])


def planted(n=256, d=6, seed=0):
    """A network whose class is the sign of one oblique direction, and interchange pairs of it."""
    generator = torch.Generator().manual_seed(seed)
    base, source = torch.randn(2, n, d, generator=generator, dtype=torch.float64)
    axis = torch.randn(d, generator=generator, dtype=torch.float64)
    axis /= axis.norm()

    def forward(h, _rows):
        score = 4 * h @ axis
        return torch.stack([-score, score], 1)

    return forward, base, source, (source @ axis > 0).long(), axis


def test_das_finds_the_direction_that_the_network_uses():
    forward, base, source, labels, axis = planted()
    found = D.das(forward, base, source, labels, rank=1, steps=150, lr=0.03, site="fc", model="m")
    assert abs(laws.cosine(found.read[:, 0], axis)) > 0.99
    assert (found.blocks, found.site, found.provenance.model) == ((1,), "fc", "m")
    assert found.provenance.warnings == ()
    laws_features.round_trip_law(found)
    again = D.das(forward, base, source, labels, rank=1, steps=150, lr=0.03)
    assert torch.equal(found.read, again.read)


def test_boundless_das_learns_how_many_dimensions():
    forward, base, source, labels, axis = planted()
    found = D.boundless_das(forward, base, source, labels, steps=250, lr=0.03, penalty=0.5)
    assert found.blocks[0] <= 2
    assert float((found.read[:, : found.blocks[0]].T @ axis).norm()) > 0.97
    assert sum(found.blocks) == 6


def test_das_takes_a_section_of_a_plain_module_and_no_other():
    _, base, source, labels, axis = planted()
    head = torch.nn.Linear(6, 2, bias=False).double()
    with torch.no_grad():
        head.weight.copy_(torch.stack([-4 * axis, 4 * axis]))
    model = uw.load_model(torch.nn.Sequential(torch.nn.Identity(), head))
    found = D.das(model.section("1:in", "1"), base, source, labels, rank=1, steps=120, lr=0.03)
    assert abs(laws.cosine(found.read[:, 0], axis)) > 0.98
    part = tiny.model_of("gpt2").section("blocks.0.resid_post", "logits")
    with pytest.raises(InputError, match="needs the other tokens too: take interchange_forward"):
        D.das(part, base, source, labels, rank=1)
    with pytest.raises(InputError, match="forward is a int"):
        D.das(3, base, source, labels, rank=1)


def test_das_says_when_it_has_found_nothing():
    _, base, source, labels, _ = planted(n=32)
    found = D.das(lambda h, _rows: 0 * h[:, :2], base, source, labels, rank=1, steps=5)
    assert "the loss did not fall" in found.provenance.warnings[0]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_model_from_a_site_on_is_the_model(side):
    from unweave.models.tokens import Tokens, pad

    model = tiny.model_of("gpt2")
    ids, mask = pad([[5, 6, 7], [8, 9, 10, 11, 12]], side=side)
    batch = Tokens(ids=ids, mask=mask)
    rows, forward = D.interchange_forward(model, "blocks.0.resid_post", batch, positions=[1, -2])
    expected = torch.stack([model(torch.tensor([[5, 6, 7]]))[0, -1], model(torch.tensor([[8, 9, 10, 11, 12]]))[0, -1]])
    torch.testing.assert_close(forward(rows, torch.arange(2)), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(forward(rows[1:], torch.tensor([1])), expected[1:], atol=1e-5, rtol=0)
    free = rows.clone().requires_grad_(True)
    assert float(torch.autograd.grad(forward(free, torch.arange(2)).square().sum(), free)[0].abs().max()) > 0
    with pytest.raises(InputError, match="sequence 0 has 3 tokens: the position 4 is outside of it"):
        D.interchange_forward(model, "blocks.0.resid_post", batch, positions=4)
    with pytest.raises(InputError, match="the model has no logits"):
        D.interchange_forward(tiny.model_of("bert"), "blocks.0.resid_post", batch)


def test_alignments_say_what_is_wrong():
    forward, base, source, labels, _ = planted(n=8)
    for changes, message in (
        ((base, source[:4], labels), "base is .* but source is"),
        ((base, source, labels[:3]), "one whole number a pair is needed"),
        ((base, source, labels.double()), "one whole number a pair is needed"),
    ):
        with pytest.raises(InputError, match=message):
            D.das(forward, *changes, rank=1)
    with pytest.raises(InputError, match=r"rank is 7 but the width is 6"):
        D.das(forward, base, source, labels, rank=7)
    with pytest.raises(InputError, match=r"forward got 8 rows and returned shape \(8,\)"):
        D.das(lambda h, _rows: h[:, 0], base, source, labels, rank=1)
    with pytest.raises(DataError, match="1 pair: an alignment needs at least two"):
        D.das(forward, base[:1], source[:1], labels[:1], rank=1)


SITES = ("blocks.0.resid_post", "blocks.1.resid_post")


def bundle(seed=0, **options):
    rng = np.random.default_rng(seed)
    rows = {site: rng.normal(size=(20, 3)) for site in SITES}
    return D.per_site(lambda X: D.mean_difference(X, np.arange(20) % 2), rows, **options), rows


def test_a_direction_a_layer_is_one_thing(tmp_path):
    found, rows = bundle(model="m" * 64)
    assert [str(site) for site in found] == list(SITES)
    for site in SITES:
        alone = D.mean_difference(rows[site], np.arange(20) % 2)
        assert torch.equal(found[site].vector, alone.vector)
        assert (found[site].site, found[site].provenance.model) == (site, "m" * 64)
    loaded = uw.load(uw.save(found, tmp_path / "bundle"))
    assert all(torch.equal(loaded[site].vector, found[site].vector) for site in SITES)
    assert found.kind == loaded.kind == "direction"


def test_bundles_have_the_algebra_of_their_directions():
    one, two = bundle(0)[0], bundle(1)[0]
    both = (2 * one - two) / 4
    for site in SITES:
        torch.testing.assert_close(both[site].vector, (2 * one[site].vector - two[site].vector) / 4)
        assert one.normalised()[site].norm == pytest.approx(1)
    with pytest.raises(TypeError, match="a bundle of featurizers has no algebra"):
        2 * uw.Bundle(parts={"fc": uw.features.neurons(2)})
    with pytest.raises(InputError, match="the same ones are needed"):
        one + uw.Bundle(parts={"fc": uw.Direction(vector=[1.0])})
    with pytest.raises(TypeError, match="a bundle and a int do not add up"):
        one + 1


def test_bundles_are_of_one_kind_and_one_model():
    with pytest.raises(InputError, match="kinds direction, read-out: a bundle is of one kind"):
        uw.Bundle(parts={"a": uw.Direction(vector=[1.0]), "b": uw.Readout(covector=[1.0])})
    first, _ = bundle(model="m")
    other, _ = bundle(model="o")
    with pytest.raises(FingerprintError, match="different models"):
        first + other
    with pytest.raises(InputError, match="what stands under a is a int"):
        uw.Bundle(parts={"a": 3})


def test_pairs_a_layer_and_what_goes_wrong_at_one():
    rng = np.random.default_rng(0)
    plus = {site: rng.normal(size=(8, 3)) + 1 for site in SITES}
    minus = {site: rng.normal(size=(8, 3)) for site in SITES}
    found = D.per_site(D.contrast_pca, plus, minus)
    assert torch.equal(found[SITES[1]].vector, D.contrast_pca(plus[SITES[1]], minus[SITES[1]]).vector)
    with pytest.raises(InputError, match="the mappings have the sites"):
        D.per_site(D.contrast_pca, plus, {SITES[0]: minus[SITES[0]]})
    with pytest.raises(DataError, match=r"at blocks\.0\.resid_post: the pairs do not differ"):
        D.per_site(D.contrast_pca, plus, plus)
    with pytest.raises(InputError, match="fit returned a int"):
        D.per_site(lambda _: 3, plus)
