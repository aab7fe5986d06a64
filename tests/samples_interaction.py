"""Samples of what an interaction basis leaves, for the tests of artifacts."""

from __future__ import annotations

from typing import Any

import torch

from unweave.features.affine import AffineFeaturizer
from unweave.features.bases import neurons
from unweave.interaction.ablation import NodeAblation, Point
from unweave.interaction.basis import LayerRank
from unweave.interaction.config import BasisConfig, ComputeConfig
from unweave.interaction.edge_ablation import EdgeAblation
from unweave.interaction.measuring import BasisRun
from unweave.interaction.modules import Modules
from unweave.interaction.result import InteractionResult

CONFIG_VALUES: dict[str, dict[str, Any]] = {
    "BasisConfig": {"basis": "pca", "center": False, "rel_lambda": 1e-9, "given": ["ln1.0"]},
    "ComputeConfig": {"edges": "stochastic", "sources": [1, 2], "batch": 7, "matmul": "float64", "seed": 3},
}
NAN = float("nan")


def artifacts() -> dict[str, Any]:
    """Kind -> a sample."""
    rank = LayerRank(width=3, variances=2, kept=2, floor_variance=1e-15, floor_lambda=0.0, lowest=-1e-300, dead=(2,))
    result = InteractionResult(
        layers=("a", "b+c"),
        bases={
            "a": AffineFeaturizer(read=torch.eye(3, 2).double(), origin=torch.ones(3), gauge="rotation", blocks=(2,)),
            "b+c": neurons(2),
        },
        lambdas={"a": torch.tensor([2.0, 5e-324]).double(), "b+c": torch.ones(2)},
        lambda_se={},
        variances={"a": torch.ones(3), "b+c": torch.zeros(2)},
        ranks={"a": rank},
        metrics={"a": torch.eye(3), "b+c": torch.eye(2)},
        edges={("a", "b+c"): torch.tensor([[1.0, -0.0], [0.5, 2.0]])},
        edge_se={("a", "b+c"): torch.full((2, 2), torch.nan)},
        edge_parts={("a", "b+c"): torch.ones(1, 2, 2)},
        edge_rows={("a", "b+c"): torch.tensor([9])},
        constant={"a": NAN, "b+c": 0.0},
        constant_edges={("a", "b+c"): torch.ones(2)},
        degenerate={"a": (2,)},
        config=BasisConfig(basis="pca"),
        compute=ComputeConfig(sources=2),
        inputs=9,
        seconds={"moments": 0.5, "bases": 0.1, "edges": 0.2},
    )
    point = Point(kept=3, score=0.5, low=NAN, high=1.0)
    nodes = NodeAblation(layer="a", score="accuracy", base=point, points=(point,), needed=None, tolerance=0.001)
    edges = EdgeAblation(
        layer="a", score="loss", base=point, points=(), needed=3, envelope=None, envelope_low=1, envelope_high=4,
        is_monotone=True, mask=torch.tensor([[True, False], [False, True]]), tolerance=0.01, total=12,
    )  # fmt: skip
    modules = Modules(
        members=((("a", 0), ("b+c", 1)),), gamma=0.5, modularity=0.25, modularity_plain=NAN, agreement=1.0,
        null=(0.1, 0.2), p_value=1.0, edges=2,
    )  # fmt: skip
    return {
        "interaction_result": result,
        "basis_config": BasisConfig(abs_threshold=1e-15),
        "compute_config": ComputeConfig(sources=(None, 3)),
        "layer_rank": rank,
        "ablation_point": point,
        "node_ablation": nodes,
        "edge_ablation": edges,
        "modules": modules,
        "basis_run": BasisRun(
            model="é", basis="lib", seed=0, result=result, nodes=(nodes,), edges=(edges,), projected=point,
            modules=modules,
        ),
    }  # fmt: skip
