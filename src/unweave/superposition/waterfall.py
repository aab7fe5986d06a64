"""What adds up to the sum of one word in one context, and in all windows that hold it.

    z_t = b_t + [t in S] G_tt + sum_{j in S, j != t} G_tj

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `sums` | z_t | (n,) | what the activation is given | specs/superposition.md, 5.12 |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from unweave.errors import DataError, InputError
from unweave.superposition.autoencoder import Autoencoder, activate
from unweave.superposition.dataset import as_dataset
from unweave.superposition.words import words_in

SHOWN = 12


@dataclass(frozen=True, eq=False, kw_only=True)
class Waterfall:
    """The parts of one sum, largest first."""

    word: str
    is_there: bool
    bias: float
    own: float
    """G_tt where the word is there, else 0."""
    parts: tuple[tuple[str, float], ...]
    """What each other word of the context adds."""
    total: float
    output: float
    one_hot: float
    """The sum of the word alone: bias and own weight."""
    unknown: tuple[str, ...]
    """Words of the context that the model does not have."""

    def table(self, shown: int = SHOWN) -> list[dict[str, Any]]:
        """Rows of a picture: each part from where the last one ended; the smallest are put together."""
        rest = self.parts[shown:]
        steps = [("bias", self.bias), *([(self.word, self.own)] if self.is_there else []), *self.parts[:shown]]
        if rest:
            steps.append((f"{len(rest)} others", sum(value for _, value in rest)))
        found, at = [], 0.0
        for label, value in steps:
            found.append({"label": label, "start": at, "end": at + value, "value": value})
            at += value
        return [*found, {"label": "sum", "start": 0.0, "end": self.total, "value": self.total}]


def explain(model: Autoencoder, word: str, context: str | Sequence[str]) -> Waterfall:
    """What each word of a context adds to one word's sum.

    Args:
        model: A model whose latent has no nonlinearity.
        word: The word that is explained.
        context: A text, or words; whether `word` is among them counts.

    Raises:
        UnknownName: The model does not have the word.
        InputError: A nonlinear latent.

    Example:
        >>> from unweave.superposition.linear import closed_form
        >>> from unweave.superposition.dataset import Matrix
        >>> rows = Matrix(x=np.array([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]]), vocab=["sun", "day", "night"])
        >>> found = explain(closed_form(rows, width=1), "sun", "day night")
        >>> [label for label, _ in found.parts], found.is_there
        (['day', 'night'], False)
    """
    if model.latent != "identity":
        raise InputError("the model has a ReLU on its latent: its sums do not split by words")
    target = model.column(word)
    given = (
        [one for run in context.split() for one in words_in_text(run)] if isinstance(context, str) else list(context)
    )
    place = {one: number for number, one in enumerate(model.vocab)}
    known = [place[one] for one in dict.fromkeys(given) if one in place]
    own = float(model.self_weight[target])
    others = [column for column in known if column != target]
    added = model.decoder[target] @ model.weight[:, others] if others else np.zeros(0)
    parts = sorted(((model.vocab[column], float(value)) for column, value in zip(others, added, strict=True)), key=lambda one: -abs(one[1]))  # fmt: skip  # noqa: E501
    bias = float(model.bias[target])
    there = target in known
    total = bias + (own if there else 0.0) + float(added.sum())
    return Waterfall(
        word=word, is_there=there, bias=bias, own=own if there else 0.0, parts=tuple(parts), total=total,
        output=float(activate(np.float64(total), model.activation)), one_hot=bias + own,
        unknown=tuple(one for one in dict.fromkeys(given) if one not in place),
    )  # fmt: skip


def words_in_text(run: str) -> list[str]:
    """Words of a piece of text without blanks, what is no letter or digit left out."""
    plain = "".join(letter if letter.isalnum() else " " for letter in run)
    return [word for part in plain.split() for word in words_in(part)]


@dataclass(frozen=True, eq=False, kw_only=True)
class Heights:
    """Sums of one word over the windows that hold it."""

    word: str
    sums: Float[np.ndarray, " k"]
    one_hot: float
    above_zero: float
    """Share of the windows in which the sum is above 0."""
    above_one_hot: float
    """Share in which the context adds something."""


def heights(model: Autoencoder, rows: Any, word: str, *, split: str = "auto") -> Heights:
    """How a word's sum in its contexts compares with its sum alone.

    Args:
        model: A fitted model.
        rows: The bags it was fitted on.
        word: A word.
        split: `auto` takes held-out windows where there are any, else all; or a part's name.

    Raises:
        UnknownName: The model does not have the word.
        DataError: No window holds it.

    Example:
        >>> from unweave.superposition.linear import closed_form
        >>> x = np.eye(3)[np.arange(30) % 3] + np.eye(3)[np.arange(30) % 2]
        >>> heights(closed_form(x, width=2), x, "0").above_zero
        1.0
    """
    data = as_dataset(rows)
    target = model.column(word)
    indices = data.split(data.held_out() if split == "auto" else split)
    x = data.take(indices, str(model.weight.dtype))
    x = x[x[:, target] > 0]
    if not len(x):
        raise DataError(f"no window of the part holds {word!r}: take another word or split='all'")
    sums = (model.encode(x) @ model.decoder[target] + model.bias[target]).astype(np.float64)
    alone = float(model.bias[target] + model.self_weight[target])
    return Heights(
        word=word, sums=sums, one_hot=alone, above_zero=float((sums > 0).mean()),
        above_one_hot=float((sums > alone).mean()),
    )  # fmt: skip


def better_than_alone(model: Autoencoder, rows: Any, *, split: str = "auto") -> float:
    """Share of all (window, word in it) pairs in which the word's sum is above its sum alone.

    Args:
        model: A fitted model.
        rows: The bags it was fitted on.
        split: As in `heights`.
    """
    data = as_dataset(rows)
    indices = data.split(data.held_out() if split == "auto" else split)
    alone = model.bias + model.self_weight
    above = total = 0
    for first in range(0, len(indices), 1024):
        x = data.take(indices[first : first + 1024], str(model.weight.dtype))
        there = x > 0
        above += int(((model.sums(x) > alone) & there).sum())
        total += int(there.sum())
    return above / total if total else float("nan")
