"""Searches over supports: the planted is found, families equal slow twins, `auto` sees training rows only."""

import functools

import numpy as np
import pytest
import torch

import unweave as uw
from unweave.probing.auto import winners
from unweave.probing.choosing import choose
from unweave.probing.families import FAMILIES, Block, model_at
from unweave.probing.paths import entry_order
from unweave.probing.screening import gathered, pools, screens
from unweave.tensors.logistic import balanced_weights, fit_many, hessian, solve
from unweave.tensors.splits import grouping
from unweave.worlds import planted


def hidden(seed=0, n=600, d=24):
    """A label that is the sign of a sum of three columns, beside four columns that each know more than one of them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    drive = (X[:, 3] + X[:, 9] - X[:, 17]) / np.sqrt(3)
    X[:, 18:22] = drive[:, None] + 0.9 * rng.normal(size=(n, 4))
    y = drive + 0.1 * rng.normal(size=n) > 0.5
    return X, y, np.arange(n) // 10


def block_of(X, y, width=None):
    rows = torch.from_numpy(X)
    found = screens(rows, y[None], np.zeros(len(X), dtype=np.int64))
    pool = pools(found, 0, width or X.shape[1])
    design = gathered(rows, pool[0], found)[None]
    signs = torch.from_numpy(np.where(y, 1.0, -1.0))[None]
    weights = balanced_weights(signs, torch.ones_like(signs, dtype=torch.bool))
    return Block(design=design, signs=signs.float(), weights=weights.float(), lam=1.0), pool[0]


@pytest.mark.parametrize("family", ["telescope", "backward", "swap"])
def test_searches_find_columns_that_only_together_tell_the_label(family):
    X, y, _ = hidden()
    block, pool = block_of(X, y)
    nested = set(pool[:3].tolist())
    assert not {3, 9, 17} & nested  # the screen alone prefers the four others
    found = FAMILIES[family](block, (1, 3))
    assert set(pool[found[3][0]].tolist()) == {3, 9, 17}
    assert found[1].shape == (1, 1)


def test_a_forward_step_is_the_column_with_the_lowest_loss():
    X, y, _ = hidden(n=300, d=12 + 10)
    block, pool = block_of(X, y)
    found = FAMILIES["forward"](block, (1, 2, 3))
    standard = block.design[0, :-1].T.double()
    for k in (1, 2, 3):
        before = found[k - 1][0].tolist() if k > 1 else []
        trials = torch.tensor([[*before, one] for one in range(len(pool)) if one not in before])
        many = len(trials)
        fits = fit_many(standard, block.signs.expand(many, -1), block.weights.expand(many, -1), trials)
        assert found[k][0].tolist() == trials[int(fits.loss.argmin())].tolist()


def test_the_model_of_the_loss_is_its_second_order_expansion():
    X, y, _ = hidden(n=200)
    block, _ = block_of(X, y, 6)
    block = Block(design=block.design.double(), signs=block.signs.double(), weights=block.weights.double(), lam=1.0)
    support = torch.tensor([[1, 4]])
    design = block.design[:, [1, 4, -1]]
    fit = solve(design, block.signs, block.weights, 1.0)
    model, slope = model_at(block, support, fit)
    whole = hessian(block.design, block.signs, block.weights, 1.0, fit.scores)[0]
    beta = torch.zeros(7, dtype=torch.float64)
    beta[[1, 4, 6]] = fit.beta[0]
    pull = (block.weights * block.signs * torch.sigmoid(-block.signs * fit.scores))[0]
    gradient = -block.design[0] @ pull + torch.tensor([1.0] * 6 + [0.0]) * beta
    best = beta - torch.linalg.solve(whole, gradient)  # minimum of the expansion, intercept included
    torch.testing.assert_close(torch.linalg.solve(model[0], slope[0]), best[:-1], rtol=1e-6, atol=1e-9)


def test_the_l1_path_takes_columns_in_as_scikit_learns_does():
    from sklearn.linear_model import LogisticRegression

    X, y, _ = hidden(n=300)
    block, _ = block_of(X, y)
    order = entry_order(block, 4)[0, :4].tolist()
    rows = block.design[0, :-1].T.double().numpy()
    highest = float(block.at_zero[1].abs().max())
    entered = []
    for step in range(80):
        model = LogisticRegression(
            C=1 / (highest * 0.95 ** (step + 1)), l1_ratio=1.0, solver="saga",
            max_iter=5000, tol=1e-6, class_weight="balanced", random_state=0,
        ).fit(rows, y)  # fmt: skip
        size = np.abs(model.coef_[0])
        entered += [int(one) for one in np.argsort(-size) if size[one] > 1e-6 and one not in entered]
        if len(entered) >= 4:
            break
    assert set(order[:3]) == set(entered[:3])
    assert order[0] == entered[0]


def test_the_winner_is_the_best_on_folds_and_ties_go_by_surprise():
    score = torch.tensor([[[0.50, 0.60, 0.70]], [[0.52, 0.61, 0.73]], [[0.40, 0.41, 0.42]]], dtype=torch.float64)
    surprise = torch.ones_like(score)
    assert winners(score, surprise).tolist() == [1]  # steadily .02 ahead
    noisy = score.clone()
    noisy[1, 0] = torch.tensor([0.40, 0.61, 0.82])  # .01 ahead in the mean, far from a standard error
    assert winners(noisy, surprise).tolist() == [0]
    surprise[1] = 0.5
    assert winners(noisy, surprise).tolist() == [1]


def test_auto_finds_what_a_ranking_misses_and_says_how():
    X, y, groups = hidden(n=1200)
    run = functools.partial(uw.probing.sweep, X, y, groups=groups, ks=(3,), shuffles=2, bootstrap=100)
    searched, ranked = run().probe(3), run(selector="std_mean_diff").probe(3)
    assert set(searched.support) == {3, 9, 17}
    assert searched.f1.value > ranked.f1.value + 0.05
    assert searched.selector in ("least_squares", "telescope", "swap")
    assert ranked.selector == "std_mean_diff"
    assert searched.row()["selector"] == searched.selector


def test_shuffled_labels_search_for_themselves():
    """A control that kept the units of the true labels would miss the search over columns."""
    X, y, groups = hidden(n=400)
    labellings = np.stack([y, *(np.random.default_rng(seed).permutation(y) for seed in range(5))])
    found = choose(torch.from_numpy(X), labellings, grouping(groups, len(X)), (3,), selector="auto", lam=1.0, seed=0)
    assert set(found.supports[3][0].tolist()) == {3, 9, 17}
    assert len({tuple(sorted(support)) for support in found.supports[3].tolist()}) >= 5
    alone = choose(
        torch.from_numpy(X), labellings[:1], grouping(groups, len(X)), (3,), selector="auto", lam=1.0, seed=0
    )
    assert alone.supports[3].tolist() == found.supports[3][:1].tolist()


@pytest.mark.parametrize("selector", uw.probing.NAMES)
def test_every_selector_gives_a_probe_for_each_k(selector):
    X, y, groups = hidden(n=300, d=22)
    options = {"ks": (1, 2, 22), "selector": selector, "shuffles": 1, "bootstrap": 100, "coordinates": 1}
    found = uw.probing.sweep(X, y, groups=groups, **options)
    assert [probe.k for probe in found.probes] == [1, 2, 22]
    for probe in found.probes:
        assert len(set(probe.support)) == probe.k
        assert probe.converged
    again = uw.probing.sweep(X, y, groups=groups, **options)
    assert again.table() == found.table()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_planted_support_is_found_in_the_hard_setting(seed):
    """A smaller world than the benchmark's: 64 distractors that each tell more than any planted neuron."""
    world = planted("hard", 6000, 400, seed=seed)
    found = uw.probing.sweep(
        world.sites[0], world.labels[:, 0], groups=world.groups, ks=(8,), shuffles=0, bootstrap=100, coordinates=0
    ).probe(8)
    assert set(found.support) == set(world.members[0][0].tolist())


def test_few_groups_have_fewer_folds_and_one_class_only_groups_still_fit():
    X, y, _ = hidden(n=300)
    groups = np.arange(300) // 100
    assert uw.probing.sweep(X, y, groups=groups, ks=(2,), shuffles=2, bootstrap=100).probes
    labels = (np.arange(300) // 60) % 2 == 0  # a label for each of five documents
    assert uw.probing.sweep(X, labels, groups=np.arange(300) // 60, ks=(2,), shuffles=4, bootstrap=100).probes
