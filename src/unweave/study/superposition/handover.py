"""What the other methods find in the latents of a superposition model whose words are known: how much of its true
dictionary their directions recover, and how well their few best units tell a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from unweave.features.activation import Activation
from unweave.features.affine import AffineFeaturizer
from unweave.features.bases import neurons, pca, random_rotation
from unweave.features.featurizer import Featurizer, Provenance
from unweave.features.neurons import NeuronFeaturizer
from unweave.interaction.basis import interaction_basis, principal
from unweave.interaction.config import BasisConfig
from unweave.ndm.fit import fit
from unweave.probing.sweep import sweep
from unweave.superposition.autoencoder import Autoencoder
from unweave.tensors.moments import moments
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


def method_scores(
    world: World,
    groups: Any,
    *,
    words: Any,
    model: Autoencoder | None = None,
    more: Mapping[str, Featurizer] | None = None,
    steps: int = 100,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Recovery, absorption and probes of words in bases of the latents: axes, principal components, an NDM partition,
    the local interaction basis, a sparse dictionary, a random rotation, the true dictionary.

    Args:
        world: A handed-over model, see `as_world`.
        groups: Group of each row, so that documents are on one side.
        words: Columns of the words that are probed.
        model: The model itself: the interaction basis then knows where its ReLU is open; None takes a linear decoder.
        more: Name -> another basis, such as a dictionary you trained.
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
        "interaction basis": _interaction(world, model), "sparse dictionary": _sparse_dictionary(world, seed),
        "random rotation": random_rotation(width, seed=seed),
        "true dictionary": AffineFeaturizer(read=world.features.T.copy(), write=world.features.copy()),
    }  # fmt: skip
    bases |= more or {}
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


def _interaction(world: World, model: Autoencoder | None) -> Featurizer:
    """What varies in the latents and moves a reconstruction: slopes are decoder rows where a sum is above 0."""
    reader = world.features if model is None else model.decoder.astype(np.float64)
    open_ = np.ones(len(reader))
    if model is not None and model.activation == "relu":
        open_ = (world.x @ reader.T + model.bias > 0).mean(0)
    pulled = torch.from_numpy(reader.T @ (open_[:, None] * reader))
    config = BasisConfig()
    found = principal(moments(torch.from_numpy(world.x).double()), "the latent", config)
    return interaction_basis(found, pulled, config, Provenance(method="lib")).featurizer


def _sparse_dictionary(world: World, seed: int) -> Featurizer:
    """Twice as many atoms as dimensions; a unit is the product of atom and latent, where that is positive."""
    from sklearn.decomposition import MiniBatchDictionaryLearning

    spread = float(world.x.std()) or 1.0
    strength: Any = 0.5  # sklearn's stubs take it for a whole number
    found = MiniBatchDictionaryLearning(
        2 * world.x.shape[1], alpha=strength, max_iter=20, batch_size=256, random_state=seed
    ).fit(world.x / spread)
    atoms = np.asarray(found.components_, dtype=np.float64)
    return AffineFeaturizer(read=atoms.T.copy(), write=atoms.copy(), act=Activation(kind="relu"))


def _written(basis: Featurizer) -> np.ndarray:
    """What the units write, a row each."""
    if isinstance(basis, NeuronFeaturizer):
        return np.eye(basis.width)
    if isinstance(basis, AffineFeaturizer):
        return basis.write.double().numpy()
    raise RuntimeError(f"a basis of {type(basis).__name__} has no directions")
