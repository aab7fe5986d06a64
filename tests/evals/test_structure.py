"""Reconstruction, sparsity, geometry, steadiness, unembedding: facts of the specification, planted truth, failures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import samples
import tiny
import unweave as uw
from unweave.errors import DataError, FingerprintError, InputError
from unweave.features import compare, neurons, pca, random_rotation, restrict
from unweave.features.affine import AffineFeaturizer
from unweave.tensors.linalg import random_orthogonal

V = uw.evals


def rows(seed=0, *, n=400, d=6):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 3


@pytest.mark.parametrize("scale", [1.0, 27.0, 30.0])
def test_the_unexplained_share_does_not_change_with_scale(scale):
    """Fact 4: h_hat = .9 h of zero mean explains .990 at every scale (the faulty formula gives .800 at 27)."""
    X = scale * np.random.default_rng(0).normal(size=(2000, 32))
    shrink = AffineFeaturizer(read=np.eye(32), write=0.9 * np.eye(32))
    found = V.reconstruction(shrink, X)
    assert 1 - found.fvu.value == pytest.approx(0.990, abs=2e-4)
    assert found.shrinkage.value == pytest.approx(0.9, abs=1e-12)
    assert found.length_ratio.value == pytest.approx(0.9, abs=1e-12)
    assert found.cosine.value == pytest.approx(1, abs=1e-12)


def test_the_unexplained_share_follows_from_the_covariance():
    """Fact 5, for an oblique map about the mean; projecting with write' write (trap T1) gives something else."""
    X = rows()
    read = np.random.default_rng(1).normal(size=(6, 3))
    oblique = AffineFeaturizer(read=read, origin=X.mean(0))
    from_rows = V.reconstruction(oblique, X).fvu.value
    sigma = np.cov(X.T)
    assert V.fvu_from_covariance(oblique, sigma) == pytest.approx(from_rows, rel=1e-12)
    skewed = AffineFeaturizer(read=read, write=read.T + 0.5, origin=X.mean(0))
    assert V.fvu_from_covariance(skewed, sigma) == pytest.approx(V.reconstruction(skewed, X).fvu.value, rel=1e-12)
    wrong = np.eye(6) - read @ read.T
    assert np.trace(wrong.T @ sigma @ wrong) / np.trace(sigma) != pytest.approx(from_rows, rel=0.1)
    with pytest.raises(InputError, match="a closed form needs a linear one"):
        V.fvu_from_covariance(samples.featurizers()["relu"], sigma)
    with pytest.raises(InputError, match=r"covariance has shape \(2, 2\)"):
        V.fvu_from_covariance(oblique, np.eye(2))


def test_a_covector_of_an_oblique_basis_is_not_its_vector():
    """Trap T1: what a unit adds is its write; adding the covector instead moves the other units."""
    oblique = samples.featurizers()["oblique"]
    h = torch.zeros(1, 6, dtype=torch.float64)
    z, _ = oblique.encode(h)
    by_write, _ = oblique.encode(h + oblique.write[1])
    assert torch.allclose(by_write - z, torch.tensor([[0.0, 1, 0, 0]], dtype=torch.float64), atol=1e-10)
    by_covector, _ = oblique.encode(h + oblique.read[:, 1] / oblique.read[:, 1].square().sum())
    assert float((by_covector - z)[0, [0, 2, 3]].abs().max()) > 0.1


