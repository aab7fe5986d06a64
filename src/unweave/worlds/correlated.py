"""Worlds of features that are on or off together in a known way: rings, curves, spheres, blocks, trees, chains.

    x_j ~ Bernoulli(sigmoid(sharpness <f_j, u> + base)), independent given the place u

The covariance is known wherever u lies on a curve or the rule is closed, so that what a model learns can stand beside
what the data say, without sampling noise.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `features` | f_j | (d, k) | true geometry of the features | arXiv 2603.09972; specs/superposition.md, 6 |
| `latent` | u | (n, k) | place that made a row | same |
| `sigma` | Sigma | (d, d) | population covariance | same |
| `sharpness` | s | scalar | how sharply a feature is on near its place | same |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Int

from unweave.errors import InputError, unknown_name

QUADRATURE = 31
"""Points for the noise about a place."""


@dataclass(frozen=True, eq=False, kw_only=True)
class World:
    """Rows whose truth is known."""

    kind: str
    x: Float[np.ndarray, "n d"]
    """What a model sees: presence of features, or the activations of a model that is handed over."""
    latent: Float[np.ndarray, "n l"] | None
    """What made each row: its place, or the presence of every feature."""
    features: Float[np.ndarray, "f k"]
    """True geometry: where each feature lies, or what each writes."""
    sigma: Float[np.ndarray, "d d"] | None
    """Covariance of the columns of x, exact; None where it is not known."""
    order: tuple[int, ...]
    """Features in their order along the curve; () where there is none."""
    groups: Int[np.ndarray, " f"]
    """Group of each feature, -1 for none."""
    names: tuple[str, ...]
    seed: int

    @property
    def density(self) -> float:
        """Share of active features."""
        return float(self.x.mean())

    def __repr__(self) -> str:
        """Kind, shape and density."""
        return f"World({self.kind}, {self.x.shape[0]:,} rows of {self.x.shape[1]}, density {self.density:.3f})"


@dataclass(frozen=True, kw_only=True)
class _Dials:
    d: int
    n: int
    sharpness: float | int
    base: float | int
    noise: float | int
    density: float | int | None
    correlation: float | int
    groups: int


Drawn = tuple[np.ndarray, np.ndarray | None, np.ndarray, np.ndarray | None, tuple[int, ...], np.ndarray]
"""x, latent, features, sigma, order, groups."""


def world(
    kind: str,
    d: int = 12,
    n: int = 10_000,
    *,
    sharpness: float | int = 10.0,
    base: float | int = 0.0,
    noise: float | int = 0.0,
    density: float | int | None = None,
    correlation: float | int = 0.5,
    groups: int = 3,
    seed: int = 0,
) -> World:
    """Binary features with a known way of occurring together.

    Args:
        kind: `circular`, `figure8`, `sphere`, `independent`, `block`, `anticorrelated`, `hierarchical`, `zipf` or
            `markov`.
        d: Features.
        n: Rows.
        sharpness: How sharply a feature is on near its place (curves and sphere).
        base: Added before the sigmoid: lower is sparser (curves and sphere).
        noise: Spread of places about the curve, radians or units.
        density: Mean share of active features; where it is given, base or the rates are solved for it.
        correlation: Of features in one block; chance that a child follows its parent (hierarchical).
        groups: Blocks; features of which at most one is on (anticorrelated), the last group may be smaller.
        seed: Of all draws.

    Raises:
        UnknownName: Another kind.
        InputError: Dials out of range.

    Example:
        >>> found = world("circular", n=200, density=0.25)
        >>> found.sigma.shape, found.order[:3], round(float(np.diag(found.sigma).mean()), 4)
        ((12, 12), (0, 1, 2), 0.1875)
    """
    if kind not in KINDS:
        raise unknown_name("world", kind, KINDS)
    if d < 2 or n < 1 or not 1 <= groups <= d or noise < 0 or sharpness < 0 or not 0 <= correlation <= 1:
        raise InputError(
            f"d {d}, n {n}, groups {groups}, noise {noise}, sharpness {sharpness}, correlation {correlation}: d from 2,"
            " n from 1, groups up to d, spreads from 0 and a correlation in 0..1 are needed"
        )
    if density is not None and not 0 < density < 1:
        raise InputError(f"density is {density}: a share between 0 and 1 is needed")
    dials = _Dials(
        d=d, n=n, sharpness=sharpness, base=base, noise=noise, density=density, correlation=correlation, groups=groups
    )
    x, latent, features, sigma, order, group = KINDS[kind](dials, np.random.default_rng([17, seed]))
    return World(
        kind=kind, x=x.astype(np.float64), latent=latent, features=features, sigma=sigma, order=order, groups=group,
        names=tuple(str(number) for number in range(d)), seed=seed,
    )  # fmt: skip


def _circle(t: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(t), np.sin(t)], axis=-1)


def _eight(t: np.ndarray) -> np.ndarray:
    return np.stack([np.sin(t), np.sin(2 * t)], axis=-1)


def _curve(place: Callable[[np.ndarray], np.ndarray]) -> Callable[[_Dials, np.random.Generator], Drawn]:
    def draw(dials: _Dials, rng: np.random.Generator) -> Drawn:
        angles = 2 * np.pi * np.arange(dials.d) / dials.d
        features = place(angles)
        nodes, weights = np.polynomial.hermite_e.hermegauss(QUADRATURE if dials.noise else 1)
        spread = place((angles[:, None] + dials.noise * nodes).ravel())
        mass = np.tile(weights / weights.sum(), dials.d) / dials.d
        scores = dials.sharpness * spread @ features.T
        base = _solve(dials, lambda shift: float(mass @ _sigmoid(scores + shift).mean(1)))
        chances = _sigmoid(scores + base)
        mean = mass @ chances
        sigma = (chances * mass[:, None]).T @ chances - np.outer(mean, mean)
        np.fill_diagonal(sigma, mean * (1 - mean))
        at = angles[np.arange(dials.n) % dials.d] + dials.noise * rng.standard_normal(dials.n)
        latent = place(at)
        x = rng.random((dials.n, dials.d)) < _sigmoid(dials.sharpness * latent @ features.T + base)
        return x, latent, features, sigma, tuple(range(dials.d)), np.full(dials.d, -1)

    return draw


def _sphere(dials: _Dials, rng: np.random.Generator) -> Drawn:
    """Fibonacci lattice; the covariance is of a fine lattice of places, not exact."""
    features = _lattice(dials.d)
    latent = _unit(rng.standard_normal((dials.n, 3)))
    latent = _unit(latent + dials.noise * rng.standard_normal((dials.n, 3)))
    scores = dials.sharpness * _lattice(20_000) @ features.T
    base = _solve(dials, lambda shift: float(_sigmoid(scores + shift).mean()))
    chances = _sigmoid(scores + base)
    mean = chances.mean(0)
    sigma = chances.T @ chances / len(chances) - np.outer(mean, mean)
    np.fill_diagonal(sigma, mean * (1 - mean))
    x = rng.random((dials.n, dials.d)) < _sigmoid(dials.sharpness * latent @ features.T + base)
    return x, latent, features, sigma, (), np.full(dials.d, -1)


def _independent(dials: _Dials, rng: np.random.Generator) -> Drawn:
    p = np.full(dials.d, 0.5 if dials.density is None else dials.density)
    return _of_chances(dials, rng, p)


def _zipf(dials: _Dials, rng: np.random.Generator) -> Drawn:
    shape = 1 / np.arange(1, dials.d + 1)
    wanted = 0.1 if dials.density is None else dials.density
    low, high = 0.0, 1e9
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(middle * shape, 0.95).mean() < wanted else (low, middle)
    return _of_chances(dials, rng, np.minimum(low * shape, 0.95))


def _of_chances(dials: _Dials, rng: np.random.Generator, p: np.ndarray) -> Drawn:
    x = rng.random((dials.n, dials.d)) < p
    return x, None, np.eye(dials.d), np.diag(p * (1 - p)), (), np.full(dials.d, -1)


def _block(dials: _Dials, rng: np.random.Generator) -> Drawn:
    """A feature copies its group's coin with chance sqrt(correlation), else throws its own."""
    p = 0.5 if dials.density is None else dials.density
    group = np.arange(dials.d) * dials.groups // dials.d
    coin = rng.random((dials.n, dials.groups)) < p
    own = rng.random((dials.n, dials.d)) < p
    copies = rng.random((dials.n, dials.d)) < dials.correlation**0.5
    same = (group[:, None] == group).astype(float)
    sigma = p * (1 - p) * (dials.correlation * same + (1 - dials.correlation) * np.eye(dials.d))
    return np.where(copies, coin[:, group], own), coin.astype(float), np.eye(dials.groups)[group], sigma, (), group


