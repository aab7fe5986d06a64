"""The best site: chosen on one half of the groups and scored on the other; noise gains nothing from the choice."""

import dataclasses

import numpy as np
import pytest

from unweave.errors import InputError
from unweave.probing.best_site import best_sites, change, kind_of, mean_best, mean_best_difference
from unweave.probing.config import ProbeConfig
from unweave.probing.result import Probe, ProbeSweep, ProbeTable
from unweave.tensors.estimate import Estimate

CONFIG = ProbeConfig(ks=(1,), bootstrap=400)


def estimate(value, low=None, high=None):
    return Estimate(
        value=value, low=value if low is None else low, high=value if high is None else high, n=100, n_groups=40
    )


def f1(counts):
    tp, fp, fn = np.sum(counts, axis=0)
    return 2 * tp / max(2 * tp + fp + fn, 1)


def probe(groups, counts, k=1):
    value = f1(counts)
    return Probe(
        k=k, support=tuple(range(k)), coef=(1.0,) * k, bias=0.0, mean=(0.0,) * k, sd=(1.0,) * k, f1=estimate(value),
        mcc=0.0, auc=0.5, precision=0.5, recall=0.5, positive_rate=0.2, converged=True, separable=False, gap=0.0,
        n_train=10,
        groups=tuple(groups), counts=tuple(map(tuple, counts)),
    )  # fmt: skip


def table(counts, held_out, config=CONFIG):
    """(feature, site) -> counts of every held-out group."""
    sweeps = {
        key: ProbeSweep(probes=(probe(held_out, values),), labels=(False, True), width=4, config=config)
        for key, values in counts.items()
    }
    return ProbeTable(sweeps=sweeps, skipped={}, notes={}, held_out=tuple(held_out), config=config)


def draws(rng, groups, rate):
    """Counts of groups with ten positives and ten false alarms at most."""
    hits = rng.binomial(10, rate, groups)
    return [(int(tp), int(fp), 10 - int(tp)) for tp, fp in zip(hits, rng.binomial(10, 1 - rate, groups), strict=True)]


def test_a_site_that_is_best_everywhere_is_scored_as_it_is():
    rng = np.random.default_rng(0)
    counts = {("f", "blocks.0.mlp_act"): draws(rng, 40, 0.3), ("f", "blocks.1.mlp_act"): draws(rng, 40, 0.9)}
    (found,) = best_sites(table(counts, range(40)), 1).values()
    assert found.site == "blocks.1.mlp_act"
    assert found.counts == tuple(counts["f", "blocks.1.mlp_act"])
    assert found.f1.value == pytest.approx(f1(counts["f", "blocks.1.mlp_act"]), abs=1e-12) == found.naive
    assert found.optimism == pytest.approx(0.0, abs=1e-12)
    assert found.f1.low < found.f1.value < found.f1.high


def test_the_best_of_many_equal_sites_is_too_good_and_the_honest_score_is_not():
    """64 sites of one quality: the best by test score is above it, the cross-fitted one is it on average."""
    naive, honest, truth = [], [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        counts = {("f", f"blocks.{site}.mlp_act"): draws(rng, 24, 0.5) for site in range(64)}
        (found,) = best_sites(table(counts, range(24)), 1).values()
        naive.append(found.naive)
        honest.append(found.f1.value)
        truth.append(np.mean([f1(one) for one in counts.values()]))
    error = np.std(np.array(honest) - truth) / np.sqrt(40)
    assert np.mean(naive) - np.mean(truth) > 0.04
    assert abs(np.mean(honest) - np.mean(truth)) < 4 * error


def test_groups_that_a_feature_lacks_do_not_matter():
    rng = np.random.default_rng(1)
    counts = draws(rng, 20, 0.8)
    own = table({("f", "embed"): counts}, range(0, 40, 2))
    more = dataclasses.replace(own, held_out=tuple(range(40)))
    for one in (own, more):
        assert best_sites(one, 1)["f"].f1.value == pytest.approx(f1(counts), abs=1e-12)


def test_other_sizes_have_no_best_site():
    assert best_sites(table({("f", "embed"): draws(np.random.default_rng(0), 9, 0.5)}, range(9)), 2) == {}


def test_means_and_differences_are_those_of_the_features():
    rng = np.random.default_rng(2)
    strong = table({(name, "embed"): draws(rng, 60, 0.9) for name in "ab"}, range(60))
    weak = table({(name, "embed"): draws(rng, 60, 0.4) for name in "bc"}, range(60))
    one, other = best_sites(strong, 1), best_sites(weak, 1)
    assert mean_best(one, strong).value == pytest.approx(np.mean([one["a"].f1.value, one["b"].f1.value]), abs=1e-12)
    found = mean_best_difference(one, other, strong)
    assert found.value == pytest.approx(one["b"].f1.value - other["b"].f1.value, abs=1e-12)
    assert 0 < found.low < found.value < found.high
    with pytest.raises(InputError, match="no feature in common"):
        mean_best_difference({"a": one["a"]}, {"c": other["c"]}, strong)
    with pytest.raises(InputError, match="there is no mean"):
        mean_best({}, strong)


def test_the_change_of_equal_normal_intervals_is_the_textbook_one():
    """Symmetric intervals of half width h give sqrt(2) h."""
    found = change(estimate(0.4, 0.3, 0.5), estimate(0.6, 0.5, 0.7))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.2 - np.sqrt(2) / 10, 0.2 + np.sqrt(2) / 10))


def test_the_interval_of_a_change_covers_as_often_as_it_says():
    """Normal estimates with their 95 % intervals, 2,000 pairs: 95 % within 4 standard errors (.02)."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        first, last = rng.normal(0.5, 0.02), rng.normal(0.6, 0.05)
        half = (1.96 * 0.02, 1.96 * 0.05)
        found = change(
            estimate(first, first - half[0], first + half[0]), estimate(last, last - half[1], last + half[1])
        )
        inside += found.low <= 0.1 <= found.high
    assert inside / 2000 == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(
    ("low", "value", "high", "wanted"),
    [
        (0.15, 0.2, 0.25, "emerges"), (-0.25, -0.2, -0.15, "splits"), (-0.05, 0.0, 0.05, "stays"),
        (0.01, 0.05, 0.09, "stays"), (-0.2, 0.1, 0.4, "unclear"), (0.01, 0.06, 0.12, "emerges"),
    ],
)  # fmt: skip
def test_kinds_of_dynamics(low, value, high, wanted):
    assert kind_of(estimate(value, low, high)) == wanted
