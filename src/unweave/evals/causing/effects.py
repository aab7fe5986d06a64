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
from unweave.models.edits import Edit, check_model, rows_after
from unweave.models.model import Model
from unweave.models.sections import Section, last_site, node_layer
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
class Start:
    """What the model had computed where edits begin, so that no edited pass computes it again."""

    model: Model
    """Whose values these are."""
    section: Section
    """From the smallest node layer that holds the site, which comes first in it, to the output."""
    values: tuple[tuple[Tensor, Any], ...]
    """The start of the section and its context, a pair a batch."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PlainRun:
    """What the model does without an edit; computed once for any number of edits."""

    batches: tuple[Tokens, ...]
    outputs: tuple[Tensor, ...]
    """Loss at each position (batch, pos - 1), or the mean last hidden state (batch, d)."""
    start: Start | None = None


def plain_run(model: Model, batches: Sequence[Tokens], *, edited_at: str | None = None) -> PlainRun:
    """The outputs that effects are measured against.

    Args:
        model: The model.
        batches: Windows of tokens, such as `model.tokenize` gives.
        edited_at: The site of the edits to come, if it is one: what lies before it is then kept and not run again for
            each of them. It takes 4 bytes a number of the activations there.

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
        return PlainRun(
            batches=tuple(batches),
            outputs=tuple(_output(model, batch) for batch in batches),
            start=None if edited_at is None else _start(model, batches, edited_at),
        )


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
    if plain.start is not None and _begins_at(plain.start, model, edits):
        outputs = _outputs_from(model, plain, plain.start, edits)
    else:
        with torch.no_grad(), model.edit(edits) if edits is not None else nullcontext():
            outputs = [_output(model, batch) for batch in plain.batches]
    starts = np.cumsum([0, *(len(batch) for batch in plain.batches)])
    parts = [
        _compared(model, *pair, int(start))
        for pair, start in zip(zip(plain.batches, plain.outputs, outputs, strict=True), starts, strict=False)
    ]
    values, window, position = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Effects(unit=LOSS if model.predicts_next else TURN, values=values, window=window, position=position)


def _start(model: Model, batches: Sequence[Tokens], site: str) -> Start | None:
    """None where no section leads from the site to the output."""
    layer = node_layer(model, site, last_site(model))
    if layer is None:
        return None
    part = model.section(layer, last_site(model))
    return Start(model=model, section=part, values=tuple(part.inputs(batch) for batch in batches))


def _begins_at(start: Start, model: Model, edits: Any) -> bool:
    """Whether it is one edit of units, of every token, at the start, and nothing else is edited."""
    if start.model is not model or model.state.active_edits or not isinstance(edits, Edit) or edits.featurizer is None:
        return False
    return (edits.site, edits.positions, edits.schedule) == (start.section.site_in[0], "all", "always")


def _outputs_from(model: Model, plain: PlainRun, start: Start, edit: Edit) -> list[Tensor]:
    model.check_ready()
    check_model(model, edit)
    width = model.width(edit.site)
    outputs = []
    for batch, (values, context) in zip(plain.batches, start.values, strict=True):
        edited = values.clone()
        edited[..., :width] = rows_after(edit, values[..., :width])
        with torch.no_grad():
            outputs.append(_reduced(model, batch, start.section(edited, context)))
    return outputs


def _output(model: Model, batch: Tokens) -> Tensor:
    model.check_ready()
    if model.predicts_next:
        return _reduced(model, batch, model(batch))
    hidden = run(model, batch, body_only=True).last_hidden_state  # a head, if there is one, says something else
    return _reduced(model, batch, hidden)


def _reduced(model: Model, batch: Tokens, output: Tensor) -> Tensor:
    """The loss at each position from logits, or the mean of the last hidden state."""
    if model.predicts_next:
        targets = batch.ids[:, 1:].to(output.device)
        return cross_entropy(output[:, :-1].float().transpose(1, 2), targets, reduction="none").cpu()
    mask = batch.mask.unsqueeze(-1).to(output)
    return ((output * mask).sum(1) / mask.sum(1)).float().cpu()


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
