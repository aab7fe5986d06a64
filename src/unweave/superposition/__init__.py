"""Superposition: how correlated features share space, from any text or from worlds whose truth is known."""

from unweave.superposition.autoencoder import Autoencoder as Autoencoder
from unweave.superposition.bags import Bags as Bags
from unweave.superposition.bags import bags as bags
from unweave.superposition.dataset import Matrix as Matrix
from unweave.superposition.geometry import Geometry as Geometry
from unweave.superposition.geometry import geometry as geometry
from unweave.superposition.geometry import one_hot_r2 as one_hot_r2
from unweave.superposition.linear import Spectrum as Spectrum
from unweave.superposition.linear import closed_form as closed_form
from unweave.superposition.linear import spectrum as spectrum
from unweave.superposition.structure import PcaDistance as PcaDistance
from unweave.superposition.structure import dimensionality as dimensionality
from unweave.superposition.structure import off_diagonal as off_diagonal
from unweave.superposition.structure import pca_distance as pca_distance
from unweave.superposition.training import train as train