def test_every_featurizer_can_be_measured():
    X = rows(2)
    for name, one in samples.featurizers().items():
        found = V.reconstruction(one, X, np.arange(400) // 10)
        assert found.fvu.low <= found.fvu.value <= found.fvu.high, name
        assert found.fvu.value >= found.fvu.control - 1e-9 or name in ("relu", "jump_relu", "top_k"), name
        used = V.sparsity(one, X, np.arange(400) // 10)
        assert 0 <= used.density.value <= 1
        assert used.l0.value == pytest.approx(used.density.value * used.units)
    with pytest.raises(DataError, match="the rows are all equal"):
        V.reconstruction(neurons(2), np.ones((5, 2)))
    with pytest.raises(InputError, match="width 2"):
        V.sparsity(neurons(2), X)


def test_sparsity_counts_what_is_there():
    X = np.array([[1.0, 0, -2, 0], [0, 0, 3, 0]])
    found = V.sparsity(neurons(4), X)
    assert (found.l0.value, found.l1.value, found.dead, found.units) == (1.5, 3.0, 0.5, 4)
    equal = V.sparsity(neurons(3), np.eye(3))
    assert equal.effective_rank == pytest.approx(3)


def test_behaviour_that_is_kept_is_recovered_and_what_is_not_is_not():
    model = tiny.model_of("gpt2")
    site, width = "blocks.0.resid_post", 32
    batches = [uw.Tokens(ids=tiny.ids_of(6, 9), mask=torch.ones(6, 9, dtype=torch.bool))]
    whole = V.behaviour_recovered(model, random_rotation(width, site=site), batches)
    assert whole.ce_zero.value == pytest.approx(1, abs=1e-3)
    assert whole.kl_mean.value == pytest.approx(1, abs=1e-3)
    nothing = AffineFeaturizer(read=np.zeros((width, 1)), write=np.zeros((1, width)), site=site)
    none = V.behaviour_recovered(model, nothing, batches)
    assert none.ce_zero.value == pytest.approx(0, abs=1e-6)
    assert none.losses[1] == pytest.approx(none.losses[2])
    plain = torch.nn.functional.cross_entropy(model(batches[0])[:, :-1].flatten(0, 1), batches[0].ids[:, 1:].flatten())
    assert whole.losses[0] == pytest.approx(plain.item(), abs=1e-5)
    with pytest.raises(InputError, match="does not predict the next token"):
        V.behaviour_recovered(tiny.model_of("bert"), random_rotation(width, site=site), batches)
    with pytest.raises(FingerprintError, match="fitted on another model"):
        V.behaviour_recovered(model, random_rotation(width, site=site, model="x" * 64), batches)
    with pytest.raises(InputError, match="give one site="):
        V.behaviour_recovered(model, random_rotation(width), batches)


def test_interference_is_blind_to_sign_and_length():
    read = np.random.default_rng(0).normal(size=(5, 3))
    one = AffineFeaturizer(read=np.eye(5)[:, :3], write=read.T)
    other = AffineFeaturizer(read=np.eye(5)[:, :3], write=read.T * np.array([[-2.0], [1], [0.3]]))
    assert V.interference(one).mean_size == pytest.approx(V.interference(other).mean_size)
    assert abs(V.interference(one).largest) == pytest.approx(abs(V.interference(other).largest))
    draws = np.random.default_rng(1).normal(size=(4000, 5))
    assert V.interference(one).null == pytest.approx(
        np.mean(np.abs(draws[:, 0]) / np.linalg.norm(draws, axis=1)), abs=0.02
    )
    with pytest.raises(InputError, match="two vectors are needed"):
        V.interference(neurons(1))


def test_dimensions_of_a_plane_and_of_a_circle():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(600, 2)) @ rng.normal(size=(2, 7))
    found = V.dimensionality(plane, np.arange(600) // 6)
    assert found.two_nn.low < 2 < found.two_nn.high + 0.1
    assert found.effective_rank.value <= 2 + 1e-9
    assert found.effective_rank.low <= found.effective_rank.value <= found.effective_rank.high + 1e-9
    eigenvalues = np.linalg.eigvalsh(np.cov(plane.T))
    assert found.effective_rank.value == pytest.approx(eigenvalues.sum() ** 2 / np.square(eigenvalues).sum())
    with pytest.raises(DataError, match="at least ten"):
        V.dimensionality(plane[:5])
    with pytest.raises(DataError, match="they fill no dimension"):
        V.dimensionality(np.ones((20, 2)))


def test_a_circle_is_read_and_noise_is_not():
    rng = np.random.default_rng(0)
    t = rng.uniform(0, 2 * np.pi, 400)
    X = np.stack([np.cos(t), np.sin(t)], 1) @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(400, 6))
    found = V.circularity(X, t, np.arange(400) // 8)
    assert found.low > 0.8
    assert found.control < 0.05
    assert found.p_value < 0.01
    assert V.circularity(X, t + 2 * np.pi, np.arange(400) // 8).value == pytest.approx(found.value)
    noise = V.circularity(rng.normal(size=(400, 6)), t, np.arange(400) // 8)
    assert noise.value < 0.1
    with pytest.raises(InputError, match="one finite angle a row is needed"):
        V.circularity(X, t[1:])


def test_dependence_is_found_between_the_blocks_that_share():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 4))
    X[:, 2] = X[:, 0] + 0.4 * X[:, 2]
    rotation = random_orthogonal(4, seed=0)
    turned = AffineFeaturizer(read=rotation, blocks=(2, 1, 1), gauge="rotation")
    found = V.subspace_dependence(turned, torch.from_numpy(X) @ rotation.T, pairs=[(0, 1), (0, 2)], shuffles=9)
    assert found[0, 1].p_value == 0.1
    assert found[0, 1].nats > 0.5 > found[0, 2].nats
    assert abs(found[0, 1].null) < 0.15
    assert found[0, 1].nats_a_dimension == pytest.approx(found[0, 1].nats / 3)
    with pytest.raises(InputError, match="dependence is between two"):
        V.subspace_dependence(AffineFeaturizer(read=np.eye(4), blocks=(4,)), X)


def test_steadiness_is_blind_to_the_gauge_and_random_spans_are_at_chance():
    base = restrict(random_rotation(40, seed=0), range(6))
    inner = random_orthogonal(6, seed=1)
    turned = AffineFeaturizer(read=base.read @ inner, blocks=(6,), gauge="rotation")
    whole = AffineFeaturizer(read=base.read, blocks=(6,), gauge="rotation")
    same = V.steadiness([whole, turned])
    assert same.mean_overlap == pytest.approx(1, abs=1e-10)
    assert float(same.largest_angle.max()) < 1e-6
    others = V.steadiness([restrict(random_rotation(40, seed=seed), range(6)) for seed in range(8)])
    assert others.null == pytest.approx(6 / 40)
    assert others.mean_overlap == pytest.approx(6 / 40, abs=0.05)
    one, two = (restrict(random_rotation(40, seed=seed), range(6)) for seed in (1, 2))
    distance = compare(one, two).projector_distance
    assert distance**2 == pytest.approx(12 - 2 * 6 * V.steadiness([one, two]).mean_overlap)  # fact 8
    direction = uw.Direction(vector=np.arange(1.0, 5))
    assert V.steadiness([direction, -3 * direction]).mean_overlap == pytest.approx(1)
    with pytest.raises(InputError, match="1 fit: at least two"):
        V.steadiness([base])
    with pytest.raises(InputError, match="a int has no span"):
        V.steadiness([1, 2])


def test_a_direction_is_steady_over_documents_if_there_is_one():
    rng = np.random.default_rng(0)
    y = rng.random(600) < 0.5
    X = rng.normal(size=(600, 20))
    groups = np.arange(600) // 10
    noise = V.steadiness_over_data(uw.directions.mean_difference, X, y, groups)
    X[:, 4] += 2 * y
    signal = V.steadiness_over_data(uw.directions.mean_difference, X, y, groups)
    assert signal.mean_overlap > 0.7 > 0.35 > noise.mean_overlap
    assert V.steadiness_over_data(lambda part: pca(part, rank=2), X, groups=groups).fits == 4
    with pytest.raises(DataError, match="3 groups cannot be divided into 4 parts"):
        V.steadiness_over_data(uw.directions.mean_difference, X, y, np.arange(600) // 200)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_direction_that_is_a_token_spells_it_and_a_random_one_is_ordinary(family):
    model = tiny.model_of(family)
    weight = model.module.get_output_embeddings().weight.detach()
    token = uw.Direction(vector=20 * weight[7] / weight[7].norm())
    X = torch.randn(40, 32, generator=torch.Generator().manual_seed(0))
    spelt = V.unembedding(model, token, X)
    assert spelt.raw.percentile < 2
    assert 7 in [one for one, _ in spelt.raises[:2]]
    assert spelt.norm == pytest.approx(20)
    chance = V.unembedding(model, uw.Direction(vector=np.random.default_rng(5).normal(size=32)), X, seed=3)
    assert 1 < chance.raw.percentile < 99
    assert chance.raw.is_ordinary
    again = V.unembedding(model, 9 * token)
    assert again.normed.value == pytest.approx(V.unembedding(model, token).normed.value, abs=0.02)
    assert again.shift is None


def test_the_entropy_of_gaussian_logits(tmp_path):
    """Fact 18 at V = 20000, s = 1: log V - 1/2."""
    from unweave.evals.reading.unembedding import _entropies

    logits = torch.randn(1, 20000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert _entropies(logits)[0] == pytest.approx(np.log(20000) - 0.5, abs=0.03)
    assert _entropies(torch.zeros(1, 7))[0] == pytest.approx(np.log(7))
    found = V.unembedding(tiny.model_of("gpt2"), uw.Direction(vector=np.ones(32)))
    loaded = uw.load(uw.save(found, tmp_path / "u"))
    assert loaded == found


def test_what_cannot_be_unembedded_is_refused():
    model = tiny.model_of("gpt2")
    direction = uw.Direction(vector=np.ones(32))
    with pytest.raises(InputError, match="the model has no unembedding"):
        V.unembedding(tiny.model_of("bert"), direction)
    with pytest.raises(InputError, match="the direction has width 3 but the unembedding 32"):
        V.unembedding(model, uw.Direction(vector=np.ones(3)))
    with pytest.raises(InputError, match="a zero direction has no unembedding"):
        V.unembedding(model, 0 * direction)
    with pytest.raises(InputError, match="a percentile needs at least 200"):
        V.unembedding(model, direction, draws=50)
    from unweave.features.featurizer import Provenance

    other = uw.Direction(vector=np.ones(32), provenance=Provenance(model="x" * 64))
    with pytest.raises(FingerprintError, match="the direction is of another model"):
        V.unembedding(model, other)
