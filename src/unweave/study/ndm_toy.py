"""The toy experiment of NDM: a small autoencoder puts groups of exclusive features in superposition, and the partition
must find the groups. Two layers meet here, so it stands above both.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import torch

from unweave.errors import InputError
from unweave.log import SILENT, Progress
from unweave.ndm.fit import fit
from unweave.ndm.result import NDMResult
from unweave.worlds.exclusive import SEPARABLE_BELOW, ToyModel, energy_purity, toy_rows, train_toys

ROWS = 20_000


@dataclass(frozen=True, eq=False, kw_only=True)
class ToyRun:
    """One toy model and the partition of its hidden space."""

    model: ToyModel
    result: NDMResult
    purity: float
    """Energy purity over the groups, or over connected groups where the model does not keep them apart."""
    is_recovered: bool
    """Purity above .99, and one block of the right size a group."""
    connected: tuple[tuple[int, ...], ...]
    """Groups that overlap in the model, together."""
    training_seconds: float
    """CPU-seconds of the training of the models."""
    cpu_seconds: float
    """CPU-seconds of the fit."""
    tried: int
    """Models that were trained."""

    def facts(self) -> dict[str, Any]:
        """Plain values for programs."""
        return {
            "groups": list(self.model.groups),
            "width": self.model.weights.shape[1],
            "seed": self.model.seed,
            "purity": self.purity,
            "partition": self.result.partition,
            "separable": self.model.is_separable,
            "overlap": self.model.overlap,
            "ranks": list(self.model.ranks),
            "connected": [list(group) for group in self.connected],
            "recovered": self.is_recovered,
            "reconstruction_loss": self.model.loss,
            "start": self.result.start,
            "distance": self.result.distance,
            "models_trained": self.tried,
            "training_seconds": round(self.training_seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
        }

    def heat_map(self) -> np.ndarray:
        """abs(W R): what each feature writes in each coordinate, blocks of columns."""
        return (self.model.weights.double() @ self.result.featurizer.read).abs().numpy()


def ndm_toy(
    groups: Sequence[int] = (20, 20),
    width: int = 12,
    seed: int = 0,
    *,
    restarts: int = 1,
    preset: str = "toy",
    progress: Progress = SILENT,
) -> ToyRun:
    """Trains the toy model, parts its hidden space, and scores the partition.

    Args:
        groups: Features of each group.
        width: Hidden dimensions.
        seed: Of model and fit.
        restarts: Models to train, of which the one with the lowest reconstruction loss is kept.
        preset: Of the fit.
        progress: Who is told how far it is.

    Returns:
        `.facts()` gives purity, partition, ranks, separable, overlap and CPU-seconds.

    Raises:
        InputError: Sizes that are not positive, or no restart.

    Source:
        arXiv 2508.01916, toy experiment; criterion of specs/ndm.md, section 7.
    """
    if restarts < 1:
        raise InputError(f"restarts is {restarts}: at least one model is needed")
    start = time.process_time()
    progress.note(f"training {restarts} toy model{'s' if restarts > 1 else ''}: {list(groups)} -> {width}")
    seeds = [seed, *(seed * 1000 + 1 + number for number in range(restarts - 1))]
    models = train_toys(groups, width, seeds)
    model = min(models, key=lambda one: one.loss)
    trained = time.process_time()
    rows = toy_rows(model, ROWS, seed=seed + 1)
    result = fit(rows, unit_size=2, seed=seed, preset=preset, progress=progress)
    return scored(
        model, result, training_seconds=trained - start, cpu_seconds=time.process_time() - trained, tried=restarts
    )


def scored(
    model: ToyModel, result: NDMResult, *, training_seconds: float, cpu_seconds: float, tried: int = 1
) -> ToyRun:
    """A partition of a toy model against its groups.

    Args:
        model: The trained model.
        result: A partition of its hidden space.
        training_seconds: What the models cost.
        cpu_seconds: What the fit cost.
        tried: Models that were trained.
    """
    connected = _connected(model)
    label = {group: place for place, together in enumerate(connected) for group in together}
    owner = np.repeat([label[group] for group in range(len(model.groups))], model.groups)
    purity = energy_purity(model.weights, owner, result.featurizer.read, result.partition)
    weights = model.weights.double()
    ranks = []
    for place in range(len(connected)):
        values = torch.linalg.svdvals(weights[torch.from_numpy(owner == place)])
        ranks.append(int((values > 0.1 * values[0]).sum()))
    wanted = sorted([rank for rank in ranks if rank], reverse=True)
    rest = weights.shape[1] - sum(wanted)
    sizes = sorted(result.partition, reverse=True)
    right = sizes in (wanted, sorted([*wanted, rest], reverse=True)) if rest > 0 else sizes == wanted
    return ToyRun(
        model=model,
        result=result,
        purity=purity,
        is_recovered=purity > 0.99 and right,
        connected=connected,
        training_seconds=training_seconds,
        cpu_seconds=cpu_seconds,
        tried=tried,
    )


def _connected(model: ToyModel) -> tuple[tuple[int, ...], ...]:
    """Groups of features whose weights overlap, together."""
    graph = nx.Graph()
    graph.add_nodes_from(range(len(model.groups)))
    parts = model.weights.double().split(list(model.groups))
    graph.add_edges_from(
        (k, j)
        for k, one in enumerate(parts)
        for j, two in enumerate(parts[:k])
        if float((one @ two.T).abs().max()) >= SEPARABLE_BELOW
    )
    return tuple(tuple(sorted(part)) for part in nx.connected_components(graph))
