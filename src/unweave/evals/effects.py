"""What an edit does to a model's output, window by window and token by token.

A model that predicts the next token has an effect on its loss, in nats a predicted token. Any other model of sequences
has an effect on its last hidden state: 1 - cosine between the masked means of the edited and the plain run, one number
a sequence. Only these two are ever called the effect; they are not compared with each other.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `rise` | CE_edited - CE | (tokens,) | nats at the position that predicts | specs/evaluation.md E11 |
| `turn` | 1 - cos(h_edited, h) | (windows,) | masked mean of the last hidden state | DESIGN.md, the common currency |
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from unweave.errors import InputError
from unweave.models.capture import run
from unweave.models.model import Model
from unweave.models.tokens import Tokens

LOSS, TURN = "loss rise, nats a token", "1 - cosine of the mean last hidden state"


@dataclass(frozen=True, kw_only=True, eq=False)
class Effects:
    """The effect of one edit at every place where the model's output shows it."""

    unit: str
    """`LOSS` or `TURN`."""
    values: Float[np.ndarray, " places"]
    window: Int[np.ndarray, " places"]
    """Which window each value is of."""
    position: Int[np.ndarray, " places"]
    """Which position of the window predicts; -1 where the value is of the whole window."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PlainRun:
    """What the model does without an edit; computed once for any number of edits."""

    batches: tuple[Tokens, ...]
    outputs: tuple[Tensor, ...]
    """Loss at each position (batch, pos - 1), or the mean last hidden state (batch, d)."""


def plain_run(model: Model, batches: Sequence[Tokens]) -> PlainRun:
    """The outputs that effects are measured against.

    Args:
        model: The model.
        batches: Windows of tokens, such as `model.tokenize` gives.

    Raises:
        InputError: A plain module: it has no tokens to measure an effect on.

    Example:
        >>> import unweave as uw
        >>> model = uw.load_model("zoo:docs")
        >>> len(plain_run(model, [model.tokenize("The text of a test.")]).outputs)
        1
    """
    if model.family is None:
        raise InputError(
            "effects are measured on token sequences: a plain module has none, compare its outputs yourself"
        )
    with torch.no_grad():
        return PlainRun(batches=tuple(batches), outputs=tuple(_output(model, batch) for batch in batches))


def effects_of(model: Model, plain: PlainRun, edits: Any) -> Effects:
    """The effect of an edit on every token or window of the plain run.

    Args:
        model: The model.
        plain: Its plain run.
        edits: What `model.edit` takes; None is no edit, which has effect 0.

    Example:
        >>> import unweave as uw
        >>> model = uw.load_model("zoo:docs")
        >>> plain = plain_run(model, [model.tokenize("The text of a test.")])
        >>> found = effects_of(model, plain, {"blocks.0.mlp_out": torch.zeros_like})
        >>> found.unit, bool(abs(found.values).max() > 0)
        ('loss rise, nats a token', True)
    """
    with torch.no_grad(), model.edit(edits) if edits is not None else nullcontext():
        outputs = [_output(model, batch) for batch in plain.batches]
    starts = np.cumsum([0, *(len(batch) for batch in plain.batches)])
    parts = [
        _compared(model, *pair, int(start))
        for pair, start in zip(zip(plain.batches, plain.outputs, outputs, strict=True), starts, strict=False)
    ]
    values, window, position = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Effects(unit=LOSS if model.predicts_next else TURN, values=values, window=window, position=position)


def _output(model: Model, batch: Tokens) -> Tensor:
    model.check_ready()
    if model.predicts_next:
        logits = model(batch)
        targets = batch.ids[:, 1:].to(logits.device)
        return cross_entropy(logits[:, :-1].float().transpose(1, 2), targets, reduction="none").cpu()
    hidden = run(model, batch, body_only=True).last_hidden_state  # a head, if there is one, says something else
    mask = batch.mask.unsqueeze(-1).to(hidden)
    return ((hidden * mask).sum(1) / mask.sum(1)).float().cpu()


def _compared(
    model: Model, batch: Tokens, before: Tensor, after: Tensor, start: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if model.predicts_next:
        own = ~batch.special[:, 1:] if batch.special is not None else torch.ones_like(batch.mask[:, 1:])
        predicted = batch.mask[:, :-1] & batch.mask[:, 1:] & own
        rows, positions = (index.numpy() for index in torch.nonzero(predicted, as_tuple=True))
        return (after - before)[predicted].double().numpy(), rows + start, positions
    turn = 1 - cosine_similarity(before.double(), after.double(), dim=1)
    rows = np.arange(len(turn))
    return turn.numpy(), rows + start, np.full(len(rows), -1)
