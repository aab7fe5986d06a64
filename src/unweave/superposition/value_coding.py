"""Value coding: embeddings whose directions are quantities, not features, and what is lost without them.

A small network tells the direction from one place to another, or adds numbers modulo p. The quantities (where a place
lies; the waves of a number) are read off its embedding by a line. VC+ keeps the plane of the quantities and the
mean of the rest, VC- keeps the rest alone; random planes and principal components stand beside them.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `plane` | U | (k, e) | orthonormal basis of the probe directions (rows) | specs/superposition.md, 7 |
| `kept` | VC+ | (P, e) | `z U'U + mean(z - z U'U)` | same |
| `removed` | VC- | (P, e) | `z - z U'U` | same |
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweave.errors import DataError, InputError, unknown_name

SECTORS = 8
COORDINATES = ("auto", "degrees", "sphere")
RIDGE = 1e-3
START = 1.0
"""Spread of the embedding of places at the start, as torch has it."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A network with one change to its embedding."""

    name: str
    accuracy: float
    low: float
    """95 % interval over held-out pairs (Wilson)."""
    high: float
    loss: float


@dataclass(frozen=True, eq=False, kw_only=True)
class ValueCoding:
    """What a network knows with and without its value plane."""

    variants: tuple[Variant, ...]
    """`base`, `VC+`, `VC-`, then controls."""
    probe_r2: float
    """R2 of the quantities on things that the probe was not fitted on."""
    embedding: Float[np.ndarray, "p e"]
    plane: Float[np.ndarray, "k e"]
    targets: Float[np.ndarray, "p k"]
    n: int
    """Held-out pairs."""
    seconds: float | None = None

    def table(self) -> list[dict[str, Any]]:
        """A variant each."""
        return [dict(vars(one)) for one in self.variants]

    def accuracy(self, name: str) -> float:
        """Accuracy of one variant."""
        return next(one.accuracy for one in self.variants if one.name == name)

    def __repr__(self) -> str:
        """Accuracies."""
        return (
            "ValueCoding("
            + ", ".join(f"{one.name} {one.accuracy:.1%}" for one in self.variants[:3])
            + f", probe R2 {self.probe_r2:.3f})"
        )


def bearing(first: Float[np.ndarray, "n 2"], second: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, " n"]:
    """Sector of the initial great-circle direction from one place to another: 0 north, 2 east, 4 south, 6 west.

    Args:
        first: Latitudes and longitudes in degrees.
        second: The same.

    Example:
        >>> here = np.zeros((4, 2))
        >>> bearing(here, np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])).tolist()
        [0, 2, 4, 6]
    """
    lat1, lon1, lat2, lon2 = (np.radians(column) for column in (*np.asarray(first, dtype=np.float64).T, *np.asarray(second, dtype=np.float64).T))  # fmt: skip  # noqa: E501
    turn = lon2 - lon1
    theta = np.arctan2(
        np.sin(turn) * np.cos(lat2), np.cos(lat1) * np.sin(lat2) - np.sin(lat1) * np.cos(lat2) * np.cos(turn)
    )
    return np.floor((np.degrees(theta) + 22.5) / 45).astype(np.int64) % SECTORS


def random_places(count: int, *, seed: int = 0) -> Float[np.ndarray, "n 2"]:
    """Latitudes and longitudes in degrees, uniform on the sphere.

    Args:
        count: Places.
        seed: Of the draw.
    """
    rng = np.random.default_rng([31, seed])
    return np.stack([np.degrees(np.arcsin(rng.uniform(-1, 1, count))), rng.uniform(-180, 180, count)], axis=1)


def read_places(path: str | Path) -> Float[np.ndarray, "n 2"]:
    """Latitudes and longitudes from a CSV file with columns lat (or latitude) and lon (or longitude).

    Args:
        path: The file.

    Raises:
        InputError: Columns are missing, or a row has no numbers.
    """
    file = Path(path)
    try:
        rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({error}): give a CSV file in UTF-8") from error
    names = set(rows[0]) if rows else set()
    lat, lon = (
        next((one for one in pair if one in names), None) for pair in (("lat", "latitude"), ("lon", "longitude"))
    )
    if lat is None or lon is None:
        raise InputError(f"{file} has the columns {sorted(names)}: lat and lon (or latitude and longitude) are needed")
    try:
        return np.array([[float(row[lat]), float(row[lon])] for row in rows])
    except (TypeError, ValueError) as error:
        raise InputError(f"{file} has a row without numbers for {lat} and {lon} ({error}): repair it") from error


