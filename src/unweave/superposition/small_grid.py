"""Many small models trained together on one table of rows: one batched product for all widths, decays and seeds.

Widths are padded and masked, so that every model is the one it would be alone. Where rows repeat, each distinct row is
taken once with its count as weight: the whole data are one batch.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `W` | W | (K, m, d) | one matrix a model, rows beyond its width 0 | specs/superposition.md, 6 and 8 |
| `b` | b | (K, 1, d) | bias | same |
| `mass` | a_r | (r,) | share of each distinct row | same |
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.config import config_from
from unweave.errors import InputError
from unweave.superposition.autoencoder import Autoencoder
from unweave.superposition.config import Number, SmallConfig
from unweave.superposition.dataset import as_dataset
from unweave.superposition.scores import rank_of

BETAS, EPSILON = (0.9, 0.999), 1e-8


@dataclass(eq=False, frozen=True, kw_only=True)
class _Stack:
    """All models of a grid; the tensors are changed in place."""

    W: Float[Tensor, "k m d"]
    b: Float[Tensor, "k 1 d"]
    mask: Float[Tensor, "k m 1"]
    decay: Float[Tensor, "k 1 1"]
    alive: Tensor


def train_small(
    rows: Any,
    widths: Sequence[int],
    decays: Sequence[Number] = (1.0,),
    seeds: Sequence[int] = (0,),
    *,
    activation: str = "relu",
    steps: int = 3_000,
    lr: Number = 0.01,
    decay_bias: bool = True,
    clip: Number | None = 1.0,
    l2: Number = 0.0,
    dtype: str = "float32",
) -> list[Autoencoder]:
    """Tied autoencoders of every width, decay and seed on a table of rows, trained at once.

    Args:
        rows: A `World`'s x, a `Matrix`, or bags of few windows.
        widths: Dimensions.
        decays: Decoupled weight decays (AdamW).
        seeds: Of the starts.
        activation: `relu` or `linear`.
        steps: Of AdamW over all rows, the rate falling as a cosine.
        lr: Rate at the start.
        decay_bias: Whether the bias decays too, as in the published recipe.
        clip: Largest norm of a model's gradient.
        l2: Strength of `l2 norm(W)^2` beside the squared error summed over words.
        dtype: `float32` or `float64`.

    Returns:
        Models in the order of seeds, then decays, then widths. One that diverged keeps its last finite state and says
        so; the others go on.

    Raises:
        InputError: Nothing to train, or settings out of range.

    Source:
        arXiv 2603.09972, synthetic experiments; specs/superposition.md, sections 6 and 8.

    Example:
        >>> x = np.eye(4)[np.arange(40) % 4]
        >>> [round(one.norm2, 1) for one in train_small(x, (1, 4), (0.0,), steps=300)][1] > 3
        True
    """
    data = as_dataset(rows)
    options = {
        "activation": activation, "steps": steps, "lr": lr, "decay_bias": decay_bias, "clip": clip, "l2": l2,
        "precision": dtype,
    }  # fmt: skip
    config = config_from(SmallConfig, options, source="train_small")
    x = data.take(data.split("train"), "float64")
    distinct, count = np.unique(x, axis=0, return_counts=True)
    kind = torch.float64 if dtype == "float64" else torch.float32
    held = torch.from_numpy(distinct).to(kind), torch.from_numpy(count / count.sum()).to(kind)
    return fit_stack(lambda _step: held, x.shape[1], (widths, decays, seeds), config, list(data.vocab))


def fit_stack(
    batch: Callable[[int], tuple[Tensor, Tensor | None]],
    words: int,
    dials: tuple[Sequence[int], Sequence[Number], Sequence[int]],
    config: SmallConfig,
    vocab: list[str],
    importance: Tensor | None = None,
) -> list[Autoencoder]:
    """The models of a grid.

    Args:
        batch: Step -> rows, (r, d) for all models or (K, r, d), and their weights (None: equal).
        words: Columns d.
        dials: Widths, decays, seeds.
        config: Of the training.
        vocab: Names of the columns.
        importance: Weight of each column's error.
    """
    start = time.process_time()
    wanted = [(width, decay, seed) for seed in dials[2] for decay in dials[1] for width in dials[0]]
    if not wanted or min(dials[0]) < 1 or min(dials[1]) < 0 or not all(map(math.isfinite, dials[1])):
        raise InputError(
            f"widths {list(dials[0])}, decays {list(dials[1])}, seeds {list(dials[2])}: widths from 1, decays from 0"
            " and a seed are needed"
        )
    stack = _start(wanted, words, torch.float64 if config.precision == "float64" else torch.float32)
    moments = [torch.zeros_like(one) for one in (stack.W, stack.W, stack.b, stack.b)]
    losses = torch.full((len(wanted),), float("nan"), dtype=torch.float64)
    for step in range(config.steps):
        x, mass = batch(step)
        loss, gradient_w, gradient_b = _gradients(stack, x, mass, config, importance)
        finite = torch.isfinite(loss) & torch.isfinite(gradient_w).all(2).all(1)
        stack.alive.logical_and_(finite)
        losses = torch.where(stack.alive, loss.double(), losses)
        rate = (
            config.lr * (1 + math.cos(math.pi * step / config.steps)) / 2 if config.schedule == "cosine" else config.lr
        )
        _update(stack, (gradient_w, gradient_b), moments, step + 1, rate, config)
    spent = (time.process_time() - start) / len(wanted)
    return [_model(stack, place, one, float(losses[place]), config, vocab, spent) for place, one in enumerate(wanted)]


def _start(wanted: list[tuple[int, float, int]], words: int, dtype: torch.dtype) -> _Stack:
    most = max(width for width, *_ in wanted)
    W = torch.zeros(len(wanted), most, words, dtype=dtype)
    mask = torch.zeros(len(wanted), most, 1, dtype=dtype)
    for place, (width, _, seed) in enumerate(wanted):
        generator = torch.Generator().manual_seed(seed * 100_003 + width)  # a start does not depend on its neighbours
        W[place, :width] = (
            (torch.rand(width, words, generator=generator, dtype=torch.float64) * 2 - 1) / words**0.5
        ).to(dtype)
        mask[place, :width] = 1
    decay = torch.tensor([one for _, one, _ in wanted], dtype=dtype)[:, None, None]
    return _Stack(
        W=W, b=torch.zeros(len(wanted), 1, words, dtype=dtype), mask=mask, decay=decay,
        alive=torch.ones(len(wanted), dtype=torch.bool),
    )  # fmt: skip


def _gradients(
    stack: _Stack, x: Tensor, mass: Tensor | None, config: SmallConfig, importance: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss (mean over rows and words) and gradients of every model."""
    W = stack.W
    h = x @ W.transpose(1, 2)
    out = torch.baddbmm(stack.b, h, W)
    if config.activation == "relu":
        out = out.relu_()
    rest = out - x
    weighted = rest if importance is None else rest * importance
    weighted = weighted / x.shape[-2] if mass is None else weighted * mass[:, None]
    loss = (rest * weighted).sum((1, 2)) / x.shape[-1]
    g = weighted * (2 / x.shape[-1])
    if config.activation == "relu":
        g = g * (out > 0)
    pulled = g @ W.transpose(1, 2)
    gradient = h.transpose(1, 2) @ g + pulled.transpose(1, 2) @ x
    if config.l2:
        gradient = gradient + (2 * config.l2 / x.shape[-1]) * W
    return loss, gradient * stack.mask, g.sum(1, keepdim=True)


