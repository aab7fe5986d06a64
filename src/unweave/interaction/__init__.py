"""The local interaction basis: a basis a layer that is aligned with what the next layer uses, and the graph of
interactions between neighbouring layers.
"""

from unweave.interaction.builders import chain as chain
from unweave.interaction.builders import mlp as mlp
from unweave.interaction.builders import modadd as modadd
from unweave.interaction.fit import fit as fit
from unweave.interaction.result import InteractionResult as InteractionResult
