"""Files of other libraries: sparse dictionaries of SAELens and sparsify, control vectors of llama.cpp, vectors and
graphs for Neuronpedia.
"""

from unweave.features.foreign.gguf import ControlVector as ControlVector
from unweave.features.foreign.gguf import load_gguf as load_gguf
from unweave.features.foreign.gguf import save_gguf as save_gguf
from unweave.features.foreign.neuronpedia import neuronpedia_vectors as neuronpedia_vectors
from unweave.features.foreign.neuronpedia import save_neuronpedia_vectors as save_neuronpedia_vectors
from unweave.features.foreign.neuronpedia_graph import neuronpedia_graph as neuronpedia_graph
from unweave.features.foreign.neuronpedia_graph import save_neuronpedia_graph as save_neuronpedia_graph
from unweave.features.foreign.saelens import Dictionary as Dictionary
from unweave.features.foreign.saelens import load_saelens as load_saelens
from unweave.features.foreign.saelens import save_saelens as save_saelens
from unweave.features.foreign.sparsify import load_sparsify as load_sparsify
