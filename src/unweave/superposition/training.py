"""Trained autoencoders on bags: one, or a grid of widths, decays and seeds that shares its batches.

Two kinds of shrinking are two arguments. `decay` is decoupled (AdamW): it bounds every weight by about 1/decay, since
the step it works against is normalised. `l2` is in the loss, and has closed forms for linear models.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.config import config_from
from unweave.errors import InputError
from unweave.log import SILENT, Progress
from unweave.superposition.autoencoder import Autoencoder, TrainStep
from unweave.superposition.config import Number, TrainConfig
from unweave.superposition.dataset import Dataset, as_dataset, bags_in
from unweave.superposition.scores import errors_of, rank_of
from unweave.superposition.step import Batch, Gradients, Workspace, bag_batch, gradients, row_batch

FEWEST_STEPS, SMALL_RUN = 600, 5_000
ENTRIES = 10
"""Entries of a history."""
SEEN = 2_000
"""Held-out windows that a history looks at."""


@dataclass(eq=False, frozen=True, kw_only=True)
class _Fit:
    """One model while it is trained; the tensors are changed in place."""

    width: int
    decay: float
    seed: int
    encoder: Float[Tensor, "v m"]
    decoder: Float[Tensor, "v m"] | None
    bias: Float[Tensor, " v"]
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler | None
    space: Workspace = field(default_factory=Workspace)
    history: list[TrainStep] = field(default_factory=list)
    recent: list[float] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def train(
    rows: Any,
    width: int = 50,
    activation: str = "relu",
    decay: Number = 1.0,
    seed: int = 0,
    *,
    l2: Number = 0.0,
    loss: str = "mse",
    tied: bool = True,
    latent: str = "identity",
    optimizer: str = "adamw",
    lr: Number | None = None,
    schedule: str = "cosine",
    epochs: int | None = None,
    batch: int = 512,
    decay_bias: bool = False,
    clip: Number | None = None,
    dtype: str = "float32",
    progress: Progress = SILENT,
) -> Autoencoder:
    """A trained autoencoder: `x_hat = act(D phi(W x) + b)`.

    Args:
        rows: Bags, or a matrix (windows, words).
        width: Dimensions m.
        activation: `relu`, `linear` or `sigmoid`.
        decay: Decoupled weight decay (AdamW), not an L2 penalty: it bounds each weight by about 1/decay.
        seed: Of the start and of the order of windows.
        l2: Strength of `l2 norm(W)^2` beside the squared error summed over words.
        loss: `mse`, mean over windows and words, or `bce` on the logits.
        tied: Whether the decoder is the transposed encoder; if not, it starts as it.
        latent: `identity` or `relu`.
        optimizer: `adamw`, `adam` or `sgd`.
        lr: Learning rate at the start; None is 5e-4, or 2e-3 for fewer than 5,000 steps.
        schedule: `cosine`, to 0 by the step, or `constant`.
        epochs: Times through the training windows, in a new order each; None is 10, or what makes 600 steps.
        batch: Windows a step.
        decay_bias: Whether the bias decays too, as in the published recipe.
        clip: Largest norm of the gradient.
        dtype: `float32`, `float64`, or `bfloat16` for the large products alone.
        progress: Who is told how far it is.

    Returns:
        The model after the last step, or after the last one at which the loss was finite.

    Raises:
        InputError: Widths, rates or names out of range.
        DataError: No windows.

    Source:
        arXiv 2603.09972; specs/superposition.md, section 3.

    Example:
        >>> x = np.eye(4)[np.arange(40) % 4]
        >>> model = train(x, width=4, decay=0.0, epochs=300, lr=0.01, batch=40)
        >>> bool(model.train_mse < 0.01)
        True
    """
    options = {
        "activation": activation, "l2": l2, "loss": loss, "tied": tied, "latent": latent, "optimizer": optimizer,
        "lr": lr, "schedule": schedule, "epochs": epochs, "batch": batch, "decay_bias": decay_bias, "clip": clip,
        "precision": dtype,
    }  # fmt: skip
    config = config_from(TrainConfig, options, source="train")
    return fit_models(as_dataset(rows), [(width, decay, seed)], config, progress)[0]


def fit_models(
    data: Dataset, wanted: Sequence[tuple[int, Number, int]], config: TrainConfig, progress: Progress = SILENT
) -> list[Autoencoder]:
    """Models of (width, decay, seed), in that order; those of one seed see the same batches, made once.

    Raises:
        InputError: A width below 1, a negative seed, or a decay that is negative or infinite.
        DataError: No training windows.
    """
    for width, decay, seed in wanted:
        if width < 1:
            raise InputError(f"width is {width}: at least one dimension is needed")
        if seed < 0:
            raise InputError(f"seed is {seed}: a number from 0 up is needed")
        if not 0 <= decay < math.inf:
            raise InputError(f"decay is {decay}: a number from 0 up is needed")
    found: dict[tuple[int, Number, int], Autoencoder] = {}
    indices = data.split("train")
    epochs, steps = plan(len(indices), config)
    with progress.task("training", steps * len({seed for *_, seed in wanted}), "step") as advance:
        for seed in dict.fromkeys(seed for *_, seed in wanted):
            own = list(dict.fromkeys(one for one in wanted if one[2] == seed))
            fits = [_start(len(data.vocab), one, config, steps) for one in own]
            for at, batch in enumerate(_batches(data, indices, epochs, config, seed), 1):
                for fit in fits:
                    begun = time.process_time()
                    _step(fit, batch, config)
                    fit.seconds.append(time.process_time() - begun)
                advance(1)
                if at % max(1, steps // ENTRIES) == 0 or at == steps:
                    for fit in fits:
                        _note(fit, at, data, config)
            found |= {one: _finished(fit, data, config) for one, fit in zip(own, fits, strict=True)}
    return [found[one] for one in wanted]


def plan(windows: int, config: TrainConfig) -> tuple[int, int]:
    """(epochs, steps) of a run over so many windows."""
    a_round = max(1, -(-windows // config.batch))
    epochs = config.epochs if config.epochs is not None else max(10, -(-FEWEST_STEPS // a_round))
    return epochs, epochs * a_round


def _start(words: int, wanted: tuple[int, Number, int], config: TrainConfig, steps: int) -> _Fit:
    width, decay, seed = wanted
    dtype = torch.float64 if config.precision == "float64" else torch.float32
    generator = torch.Generator().manual_seed(seed)
    spread = math.sqrt(2 / words)
    encoder = ((torch.rand(words, width, generator=generator, dtype=torch.float64) * 2 - 1) * spread).to(dtype)
    decoder = None if config.tied else encoder.clone()
    bias = torch.zeros(words, dtype=dtype)
    lr = config.lr or (5e-4 if steps >= SMALL_RUN else 2e-3)
    weights = [encoder] if decoder is None else [encoder, decoder]
    groups = [
        {"params": weights, "weight_decay": decay},
        {"params": [bias], "weight_decay": decay if config.decay_bias else 0.0},
    ]
    if config.optimizer == "adamw":
        optimiser: torch.optim.Optimizer = torch.optim.AdamW(groups, lr=lr, fused=True)
    elif config.optimizer == "adam":
        optimiser = torch.optim.Adam([*weights, bias], lr=lr, fused=True)
    else:
        optimiser = torch.optim.SGD([*weights, bias], lr=lr)
    schedule = None
    if config.schedule == "cosine":
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    return _Fit(
        width=width, decay=float(decay), seed=seed, encoder=encoder, decoder=decoder, bias=bias, optimiser=optimiser,
        schedule=schedule,
    )  # fmt: skip


def _batches(data: Dataset, indices: np.ndarray, epochs: int, config: TrainConfig, seed: int) -> Iterator[Batch]:
    """Windows in a new order each time through."""
    rng = np.random.default_rng([3, seed])
    found = bags_in(data)
    for _ in range(epochs):
        order = rng.permutation(indices)
        for first in range(0, len(order), config.batch):
            chosen = order[first : first + config.batch]
            if found is not None:
                yield bag_batch(*found.rows(chosen), len(data.vocab))
            else:
                yield row_batch(data.take(chosen, "float64" if config.precision == "float64" else "float32"))


def _step(fit: _Fit, batch: Batch, config: TrainConfig) -> None:
    """One step; a model whose loss is not finite stays as it was."""
    if fit.warnings:
        return
    found = gradients(
        batch, fit.encoder, fit.decoder, fit.bias, activation=config.activation, loss=config.loss,
        relu_latent=config.latent == "relu", half=config.precision == "bfloat16", space=fit.space,
    )  # fmt: skip
    size = _size(found)
    if not (math.isfinite(found.loss) and math.isfinite(size)):
        fit.warnings.append(f"the loss became {found.loss}: training stopped there, lower lr")
        return
    if config.l2:
        strength = 2 * config.l2 / len(fit.bias)
        found.encoder.add_(fit.encoder, alpha=strength)
        if found.decoder is not None and fit.decoder is not None:
            found.decoder.add_(fit.decoder, alpha=strength)
    if config.clip is not None and size > config.clip:
        for part in (found.encoder, found.decoder, found.bias):
            if part is not None:
                part.mul_(config.clip / size)
    fit.recent.append(found.loss)
    fit.encoder.grad, fit.bias.grad = found.encoder, found.bias
    if fit.decoder is not None:
        fit.decoder.grad = found.decoder
    fit.optimiser.step()
    if fit.schedule is not None:
        fit.schedule.step()


def _size(found: Gradients) -> float:
    parts = [part for part in (found.encoder, found.decoder, found.bias) if part is not None]
    return math.sqrt(sum(float(torch.linalg.vector_norm(part)) ** 2 for part in parts))


def _note(fit: _Fit, at: int, data: Dataset, config: TrainConfig) -> None:
    held = data.split("validation")
    held = held if len(held) else data.split("test")
    held = held[:: max(1, len(held) // SEEN)]
    error = r2 = float("nan")
    if len(held):
        error, r2 = errors_of(_as_model(fit, data, config), data, held)
    fit.history.append(
        TrainStep(
            step=at,
            loss=float(np.mean(fit.recent)) if fit.recent else float("nan"),
            held_out=error,
            r2=r2,
            norm2=float(fit.encoder.double().square().sum()),
        )
    )
    fit.recent.clear()


def _as_model(fit: _Fit, data: Dataset, chosen: TrainConfig, train_mse: float | None = None) -> Autoencoder:
    weight = fit.encoder.T.contiguous().numpy().copy()
    decoder = weight.T.copy() if fit.decoder is None else fit.decoder.numpy().copy()
    done = train_mse is not None
    train_mse = train_mse if done else float("nan")
    return Autoencoder(
        weight=weight, decoder=decoder, bias=fit.bias.numpy().copy(), activation=chosen.activation,
        vocab=list(data.vocab), rank=rank_of(weight) if done else 0, train_mse=train_mse,
        objective=train_mse * len(data.vocab) + chosen.l2 * float(np.square(weight, dtype=np.float64).sum()),
        latent=chosen.latent, tied=chosen.tied, decay=fit.decay if chosen.optimizer == "adamw" else 0.0,
        l2=chosen.l2, seed=fit.seed, history=tuple(fit.history), config=chosen, warnings=tuple(fit.warnings),
        seconds=sum(fit.seconds),
    )  # fmt: skip


def _finished(fit: _Fit, data: Dataset, config: TrainConfig) -> Autoencoder:
    draft = _as_model(fit, data, config)
    return _as_model(fit, data, config, errors_of(draft, data, data.split("train"))[0])
