"""Extractors: directions, read-outs, erasers and featurizers from labels, contrast pairs, counterfactuals or rows
alone.
"""

from unweave.directions.consistency import ContrastProbe as ContrastProbe
from unweave.directions.consistency import ccs as ccs
from unweave.directions.consistency import consistency as consistency
from unweave.directions.contrast import contrast_pca as contrast_pca
from unweave.directions.contrast import lat as lat
from unweave.directions.contrast import order_of_pairs as order_of_pairs
from unweave.directions.das import DASConfig as DASConfig
from unweave.directions.das import boundless_das as boundless_das
from unweave.directions.das import das as das
from unweave.directions.das import interchange_forward as interchange_forward
from unweave.directions.erasing import leace as leace
from unweave.directions.erasing import orthogonal_erasure as orthogonal_erasure
from unweave.directions.factors import ica as ica
from unweave.directions.factors import nmf as nmf
from unweave.directions.factors import svd as svd
from unweave.directions.labelled import LabelledMoments as LabelledMoments
from unweave.directions.labelled import labelled_moments as labelled_moments
from unweave.directions.labelled import labelled_stream as labelled_stream
from unweave.directions.labelled import merge_labelled as merge_labelled
from unweave.directions.layers import per_site as per_site
from unweave.directions.logistic import logistic as logistic
from unweave.directions.means import lda as lda
from unweave.directions.means import mean_difference as mean_difference
