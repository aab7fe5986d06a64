"""The local interaction basis: a basis a layer that is aligned with what the next layer uses, and the graph of
interactions between neighbouring layers.
"""

from unweave.interaction.ablation import NodeAblation as NodeAblation
from unweave.interaction.ablation import ablate_nodes as ablate_nodes
from unweave.interaction.builders import chain as chain
from unweave.interaction.builders import mlp as mlp
from unweave.interaction.builders import modadd as modadd
from unweave.interaction.comparing import compare as compare
from unweave.interaction.edge_ablation import EdgeAblation as EdgeAblation
from unweave.interaction.edge_ablation import ablate_edges as ablate_edges
from unweave.interaction.edge_ablation import kept_thresholds as kept_thresholds
from unweave.interaction.export import graph_json as graph_json
from unweave.interaction.export import write_graphml as write_graphml
from unweave.interaction.export import write_json as write_json
from unweave.interaction.figure import graph_columns as graph_columns
from unweave.interaction.fit import fit as fit
from unweave.interaction.labels import coordinates as coordinates
from unweave.interaction.labels import fourier_labels as fourier_labels
from unweave.interaction.labels import fourier_terms as fourier_terms
from unweave.interaction.labels import label as label
from unweave.interaction.labels import labelled as labelled
from unweave.interaction.labels import pure_shares as pure_shares
from unweave.interaction.labels import top_inputs as top_inputs
from unweave.interaction.measuring import BasisRun as BasisRun
from unweave.interaction.measuring import measure as measure
from unweave.interaction.measuring import measure_subject as measure_subject
from unweave.interaction.modules import Modules as Modules
from unweave.interaction.modules import modules as modules
from unweave.interaction.result import InteractionResult as InteractionResult
from unweave.interaction.sparsity import sparsity as sparsity
from unweave.interaction.subjects import Subject as Subject
from unweave.interaction.subjects import digits_subject as digits_subject
from unweave.interaction.subjects import language_subject as language_subject
from unweave.interaction.subjects import logit_readout as logit_readout
from unweave.interaction.subjects import modadd_subject as modadd_subject
from unweave.interaction.subjects import perceptron_subject as perceptron_subject
