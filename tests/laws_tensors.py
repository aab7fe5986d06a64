"""Laws of layer 1 as functions of an implementation: the tests hold the real one to them, tests/mutants broken ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import unweave.tensors.logistic as logistic
from unweave.tensors.splits import Grouping


def offset_rows(n: int = 60, d: int = 4, *, offset: float = 1e6, seed: int = 0) -> Tensor:
    """Rows with a mean a million times their spread, where sums of squares about zero lose every digit."""
    generator = torch.Generator().manual_seed(seed)
    return offset + torch.randn(n, d, generator=generator, dtype=torch.float64)


def moments_law(moments: Callable[[Any], Any], cuts: list[int], *, offset: float = 1e6) -> None:
    """Mean and scatter do not depend on where the stream of rows is cut."""
    rows = offset_rows(offset=offset)
    edges = [0, *sorted(cuts), len(rows)]
    parts = [rows[first:last] for first, last in itertools.pairwise(edges)]
    found = moments(parts)
    mean = rows.mean(0)
    centred = rows - mean
    scatter = centred.T @ centred
    assert found.count == len(rows)
    # float64: at a mean of 1e6 an entry is known to 1e-10 of the spread, and enters the scatter linearly
    tolerance = max(1e-12, 1e-15 * offset)
    torch.testing.assert_close(found.mean, mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.scatter, scatter, rtol=0, atol=tolerance * float(scatter.abs().max()))


def rotation_law(rotation: Callable[..., Tensor]) -> None:
    """Orthogonal, decided by the seed, and uniform: entries of mean 0 and mean square 1/d in every place."""
    width = 6
    one = rotation(width, seed=3)
    eye = torch.eye(width, dtype=torch.float64)
    # rounding of a product of d x d numbers of size 1
    torch.testing.assert_close(one.T @ one, eye, rtol=0, atol=1e-13)
    torch.testing.assert_close(one @ one.T, eye, rtol=0, atol=1e-13)
    assert torch.equal(one, rotation(width, seed=3))
    assert not torch.equal(one, rotation(width, seed=4))
    draws = torch.stack([rotation(width, seed=seed) for seed in range(500)])
    assert_near_mean(draws.flatten(1), 0.0)
    assert_near_mean(draws.square().flatten(1), 1 / width)
    # the trace of a uniform rotation has mean 0 and variance 1, which QR without sign correction misses
    traces = draws.diagonal(dim1=1, dim2=2).sum(1)
    assert_near_mean(traces[:, None], 0.0)
    assert_near_mean(traces.square()[:, None], 1.0)


def assert_near_mean(draws: Tensor, truth: float) -> None:
    """Every column's mean lies within 5 standard errors of the truth (up to 36 columns share the 5)."""
    error = draws.std(0) / len(draws) ** 0.5
    assert float(((draws.mean(0) - truth) / error).abs().max()) < 5


