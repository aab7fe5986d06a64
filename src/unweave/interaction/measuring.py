"""What a basis is worth: fitted on some inputs, ablated on others, its graph cut into modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unweave.interaction.ablation import NodeAblation, Point, Scorer, ablate_nodes, affine_basis, point
from unweave.interaction.edge_ablation import EdgeAblation, ablate_edges, kept_thresholds
from unweave.interaction.fit import fit
from unweave.interaction.modules import Modules, modules
from unweave.interaction.result import InteractionResult
from unweave.interaction.subjects import Subject
from unweave.log import SILENT, Progress
from unweave.models.sections import Section


@dataclass(frozen=True, kw_only=True, eq=False)
class BasisRun:
    """One basis of one model: the fit, what its ablations need, its modules."""

    model: str
    basis: str
    seed: int
    result: InteractionResult
    nodes: tuple[NodeAblation, ...]
    edges: tuple[EdgeAblation, ...]
    projected: Point
    """Score with every layer but the last put through its basis and back at once; `kept` is the sum of their nodes."""
    modules: Modules | None = None
    """Of the edges that the model needs."""
    truth: dict[str, float] = field(default_factory=dict)
    """Layer -> share of its needed nodes that are of the known kind, where one is known: about one frequency in modular
    addition. Layers that need none are left out."""

    def needed(self) -> dict[str, int]:
        """Layer -> nodes that it needs, the constant left out; 0 where no number is enough."""
        return {one.layer: (one.needed or 1) - 1 for one in self.nodes}

    def kept(self, layer: str) -> int:
        """Directions of a layer's basis, the constant left out."""
        return len(self.result.lambdas[layer])

    def lossy(self) -> dict[str, str]:
        """Layers whose basis is not enough even with all of its directions, and why."""
        found = {}
        for one in self.nodes:
            kept, rank = self.kept(one.layer), self.result.ranks.get(one.layer)
            if one.needed is not None and one.needed <= kept + 1:
                continue
            told = f"all {kept} directions of the basis together do not keep the {one.score} within {one.tolerance}"
            varied = rank is not None and rank.variances < rank.width
            found[one.layer] = told + (
                f": only {rank.variances} of {rank.width} vary over the inputs; fit on more" if rank and varied else ""
            )
        return found

    def facts(self) -> dict[str, Any]:
        """Plain values: kept dimensions with the constant, importances without it, edges needed, score by kept nodes,
        score of the model.
        """
        layers = [one.layer for one in self.nodes]
        return {
            "dims": {layer: 1 + len(self.result.lambdas[layer]) for layer in layers},
            "lambdas": {layer: self.result.lambdas[layer].tolist() for layer in layers},
            "edges_required": {one.layer: one.needed for one in self.edges},
            "node_ablation": {one.layer: {str(at.kept): at.score for at in one.points} for one in self.nodes},
            self.nodes[0].score: self.nodes[0].base.score,
        }

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a layer."""
        edges = {one.layer: one for one in self.edges}
        gini = {row["source"]: row["gini"] for row in self.result.sparsity()}
        return [
            {
                "model": self.model,
                "basis": self.basis,
                "seed": self.seed,
                "layer": nodes.layer,
                "kept": 1 + len(self.result.lambdas[nodes.layer]),
                "nodes needed": nodes.needed,
                "edges needed": edges[nodes.layer].needed if edges else None,
                "envelope": edges[nodes.layer].envelope if edges else None,
                "low": edges[nodes.layer].envelope_low if edges else None,
                "high": edges[nodes.layer].envelope_high if edges else None,
                "gini": gini.get(nodes.layer),
                "projected": self.projected.score,
                "base": nodes.base.score,
                "modularity": None if self.modules is None else self.modules.modularity,
                "rewired": None if self.modules is None or not self.modules.null else float(np.mean(self.modules.null)),
                "p": None if self.modules is None else self.modules.p_value,
            }
            for nodes in self.nodes
        ]

    def __repr__(self) -> str:
        """Model, basis, edges needed."""
        needed = ", ".join(f"{one.layer} {one.needed}" for one in self.edges)
        return f"BasisRun({self.model}, {self.basis}, edges needed: {needed})"


def measure(
    sections: Sequence[Section],
    inputs: Any,
    held_out: Any,
    targets: Any,
    *,
    basis: Any = "lib",
    model: str = "",
    seed: int = 0,
    score: str = "accuracy",
    tolerance: float = 0.001,
    head: Callable[[Tensor], Tensor] | None = None,
    null: int = 100,
    with_edges: bool = True,
    precision: float = 0.0,
    schedule: Any = "exponential",
    options: Mapping[str, Any] | None = None,
    progress: Progress = SILENT,
) -> BasisRun:
    """A basis fitted on `inputs` and put to the test on `held_out`.

    Args:
        sections: The chain.
        inputs: To fit on.
        held_out: To score ablations on.
        targets: The right output of each held-out input.
        basis: As in `fit`.
        model: What to call the model.
        seed: Of everything random.
        score: `accuracy` or `loss`.
        tolerance: How far from the model's own score is close enough.
        head: The chain's last rows -> outputs, where the chain ends before them.
        null: Rewired graphs that the modules are compared with; 0 leaves modules out.
        with_edges: Whether edges are ablated; a section without a closed form runs once a coordinate for that.
        precision: As in `ablate_edges`: .01 halves the cost of dense graphs.
        schedule: Numbers of nodes that are tried, as in `ablate_nodes`.
        options: More options of `fit`.
        progress: Who listens.

    Example:
        >>> from unweave.interaction.builders import mlp
        >>> net, X = mlp([(torch.eye(4), torch.zeros(4)), (torch.eye(4), torch.zeros(4))]), torch.rand(99, 4)
        >>> found = measure(net, X[:50], X[50:], X[50:].argmax(1), basis="neuron", null=0)
        >>> [one.needed for one in found.edges], found.projected.score
        ([4, 4], 1.0)
    """
    result = fit(sections, inputs, basis=basis, seed=seed, progress=progress, **(options or {}))
    with progress.task("node ablation", None, "layer") as advance:
        nodes = ablate_nodes(
            result, sections, held_out, targets, schedule=schedule, score=score, tolerance=tolerance, head=head
        )
        advance(len(nodes))
    edges: list[EdgeAblation] = []
    if with_edges:
        with progress.task("edge ablation", None, "layer") as advance:
            edges = ablate_edges(
                result, sections, held_out, targets, score=score, tolerance=tolerance, seed=seed, head=head,
                precision=precision,
            )  # fmt: skip
            advance(len(edges))
    scorer = Scorer(
        sections=tuple(sections), inputs=held_out, targets=torch.as_tensor(targets), score=score, batch=2048, head=head
    )
    return BasisRun(
        model=model,
        basis=basis if isinstance(basis, str) else "given",
        seed=seed,
        result=result,
        nodes=tuple(nodes),
        edges=tuple(edges),
        projected=_projected(result, scorer),
        modules=_modules(result, edges, null),
    )


def measure_subject(
    subject: Subject,
    *,
    basis: Any = "lib",
    seed: int = 0,
    null: int = 0,
    with_edges: bool = True,
    precision: float = 0.0,
    schedule: Any = "exponential",
    options: Mapping[str, Any] | None = None, progress: Progress = SILENT,
) -> BasisRun:  # fmt: skip
    """`measure` on a model with its data.

    Args:
        subject: The model and its data.
        basis: A name, as in `fit`.
        seed: Of everything random.
        null: Rewired graphs that the modules are compared with; 0 leaves modules out.
        with_edges: Whether edges are ablated.
        precision: As in `ablate_edges`.
        schedule: Numbers of nodes that are tried, as in `ablate_nodes`.
        options: More options of `fit`.
        progress: Who listens.

    Source:
        arXiv 2405.10928, experiments; specs/lib.md 7.

    Example:
        >>> from unweave.interaction.subjects import modadd_subject
        >>> from unweave.models.modadd import ModularAddition
        >>> small = ModularAddition(modulus=7, width=6, heads=2, head_width=3, neurons=8)
        >>> found = measure_subject(modadd_subject(small)).facts()
        >>> list(found), list(found["dims"])
        (['dims', 'lambdas', 'edges_required', 'node_ablation', 'accuracy'], ['ln1.0', 'ln2.0', 'unembed'])
    """
    made: Any = basis
    if subject.given and basis != "lib":
        made = _with_given(subject, basis, seed)
    found = measure(
        subject.sections, subject.inputs, subject.held_out, subject.targets,
        basis=subject.given if subject.given and basis == "lib" else made, model=subject.name, seed=seed,
        score=subject.score, tolerance=subject.tolerance, head=subject.head, null=null, with_edges=with_edges,
        precision=precision, schedule=schedule, options=options, progress=progress,
    )  # fmt: skip
    truth = {} if subject.truth is None else subject.truth(found.result, found.needed())
    return replace(found, basis=basis, truth=truth)


def _with_given(subject: Subject, basis: str, seed: int) -> dict[str, Any]:
    """A basis without a gradient step, with the last layer's as it is given."""
    plain = fit(subject.sections, subject.inputs, basis=basis, edges="none", seed=seed)
    return {**plain.bases, **subject.given}


