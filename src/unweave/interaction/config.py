"""How an interaction basis is fitted and its edges are computed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from unweave.config import Config, Seed
from unweave.errors import unknown_name

BASES = ("lib", "pca", "neuron", "random", "whitened_random", "global")
"""Bases by name; a mapping from layer to featurizer gives others."""
EDGES = ("squared", "stochastic", "none")
"""What is computed between neighbouring layers."""
RULES = ("gradient", "trapezoidal", "gauss_legendre")
"""Where on the path from zero the Jacobian is taken."""


class BasisConfig(Config):
    """What the basis of every layer is."""

    basis: str = "lib"
    """Of all layers, or of those that no featurizer is given for."""
    center: bool = True
    """Whether the mean is the origin."""
    rotate_final: bool = False
    """Whether the last layer is given its principal components instead of its own coordinates."""
    isolate_norm: bool = True
    """Whether leading coordinates that are a norm's variance stay directions of their own."""
    rel_variance: Annotated[float, Field(gt=0)] | None = None
    """Variances below this share of the largest are cut; None: 10 d eps."""
    rel_lambda: Annotated[float, Field(gt=0)] | None = None
    """Importances below this share of the largest are cut; None: 10 d eps."""
    abs_threshold: Annotated[float, Field(ge=0)] | None = None
    """Both cuts at this value instead, as the reference does."""
    given: tuple[str, ...] = ()
    """Layers whose basis is a featurizer that was given."""

    @field_validator("basis")
    @classmethod
    def _known(cls, basis: str) -> str:
        if basis not in BASES:
            raise ValueError(str(unknown_name("basis", basis, BASES, hint="or {layer: Featurizer}")))
        return basis


class ComputeConfig(Config):
    """How it is computed."""

    edges: str = "squared"
    """Sums over all output positions, over random signs of them, or none."""
    integration: str = "gradient"
    """Rule of integration along the path from zero to the activations."""
    intervals: Annotated[int, Field(ge=0)] = 0
    """Of the rule."""
    sources: tuple[int | None, int | None] | None = None
    """Random sources over (positions, hidden), None exact; one number sampled over both at once stands first with 0
    behind it.
    """
    edge_sources: Annotated[int, Field(ge=1)] = 1
    """Random sign patterns of stochastic edges."""
    fold_bias: bool = False
    """Whether biases are weights of a constant input, which the path from zero then scales too."""
    batch: Annotated[int, Field(ge=1)] = 256
    """Inputs that are computed at once."""
    dtype: Literal["float32", "float64"] = "float64"
    """What sections with closed forms run in; sums over data and eigenproblems are float64 always."""
    matmul: Literal["float32", "float64"] = "float32"
    """Products of edges; their sums are float64 always."""
    seed: Seed = 0
    """Of random bases and sources."""

    @field_validator("edges")
    @classmethod
    def _known_edges(cls, edges: str) -> str:
        if edges not in EDGES:
            raise ValueError(str(unknown_name("kind of edges", edges, EDGES)))
        return edges

    @field_validator("integration")
    @classmethod
    def _known_rule(cls, integration: str) -> str:
        if integration not in RULES:
            raise ValueError(str(unknown_name("integration rule", integration, RULES)))
        return integration

    @field_validator("sources", mode="before")
    @classmethod
    def _pair(cls, sources: Any) -> Any:
        """One number samples positions and hidden coordinates together."""
        if isinstance(sources, int) and not isinstance(sources, bool):
            if sources < 1:
                raise ValueError("at least one source is needed")
            return (sources, 0)
        return sources
