"""Files of other libraries: sparse dictionaries of SAELens and sparsify, control vectors of llama.cpp."""

from unweave.features.foreign.gguf import ControlVector as ControlVector
from unweave.features.foreign.gguf import load_gguf as load_gguf
from unweave.features.foreign.gguf import save_gguf as save_gguf
from unweave.features.foreign.saelens import Dictionary as Dictionary
from unweave.features.foreign.saelens import load_saelens as load_saelens
from unweave.features.foreign.saelens import save_saelens as save_saelens
from unweave.features.foreign.sparsify import load_sparsify as load_sparsify
