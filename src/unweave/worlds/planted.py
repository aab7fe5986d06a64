"""`planted`: activations in which a feature is spread over eight neurons among stronger distractors.

Each planted neuron alone tells less of the feature than a distractor does, the eight together tell all of it: nested
rankings fill up with distractors, and only a search over whole supports finds the truth.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `drive` | s | (n, F) | standardised weighted sum of the planted neurons at the feature's home site | specs/probing.md 10.1, 3 |
| `noise` | rho | () | noise of a distractor: (s + rho e) / sqrt(1 + rho^2) | same, 4 |
| `SLOPE` | beta | () | latent = beta s + logistic noise; the largest fifth are positive | same, 3 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float, Int

from unweave.errors import InputError, unknown_name

SETTINGS: Mapping[str, tuple[int, float]] = MappingProxyType({"easy": (24, 1.8), "hard": (64, 1.0)})
"""Setting -> number of distractors a feature, and their noise."""
MEMBERS = 8
RATE, SLOPE = 0.2, 4.5
LOUD, LOUD_FACTOR = 200, 3.0
"""Columns of high variance that know nothing of the feature, and how much larger they are."""
HIDDEN = 64
DOCUMENT = 20
TEST_SHARE = 0.3


@dataclass(frozen=True, eq=False, kw_only=True)
class Planted:
    """Activations at T sites, the labels of F features, and which neurons they are planted in."""

    sites: tuple[Float[np.ndarray, "n d"], ...]
    """float16, one matrix a site."""
    labels: Int[np.ndarray, "n F"]
    """0 or 1."""
    groups: Int[np.ndarray, " n"]
    """Documents of 20 rows."""
    held_out: Bool[np.ndarray, " n"]
    """The test rows of the benchmark: 30 % of the documents."""
    members: tuple[Int[np.ndarray, "F 8"], ...]
    """The planted neurons of each feature, one table a site; the truth lies at the feature's home site, f mod T."""
    distractors: tuple[Int[np.ndarray, "F D"], ...]
    drive: Float[np.ndarray, "n F"]
    """What the planted neurons add up to, standardised: the feature before its threshold."""

    def __repr__(self) -> str:
        """Shapes."""
        n, d = self.sites[0].shape
        return f"Planted({n} rows x {d} neurons, {self.labels.shape[1]} features, {len(self.sites)} sites)"


def planted(setting: str, n: int = 6000, d: int = 3072, *, features: int = 1, sites: int = 1, seed: int = 0) -> Planted:
    """Activations with F features planted in eight neurons each, among distractors that each tell more.

    Args:
        setting: "easy" (24 distractors a feature, mean correlation with it .47) or "hard" (64, .67).
        n: Rows; every 20 are a document.
        d: Neurons.
        features: F; feature f is computed from the neurons of site f mod T and its distractors are at every site.
        sites: T.
        seed: Of all draws.

    Raises:
        UnknownName: No such setting.
        InputError: Not enough neurons for the features, fewer than two documents, or no positive row.

    Source:
        specs/probing.md, section 10.1.

    Example:
        >>> world = planted("easy", 400, 300, seed=0)
        >>> world, int(world.labels.sum()), float(world.held_out.mean())
        (Planted(400 rows x 300 neurons, 1 features, 1 sites), 80, 0.3)
    """
    if setting not in SETTINGS:
        raise unknown_name("setting", setting, SETTINGS)
    distractors, noise = SETTINGS[setting]
    _check(n, d, features, sites, (MEMBERS + distractors) * features + LOUD)
    places = [_places(d, features, distractors, seed, site) for site in range(sites)]
    before = [_before(n, d, places[site][2], seed, site) for site in range(sites)]
    made = [_feature(before[f % sites][:, places[f % sites][0][f]], seed, f) for f in range(features)]
    drive = np.stack([one for one, _ in made], 1)
    for site, (_, spoilt, _) in enumerate(places):
        for f in range(features):
            rng = np.random.default_rng([4, seed, site, f])
            errors = rng.standard_normal((n, distractors))
            sign = rng.choice([-1, 1], distractors)
            before[site][:, spoilt[f]] = (drive[:, [f]] + noise * errors) / np.sqrt(1 + noise**2) * sign + 1
    groups = np.arange(n) // DOCUMENT
    count = int(groups[-1]) + 1
    tested = np.random.default_rng([5, seed]).permutation(count)[: round(TEST_SHARE * count)]
    return Planted(
        sites=tuple(_gelu(one).astype(np.float16) for one in before),
        labels=np.stack([labels for _, labels in made], 1),
        groups=groups,
        held_out=np.isin(groups, tested),
        members=tuple(place[0] for place in places),
        distractors=tuple(place[1] for place in places),
        drive=drive,
    )


def _check(n: int, d: int, features: int, sites: int, needed: int) -> None:
    if features < 1 or sites < 1:
        raise InputError(f"features is {features} and sites is {sites}: at least one of each is needed")
    if d < needed:
        raise InputError(f"d is {d}: {features} features and the {LOUD} loud columns need {needed} neurons")
    if n <= DOCUMENT:
        raise InputError(f"n is {n}: at least two documents of {DOCUMENT} rows are needed")


def _places(d: int, features: int, distractors: int, seed: int, site: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Planted neurons and distractors of each feature, and the loud columns."""
    order = np.random.default_rng([1, seed, site]).permutation(d)
    owned = order[: features * (MEMBERS + distractors)].reshape(features, -1)
    rest = order[owned.size : owned.size + LOUD]
    return owned[:, :MEMBERS], owned[:, MEMBERS:], rest


def _before(n: int, d: int, loud: np.ndarray, seed: int, site: int) -> Float[np.ndarray, "n d"]:
    """Values before the nonlinearity: a few shared hidden variables and noise."""
    rng = np.random.default_rng([2, seed, site])
    mixing = rng.standard_normal((HIDDEN, d), dtype=np.float32)
    bias = -0.5 + 0.3 * rng.standard_normal(d, dtype=np.float32)
    hidden = rng.standard_normal((n, HIDDEN), dtype=np.float32)
    errors = rng.standard_normal((n, d), dtype=np.float32)
    values = (np.float32(0.6 / 8) * hidden) @ mixing + np.float32(0.8) * errors + bias
    values[:, loud] *= np.float32(LOUD_FACTOR)
    return values


def _feature(before: Float[np.ndarray, "n 8"], seed: int, f: int) -> tuple[np.ndarray, np.ndarray]:
    """What the planted neurons add up to, and the labels: the rows with the largest noisy sums."""
    rng = np.random.default_rng([3, seed, f])
    weight = rng.uniform(0.7, 1.3, MEMBERS) * rng.choice([-1, 1], MEMBERS)
    drive = _standard(_standard(_gelu(before).astype(np.float64)) @ weight)
    uniform = rng.uniform(size=len(drive))
    latent = SLOPE * drive + np.log(uniform / (1 - uniform))
    labels = np.zeros(len(drive), dtype=np.int64)
    labels[np.argsort(-latent, kind="stable")[: round(RATE * len(drive))]] = 1
    return drive, labels


def _standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(0)) / values.std(0)


def _gelu(values: np.ndarray) -> np.ndarray:
    """x Phi(x) with the exact error function, in the dtype of x."""
    from scipy.special import ndtr

    return values * ndtr(values)