def map_experiment(
    places: Any = 760,
    *,
    pairs: int = 200_000,
    epochs: int = 6,
    width: int = 50,
    hidden: int = 128,
    coordinates: str = "auto",
    seed: int = 0,
) -> ValueCoding:
    """Directions between places, learned from pairs, and what is left of them with and without latitude and longitude.

    Args:
        places: A number of random points on a sphere, an array of latitudes and longitudes in degrees, or a CSV file.
        pairs: Ordered pairs to train on, distinct from those that are scored.
        epochs: Times through them.
        width: Of the embedding.
        hidden: Of the layer behind it.
        coordinates: What the probe reads: `degrees`, latitude and longitude as published; `sphere`, the three
            coordinates on a globe, where longitude would jump at the date line; `auto`, degrees where all places lie
            within 180 degrees of longitude.
        seed: Of start, pairs and splits.

    Raises:
        DataError: Fewer than 10 places.
        UnknownName: Other coordinates.

    Source:
        arXiv 2603.09972, value coding; specs/superposition.md, section 7.

    Example:
        >>> map_experiment(20, pairs=200, epochs=1).embedding.shape
        (20, 50)
    """
    start = time.process_time()
    at = random_places(places, seed=seed) if isinstance(places, int) else read_places(places) if isinstance(places, str | Path) else np.asarray(places, dtype=np.float64)  # fmt: skip  # noqa: E501
    count = len(at)
    if count < 10 or at.ndim != 2 or at.shape[1] != 2:
        raise DataError(f"places have shape {at.shape}: ten or more rows of latitude and longitude are needed")
    targets = _quantities(at, coordinates)
    rng = np.random.default_rng([37, seed])
    flat = rng.permutation(count * (count - 1))
    first, second = np.divmod(flat, count - 1)
    second = second + (second >= first)
    cut = min(pairs, int(0.8 * len(flat)))
    held = slice(cut, cut + max(200, cut // 4))
    labels = bearing(at[first], at[second])
    data = [torch.from_numpy(one) for one in (first, second, labels)]
    net = _Net(count, (width, hidden), SECTORS, seed, START)
    _fit(net, [one[:cut] for one in data], epochs=epochs, seed=seed, batch=512, rate=5e-3)
    plane, r2 = _probe(net.embedding(), targets, rng)
    return _scored(net, [one[held] for one in data], plane, targets, (r2, start), rng)


def _quantities(at: np.ndarray, coordinates: str) -> np.ndarray:
    """What the probe reads of each place."""
    if coordinates not in COORDINATES:
        raise unknown_name("coordinates", coordinates, COORDINATES)
    if coordinates == "degrees" or (coordinates == "auto" and np.ptp(at[:, 1]) < 180):
        return at
    lat, lon = np.radians(at).T
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def modular_addition(
    p: int = 59, *, share: float = 0.7, steps: int = 1_500, width: int = 64, hidden: int = 256, seed: int = 0
) -> ValueCoding:
    """Addition modulo p by a small network, and what is left of it with and without the waves of its numbers.

    Args:
        p: Modulus, a prime for a clean answer.
        share: Of the pairs that are trained on; the others are scored.
        steps: Of Adam with decay over all of them.
        width: Of the embedding.
        hidden: Of the layer behind it.
        seed: Of start and split.

    Raises:
        InputError: p below 3 or a share outside 0..1.

    Source:
        arXiv 2603.09972 (no public code: the design is ours); specs/superposition.md, section 7.

    Example:
        >>> modular_addition(7, steps=20).targets.shape[1] % 2
        0
    """
    start = time.process_time()
    if p < 3 or not 0 < share < 1:
        raise InputError(f"p is {p} and share {share}: a modulus from 3 and a share between 0 and 1 are needed")
    rng = np.random.default_rng([41, seed])
    flat = rng.permutation(p * p)
    first, second = np.divmod(flat, p)
    data = [torch.from_numpy(one) for one in (first, second, (first + second) % p)]
    cut = int(share * len(flat))
    net = _Net(p, (width, hidden), p, seed, 1.0)
    _fit(net, [one[:cut] for one in data], epochs=steps, seed=seed, batch=cut, decay=1.0, rate=3e-3)
    plane, waves, r2 = _key_waves(net.embedding())
    return _scored(net, [one[cut:] for one in data], plane, waves, (r2, start), rng)


class _Net(torch.nn.Module):
    """Embedding, two of them side by side, a ReLU layer, classes."""

    def __init__(self, things: int, sizes: tuple[int, int], classes: int, seed: int, spread: float) -> None:
        """Starts as torch's layers do, from the seed alone."""
        width, hidden = sizes
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.table = torch.nn.Parameter(spread * torch.randn(things, width))
            self.inner = torch.nn.Linear(2 * width, hidden)
            self.outer = torch.nn.Linear(hidden, classes)

    def embedding(self) -> np.ndarray:
        """The embedding of each thing."""
        return self.table.detach().double().numpy().copy()

    def forward(self, first: Tensor, second: Tensor, table: Tensor | None = None) -> Tensor:
        """Scores of the classes."""
        z = self.table if table is None else table
        return self.outer(torch.relu(self.inner(torch.cat([z[first], z[second]], dim=1))))


def _fit(
    net: _Net, data: list[Tensor], *, epochs: int, seed: int, batch: int = 1024, decay: float = 0.0, rate: float = 1e-3
) -> None:
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=decay)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(data[0]), generator=generator)
        for chosen in order.split(batch):
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(data[0][chosen], data[1][chosen]), data[2][chosen])
            loss.backward()
            optimiser.step()


