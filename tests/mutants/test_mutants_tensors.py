"""Broken twins of layer 1: each must be caught by the law that the real one keeps (tests/laws_tensors.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

import laws_tensors as laws
from unweave.tensors.linalg import orthonormal_basis, random_orthogonal
from unweave.tensors.logistic import fit_many
from unweave.tensors.moments import Moments, moments
from unweave.tensors.resampling import ratio_intervals
from unweave.tensors.splits import Grouping, grouped_split


def squares_about_zero(parts: list[Tensor]) -> Moments:
    """The textbook formula: all digits of the spread are gone at a large mean."""
    rows = torch.cat(parts)
    mean = rows.mean(0)
    return Moments(count=len(rows), mean=mean, scatter=rows.T @ rows - len(rows) * torch.outer(mean, mean))


def without_the_shift(parts: list[Tensor]) -> Moments:
    """Adds the scatters of the parts, as if they had one mean."""
    found = [moments(part) for part in parts if len(part)]
    return replace(moments(torch.cat(parts)), scatter=reduce(torch.add, (part.scatter for part in found)))


def mean_of_means(parts: list[Tensor]) -> Moments:
    """Parts count alike, whatever their size."""
    found = [moments(part) for part in parts if len(part)]
    return replace(moments(torch.cat(parts)), mean=torch.stack([part.mean for part in found]).mean(0))


@pytest.mark.parametrize("mutant", [squares_about_zero, without_the_shift, mean_of_means])
def test_broken_moments_are_caught(mutant: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError):
        laws.moments_law(mutant, [7, 30])


def raw_gaussian(width: int, *, seed: int) -> Tensor:
    """What one published rotation control multiplies by."""
    return torch.randn(width, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / width**0.5


def qr_without_signs(width: int, *, seed: int) -> Tensor:
    """Orthogonal, but not uniform: the first entry is never positive."""
    return torch.linalg.qr(raw_gaussian(width, seed=seed))[0]


def unseeded(width: int, *, seed: int) -> Tensor:
    return random_orthogonal(width, seed=int(torch.randint(1 << 30, ())))


def one_seed(width: int, *, seed: int) -> Tensor:
    return random_orthogonal(width, seed=0)


@pytest.mark.parametrize("mutant", [raw_gaussian, qr_without_signs, unseeded, one_seed])
def test_broken_rotations_are_caught(mutant: Callable[..., Tensor]) -> None:
    with torch.random.fork_rng(devices=[]), pytest.raises(AssertionError):
        laws.rotation_law(mutant)


def from_cosines(first: Tensor, second: Tensor) -> Tensor:
    """Small angles lose half of their digits in the cosine."""
    return torch.acos(torch.linalg.svdvals(orthonormal_basis(first).T @ orthonormal_basis(second)).clamp(0, 1))


def from_sines(first: Tensor, second: Tensor) -> Tensor:
    """Right angles lose theirs in the sine."""
    one, two = orthonormal_basis(first), orthonormal_basis(second)
    return torch.asin(torch.linalg.svdvals(one - two @ (two.T @ one)).flip(0).clamp(0, 1))


def without_a_basis(first: Tensor, second: Tensor) -> Tensor:
    """The columns as they are, as if they were orthonormal."""
    return torch.acos(torch.linalg.svdvals(first.T @ second).clamp(0, 1))


@pytest.mark.parametrize("mutant", [from_cosines, from_sines, without_a_basis])
def test_broken_angles_are_caught(mutant: Callable[..., Tensor]) -> None:
    with pytest.raises(AssertionError):
        laws.angles_law(mutant)


def by_row(groups: Grouping, strata: np.ndarray, *, test: float, seed: int) -> np.ndarray:
    """Rows of a group land on both sides."""
    return np.random.default_rng(seed).random(len(groups.codes)) < test


def by_chance(groups: Grouping, strata: np.ndarray, *, test: float, seed: int) -> np.ndarray:
    """Groups are drawn without a look at their classes."""
    return (np.random.default_rng(seed).random(groups.count) < test)[groups.codes]


def deaf_to_the_seed(groups: Grouping, strata: np.ndarray, *, test: float, seed: int) -> np.ndarray:
    return grouped_split(groups, strata, test=test, seed=0)


@pytest.mark.parametrize("mutant", [by_row, by_chance, deaf_to_the_seed])
def test_broken_splits_are_caught(mutant: Callable[..., np.ndarray]) -> None:
    with pytest.raises(AssertionError):
        laws.split_law(mutant)


def smallest_first(chosen: np.ndarray, table: np.ndarray) -> None:
    """Moves the smallest group, be it the last of another class on its side."""
    present = table > 0
    for column in range(table.shape[1]):
        for side in (True, False):
            if present[:, column].sum() >= 2 and not present[chosen == side, column].any():
                candidates = np.flatnonzero(present[:, column] & (chosen != side))
                chosen[candidates[np.argmin(table[candidates, 0])]] = side


def no_repair(chosen: np.ndarray, table: np.ndarray) -> None:
    """Leaves the deal as it is."""


@pytest.mark.parametrize("mutant", [smallest_first, no_repair])
def test_broken_repairs_are_caught(mutant: Callable[..., None]) -> None:
    with pytest.raises(AssertionError):
        laws.repair_law(mutant)


def without_weights(rows: Tensor, signs: Tensor, weights: Tensor, supports: Tensor, **options: Any) -> Any:
    return fit_many(rows, signs, torch.ones_like(weights), supports, **options)


def weights_of_coefficients(rows: Tensor, signs: Tensor, weights: Tensor, supports: Tensor, **options: Any) -> Any:
    """Scales the rows by the root of their weight, which is right for squares and wrong for logistic losses."""
    scaled = rows * weights[0].sqrt()[:, None]
    return fit_many(scaled, signs, torch.ones_like(weights), supports, **options)


@pytest.mark.parametrize("mutant", [without_weights, weights_of_coefficients])
def test_broken_weights_are_caught(mutant: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError):
        laws.weights_law(mutant)


def unbalanced_gap(design: Tensor, signs: Tensor, weights: Tensor, lam: float, scores: Tensor, loss: Tensor) -> Tensor:
    """The dual without its constraint: no bound away from the optimum, where the intercept is not the best one."""
    margins = signs * scores
    entropy = softplus(margins) - margins * torch.sigmoid(margins)
    pull = torch.einsum("pkn,pn->pk", design[:, :-1], weights * signs * torch.sigmoid(-margins))
    return (loss - (weights * entropy).sum(1) + pull.square().sum(1) / (2 * lam)).clamp_min(0)


def gradient_gap(design: Tensor, signs: Tensor, weights: Tensor, lam: float, scores: Tensor, loss: Tensor) -> Tensor:
    """A small gradient is no bound."""
    pull = torch.einsum("pkn,pn->pk", design, weights * signs * torch.sigmoid(-signs * scores))
    return 1e-3 * pull.norm(dim=1)


@pytest.mark.parametrize("mutant", [unbalanced_gap, gradient_gap])
def test_broken_certificates_are_caught(mutant: Callable[..., Tensor]) -> None:
    with pytest.raises(AssertionError):
        laws.gap_law(mutant)


def over_rows(rows: np.ndarray, seed: int) -> Any:
    """Rows resampled as if they were independent."""
    flat = rows.reshape(-1, rows.shape[2])
    return ratio_intervals(flat, np.ones_like(flat), seed=seed, draws=100)


def too_narrow(rows: np.ndarray, seed: int) -> Any:
    """An 85 % interval that calls itself one of 95 %."""
    groups, size, worlds = rows.shape
    return ratio_intervals(rows.sum(1), np.full((groups, worlds), float(size)), seed=seed, draws=1000, level=0.85)


def test_broken_intervals_are_caught() -> None:
    for mutant in (over_rows, too_narrow):
        with pytest.raises(AssertionError):
            laws.coverage_law(mutant)
