"""Extractors: directions, read-outs, erasers and featurizers from labels, contrast pairs, counterfactuals or rows
alone.
"""

from unweave.directions.erasing import leace as leace
from unweave.directions.erasing import orthogonal_erasure as orthogonal_erasure
from unweave.directions.labelled import LabelledMoments as LabelledMoments
from unweave.directions.labelled import labelled_moments as labelled_moments
from unweave.directions.labelled import labelled_stream as labelled_stream
from unweave.directions.labelled import merge_labelled as merge_labelled
from unweave.directions.means import lda as lda
from unweave.directions.means import mean_difference as mean_difference