def _probe(z: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """(orthonormal directions from which the targets are read, R2 on held-out things)."""
    train = rng.permutation(len(z))[: max(2, int(0.7 * len(z)))]
    held = np.setdiff1d(np.arange(len(z)), train)
    centre, middle = z[train].mean(0), targets[train].mean(0)
    gram = (z[train] - centre).T @ (z[train] - centre) + RIDGE * np.eye(z.shape[1])
    beta = np.linalg.solve(gram, (z[train] - centre).T @ (targets[train] - middle))
    rest = np.square(targets[held] - middle - (z[held] - centre) @ beta).sum()
    r2 = 1 - float(rest / np.square(targets[held] - targets[held].mean(0)).sum()) if len(held) > 1 else float("nan")
    basis, _ = np.linalg.qr(beta)
    return basis.T, r2


def _key_waves(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """(plane, waves of the numbers, share of the embedding's power in them) of the frequencies that stand out."""
    p = len(z)
    count = (p - 1) // 2
    angles = 2 * np.pi * np.outer(np.arange(p), np.arange(1, count + 1)) / p
    cos, sin = np.cos(angles) * math.sqrt(2 / p), np.sin(angles) * math.sqrt(2 / p)
    centred = z - z.mean(0)
    power = np.square(cos.T @ centred).sum(1) + np.square(sin.T @ centred).sum(1)
    order = np.argsort(-power)
    enough = int(np.searchsorted(np.cumsum(power[order]) / power.sum(), 0.95)) + 1
    keys = order[: max(1, min(enough, z.shape[1] // 4))]
    waves = np.concatenate([cos[:, keys], sin[:, keys]], axis=1)
    basis, _ = np.linalg.qr((waves.T @ centred).T)
    return basis.T, waves, float(power[keys].sum() / power.sum())


def project(z: Float[np.ndarray, "p e"], plane: Float[np.ndarray, "k e"]) -> dict[str, Float[np.ndarray, "p e"]]:
    """VC+, VC-, and VC- brought back to the old lengths.

    Args:
        z: An embedding.
        plane: Orthonormal rows.

    Example:
        >>> found = project(np.array([[1.0, 2.0]]), np.eye(2))
        >>> found["VC+"].tolist(), found["VC-"].tolist()
        ([[1.0, 2.0]], [[0.0, 0.0]])
    """
    inside = z @ plane.T @ plane
    removed = z - inside
    kept = inside + removed.mean(0)
    lengths = np.linalg.norm(removed, axis=1, keepdims=True)
    scaled = np.divide(removed, lengths, out=np.zeros_like(z), where=lengths > 1e-12) * np.linalg.norm(
        z, axis=1, keepdims=True
    )
    return {"VC+": kept, "VC-": removed, "VC- rescaled": scaled}


def _scored(
    net: _Net,
    held: list[Tensor],
    plane: np.ndarray,
    targets: np.ndarray,
    told: tuple[float, float],
    rng: np.random.Generator,
) -> ValueCoding:
    z = net.embedding()
    raw, _ = np.linalg.qr(rng.standard_normal((z.shape[1], len(plane))))
    _, _, components = np.linalg.svd(z - z.mean(0), full_matrices=False)
    tables: dict[str, np.ndarray] = {"base": z, **project(z, plane)}
    tables |= {f"{name}, random plane": value for name, value in list(project(z, raw.T).items())[:2]}
    tables |= {
        f"{name}, first components": value for name, value in list(project(z, components[: len(plane)]).items())[:2]
    }
    classify: Callable[[np.ndarray], Tensor] = lambda table: net(held[0], held[1], torch.from_numpy(table).float())  # noqa: E731
    variants = []
    with torch.no_grad():
        for name, table in tables.items():
            scores = classify(table)
            right = float((scores.argmax(1) == held[2]).double().mean())
            low, high = _wilson(right, len(held[2]))
            loss = float(torch.nn.functional.cross_entropy(scores, held[2]))
            variants.append(Variant(name=name, accuracy=right, low=low, high=high, loss=loss))
    return ValueCoding(
        variants=tuple(variants), probe_r2=told[0], embedding=z, plane=plane, targets=targets, n=len(held[2]),
        seconds=time.process_time() - told[1],
    )  # fmt: skip


def _wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - half, middle + half
