"""Scores of words: sampled values by the definition, laws of closed forms, regimes, shuffles, rings, clusters."""

import numpy as np
import pytest

import unweave as uw
from unweave.errors import DataError, InputError, UnknownName
from unweave.superposition.bags import bags
from unweave.superposition.clusters import clusters, ppmi_vectors, topics, word_clusters
from unweave.superposition.counterfactual import shuffle_contexts
from unweave.superposition.dataset import Matrix
from unweave.superposition.geometry import geometry, one_hot_r2
from unweave.superposition.handover import as_world, compare_geometry
from unweave.superposition.irreducible import irreducibility
from unweave.superposition.linear import closed_form, spectrum
from unweave.superposition.ring import data_ring_vectors, ring
from unweave.superposition.structure import off_diagonal
from unweave.superposition.training import train
from unweave.superposition.waterfall import better_than_alone, explain, heights

RNG = np.random.default_rng(0)
THEMES = [("sun", "beach", "sand", "sea"), ("snow", "ski", "ice", "cold"), ("code", "bug", "test", "loop")]


def themed(count):
    lines = []
    for _ in range(count):
        theme = THEMES[RNG.integers(3)]
        lines.append(" ".join([*RNG.choice(theme, 2), *RNG.choice(["red", "blue", "big"], 1)]))
    return lines


BAGS = bags(["\n".join(themed(10)) for _ in range(60)], vocab=20, window=2)
LINEAR = closed_form(BAGS, width=4)
RELU = train(BAGS, 4, epochs=150, batch=128, lr=0.01)


@pytest.mark.parametrize("model", [LINEAR, RELU], ids=["linear", "relu"])
def test_scores_are_those_of_the_definitions(model):
    found = geometry(model, BAGS, split="all")
    x = BAGS.dense().astype(np.float64)
    W, D = model.weight.astype(np.float64), model.decoder.astype(np.float64)
    z = x @ W.T @ D.T + model.bias
    out = np.maximum(z, 0) if model.activation == "relu" else z
    own = np.diag(D @ W)
    rest = z - model.bias - own * x
    for i, row in enumerate(found.table()):
        there = x[:, i] == 1
        lift = rest[there, i].mean() - rest[~there, i].mean()
        assert row["lift"] == pytest.approx(lift, abs=1e-6 if model is RELU else 1e-10)
        r2 = 1 - np.square(x[:, i] - out[:, i]).sum() / np.square(x[:, i] - x[:, i].mean()).sum()
        assert row["r2_context"] == pytest.approx(r2, abs=1e-6)
        assert row["constructive_share"] == pytest.approx(lift / (own[i] + lift), abs=1e-5)
        within = np.sqrt((rest[there, i].var() * there.sum() + rest[~there, i].var() * (~there).sum()) / len(x))
        assert row["dprime"] == pytest.approx((own[i] + lift) / within, rel=1e-4)
        assert row["lift_low"] < row["lift"] < row["lift_high"]
        assert row["r2_context_low"] <= row["r2_context"] <= row["r2_context_high"]
        others = x.sum(1) - x[:, i]
        design = np.stack([np.ones(len(x)), x[:, i], others], 1)
        slope = np.linalg.lstsq(design, rest[:, i], rcond=None)[0][1]
        assert row["lift_length"] == pytest.approx(slope, abs=1e-5)
    alone = W.T @ D.T + model.bias
    alone = np.maximum(alone, 0) if model.activation == "relu" else alone
    wanted = 1 - np.square(alone - np.eye(15)).sum(0) / (1 - 1 / len(alone))
    assert np.allclose(one_hot_r2(model), wanted, atol=1e-5)
    split = found.columns["error_self"] + found.columns["error_help"] + found.columns["error_cost"]
    if model is LINEAR:
        everything = geometry(closed_form(BAGS, width=4), BAGS, split="train")
        split = sum(everything.columns[f"error_{name}"] for name in ("self", "help", "cost"))
        assert split.mean() == pytest.approx(LINEAR.train_mse, abs=1e-12)


def test_help_of_closed_forms_is_never_negative_and_shuffled_contexts_have_no_lift():
    for width in (1, 3, 7):
        for l2 in (0.0, 0.1):
            found = geometry(spectrum(BAGS).model(width, l2), BAGS, split="train", draws=20)
            p = found.columns["p"]
            assert (found.columns["lift"] * p * (1 - p) >= -1e-12).all()
            error = found.columns["lift_null_sd"] / 20**0.5
            assert (np.abs(found.columns["lift_null"]) < 5 * error + 1e-9).mean() > 0.95


