"""How bags are made and how a model is trained on them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from unweave.config import Config, Seed

Number = float | int
"""What a caller may give for a real number."""
Share = Annotated[float, Field(ge=0, le=1)]


class BagsConfig(Config):
    """One way of turning text into bags of words."""

    vocab: Annotated[int, Field(ge=2)] = 4000
    """Most words, forced ones included."""
    window: Annotated[int, Field(ge=1)] = 20
    """Units whose words make one bag."""
    stride: Annotated[int, Field(ge=1)] = 1
    """Units from the start of one window to the next."""
    documents: str = "auto"
    """`auto`, `each`, `stream`, or a regular expression that the first line of every document matches."""
    min_chars: Annotated[int, Field(ge=0)] = 0
    """Units with fewer characters, blanks at the ends not counted, are short."""
    window_words: Annotated[int, Field(ge=1)] | None = None
    """Words that every window holds: units are then cut by words, not by lines; None leaves the lines."""
    lowercase: bool = False
    """Fold case."""
    stop: Literal["english"] | tuple[str, ...] | None = "english"
    """Words that are left out."""
    quirks: tuple[Literal["slots", "stop_case"], ...] = ()
    """Slips of the published program: `slots`, short units stay as empty ones that take a place in a window;
    `stop_case`, "The" does not count as "the" when words are left out."""
    max_df: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Words in more than this share of the units are left out too, forced ones excepted."""
    force: tuple[str, ...] = ()
    """Words that are in the vocabulary whatever their frequency."""
    unknown: str | None = "<unk>"
    """Marker of a replaced word, taken out of the text; None leaves it."""
    split: tuple[Share, Share, Share] | None = (0.8, 0.1, 0.1)
    """Shares of training, validation and test; None fits and scores on all windows."""
    split_by: Literal["document", "window"] = "document"
    """What the shares are of. Windows that overlap are no independent test."""
    seed: Seed = 0
    """Of the split."""

    @model_validator(mode="after")
    def _shares(self) -> BagsConfig:
        if self.split is not None and (abs(sum(self.split) - 1) > 1e-9 or self.split[0] <= 0):
            raise ValueError("split must sum to 1 and leave something for training")
        return self


class TrainConfig(Config):
    """One training run."""

    activation: Literal["relu", "linear", "sigmoid"] = "relu"
    """What follows the sum of a word's interference, weight and bias."""
    loss: Literal["mse", "bce"] = "mse"
    """Mean over windows and words; `bce` is taken on the logits, whatever the activation."""
    tied: bool = True
    """Whether the decoder is the transposed encoder."""
    latent: Literal["identity", "relu"] = "identity"
    """What follows the encoder."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """Strength of `l2 * norm(W)^2` beside the squared error summed over words."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """`adamw` decays the weights beside the step, which is not `l2`; the others have no decay."""
    decay_bias: bool = False
    """Whether the decay holds for the bias too."""
    lr: Annotated[float, Field(gt=0)] | None = None
    """Learning rate at the start; None is 5e-4, or 2e-3 where there are fewer than 5,000 steps."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """`cosine` falls to 0, a step at a time."""
    epochs: Annotated[int, Field(ge=0)] | None = None
    """Times that the training windows are gone through; None is 10, or what makes 600 steps."""
    batch: Annotated[int, Field(ge=1)] = 512
    """Windows a step."""
    clip: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the gradient."""
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    """Of the large products; weights and sums are kept in float32 where it is bfloat16."""

    @model_validator(mode="after")
    def _fits(self) -> TrainConfig:
        if self.loss == "bce" and self.activation == "relu":
            raise ValueError("bce on logits belongs to activation='sigmoid' (or 'linear'): a ReLU has no logits")
        return self


class SmallConfig(Config):
    """Training of many small models together."""

    activation: Literal["relu", "linear"] = "relu"
    """What follows the sums."""
    steps: Annotated[int, Field(ge=1)] = 3_000
    """Of AdamW."""
    lr: Annotated[float, Field(gt=0)] = 0.01
    """Rate at the start."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """How it falls."""
    decay_bias: bool = True
    """Whether the bias decays too."""
    clip: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest norm of a model's gradient."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """Strength of `l2 norm(W)^2`."""
    precision: Literal["float32", "float64"] = "float32"
    """Of everything."""
