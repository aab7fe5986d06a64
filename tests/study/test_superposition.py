"""The hand-over of a superposition model: the true dictionary is recovered whole, others are not."""

import numpy as np
import pytest
import torch

from unweave.features.affine import AffineFeaturizer
from unweave.study.superposition.handover import _interaction, absorbed, method_scores, recovery
from unweave.superposition.bags import bags
from unweave.superposition.handover import as_world
from unweave.superposition.linear import closed_form

RNG = np.random.default_rng(0)
LINES = [" ".join(RNG.choice(["cat", "dog", "owl", "fox", "hen", "ant", "bee", "cow"], 2)) for _ in range(400)]
BAGS = bags(["\n".join(LINES[k : k + 10]) for k in range(0, 400, 10)], vocab=8, window=1, split=None)


def test_the_true_dictionary_is_recovered_and_random_directions_are_not():
    world = as_world(closed_form(BAGS, width=4), BAGS)
    assert abs(recovery(world.features, world) - 1) < 1e-9
    assert recovery(np.eye(4)[:1], world) < 0.9
    assert absorbed(world.features, world) == 0
    assert absorbed(np.ones((1, 4)) * world.features[:1], world, threshold=0.01) > 0.5


@pytest.mark.slow
def test_methods_are_scored_on_a_model_that_is_handed_over():
    model = closed_form(BAGS, width=4)
    world = as_world(model, BAGS)
    mine = {"mine": AffineFeaturizer(read=world.features.T.copy(), write=world.features.copy())}
    scores = method_scores(world, BAGS.documents, words=[0, 1], model=model, more=mine, steps=10)
    rows = {row["basis"]: row for row in scores}
    plain = {"axes", "principal components", "NDM", "interaction basis", "sparse dictionary", "random rotation"}
    assert set(rows) == plain | {"true dictionary", "mine"}
    assert rows["true dictionary"]["recovery"] > 0.999
    assert rows["mine"]["recovery"] == rows["true dictionary"]["recovery"]
    assert rows["sparse dictionary"]["recovery"] > rows["random rotation"]["recovery"]
    assert (
        rows["true dictionary"]["f1 of 1"] >= max(rows[name]["f1 of 1"] for name in ("axes", "random rotation")) - 0.05
    )


def test_the_interaction_basis_of_a_linear_model_is_that_of_its_reconstruction():
    """Its importances are the eigenvalues of the covariance of what is reconstructed."""
    model = closed_form(BAGS, width=4)
    world = as_world(model, BAGS)
    units = _interaction(world, model).encode(torch.from_numpy(world.x))[0].numpy()
    told = np.linalg.eigvalsh(np.cov(model.reconstruct(BAGS.dense()).T, bias=True))[::-1][:4]
    assert np.allclose(np.square(units).mean(0), told, rtol=1e-4)
