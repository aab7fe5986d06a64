"""Sparse probes: which few units of a site encode a feature, with held-out scores, intervals and controls."""

from unweave.probing.choosing import NAMES as NAMES
from unweave.probing.classes import ClassSweep as ClassSweep
from unweave.probing.config import ProbeConfig as ProbeConfig
from unweave.probing.exact import Subset as Subset
from unweave.probing.exact import best_subset as best_subset
from unweave.probing.ranking import SELECTORS as SELECTORS
from unweave.probing.ranking import rank as rank
from unweave.probing.result import ProbeSweep as ProbeSweep
from unweave.probing.result import ProbeTable as ProbeTable
from unweave.probing.sweep import sweep as sweep
from unweave.probing.sweep_many import sweep_many as sweep_many
