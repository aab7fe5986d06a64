"""`Behaviour`: what is measured of the output, one number an item, with its scope: the whole continuation, or one token
where that is asked for by name.

A behaviour of a generation is a property of many tokens. Its measure here is the log-probability of a fixed
continuation, position by position, or the difference of two (one that shows the behaviour and one that does not); the
first token alone misleads, because an answer can begin one way and end the other.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `score` | B | (changes, reads) | of the logits at the positions that are read | specs/evaluation.md, section 1 |
| `signs` | +1, -1 | (rows,) | a row's part in its item: logp(showing) - logp(not showing) | same, 4.3 |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweave.errors import InputError
from unweave.models.tokens import Tokens, pad

SEQUENCE, FIRST_TOKEN = "sequence", "first-token"


@dataclass(frozen=True, kw_only=True, eq=False)
class Behaviour:
    """A measure of the output."""

    name: str
    scope: str
    """`sequence` or `first-token`."""
    unit: str
    read: Any
    """Positions whose logits are read; see `unweave.models.positions`."""
    score: Callable[[Tensor, Tensor, Tensor], Tensor]
    """(logits (changes, reads, vocabulary), input of each read, its position) -> (changes, reads)."""
    items: Int[np.ndarray, " rows"] | None = None
    """Which item each input belongs to; None = each its own. An item is the sum over its inputs and reads."""
    signs: Float[np.ndarray, " rows"] | None = None

    def item_count(self, rows: int) -> int:
        """Items of so many inputs."""
        if self.items is None:
            return rows
        if len(self.items) != rows:
            raise InputError(
                f"{self.name} is of {len(self.items)} inputs, the run has {rows}: one and the same is needed"
            )
        return int(self.items.max()) + 1

    def weights(self, rows: Int[Tensor, " reads"]) -> Tensor:
        """The sign of each read."""
        return torch.ones(len(rows)) if self.signs is None else torch.from_numpy(self.signs)[rows]

    def add_to(self, totals: np.ndarray, values: Tensor, rows: Int[Tensor, " reads"]) -> None:
        """Adds the values of reads to the items of their inputs."""
        signed = (values.double() * self.weights(rows).double()).cpu().numpy()
        index = rows.numpy() if self.items is None else self.items[rows.numpy()]
        for total, value in zip(totals, signed, strict=True):
            np.add.at(total, index, value)

    def __repr__(self) -> str:
        """Name, scope and unit."""
        return f"Behaviour({self.name}, {self.scope}, {self.unit})"


def logit_difference(right: Any, wrong: Any, *, read: Any = "last") -> Behaviour:
    """logit(right) - logit(wrong) at one position: a first-token measure.

    Args:
        right: One token id an input.
        wrong: The same.
        read: The position whose logits are read.

    Example:
        >>> logit_difference([3], [5])
        Behaviour(logit difference, first-token, logits)
    """
    one, two = (torch.as_tensor(ids, dtype=torch.long) for ids in (right, wrong))

    def score(logits: Tensor, rows: Tensor, _columns: Tensor) -> Tensor:
        index = torch.stack([one[rows], two[rows]], -1).expand(len(logits), -1, 2).to(logits.device)
        found = logits.gather(-1, index)
        return found[..., 0] - found[..., 1]

    return Behaviour(name="logit difference", scope=FIRST_TOKEN, unit="logits", read=read, score=score)


def probability(answers: Sequence[Sequence[int]], *, read: Any = "last") -> Behaviour:
    """The probability of any of the answers at one position: a first-token measure.

    Args:
        answers: Token ids, a list an input.
        read: The position whose logits are read.

    Example:
        >>> probability([[3, 4], [5]])
        Behaviour(probability, first-token, share)
    """
    ids, mask = pad([list(row) for row in answers])

    def score(logits: Tensor, rows: Tensor, _columns: Tensor) -> Tensor:
        index = ids[rows].expand(len(logits), -1, -1).to(logits.device)
        return (logits.float().softmax(-1).gather(-1, index) * mask[rows].to(logits.device)).sum(-1)

    return Behaviour(name="probability", scope=FIRST_TOKEN, unit="share", read=read, score=score)


def answered(labels: Any, *, among: Any = None, read: Any = "last") -> Behaviour:
    """1 where the likeliest token is the label, else 0: a first-token measure.

    Args:
        labels: One token id an input.
        among: The tokens that compete, one list for all inputs or one an input; None is the whole vocabulary.
        read: The position whose logits are read.

    Example:
        >>> answered([3, 5], among=[3, 5])
        Behaviour(share answered, first-token, share)
    """
    wanted = torch.as_tensor(labels, dtype=torch.long)
    options = None if among is None else torch.as_tensor(list(among), dtype=torch.long)

    def score(logits: Tensor, rows: Tensor, _columns: Tensor) -> Tensor:
        if options is None:
            return (logits.argmax(-1).cpu() == wanted[rows]).double()
        offered = (options if options.ndim == 1 else options[rows]).expand(*logits.shape[:2], -1)
        best = logits.cpu().gather(-1, offered).argmax(-1, keepdim=True)
        return (offered.gather(-1, best).squeeze(-1) == wanted[rows]).double()

    return Behaviour(name="share answered", scope=FIRST_TOKEN, unit="share", read=read, score=score)


def continuation(
    tokens: Tokens,
    prompts: Sequence[int],
    *,
    shows: Sequence[bool] | None = None,
    items: Sequence[int] | None = None,
    last: int | None = None,
) -> Behaviour:
    """Mean log-probability of a fixed continuation, nats a token; with `shows`, of the one that shows the behaviour
    minus that of the one that does not: a sequence measure.

    Args:
        tokens: Prompts and continuations together, as they are run.
        prompts: Real tokens of each prompt.
        shows: Whether each row's continuation shows the behaviour; None where every row is an item of its own.
        items: Which item each row belongs to; with `shows`, one item is the two continuations of one
            prompt.
        last: Read only the last so many tokens of each continuation.

    Raises:
        InputError: A continuation without a token, or `shows` without `items`.

    Example:
        >>> rows = Tokens(ids=torch.tensor([[1, 2, 3, 4], [1, 2, 5, 6]]), mask=torch.ones(2, 4).bool())
        >>> continuation(rows, [2, 2], shows=[True, False], items=[0, 0])
        Behaviour(log-probability of the continuation, sequence, nats a token)
    """
    if (shows is None) != (items is None):
        raise InputError("shows= and items= belong together: which continuation shows it, and of which prompt it is")
    lengths = tokens.lengths().tolist()
    first = [start if last is None else max(start, end - last) for start, end in zip(prompts, lengths, strict=True)]
    empty = [row for row, (start, end) in enumerate(zip(first, lengths, strict=True)) if not 0 < start < end]
    if empty:
        raise InputError(
            f"row {empty[0]} has no continuation behind its prompt of {prompts[empty[0]]} tokens: give one"
        )
    read = [list(range(start - 1, end - 1)) for start, end in zip(first, lengths, strict=True)]
    share = torch.tensor([1.0 / len(places) for places in read], dtype=torch.float64)
    following = tokens.ids.roll(-1, 1)

    def score(logits: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        target = following[rows, columns].expand(len(logits), -1).unsqueeze(-1).to(logits.device)
        return logits.float().log_softmax(-1).gather(-1, target).squeeze(-1) * share[rows].to(logits)

    signs = None if shows is None else np.where(np.asarray(shows), 1.0, -1.0)
    return Behaviour(
        name="log-probability of the continuation",
        scope=SEQUENCE,
        unit="nats a token",
        read=read,
        score=score,
        items=None if items is None else np.asarray(items),
        signs=signs,
    )
