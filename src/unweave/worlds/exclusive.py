"""Groups of features that exclude one another: the small tied autoencoder that puts them in superposition, and a planted
world at any width whose groups lie in orthogonal subspaces.

In the toy, a group is silent or has exactly one active feature; the autoencoder has fewer hidden dimensions than
features and learns to give each group a subspace of its own, if it can. Whether it could is measured on its weights,
before anything looks for the subspaces.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `weights` | W | (n, d) | row i is what feature i writes; h = x W, x_hat = relu(h W' + b) | specs/ndm.md, section 7 |
| `overlap` | max abs(w_i . w_j) | scalar | largest dot product of features of different groups | same |
| `energy_purity` | P = sum_s max_g norm(W_g R_s)_F^2 / norm(W)_F^2 | scalar | 1: every block holds one group | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweave.errors import InputError
from unweave.tensors.linalg import random_orthogonal

SILENT = 0.25
"""Chance that a group has no active feature."""
STEPS, BATCH = 10_000, 128
RATES = (3e-3, 3e-4)
SEPARABLE_BELOW = 0.05
RANK_SHARE = 0.1
"""A singular value counts if it is above this share of the group's largest."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ToyModel:
    """A trained tied autoencoder and what its weights say."""

    groups: tuple[int, ...]
    """Features of each group."""
    weights: Float[Tensor, "n d"]
    bias: Float[Tensor, " n"]
    loss: float
    """Mean of `sum_i (x - x_hat)_i^2` over the last tenth of the training."""
    overlap: float
    ranks: tuple[int, ...]
    """Rank of the weights of each group."""
    seed: int

    @property
    def is_separable(self) -> bool:
        """Whether the groups lie in orthogonal subspaces, so that a partition can tell them apart."""
        return self.overlap < SEPARABLE_BELOW

    def __repr__(self) -> str:
        """Groups, width and whether they are apart."""
        apart = "separable" if self.is_separable else "not separable"
        return f"ToyModel({list(self.groups)} -> {self.weights.shape[1]}, {apart}, overlap {self.overlap:.3f})"


def exclusive_features(
    groups: Sequence[int], count: int, *, generator: torch.Generator, models: int = 1
) -> Float[Tensor, "m b n"]:
    """Features of independent groups: each silent with chance .25, else one of its features at a value from U(0, 1).

    Args:
        groups: Features of each group.
        count: Rows.
        generator: Of the draws.
        models: Batches that are drawn together.
    """
    x = torch.zeros(models, count, sum(groups))
    for size, first in zip(groups, [0, *accumulate(groups)], strict=False):
        which = torch.randint(size, (models, count, 1), generator=generator) + first
        value = torch.rand(models, count, 1, generator=generator)
        value *= torch.rand(models, count, 1, generator=generator) >= SILENT
        x.scatter_(2, which, value)
    return x


