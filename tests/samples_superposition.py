"""Samples of the superposition lab, for the tests of artifacts and configurations."""

from __future__ import annotations

from typing import Any

import numpy as np

from unweave.superposition.autoencoder import TrainStep
from unweave.superposition.bags import bags
from unweave.superposition.config import BagsConfig, TrainConfig
from unweave.superposition.geometry import geometry
from unweave.superposition.linear import spectrum
from unweave.superposition.ring import ring
from unweave.superposition.training import train
from unweave.superposition.value_coding import Variant, map_experiment
from unweave.worlds.correlated import world

CONFIG_VALUES: dict[str, dict[str, Any]] = {
    "BagsConfig": {"vocab": 9, "window": 2, "stop": ["a"], "split": [0.5, 0.25, 0.25], "force": ["May"]},
    "TrainConfig": {"activation": "sigmoid", "loss": "bce", "lr": 0.1, "epochs": 3, "precision": "bfloat16"},
    "SmallConfig": {"activation": "linear", "steps": 3, "clip": 2.5, "l2": 0.5},
    "TextLabConfig": {"vocab": 9, "widths": [2, 4], "decays": [0.0, 2.5], "seeds": [1, 2], "force": ["May"]},
    "WorldLabConfig": {"world": "block", "features": 6, "bases": [-1.5, 0.0], "widths": [2], "density": 0.25},
}


def artifacts() -> dict[str, Any]:
    """Kind -> a sample."""
    found = bags(["cat dog", "dog owl", "cat owl fox"], vocab=4, window=1, split=None)
    model = train(found, 2, epochs=2, batch=2)
    angles = np.arange(4.0)
    return {
        "bags": found,
        "bags_config": BagsConfig(vocab=7),
        "train_config": TrainConfig(epochs=2, lr=0.5),
        "train_step": TrainStep(step=1, loss=0.5, held_out=float("nan"), r2=-0.0, norm2=2.0),
        "autoencoder": model,
        "word_geometry": geometry(model, found, draws=2),
        "word_spectrum": spectrum(found),
        "word_ring": ring(np.stack([np.cos(angles), np.sin(angles)], 1), draws=3),
        "superposition_world": world("block", 4, 5),
        "value_coding": map_experiment(10, pairs=20, epochs=1),
        "value_variant": Variant(name="VC+", accuracy=0.5, low=0.25, high=0.75, loss=float("inf")),
    }
