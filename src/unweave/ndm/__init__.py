"""NDM: a partition of representation space into orthogonal subspaces, found without labels, and how to read it."""

from unweave.ndm.attribution import Attribution as Attribution
from unweave.ndm.attribution import attribute as attribute
from unweave.ndm.consistency import Consistency as Consistency
from unweave.ndm.consistency import block_consistency as block_consistency
from unweave.ndm.edits import BlockEdits as BlockEdits
from unweave.ndm.edits import block_edits as block_edits
from unweave.ndm.fit import fit as fit
from unweave.ndm.measure import mutual_information as mutual_information
from unweave.ndm.measure import neighbor_distance as neighbor_distance
from unweave.ndm.merging import MergePlan as MergePlan
from unweave.ndm.merging import merge as merge
from unweave.ndm.merging import plan_merges as plan_merges
from unweave.ndm.merging import split as split
from unweave.ndm.naming import BlockLabel as BlockLabel
from unweave.ndm.naming import label_blocks as label_blocks
from unweave.ndm.preimages import Preimage as Preimage
from unweave.ndm.preimages import Preimages as Preimages
from unweave.ndm.presets import PRESETS as PRESETS
from unweave.ndm.reference import load_reference as load_reference
from unweave.ndm.result import NDMResult as NDMResult
from unweave.ndm.stability import match as match
from unweave.ndm.stability import stability as stability