def _anticorrelated(dials: _Dials, rng: np.random.Generator) -> Drawn:
    """At most one feature of each group of `groups` is on."""
    size = dials.groups
    group = np.arange(dials.d) // size
    members = np.bincount(group)
    p = 0.5 / size if dials.density is None else dials.density
    if p * members.max() > 1:
        raise InputError(
            f"density is {p} but at most one of {members.max()} features is on: give up to {1 / members.max():.3f}"
        )
    draws = rng.random((dials.n, len(members)))
    first = np.cumsum(members) - members
    rank = np.arange(dials.d) - first[group]
    x = (draws[:, group] >= rank * p) & (draws[:, group] < (rank + 1) * p)
    same = (group[:, None] == group).astype(float)
    sigma = p * np.eye(dials.d) - p**2 * same
    return x, None, np.eye(len(members))[group], sigma, (), group


def _hierarchical(dials: _Dials, rng: np.random.Generator) -> Drawn:
    """A binary tree: a child is on only where its parent is, with chance `correlation`."""
    parent = (np.arange(dials.d) - 1) // 2
    depth = np.floor(np.log2(np.arange(dials.d) + 1)).astype(int)
    share = dials.correlation ** depth.astype(float)
    root = 0.5 if dials.density is None else dials.density / share.mean()
    if root > 1:
        raise InputError(f"density is {dials.density}: this tree reaches {share.mean():.3f}, raise correlation")
    coins = rng.random((dials.n, dials.d))
    x = np.zeros((dials.n, dials.d), dtype=bool)
    for child in range(dials.d):
        x[:, child] = (
            coins[:, child] < root if child == 0 else x[:, parent[child]] & (coins[:, child] < dials.correlation)
        )
    p = root * share
    together = np.empty((dials.d, dials.d))
    for j in range(dials.d):
        for k in range(dials.d):
            a, b = j, k
            while a != b:
                a, b = (parent[a], b) if a > b else (a, parent[b])
            together[j, k] = root * dials.correlation ** float(depth[j] + depth[k] - depth[a])
    return x, None, np.eye(dials.d), together - np.outer(p, p), (), depth


