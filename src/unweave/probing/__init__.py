"""Sparse probes: which few units of a site encode a feature, with held-out scores, intervals and controls."""

from unweave.probing.choosing import NAMES as NAMES
from unweave.probing.config import ProbeConfig as ProbeConfig
from unweave.probing.controls import Control as Control
from unweave.probing.controls import random_coordinates as random_coordinates
from unweave.probing.evidence import Evidence as Evidence
from unweave.probing.evidence import EvidenceConfig as EvidenceConfig
from unweave.probing.evidence import evidence as evidence
from unweave.probing.ranking import SELECTORS as SELECTORS
from unweave.probing.ranking import rank as rank
from unweave.probing.reseeds import Stability as Stability
from unweave.probing.reseeds import reseeds as reseeds
from unweave.probing.reseeds import stability as stability
from unweave.probing.result import ProbeSweep as ProbeSweep
from unweave.probing.result import ProbeTable as ProbeTable
from unweave.probing.rotation import rotation_gap as rotation_gap
from unweave.probing.search import Search as Search
from unweave.probing.search import search as search
from unweave.probing.selectivity import selectivity as selectivity
from unweave.probing.sweep import sweep as sweep
from unweave.probing.sweep_many import sweep_many as sweep_many
from unweave.probing.token_baseline import token_baseline as token_baseline
from unweave.probing.unions import Union as Union
from unweave.probing.unions import union_support as union_support
from unweave.probing.winners import Winner as Winner
from unweave.probing.winners import best_unit as best_unit