def test_linear_readout_is_ridge_regression():
    found = geometry(RELU, BAGS)
    train_rows, test_rows = (BAGS.take(BAGS.split(name), "float64") for name in ("train", "test"))
    h, t = RELU.encode(train_rows), RELU.encode(test_rows)
    scale = np.trace(np.cov(h.T, bias=True)) / 4
    gram = np.cov(h.T, bias=True) + found.ridge * scale * np.eye(4)
    beta = np.linalg.solve(gram, (h - h.mean(0)).T @ (train_rows - train_rows.mean(0)) / len(h))
    out = train_rows.mean(0) + (t - h.mean(0)) @ beta
    r2 = 1 - np.square(out - test_rows).mean(0) / test_rows.var(0)
    assert np.allclose(found.columns["r2_linear"], r2, atol=1e-6)
    counts = found.over_tau()
    assert all(sum(row[name] for name in ("linear", "nonlinear", "unresolved", "constant")) == 15 for row in counts)


def test_turning_the_latent_changes_no_score():
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(4, 4)))
    from dataclasses import replace

    turned = replace(LINEAR, weight=turn @ LINEAR.weight, decoder=LINEAR.decoder @ turn.T)
    one, two = geometry(LINEAR, BAGS).columns, geometry(turned, BAGS).columns
    for name, column in one.items():
        assert np.allclose(column, two[name], atol=1e-8, equal_nan=True), name


def test_shuffles_keep_the_word_and_break_the_rest():
    """Against every column permuted and the word put back by hand."""
    data = Matrix(x=BAGS.dense()[:80].astype(float), vocab=BAGS.vocab)
    found = shuffle_contexts(LINEAR, data, np.arange(80), draws=1, seed=4)
    mixed = np.random.default_rng([9, 4]).permuted(np.ascontiguousarray(data.x.T), axis=1).T
    word = 3
    context = mixed.copy()
    context[:, word] = data.x[:, word]
    error = np.square(LINEAR.reconstruct(context)[:, word] - data.x[:, word]).mean()
    plain = np.square(LINEAR.reconstruct(data.x)[:, word] - data.x[:, word]).mean()
    assert found.mse[word] == pytest.approx(error - plain, abs=1e-9)
    assert (shuffle_contexts(RELU, BAGS, BAGS.split("train")).mse > 0).mean() > 0.8


def test_rows_that_are_no_bags_have_no_lift():
    found = geometry(closed_form(3.5 * BAGS.dense(), width=3), 3.5 * BAGS.dense())
    assert np.isnan(found.columns["lift"]).all()
    assert "0 and 1" in found.warnings[0]
    with pytest.raises(InputError, match="the model has 15 words but the rows 3"):
        geometry(LINEAR, np.eye(3))
    with pytest.raises(UnknownName, match="tets"):
        geometry(LINEAR, BAGS, split="tets")


def test_geometry_is_saved_whole(tmp_path):
    found = geometry(LINEAR, BAGS)
    again = uw.load(uw.save(found, tmp_path / "geometry"))
    assert again.table()[0].keys() == found.table()[0].keys()
    assert np.array_equal(again.columns["lift"], found.columns["lift"])
    assert "MSE" in found.summary()


def polygon(count, noise, seed):
    angles = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angles), np.sin(angles)], 1) + noise * np.random.default_rng(seed).normal(size=(count, 2))


def test_the_ring_law():
    assert ring(polygon(12, 0, 0), draws=99).value == pytest.approx(1)
    noisy = ring(polygon(12, 0.1, 0))
    assert noisy.p_value <= 0.001
    assert noisy.order_found
    points = np.random.default_rng(1).normal(size=(6, 4))
    from itertools import permutations

    every = [ring(points[list(order)], draws=1).value for order in permutations(range(6))]
    assert np.mean(every) == pytest.approx(2 / 5)
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(4, 4)))
    base = ring(points, draws=1).value
    assert ring(np.roll(points, 2, 0)[::-1] @ turn, draws=1).value == pytest.approx(base)


def test_chances_of_random_vectors_are_uniform():
    from scipy.stats import kstest

    found = [ring(np.random.default_rng(n).normal(size=(8, 12)), draws=199, seed=n).p_value for n in range(200)]
    assert kstest(found, "uniform").pvalue > 0.001
    searched = ring(polygon(8, 0.05, 3)[np.random.default_rng(4).permutation(8)], ordered=False)
    assert searched.p_value < 0.05
    assert searched.value > 0.95


