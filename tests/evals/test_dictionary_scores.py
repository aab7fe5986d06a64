"""Absorption, removal of a spurious cue, targeted perturbation, code length and learned masks: planted truth, twins,
laws and wrong input.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import samples
import unweave as uw
from unweave.errors import DataError, InputError, UnknownName
from unweave.evals.planted.module import variable_world
from unweave.evals.reading.absorption import _absorbed
from unweave.features import neurons
from unweave.features.activation import Activation

V = uw.evals


def absorbing(share: float, *, n: int = 800, honest: bool = False):
    """(dictionary, rows, labels, which are special): unit 0 reads the concept and is silent where the special unit 1,
    which writes the concept too, speaks; the honest one speaks everywhere.
    """
    rng = np.random.default_rng(0)
    y = rng.random(n) < 0.5
    special = y & (rng.random(n) < share)
    X = 0.02 * rng.normal(size=(n, 4))
    X[:, 0], X[:, 1] = 2 * y, 3 * special
    read = np.eye(4)
    read[1, 0] = 0 if honest else -0.75
    write = np.eye(4)
    write[1, 0] = 0 if honest else 2 / 3
    return uw.AffineFeaturizer(read=read, write=write, act=Activation(kind="relu")), X, y, special


def test_absorbed_rows_are_those_where_another_unit_speaks():
    featurizer, X, y, special = absorbing(0.3)
    found = V.absorption(featurizer, X, y, main=[0], draws=5)
    assert found.full.value == pytest.approx(special[y].mean(), abs=4 * np.sqrt(0.3 * 0.7 / found.full.n))
    assert found.fraction.value == pytest.approx(found.full.value)
    assert found.full.low < found.full.value < found.full.high
    assert found.full.control < found.full.value
    assert found.probe_recall == 1
    honest = V.absorption(*absorbing(0.3, honest=True)[:3], main=[0], draws=1)
    assert (honest.full.value, honest.fraction.value) == (0, 0)
    assert V.absorption(*absorbing(0.04)[:3], draws=1).main == (0,)  # too rare to count as a split of the concept
    assert V.absorption(featurizer, X, y, draws=1).main == (0, 1)
    with pytest.raises(InputError, match=r"main is \[9\]: numbers of latents, 0 to 3"):
        V.absorption(featurizer, X, y, main=[9])
    with pytest.raises(InputError, match="width 4"):
        V.absorption(featurizer, X[:, :2], y)
    with pytest.raises(DataError, match="y has only the label"):
        V.absorption(featurizer, X, y & ~y)


def by_hand(q, a, cos, main):
    """The definition, row by row."""
    full, fraction = [], []
    for row in range(len(q)):
        others = [j for j in range(len(cos)) if j not in main]
        share = a[row] * cos
        best = max(others, key=lambda j: share[j])
        silent = all(a[row, j] == 0 for j in main)
        full.append(float(silent and cos[best] >= 0.025 and q[row] > 0 and share[best] / q[row] >= 0.4))
        big = sorted((share[j] for j in others if cos[j] >= 0.1 and share[j] > 0), reverse=True)[:3]
        A, m = sum(big), share[list(main)].sum()
        if m >= q[row] or A / q[row] < 0.4:
            fraction.append(0.0)
        elif m <= 0:
            fraction.append(1.0)
        else:
            taken = min(A, q[row] - m)
            fraction.append(taken / (taken + m))
    return np.array(full), np.array(fraction)


def test_absorption_is_its_definition_row_by_row():
    rng = np.random.default_rng(1)
    a = np.maximum(rng.normal(size=(400, 7)), 0)
    a[:200, :2] = 0
    cos, q = rng.uniform(-0.5, 0.9, 7), rng.uniform(0.05, 2, 400)
    cos[0] = 0.8
    expected = by_hand(q, a, cos, (0, 1))
    found = _absorbed(*map(torch.from_numpy, (q, a, cos)), (0, 1))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], atol=1e-12)
    assert 0.1 < found[0].mean() < 0.9
    assert ((found[1] > 0) & (found[1] < 1)).any()


def cued(gap=6.0, n=300):
    rng = np.random.default_rng(0)
    y, cue = rng.random((2, n)) < 0.5
    X = rng.normal(size=(n, 6))
    X[:, 0] += 2 * y
    X[:, 1] += gap * cue
    return X, y, cue


def test_taking_out_the_cue_repairs_the_probe_that_learnt_it():
    X, y, cue = cued()
    found = V.spurious_removal(neurons(6), X, y, cue, np.arange(300) // 2, units=1)
    assert found.units == (1,)
    assert found.score.low > 0.5
    assert found.score.p_value == pytest.approx(7 / 40, abs=0.15)  # one random unit of six is the same
    bare = V.spurious_removal(neurons(6), X, y, cue, units=1, draws=1, to="zero")
    assert bare.score.value < 0.5  # at zero, which is no usual value of the cue, the probe's threshold is off
    assert found.accuracies["biased"] + 0.1 < found.accuracies["removed"] <= found.accuracies["oracle"] + 0.03
    nobody = np.stack([50.0 * y, X[:, 4]], 1)  # the label is plain, the cue is nowhere
    undefined = V.spurious_removal(neurons(2), nobody, y, cue, units=1, draws=1)
    assert np.isnan(undefined.score.value)
    assert "the cue misled nobody" in undefined.score.warnings[-1]
    with pytest.raises(DataError, match="a combination of label and cue has no row"):
        V.spurious_removal(neurons(6), X, y, y)
    with pytest.raises(UnknownName, match="nearest: 'mean'"):
        V.spurious_removal(neurons(6), X, y, cue, to="means")
    with pytest.raises(InputError, match="units is 9: 1 to 6 can be taken out"):
        V.spurious_removal(neurons(6), X, y, cue, units=9)
    with pytest.raises(InputError, match="spurious has shape"):
        V.spurious_removal(neurons(6), X, y, cue[1:])


def test_a_unit_of_its_own_hurts_its_class_alone():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 240)
    X = rng.normal(size=(240, 5)) + 4 * np.eye(3, 5)[y]
    found = V.targeted_perturbation(neurons(5), X, y, np.arange(240) // 3, units=1, draws=19)
    assert found.units == (0, 1, 2)
    assert found.score.low > 0.1
    assert found.score.p_value <= 0.05
    assert min(found.accuracies.values()) > 0.8
    mixed = uw.AffineFeaturizer(read=np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2], [0, 0, 0], [0, 0, 0.0]]))
    assert V.targeted_perturbation(mixed, X, y, units=3, draws=1).score.value < found.score.value  # all or nothing
    with pytest.raises(InputError, match="labels of 2 classes"):
        V.targeted_perturbation(neurons(5), X, y > 0)


def test_labels_that_can_be_read_cost_less():
    rng = np.random.default_rng(0)
    y, groups = rng.random(400) < 0.4, np.arange(400) // 5
    X = rng.normal(size=(400, 4))
    noise = V.code_length(X, y, groups, shuffles=0, lams=[100.0, 1.0])
    X[:, 3] += 3 * y
    signal = V.code_length(X, y, groups, shuffles=1)
    assert signal.bits.high < 0.8 * signal.bits.null
    assert signal.compression > 1.4
    assert noise.bits.value == pytest.approx(noise.bits.null, abs=0.12)  # what learning the share of positives costs
    assert abs(signal.bits.control - signal.bits.null) < 0.12
    assert signal.total == pytest.approx(400 * signal.bits.value)
    assert signal.block_bits[0] == 1 > signal.block_bits[-1]
    assert all(end % 5 == 0 for end in signal.ends)  # groups are sent whole
    scaled = V.code_length(X * np.array([1, 9, 1, 0.1]), y, groups, shuffles=0)
    assert scaled.total == pytest.approx(signal.total, rel=1e-4)
    rare = V.code_length(X, np.arange(400) % 40 == 0, groups, shuffles=0, lams=[100.0])
    assert rare.bits.value < 0.5
    with pytest.raises(DataError, match="at least 16 of 4 are needed"):
        V.code_length(X[:12], y[:12])
    with pytest.raises(InputError, match="at least one penalty above 0"):
        V.code_length(X, y, lams=[])


def test_the_code_is_that_of_refitted_read_outs():
    """Each block again by scikit-learn on the rows before it, at one penalty."""
    from sklearn.linear_model import LogisticRegression

    from unweave.evals.reading.code_length import _bits

    rng = np.random.default_rng(0)
    y = rng.random(256) < 0.5
    X = rng.normal(size=(256, 3)) + 2 * y[:, None]
    ends = (16, 64, 256)
    found = _bits(torch.from_numpy(X), y, ends, (1.0,))
    expected = np.ones(256)
    seen, new = slice(0, 64), slice(64, 256)  # the second block: one coder has been better by then
    mean, sd = X[seen].mean(0), X[seen].std(0)
    model = LogisticRegression(C=1.0, tol=1e-10).fit((X[seen] - mean) / sd, y[seen])
    scores = np.clip(model.decision_function((X[new] - mean) / sd), -np.log(65), np.log(65))
    expected[new] = np.logaddexp(0, -np.where(y[new], 1, -1) * scores) / np.log(2)
    np.testing.assert_allclose(found[new], expected[new], atol=2e-3)  # the intercept is all but free here and there
    assert found[:16].tolist() == [1.0] * 16


def test_a_mask_finds_the_blocks_that_carry_the_variable(tmp_path):
    world = variable_world(seed=0)
    pairs = world.pairs(120, seed=1)
    base, source = (world.model.capture(one, ["0"])["0"] for one in (pairs.base, pairs.source))

    def forward(h, _rows):
        return world.model.module[2](world.model.module[1](h))

    found = V.learned_mask(forward, world.featurizer, base, source, pairs.answer, steps=80, penalty=1.0, draws=19)
    assert found.blocks == (world.true,)
    assert found.finding.supported
    assert found.finding.floor == 0 < found.finding.effect.value == found.finding.ceiling == 1
    assert found.finding.effect.n == 36  # the rows that nothing was learned on
    assert world.decoy not in found.blocks
    assert samples.same(uw.load(uw.save(found, tmp_path / "mask")), found)
    none = V.learned_mask(forward, world.featurizer, base, source, pairs.answer, steps=10, penalty=500.0, draws=19)
    assert none.blocks == ()
    assert not none.finding.supported
    assert "no gate is open" in none.finding.warnings[0]
    with pytest.raises(InputError, match="returned shape"):
        V.learned_mask(lambda h, _rows: h[:1], world.featurizer, base, source, pairs.answer)
    with pytest.raises(InputError, match=r"penalty is -1\.0"):
        V.learned_mask(forward, world.featurizer, base, source, pairs.answer, penalty=-1.0)
    with pytest.raises(InputError, match="row i of both is one pair"):
        V.learned_mask(forward, world.featurizer, base, source[1:], pairs.answer)
