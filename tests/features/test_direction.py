"""Directions and read-outs: two types, two algebras, and the bridge between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import laws_features as laws
import unweave as uw
from unweave.errors import FingerprintError, InputError
from unweave.features.featurizer import Provenance

SITE = "blocks.1.hook_resid_post"


def direction(seed: int = 0, **changes: Any) -> uw.Direction:
    return uw.Direction(**({"vector": laws.gaussian(5, seed=seed), "site": SITE} | changes))


def readout(seed: int = 0, **changes: Any) -> uw.Readout:
    return uw.Readout(**({"covector": laws.gaussian(5, seed=seed), "bias": seed + 0.5, "site": SITE} | changes))


def numbers(value: Any) -> Tensor:
    """The value as one vector, a read-out's bias last."""
    if isinstance(value, uw.Direction):
        return value.vector
    return torch.cat([value.covector, torch.tensor([value.bias], dtype=torch.float64)])


@pytest.mark.parametrize("make", [direction, readout])
def test_the_algebra_is_that_of_vectors(make: Callable[..., Any]) -> None:
    a, b, c = make(0), make(1), make(2)
    for left, right in (
        (a + b, b + a),
        ((a + b) + c, a + (b + c)),
        (a - b, a + -b),
        (2 * (a + b), 2 * a + 2 * b),
        (a * 3, a + a + a),
        (a / 4, 0.25 * a),
        (-1 * -a, a),
        (a - a, 0 * a),
    ):
        laws.close(numbers(left), numbers(right), atol=1e-14)
        assert type(left) is type(a)
        assert left.site == SITE.replace("hook_", "")
    laws.close(numbers(a + b), numbers(a) + numbers(b), atol=0)
    assert abs((-2 * a).norm - 2 * a.norm) < 1e-14
    assert abs(a.normalised().norm - 1) < 1e-15


@pytest.mark.parametrize("make", [direction, readout])
def test_the_algebra_changes_no_input(make: Callable[..., Any]) -> None:
    a, b = make(0), make(1)
    _ = a + b, a - b, 2 * a, a / 3, -a, a.normalised()
    assert torch.equal(numbers(a), numbers(make(0)))
    assert torch.equal(numbers(b), numbers(make(1)))


@pytest.mark.parametrize("factor", [2, 2.0, np.float32(2), np.float64(2), np.int64(2)])
def test_any_real_number_scales(factor: Any) -> None:
    for found in (direction() * factor, readout() * factor):
        laws.close(numbers(found), 2 * numbers(direction() if isinstance(found, uw.Direction) else readout()), atol=0)
    assert torch.equal((direction() / factor).vector, direction().vector / 2)


