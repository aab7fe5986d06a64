"""The depth contrast: signs, means over features and sites by hand, and where there is none."""

import numpy as np
import pytest

from unweave.errors import DataError
from unweave.probing.config import ProbeConfig
from unweave.probing.depth import depth_contrast, relative_depth
from unweave.probing.result import Probe, ProbeSweep, ProbeTable
from unweave.tensors.estimate import Estimate

CONFIG = ProbeConfig(ks=(1, 4), bootstrap=400)
GROUPS = 60


def probe(k, counts):
    tp, fp, fn = np.sum(counts, axis=0)
    value = 2 * tp / (2 * tp + fp + fn)
    one = Estimate(value=value, low=value, high=value, n=10, n_groups=GROUPS)
    return Probe(
        k=k, support=(0,) * k, coef=(1.0,) * k, bias=0.0, mean=(0.0,) * k, sd=(1.0,) * k, f1=one, mcc=0.0, auc=0.5,
        precision=0.5, recall=0.5, positive_rate=0.2, converged=True, separable=False, gap=0.0, n_train=10,
        groups=tuple(range(GROUPS)), counts=tuple(map(tuple, counts)),
    )  # fmt: skip


def counts(rng, rate):
    hits = rng.binomial(10, rate, GROUPS)
    return [(int(tp), 10 - int(tp), 10 - int(tp)) for tp in hits]


def made(rates, ks=(1, 4)):
    """Site -> F1 at each k."""
    rng = np.random.default_rng(0)
    sweeps = {
        (feature, site): ProbeSweep(
            probes=tuple(probe(k, counts(rng, rate)) for k, rate in zip(ks, values, strict=True)),
            labels=(False, True), width=9, config=CONFIG,
        )
        for feature in ("f", "g")
        for site, values in rates.items()
    }  # fmt: skip
    return ProbeTable(sweeps=sweeps, skipped={}, notes={}, held_out=tuple(range(GROUPS)), config=CONFIG)


RATES = {
    "blocks.0.mlp_act": (0.3, 0.9), "blocks.1.mlp_act": (0.4, 0.9), "blocks.2.mlp_act": (0.8, 0.9),
    "blocks.3.mlp_act": (0.7, 0.9), "blocks.4.mlp_act": (0.1, 0.1), "embed": (0.1, 0.1),
}  # fmt: skip


def test_early_superposition_and_middle_dedication_are_positive():
    table = made(RATES)
    found = depth_contrast(table, 6)
    assert found.early == ("blocks.0.mlp_act", "blocks.1.mlp_act")
    assert found.middle == ("blocks.2.mlp_act", "blocks.3.mlp_act")
    assert found.most == 4
    means = {
        (site, k): np.mean([table.sweeps[feature, site].probe(k).f1.value for feature in ("f", "g")])
        for site in RATES
        for k in (1, 4)
    }
    early, middle = (
        {k: np.mean([means[site, k] for site in sites]) for k in (1, 4)} for sites in (found.early, found.middle)
    )
    assert found.superposition.value == pytest.approx((early[4] - early[1]) - (middle[4] - middle[1]), abs=1e-12)
    assert found.dedication.value == pytest.approx(middle[1] - early[1], abs=1e-12)
    for one in (found.superposition, found.dedication):
        assert 0.2 < one.low < one.value < one.high < 0.7


def test_equal_layers_have_no_contrast():
    found = depth_contrast(made(dict.fromkeys(RATES, (0.5, 0.8))), 6)
    assert found.superposition.low < 0 < found.superposition.high
    assert found.dedication.low < 0 < found.dedication.high


@pytest.mark.parametrize(
    ("layers", "early", "middle"),
    [(3, [0], [1]), (4, [0], [1, 2]), (6, [0, 1], [2, 3]), (12, [0, 1, 2, 3], [4, 5, 6, 7])],
)
def test_thirds(layers, early, middle):
    depths = [relative_depth(f"blocks.{layer}.mlp_act", layers) for layer in range(layers)]
    assert [n for n, depth in enumerate(depths) if depth < 1 / 3] == early
    assert [n for n, depth in enumerate(depths) if 1 / 3 <= depth < 2 / 3] == middle
    assert relative_depth("embed", layers) is None


def test_no_contrast_is_said():
    with pytest.raises(DataError, match="the sites of 2 layers have 1 early and 0 middle ones: no contrast"):
        depth_contrast(made({name: RATES[name] for name in list(RATES)[:2]}), 2)
    with pytest.raises(DataError, match=r"all features have probes of \[1\] units: two sizes are needed"):
        depth_contrast(made({site: rate[:1] for site, rate in RATES.items()}, ks=(1,)), 6)