def _update(
    stack: _Stack, found: tuple[Tensor, Tensor], moments: list[Tensor], step: int, rate: float, config: SmallConfig
) -> None:
    """AdamW of all models; those that diverged stay where they are."""
    scale = stack.alive.to(stack.W.dtype)[:, None, None]
    if config.clip is not None:
        size = (found[0].square().sum((1, 2)) + found[1].square().sum((1, 2))).sqrt()[:, None, None]
        scale = scale * (config.clip / size.clamp_min(config.clip))
    live = stack.alive[:, None, None]
    for place, (parameter, gradient) in enumerate(zip((stack.W, stack.b), found, strict=True)):
        first, second = moments[2 * place], moments[2 * place + 1]
        clipped = torch.where(live, gradient * scale, 0.0)
        first.mul_(BETAS[0]).add_(clipped, alpha=1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(clipped, clipped, value=1 - BETAS[1])
        change = (first / (1 - BETAS[0] ** step)) / ((second / (1 - BETAS[1] ** step)).sqrt() + EPSILON)
        kept = 1 - rate * stack.decay if place == 0 or config.decay_bias else torch.ones_like(stack.decay)
        parameter.copy_(torch.where(live, parameter * kept - rate * change, parameter))


def _model(
    stack: _Stack,
    place: int,
    one: tuple[int, float, int],
    loss: float,
    config: SmallConfig,
    vocab: list[str],
    spent: float,
) -> Autoencoder:
    width, decay, seed = one
    weight = stack.W[place, :width].numpy().copy()
    stopped = () if bool(stack.alive[place]) else ("the loss became infinite: training stopped there, lower lr",)
    return Autoencoder(
        weight=weight, decoder=weight.T.copy(), bias=stack.b[place, 0].numpy().copy(), activation=config.activation,
        vocab=vocab, rank=rank_of(weight), train_mse=loss,
        objective=loss * len(vocab) + config.l2 * float(np.square(weight, dtype=np.float64).sum()), decay=decay,
        l2=config.l2, seed=seed, warnings=stopped, seconds=spent,
    )  # fmt: skip
