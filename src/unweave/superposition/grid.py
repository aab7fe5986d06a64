"""Models of every width, decay and seed on one data set, beside what a linear model of that width can reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unweave.config import config_from
from unweave.errors import InputError
from unweave.log import SILENT, Progress
from unweave.superposition.autoencoder import Autoencoder
from unweave.superposition.bags import Bags
from unweave.superposition.config import Number, TrainConfig
from unweave.superposition.dataset import Matrix, as_dataset, drawn_again
from unweave.superposition.linear import Spectrum, spectrum
from unweave.superposition.scores import errors_of
from unweave.superposition.training import fit_models


@dataclass(frozen=True, eq=False, kw_only=True)
class Grid:
    """Models of a grid and the spectrum they stand beside."""

    models: tuple[Autoencoder, ...]
    spectrum: Spectrum
    held_out: tuple[tuple[float, float], ...]
    """(squared error a word, R2) of each model on held-out windows."""
    spectra: Mapping[int, Spectrum] = field(default_factory=dict)
    """Seed -> spectrum of the windows that its models were fitted on, where documents were drawn again."""
    seconds: float | None = None

    def spectrum_of(self, model: Autoencoder) -> Spectrum:
        """The spectrum of the very windows that a model was fitted on."""
        return self.spectrum if model.seed is None else self.spectra.get(model.seed, self.spectrum)

    def table(self) -> list[dict[str, Any]]:
        """A model each: its dials, its errors, the bound of linear models of its width, its norm."""
        return [
            {
                "width": model.width, "decay": model.decay, "seed": model.seed, "activation": model.activation,
                "train_mse": model.train_mse, "mse": error, "r2": r2,
                "bound": self.spectrum_of(model).bound(model.width), "norm2": model.norm2,
            }
            for model, (error, r2) in zip(self.models, self.held_out, strict=True)
        ]  # fmt: skip

    def select(
        self, *, width: int | None = None, decay: Number | None = None, seed: int | None = None
    ) -> list[Autoencoder]:
        """Models with these dials; None takes all."""
        return [
            model
            for model in self.models
            if width in (None, model.width) and decay in (None, model.decay) and seed in (None, model.seed)
        ]

    def __repr__(self) -> str:
        """Number of models."""
        return f"Grid({len(self.models)} models of widths {sorted({model.width for model in self.models})})"


def train_grid(
    rows: Any,
    widths: Sequence[int],
    decays: Sequence[Number] = (0.0, 1.0, 4.0),
    seeds: Sequence[int] = (0,),
    *,
    activation: str = "relu",
    l2: Number = 0.0,
    loss: str = "mse",
    tied: bool = True,
    lr: Number | None = None,
    epochs: int | None = None,
    batch: int = 512,
    dtype: str = "float32",
    resample: bool = False,
    progress: Progress = SILENT,
) -> Grid:
    """Models of every width, decay and seed; those of one seed go through the same batches, which are made once. Each
    equals the model that `train` gives alone.

    Args:
        rows: Bags, or a matrix (windows, words).
        widths: Dimensions.
        decays: Decoupled weight decays.
        seeds: Of starts and orders.
        activation: As in `train`, like the options below.
        l2: Penalty in the loss.
        loss: `mse` or `bce`.
        tied: Whether the decoder is the transposed encoder.
        lr: Learning rate at the start.
        epochs: Times through the windows.
        batch: Windows a step.
        dtype: Of the products.
        resample: Whether every seed trains on documents drawn with replacement, so that what differs between seeds
            holds for documents too.
        progress: Who is told how far it is.

    Raises:
        InputError: Dials out of range.
        DataError: No windows.

    Example:
        >>> x = np.eye(4)[np.arange(40) % 4]
        >>> found = train_grid(x, (1, 2), (0.0,), epochs=20)
        >>> [row["width"] for row in found.table()], len(found.select(width=2))
        ([1, 2], 1)
    """
    options = {
        "activation": activation, "l2": l2, "loss": loss, "tied": tied, "lr": lr, "epochs": epochs, "batch": batch,
        "precision": dtype,
    }  # fmt: skip
    config = config_from(TrainConfig, options, source="train_grid")
    data = as_dataset(rows)
    if not widths or not decays or not seeds:
        raise InputError("a grid needs a width, a decay and a seed at least")
    models: list[Autoencoder] = []
    spectra: dict[int, Spectrum] = {}
    most = min(max(widths), len(data.vocab))
    for seed in dict.fromkeys(seeds):
        own = drawn_again(data, seed) if resample and isinstance(data, Bags | Matrix) else data
        if own is not data:
            spectra[seed] = spectrum(own, most)
        models += fit_models(own, [(width, decay, seed) for decay in decays for width in widths], config, progress)
    indices = data.split(data.held_out())
    return Grid(
        models=tuple(models), spectrum=spectrum(data, most), spectra=spectra,
        held_out=tuple(errors_of(model, data, indices) for model in models),
        seconds=sum(model.seconds or 0.0 for model in models),
    )  # fmt: skip
