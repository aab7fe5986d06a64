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
from unweave.features.lines import along as along
from unweave.features.lines import reading as reading
