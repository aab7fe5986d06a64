"""The whole experiment on modular addition: basis and edges from the training pairs, both ablations on the held-out
ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unweave.errors import InputError
from unweave.interaction.ablation import NodeAblation, ablate_nodes
from unweave.interaction.edge_ablation import EdgeAblation, ablate_edges
from unweave.interaction.fit import fit
from unweave.interaction.result import InteractionResult
from unweave.log import SILENT, Progress
from unweave.models.modadd import modadd_pairs, modadd_targets
from unweave.models.sections import Section


@dataclass(frozen=True, kw_only=True, eq=False)
class ModaddRun:
    """A basis of the modular-addition transformer and what it needs."""

    result: InteractionResult
    nodes: tuple[NodeAblation, ...]
    edges: tuple[EdgeAblation, ...]

    def facts(self) -> dict[str, Any]:
        """Plain values: kept dimensions with the constant, importances without it, edges needed, accuracy by kept
        nodes, accuracy of the model.
        """
        layers = [one.layer for one in self.nodes]
        return {
            "dims": {layer: 1 + len(self.result.lambdas[layer]) for layer in layers},
            "lambdas": {layer: self.result.lambdas[layer].tolist() for layer in layers},
            "edges_required": {one.layer: one.needed for one in self.edges},
            "node_ablation": {one.layer: {str(at.kept): at.score for at in one.points} for one in self.nodes},
            "accuracy": self.nodes[0].base.score,
        }


def run(
    sections: Sequence[Section], options: Mapping[str, Any] | None = None, *, progress: Progress = SILENT
) -> ModaddRun:
    """Fits on the training pairs and ablates on the held-out ones.

    Args:
        sections: As `modadd` builds them.
        options: Of `fit`.
        progress: Who listens.

    Raises:
        InputError: Sections of another model.

    Source:
        arXiv 2405.10928, modular addition; specs/lib.md 7.1.
    """
    first = sections[0]
    if len(sections) != 3 or first.site_in != ("ln1.0",):
        raise InputError(f"the sections go from {first.name}: give those of interaction.modadd(state_dict)")
    modulus = sections[-1].d_out - 1
    training, test = modadd_pairs(modulus)
    targets = modadd_targets(test, modulus)
    given = {key: value for key, value in (options or {}).items() if value is not None}
    result = fit(sections, training, progress=progress, **given)
    with progress.task("node ablation", None, "layer"):
        nodes = ablate_nodes(result, sections, test, targets)
    with progress.task("edge ablation", None, "layer"):
        edges = ablate_edges(result, sections, test, targets)
    return ModaddRun(result=result, nodes=tuple(nodes), edges=tuple(edges))
