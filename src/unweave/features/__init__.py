"""The common currency: featurizers, directions and read-outs, bundles and graphs of them, and how two of them
compare.
"""

from unweave.features import foreign as foreign
from unweave.features.affine import AffineFeaturizer as AffineFeaturizer
from unweave.features.bases import neurons as neurons
from unweave.features.bases import pca as pca
from unweave.features.bases import random_rotation as random_rotation
from unweave.features.checks import check as check
from unweave.features.compare import compare as compare
from unweave.features.compose import compose as compose
from unweave.features.compose import restrict as restrict
from unweave.features.foreign import load_gguf as load_gguf
from unweave.features.foreign import load_saelens as load_saelens
from unweave.features.foreign import load_sparsify as load_sparsify
from unweave.features.foreign import neuronpedia_graph as neuronpedia_graph
from unweave.features.foreign import neuronpedia_vectors as neuronpedia_vectors
from unweave.features.foreign import save_gguf as save_gguf
from unweave.features.foreign import save_neuronpedia_graph as save_neuronpedia_graph
from unweave.features.foreign import save_neuronpedia_vectors as save_neuronpedia_vectors
from unweave.features.foreign import save_saelens as save_saelens
from unweave.features.interchange import from_interchange as from_interchange
from unweave.features.interchange import to_interchange as to_interchange
from unweave.features.lines import along as along
from unweave.features.lines import reading as reading
