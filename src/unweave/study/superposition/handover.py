"""What the other methods find in the latents of a superposition model whose words are known: how much of its true
dictionary their directions recover, and how well their few best units tell a word.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from unweave.features.affine import AffineFeaturizer
from unweave.features.bases import neurons, pca, random_rotation
from unweave.features.featurizer import Featurizer
from unweave.features.neurons import NeuronFeaturizer
from unweave.ndm.fit import fit
from unweave.probing.sweep import sweep
from unweave.worlds.correlated import World

WORDS, KS = 6, (1, 4)


def recovery(directions: Any, world: World, *, words: Any = None) -> float:
    """Mean over words of the largest absolute cosine between what a word writes and any direction: 1 = each word has
    its direction.

    Args:
        directions: (k, m), a row each.
        world: A handed-over model.
        words: Columns of the words that count; None is those that carry weight.
    """
    true = world.features
    chosen = np.flatnonzero(np.linalg.norm(true, axis=1) > 1e-9) if words is None else np.asarray(words)
    one, two = (
        rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        for rows in (true[chosen], np.asarray(directions))
    )
    return float(np.abs(one @ two.T).max(1).mean())


def absorbed(directions: Any, world: World, *, threshold: float = 0.5) -> float:
    """Share of words whose best direction is the best of another, more frequent word too.

    Args:
        directions: (k, m), a row each.
        world: A handed-over model.
        threshold: Absolute cosine from which a direction counts as a word's.
    """
    true = world.features / np.maximum(np.linalg.norm(world.features, axis=1, keepdims=True), 1e-12)
    rows = np.asarray(directions)
    cosines = np.abs(true @ (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).T)
    best, size = cosines.argmax(1), cosines.max(1)
    frequency = world.latent.mean(0) if world.latent is not None else np.zeros(len(best))
    has = np.flatnonzero(size >= threshold)
    owner = {int(best[place]): place for place in has[np.argsort(frequency[has], kind="stable")]}
    return float(np.mean([owner[int(best[place])] != place for place in has])) if len(has) else float("nan")


def method_scores(world: World, groups: Any, *, words: Any, steps: int = 100, seed: int = 0) -> list[dict[str, Any]]:
    """Recovery, absorption and probes of words in four bases of the latents: axes, principal components, an NDM
    partition, a random rotation.

    Args:
        world: A handed-over model, see `as_world`.
        groups: Group of each row, so that documents are on one side.
        words: Columns of the words that are probed.
        steps: Of the NDM fit.
        seed: Of fits and splits.
    """
    rows = torch.from_numpy(world.x).float()
    width = rows.shape[1]
    part = fit(
        rows, unit_size=2, steps=steps, seed=seed, preset="quick", pool=min(1024, len(rows)), init="identity", escape=0,
        mi_keys=min(2048, len(rows)), mi_queries=min(300, len(rows)),
    )  # fmt: skip
    bases: dict[str, Featurizer] = {
        "axes": neurons(width), "principal components": pca(rows), "NDM": part.featurizer,
        "random rotation": random_rotation(width, seed=seed),
        "true dictionary": AffineFeaturizer(read=world.features.T.copy(), write=world.features.copy()),
    }  # fmt: skip
    found = []
    for name, basis in bases.items():
        units = basis.encode(rows)[0]
        row: dict[str, Any] = {
            "basis": name,
            "recovery": recovery(_written(basis), world),
            "absorbed": absorbed(_written(basis), world),
        }
        for k in KS:
            scores = []
            for word in words:
                labels = world.latent[:, word] if world.latent is not None else np.zeros(len(rows))
                probes = sweep(units, labels.astype(int), groups=groups, ks=(k,), seed=seed, selector="std_mean_diff")
                scores.append(probes.probes[0].f1.value)
            row[f"f1 of {k}"] = float(np.mean(scores)) if scores else float("nan")
        found.append(row)
    return found


def _written(basis: Featurizer) -> np.ndarray:
    """What the units write, a row each."""
    if isinstance(basis, NeuronFeaturizer):
        return np.eye(basis.width)
    if isinstance(basis, AffineFeaturizer):
        return basis.write.double().numpy()
    raise RuntimeError(f"a basis of {type(basis).__name__} has no directions")