def _projected(result: InteractionResult, scorer: Scorer) -> Point:
    """The score with every layer but the last replaced by its projection."""
    bases = [affine_basis(result, layer) for layer in result.layers[:-1]]
    each = []
    for found, targets in scorer.batches(0):
        x = found[0].x
        with torch.no_grad():
            for one, basis in zip(found, bases, strict=True):
                read, write, origin = (part.double() for part in (basis.read, basis.write, basis.origin))
                x = one.function((origin + (x.double() - origin) @ read @ write).to(one.x.dtype))
        each.append(scorer.right(scorer.outputs(x), targets))
    return point(sum(basis.read.shape[1] for basis in bases), np.concatenate(each))


def _modules(result: InteractionResult, edges: Sequence[EdgeAblation], null: int) -> Modules | None:
    """Of the graph of the needed edges; None where there are none."""
    thresholds = kept_thresholds(result, edges)
    kept = {pair: value for pair, value in thresholds.items() if pair[1] != result.layers[-1] and value > 0}
    if not null or len(kept) < len(result.layers) - 2:
        return None
    graph = result.graph("log", threshold=thresholds)
    if not any(bool((block.weight > 0).any()) for block in graph.edges if block.target != result.layers[-1]):
        return None
    return modules(graph, null=null, without=(result.layers[-1],))