def test_rings_of_groups_of_words():
    found = ring(LINEAR, ["sun", "beach", "sand", "sea", "nowhere"], draws=99)
    assert found.words == ("sun", "beach", "sand", "sea")
    vectors, words = data_ring_vectors(BAGS, ["sun", "beach", "sand", "sea", "nowhere"])
    assert vectors.shape == (4, 4)
    assert words == ["sun", "beach", "sand", "sea"]
    with pytest.raises(DataError, match="a ring needs three"):
        ring(LINEAR, ["sun", "nowhere"])
    with pytest.raises(InputError, match="without a group"):
        ring(LINEAR)


def test_clusters_against_chance_and_what_counts_give():
    labels = {word: str(number) for number, theme in enumerate(THEMES) for word in theme}
    found = clusters(LINEAR, labels, rows=BAGS, found=spectrum(BAGS), neighbours=3, draws=100)
    names = [one.vectors for one in found.scores]
    assert names == ["model", "pca", "ppmi", "frequency"]
    assert found.scores[0].purity == 1
    assert found.scores[0].purity_p < 0.02
    assert found.scores[3].purity < 0.8
    assert found.excess <= 0.05
    assert len(set(topics(BAGS, 3).values())) == 3
    grouped, named = word_clusters(LINEAR, 4)
    assert len(named) == 4
    assert len(grouped) == 15
    assert ppmi_vectors(BAGS, 3).shape == (15, 3)
    with pytest.raises(DataError, match="two labels"):
        clusters(LINEAR, {"sun": "a"})


def test_the_silhouette_is_that_of_scikit_learn():
    from sklearn.metrics import silhouette_score

    points = RNG.normal(size=(30, 5))
    labels = np.arange(30) % 3
    found = clusters(points, labels.astype(str), draws=2).scores[0]
    assert found.silhouette == pytest.approx(silhouette_score(points, labels, metric="cosine"), abs=1e-9)


def test_irreducible_planes():
    square = irreducibility(RNG.uniform(-1, 1, size=(3000, 2)))
    circle = irreducibility(polygon(3000, 0.02, 0))
    assert circle.separability > 4 * square.separability
    assert circle.mixture < 0.3
    with pytest.raises(DataError, match="20 or more"):
        irreducibility(np.zeros((3, 2)))


def test_what_adds_up_to_a_word():
    context = "sun beach, red nowhere"
    found = explain(RELU, "sun", context)
    x = np.zeros((1, 15))
    for word in ("sun", "beach", "red"):
        x[0, RELU.vocab.index(word)] = 1
    assert found.total == pytest.approx(float(RELU.logits(x)[0, RELU.vocab.index("sun")]), abs=1e-6)
    assert found.output == pytest.approx(max(0, found.total))
    assert found.unknown == ("nowhere",)
    assert found.table(1)[-1]["end"] == pytest.approx(found.table(1)[-2]["end"])
    seen = heights(RELU, BAGS, "sun", split="all")
    assert len(seen.sums) == BAGS.dense()[:, BAGS.index["sun"]].sum()
    assert 0 <= better_than_alone(RELU, BAGS) <= 1
    with pytest.raises(UnknownName, match="snu"):
        explain(RELU, "snu", "sun")


def test_a_model_is_handed_over_as_a_world_and_a_featurizer():
    found = as_world(RELU, BAGS)
    assert np.allclose(found.x, found.latent @ found.features, atol=1e-5)
    x = BAGS.dense(0, 9, "float32")
    import torch

    units, residual = RELU.featurizer.encode(torch.from_numpy(RELU.encode(x)))
    assert np.allclose(units.numpy(), RELU.reconstruct(x), atol=1e-5)
    assert torch.allclose(RELU.featurizer.decode(units, residual), torch.from_numpy(RELU.encode(x)), atol=1e-5)
    own = {word: LINEAR.weight[:, place] for place, word in enumerate(LINEAR.vocab)}
    table = compare_geometry(LINEAR, own, BAGS, draws=20)
    assert [row["vectors"] for row in table] == ["model", "correlation", "ppmi"]
    assert table[0]["correlation"] == pytest.approx(1)
    assert off_diagonal(LINEAR, [0]) == 0
    with pytest.raises(InputError, match="a sigmoid model has no featurizer"):
        train(BAGS, 2, "sigmoid", epochs=1).featurizer  # noqa: B018
