"""The planted suite: what it prints, and that its worlds are what they claim. Its rates come from `unweave evaluate
planted`; a few claims of each kind are judged here.
"""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from unweave.errors import InputError, UnknownName
from unweave.evals import evaluate_planted
from unweave.evals.planted.language import TAG_AGAINST, TAG_FOR, style_world
from unweave.evals.planted.module import variable_world
from unweave.evals.planted.negative import NEGATIVE, PAIRS, SHARE, binomial_interval
from unweave.evals.planted.suite import NULLS, PLANTED


def test_a_test_gives_its_rates_with_their_numbers():
    found = evaluate_planted(seed=3, repeats=4, tests=["interchange effect"], calibration=1)
    (entry,) = found["tests"].values()
    assert set(entry) >= {"false_positive_rate", "power", "n", "calibration"}
    assert (entry["power"], entry["false_positive_rate"], entry["n"]) == (1.0, 0.0, 4)
    assert {(row["share"], row["pairs"]) for row in entry["calibration"]} == {
        (share, pairs) for share in (0.0, 0.2, 0.4, 0.6, 0.8) for pairs in (15, 60)
    }
    again = evaluate_planted(seed=3, repeats=4, tests=["interchange effect"], calibration=1)
    assert again["tests"] == found["tests"]
    with pytest.raises(UnknownName, match="nearest: 'mean ablation'"):
        evaluate_planted(tests=["mean ablations"])
    with pytest.raises(InputError, match="repeats is 0"):
        evaluate_planted(repeats=0)


@pytest.mark.parametrize("name", PLANTED)
def test_a_true_claim_is_supported_and_false_ones_are_not(name):
    run = PLANTED[name]
    assert run(1, "true", 0.8, 60)
    assert not all(run(1, kind, 0.8, 60) for kind in NULLS)


@pytest.mark.parametrize("name", NEGATIVE)
def test_a_card_supports_nothing_where_there_is_nothing(name):
    assert not all(NEGATIVE[name](seed, SHARE, PAIRS) for seed in (1, 2))


def test_the_interval_is_the_exact_binomial_one():
    for hits, count in ((0, 10), (3, 50), (10, 10)):
        expected = binomtest(hits, count).proportion_ci(method="exact")
        assert binomial_interval(hits, count) == pytest.approx([expected.low, expected.high], abs=1e-9)


def test_the_network_answers_by_its_variables_and_ignores_the_decoy():
    world = variable_world(seed=4)
    x, a, b = world.inputs(200, seed=0)
    assert float((world.model(x).argmax(1) == a).double().mean()) > 0.99
    about_b, _, b = world.inputs(200, seed=0, about="b")
    assert float((world.model(about_b).argmax(1) == 2 + b).double().mean()) == 1
    moved = x.clone()
    moved[:, 3] *= -1
    assert torch.allclose(world.model(moved), world.model(x))
    assert np.corrcoef(x[:, 3], a)[0, 1] > 0.7


def test_the_language_model_carries_its_style_on():
    world = style_world(seed=0)
    values = []
    for tag in (TAG_FOR, None, TAG_AGAINST):
        tokens, _, measure = world.continued(world.prompts(10, seed=0, tag=tag), seed=0)
        logits = world.model(tokens).detach()
        rows, columns = np.nonzero(
            tokens.mask.numpy() & (tokens.positions() >= 3).numpy() & (tokens.positions() < 11).numpy()
        )
        total = np.zeros((1, 10))
        score = measure.score(logits[None, rows, columns], torch.from_numpy(rows), torch.from_numpy(columns))
        measure.add_to(total, score, torch.from_numpy(rows))
        values.append(total.mean())
    assert values[0] > values[1] + 0.5 > values[2] + 1