@pytest.mark.parametrize("make", [direction, readout])
def test_vectors_that_do_not_belong_together_are_refused(make: Callable[..., Any]) -> None:
    name = "vector" if make is direction else "covector"
    with pytest.raises(InputError, match=r"one is at blocks\.1\.resid_post, the other at embed: vectors of different"):
        make() + make(site="embed")
    with pytest.raises(InputError, match=r"one is at blocks\.1\.resid_post, the other at None"):
        make() - make(site=None)
    with pytest.raises(InputError, match="one has width 5, the other 1: vectors of different sites do not add up"):
        make() + make(**{name: [1.0]})
    a, b = (make(provenance=Provenance(model=model)) for model in ("a", "b"))
    with pytest.raises(FingerprintError, match="the two come from different models: their vectors do not add up"):
        a - b
    assert (a + a).provenance.model == "a"
    assert (make() + a).provenance.model == (a + make()).provenance.model == "a"
    with pytest.raises(FingerprintError):
        (make() + a) + b


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: direction() / 0, "a direction cannot be divided by zero"),
        (lambda: readout() / 0.0, "a read-out cannot be divided by zero"),
        (lambda: direction(vector=[0.0, 0.0]).normalised(), "a zero direction cannot be normalised: it points nowhere"),
        (lambda: readout(covector=[0.0]).normalised(), "a zero read-out cannot be normalised: it reads nothing"),
        (lambda: direction(vector=[[1.0]]), r"vector has shape \(1, 1\): one axis with at least one entry is needed"),
        (lambda: readout(covector=[]), r"covector has shape \(0,\): one axis with at least one entry is needed"),
        (lambda: direction(vector=[1.0, float("nan")]), "vector has a NaN or infinite entry: it points nowhere"),
        (lambda: direction() * float("inf"), "vector has a NaN or infinite entry: it points nowhere"),
        (lambda: readout().score(torch.ones(3, 4)), r"activations have shape \(3, 4\) but the featurizer at blocks\.1"),
        (lambda: readout().to_direction(torch.eye(4)), r"covariance has shape \(4, 4\): \(5, 5\) is needed"),
        (lambda: readout().to_direction(torch.zeros(5, 5)), "the read-out does not vary under this covariance: no"),
    ],
)
def test_what_points_nowhere_is_refused(make: Callable[[], object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        make()


def test_scores_are_affine_and_keep_their_sign_when_normalised() -> None:
    read, h = readout(), laws.gaussian(7, 5, seed=3)
    score = read.score(h)
    laws.close(score, torch.tensor([float(row @ read.covector) + 0.5 for row in h], dtype=torch.float64), atol=1e-14)
    assert read.score(h.reshape(7, 1, 5)).shape == (7, 1)
    laws.close((read + readout(1)).score(h), score + readout(1).score(h), atol=1e-14)
    laws.close(read.normalised().score(h), score / read.norm, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_scores_do_not_overflow(dtype: torch.dtype) -> None:
    # 400 products of 200 * 2 pass the largest float16, 65504, and need more digits than bfloat16 has
    read = uw.Readout(covector=torch.full((400,), 2.0, dtype=dtype), bias=1.0)
    assert float(read.score(torch.full((400,), 200.0, dtype=dtype))) == 160_001.0


def test_small_and_large_vectors_have_a_length() -> None:
    assert uw.Direction(vector=torch.full((4,), 1e-30)).normalised().norm == pytest.approx(1, rel=1e-6)
    assert uw.Direction(vector=torch.full((4,), 4e4, dtype=torch.float16)).norm == pytest.approx(8e4, rel=1e-3)
    assert uw.Direction(vector=[3, 4]).norm == 5.0


def test_the_direction_of_a_readout_follows_lda() -> None:
    laws.direction_law(lambda w, sigma: uw.Readout(covector=w).to_direction(sigma).vector)


@pytest.mark.parametrize("kind", ["tensor", "array", "list", "float32"])
def test_a_covariance_may_be_any_matrix(kind: str) -> None:
    sigma = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    given = {"tensor": sigma, "array": sigma.numpy(), "list": sigma.tolist(), "float32": sigma.float()}[kind]
    found = uw.Readout(covector=[1.0, 0.0], site="embed").to_direction(given)
    assert found.vector.tolist() == [1.0, 0.5]
    assert found.site == "embed"


def test_adding_the_direction_raises_the_score_by_one() -> None:
    rows = laws.gaussian(100, 5) @ laws.gaussian(5, 5, seed=1)
    read = readout(4)
    found = read.to_direction(torch.cov(rows.T))
    laws.close(read.score(rows + found.vector), read.score(rows) + 1)


def test_a_direction_is_found_again_by_regression() -> None:
    # Haufe et al.: the pattern of a read-out is the regression of the activations on its score
    rows = laws.gaussian(200, 5) @ laws.gaussian(5, 5, seed=1)
    read = readout(4)
    score = (read.score(rows) - read.score(rows).mean()).unsqueeze(1)
    regression = torch.linalg.lstsq(score, rows - rows.mean(0)).solution[0]
    laws.close(read.to_direction(torch.cov(rows.T)).vector, regression)


def test_one_line_says_what_it_is() -> None:
    assert repr(uw.Direction(vector=[3.0, 4.0], site="embed")) == "Direction(width 2, length 5, embed)"
    assert repr(uw.Readout(covector=[3.0, 4.0])) == "Readout(width 2, length 5)"
