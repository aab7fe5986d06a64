"""What a search of the haystack is asked to do: the options of `unweave probe haystack`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unweave.activations.haystack import HaystackInputs
from unweave.config import Config, Seed
from unweave.probing.config import Ks


class HaystackConfig(Config):
    """One search: models, inputs, and how the probes are made."""

    models: Annotated[tuple[str, ...], Field(min_length=1)] = ("zoo:docs",)
    """Model sources, as `load_model` takes them; several are compared by size."""
    inputs: HaystackInputs = HaystackInputs()
    """Files and directories that the collections are built from."""
    collections: tuple[str, ...] | None = None
    """Which of the ten; None takes all that the inputs allow."""
    sites: Annotated[tuple[str, ...], Field(min_length=1)] = ("blocks.*.mlp_act",)
    """Names or patterns of sites to collect and probe."""
    dtype: Literal["float16", "bfloat16", "float32"] = "float16"
    """Of the stored activations."""
    ks: Ks = (1, 2, 4, 8, 16)
    """Numbers of units a probe may use, increasing."""
    rows: Annotated[int, Field(ge=50)] | None = None
    """Most rows a feature; None takes as many as the paper."""
    shuffles: Annotated[int, Field(ge=0)] = 5
    """Draws of the label-shuffle control."""
    bootstrap: Annotated[int, Field(ge=100)] = 2000
    """Draws of groups for the intervals."""
    test: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of the groups held out."""
    random_weights: bool = True
    """Whether the same is done on the same architecture with random weights."""
    margin: Annotated[float, Field(gt=0)] = 0.1
    """Change of F1 between the smallest and the largest model within which a feature stays."""
    seed: Seed = 0
    """Of rows, windows, split, shuffles, bootstrap and random weights."""
