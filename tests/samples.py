"""One small sample of everything that can be written: every configuration and every kind of artifact."""

from __future__ import annotations

import dataclasses
import enum
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

import samples_directions
import samples_evals
import samples_interaction
import samples_ndm
import samples_probing
import samples_superposition
import unweave as uw
from unweave.artifact import KINDS
from unweave.config import Config
from unweave.evals.causing.ablation import Ablation
from unweave.features.activation import Activation
from unweave.features.affine import AffineFeaturizer
from unweave.features.bases import neurons, pca, random_rotation
from unweave.features.bundle import Bundle
from unweave.features.checks import check
from unweave.features.compare import compare
from unweave.features.direction import Direction, Readout
from unweave.features.featurizer import Capacity, Gauge, Provenance, Within
from unweave.features.graph import EdgeBlock, FeatureGraph
from unweave.probing.config import ProbeConfig
from unweave.probing.result import Probe, ProbeSweep, ProbeTable
from unweave.site import Site
from unweave.tensors.estimate import Estimate
from unweave.tensors.moments import class_moments, moments


def configs() -> list[type[Config]]:
    """Every configuration class of the package."""
    for module in pkgutil.walk_packages(uw.__path__, "unweave."):
        importlib.import_module(module.name)
    found, new = [], [Config]
    while new:
        new = [kind for one in new for kind in one.__subclasses__() if kind.__module__.startswith("unweave.")]
        found += new
    return sorted(set(found), key=lambda kind: f"{kind.__module__}.{kind.__name__}")


HASH = "0" * 64
COLLECTION = {
    "kind": "text",
    "sites": {"blocks.0.mlp_act": 3},
    "context": 16,
    "dtype": "bfloat16",
    "shard_rows": 100,
    "batch_tokens": 64,
    "special": "exclude",
    "keep_text": True,
    "model": HASH,
    "model_name": "tiny «é» \U0001f9f6",
    "tokenizer": HASH,
}
SHARD = {
    "index": 0,
    "rows": 7,
    "documents": 2,
    "excluded": 1,
    "inputs_sha256": HASH,
    "tensors_bytes": 10,
    "tensors_sha256": HASH,
    "text_bytes": 3,
    "text_sha256": HASH,
}
FIGURE = {
    "kind": "bars",
    "title": 'quotes " and \\ and\nlines',
    "caption": "",
    "data": {"x": ["a", 1, 1.5, True, -3], "y": [0.1, 1e300, -0.0, 2, 3]},
    "options": {"x": "name"},
    "n": 5,
    "seed": 0,
}
TABLE = {"title": "t", "columns": ["a", "b"], "rows": [["x", 1], [0.5, False]], "note": "n"}
PASSAGE = {"pieces": ["a", " é"], "shades": [0.5, -1.0], "hints": ["0.1", ""], "focus": 1, "note": "n"}
ENTRY = {
    "name": "zoo:docs",
    "folder": "docs",
    "description": "d",
    "fingerprint": HASH,
    "text": "t",
    "plan": "p",
    "steps": ["collect", "probe"],
}
CONFIG_VALUES: dict[str, dict[str, Any]] = {
    "CollectOptions": {"context": 7, "dtype": "float32", "shard_rows": 5},
    "Collection": COLLECTION,
    "ImportOptions": {"dtype": "uint8", "shard_rows": 5, "model_name": "theirs"},
    "Rounding": {"largest_error": 0.5, "bound": 0.5, "lost": 0.001},
    "ShardEntry": SHARD,
    "Manifest": {"collection": COLLECTION, "complete": True, "shards": [SHARD, {**SHARD, "index": 1}]},
    "HaystackInputs": {"text": "a.txt", "conllu": ["a.conllu", "b.conllu.gz"], "facts": "people.csv"},
    "HaystackConfig": {
        "models": ["minilm", "zoo:docs"],
        "inputs": {"latex": "papers", "languages": "langs.jsonl"},
        "collections": ["latex"],
        "ks": [1, 3],
        "rows": 100,
        "random_weights": False,
        "margin": 0.2,
    },
    **samples_interaction.CONFIG_VALUES,
    **samples_superposition.CONFIG_VALUES,
    **samples_directions.CONFIG_VALUES,
    "EvidenceConfig": {"shuffles": 3, "rotations": 1, "tokens": False},
    "RowOptions": {"standardize": "column", "center": True, "drop_outliers": 10.0, "drop_first": 1},
    "SearchConfig": {"pool": 100, "batch": 7, "dtype": "bfloat16", "memory": "500MB"},
    "MergeConfig": {"threshold": 0.04, "start": 5, "interval": 10, "keys": 100, "carry": False},
    "NDMConfig": {
        "unit_size": 2,
        "steps": 7,
        "lr": 0.1,
        "seed": 3,
        "rows": {"center": True},
        "search": {"pool": 9},
        "merging": {"threshold": "never"},
    },
    "ProbeConfig": {"ks": [1, 3], "lam": 0.1, "selector": "mean_diff", "seed": 12345678901234567890},
    "Figure": FIGURE,
    "Table": TABLE,
    "Passage": PASSAGE,
    "Passages": {"title": "t", "rows": [PASSAGE], "note": "n"},
    "Card": {
        "title": "t",
        "summary": ["s"],
        "tables": [TABLE],
        "figures": [FIGURE],
        "passages": [{"title": "t", "rows": [PASSAGE]}],
    },
    "Record": {
        "step": "probe",
        "model": "m",
        "title": "T",
        "key": HASH,
        "summary": ["one", "two"],
        "figures": [FIGURE],
        "tables": [TABLE],
        "results": {"deep": {"list": [1, "two", [3.5]]}, "flag": True},
    },
    "ModelEntry": ENTRY,
    "Run": {
        "command": "study",
        "config": {"ks": [1, 2], "text": "x.txt"},
        "versions": {"torch": "2.13.0"},
        "models": [ENTRY],
        "left_out": {"minilm": "not installed"},
        "status": "complete",
        "seconds": 1.25,
    },
    "AblationConfig": {"units": 3, "windows": 9, "draws": 2},
    "StudyConfig": {
        "models": ["zoo:docs"],
        "sites": ["blocks.*.mlp_act"],
        "ks": [1, 2],
        "dtype": "float32",
        "test": 0.25,
        "selector": "auto",
        "ablation": {"windows": 7},
    },
}
"""Values that differ from every default, as a TOML file can hold them."""


