"""What a run of the superposition lab on a text is asked to do."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unweave.config import Config, Seed


class TextLabConfig(Config):
    """One run: bags of a text, models of every width, decay and seed, their scores."""

    vocab: Annotated[int, Field(ge=2)] = 4000
    """Most words."""
    window: Annotated[int, Field(ge=1)] = 20
    """Units whose words make one bag."""
    widths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (50,)
    """Dimensions of the models."""
    decays: Annotated[tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...], Field(min_length=1)] = (0.0, 1.0)
    """Decoupled weight decays."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    """Of starts and orders; two or more give slopes with intervals, each on documents drawn again."""
    l2: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Penalty in the loss; not the decay."""
    activation: Literal["relu", "linear", "sigmoid"] = "relu"
    """Of the trained models."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Times through the windows; None is 10, or what makes 600 steps."""
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Learning rate at the start; None is 5e-4, or 2e-3 for fewer than 5,000 steps."""
    batch: Annotated[int, Field(ge=1)] = 512
    """Windows a step."""
    documents: str = "auto"
    """How documents are told apart."""
    force: tuple[str, ...] = ()
    """Words that are in the vocabulary whatever their frequency; the built-in groups are where they occur."""
    profile: str | None = None
    """`paper` for the published settings of bags."""
    min_chars: Annotated[int, Field(ge=0)] | None = None
    """Units with fewer characters are dropped."""
    seed: Seed = 0
    """Of the split and of every null."""
