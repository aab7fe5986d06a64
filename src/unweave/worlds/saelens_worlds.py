"""Synthetic models of SAELens, both ways: its saved generator as a `World`, and a `World` as its files.

`synthetic_model_config.json` has the sizes and the magnitudes of the features that are on;
`synthetic_model.safetensors` has `feature_vectors` (f, d), `bias` (d,), `firing_probabilities` (f,), and
`correlation_factor` (f, r) and `correlation_diag` (f,) where features go together; a `hierarchy.json` says which
features need which others, by rules that are code: it is refused.

    h = a @ feature_vectors + bias,   a_i = [on_i] max(0, m + s e_i),   P(on_i) = p_i

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `rate` | p | (f,) | chance that a feature is on | released package SAELens 6 |
| `size`, `spread` | m, s | () | magnitude of a feature that is on: normal, cut at 0 | same |
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from unweave.errors import DataError, InputError
from unweave.features.foreign.tensor_files import checked_shapes, read_config, read_tensors
from unweave.files import write_tensors, write_text
from unweave.worlds.correlated import World

CONFIG, WEIGHTS, HIERARCHY = "synthetic_model_config.json", "synthetic_model.safetensors", "hierarchy.json"
NEEDED = ("feature_vectors", "bias", "firing_probabilities")


def load_saelens_world(path: str | Path, *, n: int = 10_000, seed: int = 0) -> World:
    """Rows of a synthetic model that SAELens saved, with their truth.

    Args:
        path: The directory.
        n: Rows.
        seed: Of the draws, which are not those of SAELens.

    Returns:
        `x` are activations (n, d), `latent` what each feature is worth in each row (n, f), `features` the feature
        vectors (f, d), `sigma` the covariance where features are independent.

    Raises:
        InputError: A file that is missing, damaged or of other shapes, a hierarchy, or magnitudes that differ between
            features, which the files do not hold.

    Source:
        specs/ecosystem.md 5, from the released package SAELens 6.

    Example:
        >>> import tempfile
        >>> from unweave.worlds.correlated import world
        >>> folder = save_saelens_world(world("independent", d=4, n=500, density=0.2), tempfile.mkdtemp() + "/w")
        >>> load_saelens_world(folder, n=100).latent.shape
        (100, 4)
    """
    folder = Path(path)
    config = read_config(folder / CONFIG)
    if (folder / HIERARCHY).exists():
        raise InputError(
            f"{folder} has a hierarchy: its rules are code of SAELens; sample there and import the rows as arrays"
        )
    size, spread = (_magnitude(config, name, folder) for name in ("mean_firing_magnitudes", "std_firing_magnitudes"))
    tensors = read_tensors(folder / WEIGHTS, needed=NEEDED)
    vectors = tensors["feature_vectors"]
    if vectors.ndim != 2:
        raise InputError(f"{folder / WEIGHTS}: feature_vectors is {tuple(vectors.shape)}, (features, width) is needed")
    count, width = vectors.shape
    wanted: dict[str, tuple[int, ...]] = {"bias": (width,), "firing_probabilities": (count,)}
    if "correlation_factor" in tensors:
        rank = tensors["correlation_factor"].shape[-1]
        wanted |= {"correlation_factor": (count, rank), "correlation_diag": (count,)}
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise InputError(f"{folder / WEIGHTS} has no {', '.join(missing)}: it was cut or changed")
    checked_shapes(tensors, wanted, folder / WEIGHTS)
    parts = {name: tensors[name].double().numpy() for name in ("feature_vectors", *wanted)}
    rate = parts["firing_probabilities"]
    if not bool(((rate >= 0) & (rate <= 1)).all()) or n < 1:
        raise InputError(f"{folder / WEIGHTS}: chances to be on lie between 0 and 1, and rows from 1 are needed")
    rng = np.random.default_rng([41, seed])
    on = _on(parts, rate, n, rng)
    latent = on * np.maximum(0.0, size + spread * rng.standard_normal(on.shape))
    features = parts["feature_vectors"]
    first, second = _moments(size, spread)
    variance = rate * second - (rate * first) ** 2
    return World(
        kind="a synthetic model of SAELens", x=latent @ features + parts["bias"], latent=latent, features=features,
        sigma=None if "correlation_factor" in parts else (features.T * variance) @ features, order=(),
        groups=np.full(count, -1), names=tuple(str(number) for number in range(count)), seed=seed,
    )  # fmt: skip


def save_saelens_world(world: World, path: str | Path) -> Path:
    """The features of a world with their firing statistics, as files for `SyntheticModel.load_from_disk` of SAELens.

    Kept are the feature vectors, how often each feature is on and how large it then is; which features go together is
    not: its rows there are independent.

    Args:
        world: One whose features are on or off: `latent` or `x` has a column a feature and nothing below 0.
        path: The directory; it must not exist or be empty.

    Raises:
        InputError: A world without such columns, or a directory that holds something.
        DataError: A feature that is never on.

    Example:
        >>> import tempfile
        >>> from unweave.worlds.correlated import world
        >>> folder = save_saelens_world(world("circular", n=500), tempfile.mkdtemp() + "/w")
        >>> sorted(file.name for file in folder.iterdir())
        ['synthetic_model.safetensors', 'synthetic_model_config.json']
    """
    values = _activities(world)
    rate = (values > 0).mean(0)
    silent = [world.names[number] for number in np.flatnonzero(rate == 0)]
    if silent:
        raise DataError(f"{', '.join(silent[:4])} are never on: a world with more rows is needed")
    size = values.sum(0) / (values > 0).sum(0)
    relative = np.where(values > 0, values / size - 1, 0.0)
    spread = float(np.sqrt((relative**2).sum() / (values > 0).sum()))
    folder = Path(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty: choose another path")
    folder.mkdir(parents=True, exist_ok=True)
    vectors = torch.from_numpy(world.features * size[:, None]).float().contiguous()
    config: dict[str, Any] = {
        "num_features": len(vectors), "hidden_dim": vectors.shape[1],
        "firing_probability": {"generator_name": "constant", "probability": float(rate.mean())},
        "hierarchy": None, "orthogonalization": None, "correlation": None, "std_firing_magnitudes": spread,
        "mean_firing_magnitudes": 1.0, "bias": False, "dtype": "float32", "seed": None,
    }  # fmt: skip
    tensors = {"feature_vectors": vectors, "bias": torch.zeros(vectors.shape[1])}
    write_tensors(tensors | {"firing_probabilities": torch.from_numpy(rate).float()}, folder / WEIGHTS)
    write_text(folder / CONFIG, json.dumps(config, indent=1) + "\n")
    return folder


def _activities(world: World) -> Float[np.ndarray, "n f"]:
    """What each feature is worth in each row."""
    for values in (world.latent, world.x):
        if values is not None and values.shape[1] == len(world.features) and float(values.min()) >= 0:
            return values
    raise InputError(
        f"a {world.kind} world has no column a feature that is 0 or more: SAELens knows features that are on or off"
    )


def _on(parts: dict[str, np.ndarray], rate: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Which features are on: independent coins, or normal numbers that go together, above a height."""
    if "correlation_factor" not in parts:
        return rng.random((n, len(rate))) < rate
    factor, own = parts["correlation_factor"], parts["correlation_diag"]
    if float(own.min()) < 0:
        raise InputError("correlation_diag has an entry below 0: variances are needed")
    from scipy.special import ndtri

    shared = rng.standard_normal((n, factor.shape[1])) @ factor.T
    drawn = shared + np.sqrt(own) * rng.standard_normal((n, len(rate)))
    return drawn > -ndtri(rate)


def _moments(size: float, spread: float) -> tuple[float, float]:
    """Mean and mean square of max(0, m + s e), e standard normal."""
    if spread == 0:
        return max(0.0, size), max(0.0, size) ** 2
    from scipy.special import ndtr

    height = size / spread
    share, density = float(ndtr(height)), math.exp(-(height**2) / 2) / math.sqrt(2 * math.pi)
    return size * share + spread * density, (size**2 + spread**2) * share + size * spread * density


def _magnitude(config: dict[str, Any], name: str, folder: Path) -> float:
    value = config.get(name, 1.0 if name.startswith("mean") else 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value) or value < 0:
        raise InputError(
            f"{folder / CONFIG} says {name} = {str(value)[:60]}: one number for all features is read; where they"
            " differ, sample with SAELens and import the rows as arrays"
        )
    return float(value)