def train_toys(groups: Sequence[int], width: int, seeds: Sequence[int], *, steps: int = STEPS) -> list[ToyModel]:
    """Trained autoencoders, one a seed, in one batch; a model does not depend on which others train beside it.

    Args:
        groups: Features of each group.
        width: Hidden dimensions.
        seeds: Of start and data.
        steps: Of Adam, its rate falling from 3e-3 to 3e-4.

    Raises:
        InputError: No group, an empty one, or no width.

    Example:
        >>> train_toys((3, 3), 4, [0], steps=50)[0].is_separable
        False
    """
    if not groups or min(groups) < 1 or width < 1:
        raise InputError(f"groups are {list(groups)} and width is {width}: positive numbers are needed")
    total = sum(groups)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    starts = [torch.rand(total, width, generator=one) for one in generators]
    W = ((torch.stack(starts) * 2 - 1) / total**0.5).requires_grad_()
    b = torch.zeros(len(seeds), 1, total, requires_grad=True)
    optimiser = torch.optim.Adam([W, b], lr=RATES[0])
    tail = torch.zeros(len(seeds))
    last = max(1, steps // 10)
    blocks = 100
    x = torch.empty(0)
    for at in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = RATES[0] + (RATES[1] - RATES[0]) * at / steps
        if at % blocks == 0:  # drawn ahead: a call a step would cost more than the step
            x = torch.cat([exclusive_features(groups, BATCH * blocks, generator=one) for one in generators])
        here = x[:, at % blocks * BATCH : (at % blocks + 1) * BATCH]
        errors = (here - torch.relu(here @ W @ W.transpose(1, 2) + b)).square().sum(2).mean(1)
        optimiser.zero_grad()
        errors.sum().backward()
        optimiser.step()
        if at >= steps - last:
            tail += errors.detach() / last
    return [
        _checked(tuple(groups), W[place].detach().clone(), b[place, 0].detach().clone(), float(tail[place]), seed)
        for place, seed in enumerate(seeds)
    ]


def toy_rows(model: ToyModel, count: int, *, seed: int) -> Float[Tensor, "n d"]:
    """Hidden activations of fresh inputs.

    Args:
        model: A trained autoencoder.
        count: Rows.
        seed: Of the inputs.
    """
    generator = torch.Generator().manual_seed(seed)
    return exclusive_features(model.groups, count, generator=generator)[0] @ model.weights


def energy_purity(
    weights: Float[Tensor, "n d"], owner: Int[np.ndarray, " n"], read: Float[Tensor, "d d"], blocks: Sequence[int]
) -> float:
    """Share of the features' energy that lies in blocks of their own group: 1 for a perfect partition.

    Args:
        weights: What each feature writes.
        owner: Group of each feature.
        read: Orthogonal, blocks of columns.
        blocks: Their sizes.

    Example:
        >>> energy_purity(torch.eye(4), np.array([0, 0, 1, 1]), torch.eye(4), (2, 2))
        1.0
    """
    energy = (weights.double() @ read.double()).square()
    groups = sorted(set(owner.tolist()))
    by_group = torch.stack([energy[torch.from_numpy(owner == group)].sum(0) for group in groups])
    held = [part.sum(1).max() for part in by_group.split(list(blocks), 1)]
    return float(torch.stack(held).sum() / energy.sum())


@dataclass(frozen=True, eq=False, kw_only=True)
class ExclusiveWorld:
    """Rows whose groups of exclusive features lie in known orthogonal subspaces."""

    rows: Float[Tensor, "n d"]
    features: Float[Tensor, "f d"]
    """What each feature writes, of length 1."""
    owner: Int[np.ndarray, " f"]
    """Group of each feature."""
    bases: Float[Tensor, "d d"]
    """Columns: an orthonormal basis of each group's subspace, one group behind the other."""
    sizes: tuple[int, ...]
    """Dimensions of the groups."""
    active: Int[np.ndarray, "n g"]
    """Active feature of each group in each row, -1 where it is silent."""
    noise: float
    overlap: float

    def purity(self, read: Float[Tensor, "d d"], blocks: Sequence[int]) -> float:
        """Energy purity of a partition."""
        return energy_purity(self.features, self.owner, read, blocks)

    def __repr__(self) -> str:
        """Shape and dials."""
        return (
            f"ExclusiveWorld({len(self.rows)} rows, width {self.rows.shape[1]}, {len(self.sizes)} groups, noise"
            f" {self.noise}, overlap {self.overlap})"
        )


def exclusive_world(
    sizes: Sequence[int] = (32,) * 24,
    n: int = 70_000,
    *,
    features: int = 3,
    silent: float = SILENT,
    noise: float = 0.01,
    overlap: float = 0.0,
    seed: int = 0,
) -> ExclusiveWorld:
    """Groups of mutually exclusive features in orthogonal subspaces, rotated, with noise.

    Args:
        sizes: Dimensions of each group.
        n: Rows.
        features: Features of a group per dimension of it.
        silent: Chance that a group has no active feature.
        noise: Standard deviation of Gaussian noise in every coordinate.
        overlap: Share of every feature's direction that lies in the subspace of the next group: 0 keeps groups
            orthogonal.
        seed: Of all draws.

    Raises:
        InputError: Sizes, shares or counts out of range.

    Example:
        >>> world = exclusive_world((2, 2), 100)
        >>> world, round(world.purity(world.bases, world.sizes), 9)
        (ExclusiveWorld(100 rows, width 4, 2 groups, noise 0.01, overlap 0.0), 1.0)
    """
    if not sizes or min(sizes) < 1 or features < 1 or n < 1 or not 0 <= silent < 1 or not 0 <= overlap < 1:
        raise InputError(
            f"sizes {list(sizes)[:4]}, features {features}, n {n}, silent {silent}, overlap {overlap}: positive counts"
            " and shares in 0..1 are needed"
        )
    width = sum(sizes)
    rng = np.random.default_rng([11, seed])
    bases = random_orthogonal(width, seed=seed)
    starts = [0, *accumulate(sizes)]
    written, owner, active = [], [], np.full((n, len(sizes)), -1)
    rows = torch.from_numpy(noise * rng.standard_normal((n, width), dtype=np.float32)).float()
    first = 0
    for group, size in enumerate(sizes):
        following = (group + 1) % len(sizes)
        parts = [
            (1 - overlap**2) ** 0.5 * _inside(rng, features * size, bases[:, starts[group] : starts[group] + size])
        ]
        if overlap:
            parts.append(
                overlap
                * _inside(rng, features * size, bases[:, starts[following] : starts[following] + sizes[following]])
            )
        here = torch.stack(parts).sum(0)
        which = rng.integers(0, len(here), n)
        value = rng.random(n) * (rng.random(n) >= silent)
        rows += here[torch.from_numpy(which)].float() * torch.from_numpy(value).float()[:, None]
        active[:, group] = np.where(value > 0, which + first, -1)
        written.append(here)
        owner += [group] * len(here)
        first += len(here)
    return ExclusiveWorld(
        rows=rows,
        features=torch.cat(written),
        owner=np.array(owner),
        bases=bases,
        sizes=tuple(sizes),
        active=active,
        noise=noise,
        overlap=overlap,
    )


def _inside(rng: np.random.Generator, count: int, basis: Tensor) -> Tensor:
    """Random unit vectors of a subspace."""
    raw = rng.standard_normal((count, basis.shape[1]))
    return torch.from_numpy(raw / np.linalg.norm(raw, axis=1, keepdims=True)) @ basis.T


def _checked(groups: tuple[int, ...], weights: Tensor, bias: Tensor, loss: float, seed: int) -> ToyModel:
    parts = weights.double().split(list(groups))
    across = [float((one @ two.T).abs().max()) for k, one in enumerate(parts) for two in parts[:k]]
    ranks = []
    for part in parts:
        values = torch.linalg.svdvals(part)
        ranks.append(int((values > RANK_SHARE * values[0]).sum()))
    return ToyModel(
        groups=groups, weights=weights, bias=bias, loss=loss, overlap=max(across, default=0.0), ranks=tuple(ranks),
        seed=seed,
    )  # fmt: skip