def _markov(dials: _Dials, rng: np.random.Generator) -> Drawn:
    """A walk along a ring of features: those near the walker are on, with a chance that falls with the distance."""
    steps = rng.integers(-1, 2, dials.n)
    state = (rng.integers(dials.d) + np.cumsum(steps)) % dials.d
    away = np.abs(np.arange(dials.d)[:, None] - np.arange(dials.d))
    away = np.minimum(away, dials.d - away)
    low, high = 0.0, 1.0
    wanted = 0.25 if dials.density is None else dials.density
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (middle ** away[0]).mean() < wanted else (low, middle)
    chances = low ** away.astype(float)
    mean = chances.mean(0)
    sigma = chances.T @ chances / dials.d - np.outer(mean, mean)
    np.fill_diagonal(sigma, mean * (1 - mean))
    x = rng.random((dials.n, dials.d)) < chances[state]
    angles = 2 * np.pi * np.arange(dials.d) / dials.d
    return x, _circle(angles)[state], _circle(angles), sigma, tuple(range(dials.d)), np.full(dials.d, -1)


KINDS: Mapping[str, Callable[[_Dials, np.random.Generator], Drawn]] = MappingProxyType(
    {
        "circular": _curve(_circle), "figure8": _curve(_eight), "sphere": _sphere, "independent": _independent,
        "block": _block, "anticorrelated": _anticorrelated, "hierarchical": _hierarchical, "zipf": _zipf,
        "markov": _markov,
    }
)  # fmt: skip
"""Kind -> what draws it."""


def _solve(dials: _Dials, mean: Callable[[float], float]) -> float:
    """The base that gives the wanted density, by bisection."""
    if dials.density is None:
        return float(dials.base)
    low, high = -60.0 - dials.sharpness, 60.0 + dials.sharpness
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) < dials.density else (low, middle)
    return (low + high) / 2


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(z, -60, 60)))


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _lattice(count: int) -> np.ndarray:
    """Fibonacci points of the sphere."""
    number = np.arange(count) + 0.5
    height = 1 - 2 * number / count
    turn = np.pi * (1 + 5**0.5) * number
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1)
