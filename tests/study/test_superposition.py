"""The hand-over of a superposition model: the true dictionary is recovered whole, others are not."""

import numpy as np
import pytest

from unweave.study.superposition.handover import absorbed, method_scores, recovery
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
    world = as_world(closed_form(BAGS, width=4), BAGS)
    rows = {row["basis"]: row for row in method_scores(world, BAGS.documents, words=[0, 1], steps=10)}
    assert set(rows) == {"axes", "principal components", "NDM", "random rotation", "true dictionary"}
    assert rows["true dictionary"]["recovery"] > 0.999
    assert (
        rows["true dictionary"]["f1 of 1"] >= max(rows[name]["f1 of 1"] for name in ("axes", "random rotation")) - 0.05
    )
