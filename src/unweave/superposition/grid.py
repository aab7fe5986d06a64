"""Models of every width, decay and seed on one data set, side by side with what a linear model of that width can reach,
and how much the scores move with decay and with width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unweave.config import config_from
from unweave.errors import DataError, InputError, unknown_name
from unweave.log import SILENT, Progress
from unweave.superposition.autoencoder import Autoencoder
from unweave.superposition.bags import Bags
from unweave.superposition.config import Number, TrainConfig
from unweave.superposition.dataset import Dataset, Matrix, as_dataset
from unweave.superposition.linear import Spectrum, spectrum
from unweave.superposition.scores import errors_of
from unweave.superposition.training import fit_models
from unweave.tensors.estimate import Estimate


@dataclass(frozen=True, eq=False, kw_only=True)
class Grid:
    """Models of a grid and the spectrum they stand beside."""

    models: tuple[Autoencoder, ...]
    spectrum: Spectrum
    held_out: tuple[tuple[float, float], ...]
    """(squared error a word, R2) of each model on held-out windows."""
    seconds: float | None = None

    def table(self) -> list[dict[str, Any]]:
        """A model each: its dials, its errors, the bound of linear models of its width, its norm."""
        return [
            {
                "width": model.width, "decay": model.decay, "seed": model.seed, "activation": model.activation,
                "train_mse": model.train_mse, "mse": error, "r2": r2, "bound": self.spectrum.bound(model.width),
                "norm2": model.norm2,
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
    for seed in seeds:
        own = drawn_again(data, seed) if resample else data
        models += fit_models(own, [(width, decay, seed) for decay in decays for width in widths], config, progress)
    indices = data.split(data.held_out())
    return Grid(
        models=tuple(models), spectrum=spectrum(data, min(max(widths), len(data.vocab))),
        held_out=tuple(errors_of(model, data, indices) for model in models),
        seconds=sum(model.seconds or 0.0 for model in models),
    )  # fmt: skip


def drawn_again(data: Dataset, seed: int) -> Matrix:
    """Training windows whose documents (or stretches) are drawn with replacement.

    Args:
        data: Bags, or a matrix.
        seed: Of the draw.
    """
    indices = data.split("train")
    code = data.groups(indices)
    drawn = np.random.default_rng([23, seed]).integers(0, int(code.max()) + 1, int(code.max()) + 1)
    order = np.argsort(code, kind="stable")
    first = np.searchsorted(code[order], np.arange(int(code.max()) + 2))
    chosen = np.concatenate([order[first[number] : first[number + 1]] for number in drawn])
    dtype = "uint8" if isinstance(data, Bags) else "float64"
    return Matrix(x=data.take(indices[chosen], dtype), vocab=list(data.vocab))


def slope(rows: Sequence[Mapping[str, Any]], score: str, over: str = "decay", *, beside: str = "width") -> Estimate:
    """How much a score moves for one unit of a dial: the least-squares slope within each seed, with the other dial held
    fixed, and its interval over seeds.

    Args:
        rows: A model each, with the dials, `seed` and the score.
        score: Name of the score.
        over: The dial that moves; widths are taken as log2.
        beside: The dial that is held fixed.

    Returns:
        Mean slope over seeds, Student's interval, p-value of no slope.

    Raises:
        UnknownName: No such column.
        DataError: Fewer than two values of the dial.

    Example:
        >>> dials = [(s, d) for s in range(3) for d in (0, 1, 4)]
        >>> rows = [{"seed": s, "decay": d, "width": 2, "y": 3 * d + s + 0.1 * d * s} for s, d in dials]
        >>> slope(rows, "y")
        Estimate(3.100 [2.852, 3.348], n=9, groups=3, p=0.000347)
    """
    from scipy.stats import t as student

    for name in (score, over, beside, "seed"):
        if rows and name not in rows[0]:
            raise unknown_name("column", name, rows[0])
    slopes = []
    used = [row for row in rows if row[score] == row[score]]
    for seed in dict.fromkeys(row["seed"] for row in used):
        top = bottom = 0.0
        own = [row for row in used if row["seed"] == seed]
        for fixed in dict.fromkeys(row[beside] for row in own):
            here = [row for row in own if row[beside] == fixed]
            at = np.array([float(row[over]) for row in here])
            at = np.log2(at) if over == "width" else at
            value = np.array([float(row[score]) for row in here])
            top += float((at - at.mean()) @ (value - value.mean()))
            bottom += float(np.square(at - at.mean()).sum())
        if bottom > 0:
            slopes.append(top / bottom)
    if not slopes:
        raise DataError(f"{over} has one value only: a slope needs two or more")
    count = len(slopes)
    mean = float(np.mean(slopes))
    if count < 2:
        return Estimate(
            value=mean,
            low=float("nan"),
            high=float("nan"),
            n=len(used),
            n_groups=count,
            null=0.0,
            warnings=("one seed: no interval",),
        )
    error = float(np.std(slopes, ddof=1)) / count**0.5
    half = float(student.ppf(0.975, count - 1)) * error
    chance = 2 * float(student.sf(abs(mean) / error, count - 1)) if error > 0 else float(mean == 0)
    return Estimate(
        value=mean, low=mean - half, high=mean + half, n=len(used), n_groups=count, null=0.0, p_value=chance
    )