def estimate(**changes: Any) -> Estimate:
    """An estimate with what breaks naive writers: NaN, infinity, None, negative zero."""
    values = {"value": -0.0, "low": float("nan"), "high": float("inf"), "n": 3, "n_groups": 1, "warnings": ("few",)}
    return Estimate(**(values | changes))


def probe(k: int = 1) -> Probe:
    return Probe(
        k=k,
        support=tuple(range(k)),
        coef=(0.1,) * k,
        bias=1 / 3,
        mean=(1e-320,) * k,
        sd=(1.0,) * k,
        f1=estimate(control=0.1, p_value=0.05, seed=3),
        mcc=0.2,
        auc=float("nan"),
        precision=1.0,
        recall=0.0,
        positive_rate=0.3,
        converged=True,
        separable=False,
        gap=1e-12,
        n_train=2**40,
        groups=(4, 7),
        counts=((1, 2, 3), (0, 0, 0)),
        metrics={"f1": 0.5, "auc": float("nan")},
    )


def probe_sweep(**changes: Any) -> ProbeSweep:
    values = {"probes": (probe(1), probe(2)), "labels": (-1, 1), "width": 4, "config": ProbeConfig(ks=(1, 2))}
    return ProbeSweep(**(values | {"seconds": 1.5, "warnings": ("lone \ud800 surrogate",)} | changes))


