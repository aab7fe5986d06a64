"""The local interaction basis: a basis a layer that is aligned with what the next layer uses, and the graph of
interactions between neighbouring layers.
"""

from unweave.interaction.ablation import NodeAblation as NodeAblation
from unweave.interaction.ablation import ablate_nodes as ablate_nodes
from unweave.interaction.builders import chain as chain
from unweave.interaction.builders import mlp as mlp
from unweave.interaction.builders import modadd as modadd
from unweave.interaction.edge_ablation import EdgeAblation as EdgeAblation
from unweave.interaction.edge_ablation import ablate_edges as ablate_edges
from unweave.interaction.fit import fit as fit
from unweave.interaction.result import InteractionResult as InteractionResult
