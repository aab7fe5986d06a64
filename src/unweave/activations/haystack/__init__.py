"""The haystack: ten collections of features, built from text that the user provides (specs/probing.md 2)."""

from unweave.activations.haystack.built import Built as Built
from unweave.activations.haystack.built import TokenFeature as TokenFeature
from unweave.activations.haystack.inputs import HaystackInputs as HaystackInputs
from unweave.activations.haystack.inputs import build_all as build_all
from unweave.activations.haystack.names import COLLECTIONS as COLLECTIONS
from unweave.activations.haystack.names import names as names