def featurizers() -> dict[str, AffineFeaturizer | uw.NeuronFeaturizer]:
    """One of every kind at width 6."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(6, 8, generator=generator, dtype=torch.float64)
    origin = torch.randn(6, generator=generator, dtype=torch.float64)
    oblique = {"read": wide[:, :4], "origin": origin, "bias": torch.arange(4.0)}
    dictionary = {"read": wide, "write": 0.5 * wide.T, "origin": origin, "bias": torch.linspace(-1, 1, 8)}
    rows = torch.randn(40, 6, generator=generator, dtype=torch.float64) @ torch.diag(torch.arange(1.0, 7).double())
    return {
        "neurons": neurons(6),
        "some neurons": uw.NeuronFeaturizer(width=6, index=[4, 0, 3], blocks=(1, 2)),
        "identity": AffineFeaturizer(read=np.eye(6)),
        "pca": pca(rows),
        "truncated pca": pca(rows, rank=2),
        "random": random_rotation(6, seed=1, origin=origin),
        "oblique": AffineFeaturizer(**oblique, blocks=(1, 2, 1)),
        "relu": AffineFeaturizer(**dictionary, act=Activation(kind="relu")),
        "jump_relu": AffineFeaturizer(
            **dictionary, act=Activation(kind="jump_relu", threshold=torch.linspace(-0.5, 2, 8).double())
        ),
        "top_k": AffineFeaturizer(**dictionary, act=Activation(kind="top_k", k=3)),
    }


def bundle() -> Bundle:
    half = AffineFeaturizer(
        read=torch.eye(3, 2).bfloat16(), write=torch.eye(2, 3).bfloat16(), gauge="rotation", blocks=(2,)
    )
    return Bundle(parts={"blocks.0.hook_mlp_out": half, "blocks.1.mlp_act": neurons(2, site="blocks.1.mlp_act")})


def graph() -> FeatureGraph:
    edge = EdgeBlock(
        source="blocks.0.hook_mlp_out", target="blocks.1.mlp_act", weight=torch.eye(2, dtype=torch.float16)
    )
    return FeatureGraph(nodes=bundle(), edges=(edge, edge), labels={"blocks.1.mlp_act": ("a", "é")})


def artifacts() -> dict[str, Any]:
    """Kind -> a sample; a kind that is missing here makes the round-trip test fail."""
    found = compare(random_rotation(3, seed=0), neurons(3))
    parts = featurizers()
    return {
        "estimate": estimate(),
        "moments": moments(torch.arange(6.0).reshape(3, 2)),
        "class_moments": class_moments(
            torch.arange(6.0).reshape(3, 2), torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.5, 0.0]])
        ),
        "affine_featurizer": AffineFeaturizer(
            read=parts["jump_relu"].read.float(),
            act=Activation(kind="jump_relu", threshold=torch.ones(8)),
            site=(Site("blocks.0.hook_resid_post"), "embed"),
            gauge="scale",
            provenance=Provenance(method="m", model=HASH, rows=3, seed=-1),
        ),
        "neuron_featurizer": parts["some neurons"],
        "activation_function": Activation(kind="top_k", k=2),
        "gauge": Gauge(within=Within.ROTATION, permutation=True),
        "within_block": Within.SCALE,
        "capacity": Capacity(kind="nonlinear", parameters=10, search_budget=3),
        "provenance": Provenance(method="pca", data=HASH),
        "direction": Direction(vector=np.array([1.0, 5e-324, -0.0]), site="blocks.4.hook_resid_post"),
        "readout": Readout(covector=torch.tensor([1.0, 2.0], dtype=torch.float16), bias=float("-inf")),
        "bundle": bundle(),
        "feature_graph": graph(),
        "edge_block": graph().edges[0],
        "comparison": found,
        "block_match": found.matches[0],
        "featurizer_checks": check(neurons(2)),
        "probe_config": ProbeConfig(ks=(2, 3), lam=0.1),
        "probe": probe(2),
        "probe_sweep": probe_sweep(),
        "probe_table": ProbeTable(
            sweeps={("a", "blocks.0.mlp_act"): probe_sweep(), ("a", Site("embed")): probe_sweep(seconds=None)},
            skipped={"b": "no positives"},
            notes={},
            held_out=(1, 5),
            config=ProbeConfig(),
            seconds=2.0,
        ),
        **samples_probing.artifacts(),
        **samples_directions.artifacts(),
        **samples_interaction.artifacts(),
        **samples_ndm.artifacts(),
        **samples_evals.artifacts(estimate),
        **samples_superposition.artifacts(),
        "ablation": Ablation(
            name="n",
            basis="pca",
            units=(1, 2),
            unit="nats",
            effect=estimate(),
            difference=estimate(value=1.0),
            elsewhere=None,
            draws=5,
        ),
    }


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Box:
    """A result that holds anything, for a table of kinds that lists it."""

    content: Any
    seconds: float | None = None


BOXES = {**KINDS, "box": f"{__name__}:Box"}


def missing_kinds() -> set[str]:
    """Kinds whose class exists and that have no sample."""
    there = set()
    for kind, place in KINDS.items():
        module, _, name = place.partition(":")
        if hasattr(importlib.import_module(module), name):
            there.add(kind)
    return there - set(artifacts())


def same(first: Any, second: Any) -> bool:
    """Whether two results are equal to the bit, types, spellings and signs of zero included; timings left out."""
    if type(first) is not type(second):
        return False
    if isinstance(first, torch.Tensor):
        bits = [one.contiguous().flatten().view(torch.uint8) for one in (first, second)]
        return first.dtype == second.dtype and first.shape == second.shape and torch.equal(*bits)
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()
    if isinstance(first, Site):
        return first == second and first.asked == second.asked
    if isinstance(first, float):
        return repr(first) == repr(second)
    if isinstance(first, tuple | list):
        return len(first) == len(second) and all(map(same, first, second))
    if dataclasses.is_dataclass(first) and not isinstance(first, type):
        names = [field.name for field in dataclasses.fields(first) if field.name != "seconds"]
        return all(same(getattr(first, name), getattr(second, name)) for name in names)
    if isinstance(first, Mapping):
        return same(list(first), list(second)) and same(list(first.values()), list(second.values()))
    if isinstance(first, enum.Enum):
        return first is second
    return bool(first == second)