def planted_pair(angles: list[float], width: int = 12, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two matrices, neither with orthonormal columns, whose spans have exactly these principal angles."""
    generator = torch.Generator().manual_seed(seed)
    frame, _ = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))
    count = len(angles)
    theta = torch.tensor(angles, dtype=torch.float64)
    first, rest = frame[:, :count], frame[:, count : 2 * count]
    second = first * theta.cos() + rest * theta.sin()
    mixes = torch.randn(2, count, count, generator=generator, dtype=torch.float64)
    mixes += 3 * torch.eye(count, dtype=torch.float64)  # far from singular, so that a small angle stays what it is
    return first @ mixes[0], second @ mixes[1]


def angles_law(principal_angles: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Planted angles come back, ascending, whichever of the two comes first; small ones keep their digits."""
    planted = [1e-9, 1e-4, 0.3, 1.2, np.pi / 2 - 1e-5, np.pi / 2]
    first, second = planted_pair(planted)
    for found in (principal_angles(first, second), principal_angles(second, first)):
        # eps times the condition (below 100) of the mixing that hides the angles
        np.testing.assert_allclose(found.numpy(), planted, rtol=0, atol=1e-13)


def split_law(split: Callable[..., np.ndarray]) -> None:
    """No group on both sides; every class that two groups have is on both sides; the seed decides."""
    rng = np.random.default_rng(0)
    for trial in range(200):
        count = int(rng.integers(3, 9))
        codes = np.concatenate([np.arange(count), rng.integers(0, count, 40)])
        labels = rng.random(len(codes)) < (rng.random(count) ** 3)[codes]
        strata = np.stack([labels, ~labels], axis=1).astype(float)
        held = split(Grouping(codes=codes, count=count), strata, test=float(rng.uniform(0.1, 0.9)), seed=trial)
        assert held.shape == codes.shape
        assert not set(codes[held]) & set(codes[~held])
        for members in (np.ones_like(labels), labels, ~labels):
            if len(np.unique(codes[members])) >= 2:
                assert members[held].any()
                assert members[~held].any()
    codes = np.repeat(np.arange(40), 5)
    strata = (rng.random((len(codes), 1)) < 0.4).astype(float)
    draws = [split(Grouping(codes=codes, count=40), strata, test=0.3, seed=seed) for seed in (1, 1, 2)]
    assert (draws[0] == draws[1]).all()
    assert (draws[0] != draws[2]).any()


def repair_law(repair: Callable[[np.ndarray, np.ndarray], None]) -> None:
    """From any deal of groups to sides, two classes that two groups have end up on both sides."""
    rng = np.random.default_rng(0)
    for _ in range(500):
        count = int(rng.integers(2, 7))
        has = rng.random((count, 2)) < 0.4
        table = np.concatenate([rng.integers(1, 9, (count, 1)), has * rng.integers(1, 9, (count, 2))], axis=1).astype(
            float
        )
        chosen = rng.random(count) < 0.4
        repair(chosen, table)
        for members in (table > 0).T:
            assert members.sum() < 2 or (members[chosen].any() and members[~chosen].any())


def planted_problems(n: int = 120, d: int = 5, problems: int = 4, *, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy linear labels on standardised rows, with uneven classes and uneven weights."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, d, generator=generator, dtype=torch.float64)
    rows = (rows - rows.mean(0)) / rows.std(0, unbiased=False)
    truth = torch.randn(problems, d, generator=generator, dtype=torch.float64)
    noise = 2 * torch.randn(problems, n, generator=generator, dtype=torch.float64)
    signs = torch.where(truth @ rows.T + noise > 1.0, 1.0, -1.0).double()
    weights = 0.2 + 3 * torch.rand(problems, n, generator=generator, dtype=torch.float64)
    return rows, signs, weights


def all_columns(rows: Tensor, problems: int) -> Tensor:
    """The support that every problem has here: all columns."""
    return torch.arange(rows.shape[1]).expand(problems, -1)


def weights_law(fit: Callable[..., Any]) -> None:
    """A row of weight 2 is the row twice, and a row of weight 0 is not there."""
    rows, signs, _ = planted_problems()
    weights = torch.ones_like(signs)
    weights[:, :30], weights[:, 30:50] = 2.0, 0.0
    supports = all_columns(rows, len(signs))
    weighted = fit(rows, signs, weights, supports)
    order = torch.cat([torch.arange(30), torch.arange(30), torch.arange(50, len(rows))])
    repeated = fit(rows[order], signs[:, order], torch.ones_like(signs[:, order]), supports)
    # Newton ends with a decrement below 1e-9 n, its last step squares that: both are at the optimum to rounding
    torch.testing.assert_close(weighted.coef, repeated.coef, rtol=0, atol=1e-9)
    torch.testing.assert_close(weighted.bias, repeated.bias, rtol=0, atol=1e-9)


def gap_law(gap: Callable[..., Tensor]) -> None:
    """The duality gap is never below the distance to the optimum, wherever the fit stands, and is 0 at the optimum."""
    rows, signs, weights = planted_problems()
    supports = all_columns(rows, len(signs))
    best = logistic.fit_many(rows, signs, weights, supports, lam=0.5)
    design = torch.cat([rows, torch.ones(len(rows), 1, dtype=torch.float64)], dim=1)
    optimum = torch.cat([best.coef, best.bias[:, None]], dim=1)
    generator = torch.Generator().manual_seed(5)
    for distance in (0.0, 1e-3, 0.1, 1.0, 10.0):
        beta = optimum + distance * torch.randn(optimum.shape, generator=generator, dtype=torch.float64)
        scores = beta @ design.T
        loss = (weights * torch.nn.functional.softplus(-signs * scores)).sum(1) + 0.25 * beta[:, :-1].square().sum(1)
        found = gap(design.T.expand(len(signs), -1, -1), signs, weights, 0.5, scores, loss)
        slack = 1e-9 * weights.sum(1)  # rounding of a sum of n losses, and the decrement at which the best fit stopped
        assert bool((found >= loss - best.loss - slack).all())
        if not distance:
            assert bool((found <= 1e-6 * weights.sum(1)).all())


def coverage(
    intervals: Callable[..., Any], groups: int, *, size: int = 25, worlds: int = 400, batches: int = 5
) -> float:
    """Share of 95 % intervals that contain the truth, where groups and rows vary alike (specs/evaluation.md, 16)."""
    hits = 0
    for batch in range(batches):
        rng = np.random.default_rng([groups, batch])
        rows = rng.normal(size=(groups, 1, worlds)) + rng.normal(size=(groups, size, worlds))
        found = intervals(rows, batch)
        hits += int(((found.low <= 0) & (found.high >= 0)).sum())
    return hits / (worlds * batches)


def coverage_law(intervals: Callable[..., Any]) -> None:
    """Covers as often as it says: 93 to 97 % of 2000 worlds, standard error 0.5 %, so 4 of them from 95 %."""
    assert 0.93 <= coverage(intervals, 40) <= 0.97
