"""Samples of directions and of tests of reading, for the tests of artifacts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from unweave.directions.consistency import ContrastProbe
from unweave.directions.labelled import labelled_moments
from unweave.evals.layer_study import LayerReading, LayerStudy
from unweave.evals.reading.detecting import Transfer
from unweave.evals.reading.erasure import Erasure
from unweave.evals.reading.reading_writing import ReadWrite
from unweave.evals.reading.reconstruction import Reconstruction, Sparsity
from unweave.evals.reading.steadiness import Steadiness
from unweave.evals.reading.unembedding import Entropy, Unembedding
from unweave.features.bundle import Bundle
from unweave.features.direction import Direction
from unweave.features.eraser import Eraser
from unweave.features.featurizer import Provenance
from unweave.features.nonnegative import NonNegativeFeaturizer
from unweave.tensors.estimate import Estimate

NAN = float("nan")
CONFIG_VALUES = {"DASConfig": {"steps": 7, "lr": 0.1, "seed": 3}}


def artifacts() -> dict[str, Any]:
    """Kind -> a sample."""
    estimate = Estimate(value=0.5, low=NAN, high=1.0, n=9, n_groups=3, p_value=0.1, control=-0.0, warnings=("é",))
    entropy = Entropy(value=1.5, low=1.0, high=float("inf"), percentile=50.0, p_value=1.0, draws=200)
    words = Unembedding(raw=entropy, normed=entropy, shift=None, raises=((3, 0.5),), lowers=(), norm=2.0)
    angle = ReadWrite(pattern=estimate, plain=estimate)
    reading = LayerReading(site="fc", score=estimate, p_holm=0.2, angle=angle, words=words, norm=5.0)
    bundle = Bundle(parts={"fc": Direction(vector=[1.0, -0.0], provenance=Provenance(method="m", warnings=("w",)))})
    return {
        "eraser": Eraser(read=[[1.0], [-0.0]], write=[[0.5, 5e-324]], origin=[1.0, 2.0], site="blocks.0.hook_mlp_out"),
        "labelled_moments": labelled_moments(torch.arange(6.0).reshape(3, 2), [0, 1, 1]),
        "contrast_probe": ContrastProbe(
            covector=torch.ones(2), bias=-0.0, positive_mean=torch.zeros(2), negative_mean=torch.ones(2),
            losses=(0.1, NAN), site="fc",
        ),
        "nonnegative_featurizer": NonNegativeFeaturizer(write=[[1.0, 0.0], [0.5, 2.0]], site="fc"),
        "transfer": Transfer(names=("a", "é"), auc={("a", "a"): estimate, ("a", "é"): estimate}),
        "erasure": Erasure(auc=estimate, accuracy=estimate, distortion=estimate, rank=1),
        "reconstruction": Reconstruction(fvu=estimate, cosine=estimate, length_ratio=estimate, shrinkage=estimate),
        "sparsity": Sparsity(l0=estimate, l1=estimate, density=estimate, dead=0.5, effective_rank=2.0, units=4),
        "unembedding": words,
        "entropy": entropy,
        "read_write": angle,
        "layer_reading": reading,
        "layer_study": LayerStudy(
            bundle=bundle, layers=(reading,), best="fc", method="m", scope="AUC", fitted=3, seed=-1, warnings=("w",)
        ),
        "steadiness": Steadiness(
            overlap=np.eye(2), similarity=np.array([[1.0, NAN], [NAN, 1.0]]), largest_angle=np.zeros((2, 2)), null=0.1,
            fits=2,
        ),
    }  # fmt: skip
