"""What a study is asked to do: the keys of `config.toml` and the options of `unweave study`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unweave.config import Config, Seed
from unweave.probing.config import Ks, Selector

DEFAULT_MODELS = ("minilm", "zoo:docs")


class AblationConfig(Config):
    """How the test that removes units is run."""

    units: Annotated[int, Field(ge=1)] = 8
    """Most units removed together: the largest of `ks` up to it, or else the smallest."""
    windows: Annotated[int, Field(ge=1)] = 64
    """Most held-out windows it runs on."""
    draws: Annotated[int, Field(ge=1)] = 5
    """Random sets of units in the control."""


class StudyConfig(Config):
    """One study. Without any key it is the default one: bundled models, the documentation of CPython, token-string
    features.
    """

    models: Annotated[tuple[str, ...], Field(min_length=1)] = DEFAULT_MODELS
    """Model sources, as `load_model` takes them."""
    text: str | None = None
    """Text file or directory; None = the documentation that ships with CPython (for zoo models: the part they were not
    trained on).
    """
    labels: str | None = None
    """Labels file (.jsonl); None = the eleven token-string features."""
    sites: Annotated[tuple[str, ...], Field(min_length=1)] = ("blocks.*.mlp_act",)
    """Names or patterns of sites to collect and probe; bases are compared and ablated at the middle one."""
    context: Annotated[int, Field(ge=2)] = 128
    """Most tokens of a window, special ones included."""
    dtype: Literal["float16", "bfloat16", "float32"] = "float16"
    """Of the stored activations."""
    ks: Ks = (1, 2, 4, 8, 16)
    """Numbers of units a probe may use, increasing."""
    rows: Annotated[int, Field(ge=50)] = 4000
    """Most labelled tokens a feature uses."""
    shuffles: Annotated[int, Field(ge=0)] = 5
    """Draws of the label-shuffle control."""
    bootstrap: Annotated[int, Field(ge=100)] = 2000
    """Draws of documents for the intervals."""
    test: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of the documents held out."""
    selector: Selector = "std_mean_diff"
    """How the units of a probe are chosen: a ranking, as hundreds of probes must fit into minutes; "auto" searches."""
    ablation: AblationConfig = AblationConfig()
    """Of the test of what units do."""
    seed: Seed = 0
    """Of every random choice."""
