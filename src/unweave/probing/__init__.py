"""Sparse probes: which few units of a site encode a feature, with held-out scores, intervals and controls."""

from unweave.probing import haystack as haystack
from unweave.probing.best_site import best_sites as best_sites
from unweave.probing.config import ProbeConfig as ProbeConfig
from unweave.probing.depth import depth_contrast as depth_contrast
from unweave.probing.published import load_published as load_published
from unweave.probing.ranking import SELECTORS as SELECTORS
from unweave.probing.ranking import rank as rank
from unweave.probing.result import ProbeSweep as ProbeSweep
from unweave.probing.result import ProbeTable as ProbeTable
from unweave.probing.sweep import sweep as sweep
from unweave.probing.sweep_many import sweep_many as sweep_many
