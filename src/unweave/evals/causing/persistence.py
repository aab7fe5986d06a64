"""`persistence`: how long a behaviour lasts after its injection stops, token by token of a fixed continuation.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `curve` | D_t = logp_v(y_t) - logp_0(y_t) | (tokens,) | nats, mean over items | specs/evaluation.md, 4.3 |
| `half_life` | min t - t0 with D_t <= D_t0 / 2 | tokens | after a monotone fit; inf: longer than was seen | same |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.evals.causing.behaviours import Behaviour
from unweave.evals.causing.changes import vector_of
from unweave.evals.causing.patching import Change, Patching, passes
from unweave.evals.causing.schedules import weights
from unweave.evals.causing.steering import generated_index, inject, real_position
from unweave.tensors.estimate import Estimate
from unweave.tensors.splits import grouping


@dataclass(frozen=True, kw_only=True, eq=False)
class Persistence:
    """How a behaviour fades after injection stops."""

    stop: int
    """t0: the generated tokens before this index are injected."""
    curve: Float[np.ndarray, " tokens"]
    """D_t, nats: logp with minus without the injection, of the showing minus the other continuation where both are
    given.
    """
    fitted: Float[np.ndarray, " after"]
    """From t0 on, the last token that an injected position predicts: the monotone fit."""
    half_life: Estimate
    """Tokens after t0 until half is left; inf where it is longer than was seen."""
    note: str

    def __repr__(self) -> str:
        """Stop and half-life."""
        return f"Persistence(stop {self.stop}, half-life {self.half_life.value:g} tokens)"


def persistence(
    patched: Patching,
    direction: Any,
    behaviour: Behaviour,
    *,
    dose: float,
    prompts: Sequence[int],
    stop: int,
    groups: Any = None,
    draws: int = 400,
    seed: int = 0,
) -> Persistence:
    """The effect on each token of a fixed continuation when injection stops at a token.

    Args:
        patched: Prompts with their continuations, at least `stop` + 2 tokens each.
        direction: A `Direction` or a vector.
        behaviour: A `continuation` measure.
        dose: Times the vector.
        prompts: Real tokens of each prompt.
        stop: t0.
        groups: The group of each item.
        draws: Bootstrap draws over groups.
        seed: Of the draws.

    Raises:
        InputError: Continuations that end before the injection stops.

    Example:
        >>> from unweave.evals.planted.language import TAG_AGAINST, TAG_FOR, style_world
        >>> from unweave.evals.causing.patching import patching
        >>> world = style_world(seed=0)
        >>> tokens, prompts, measure = world.continued(world.prompts(8, seed=0), seed=0)
        >>> ready = patching(world.model, "blocks.0.resid_post", tokens)
        >>> persistence(ready, world.memory, measure, dose=1.0, prompts=prompts, stop=3)
        Persistence(stop 3, half-life 1 tokens)
    """
    g = generated_index(patched, prompts)
    change = inject(vector_of(direction).double(), dose, weights(f"until:{stop}", g))
    first = torch.as_tensor(list(prompts))
    longest = int((torch.bincount(patched.row, minlength=patched.rows) - first).min())
    if longest < stop + 2:
        raise InputError(f"the shortest continuation has {longest} tokens: more than stop + 1 = {stop + 1} are needed")
    plain, injected = by_token(patched, [None, change], behaviour, first, longest)
    table = injected - plain
    codes = grouping(groups, len(table)).codes
    life, low, high = _half_lives(table, codes, stop, draws, seed)
    curve = table.mean(0)
    return Persistence(
        stop=stop,
        curve=curve,
        fitted=falling(curve[stop:]),
        half_life=Estimate(value=life, low=low, high=high, n=len(table), n_groups=int(codes.max()) + 1, seed=seed),
        note="the text is fixed, so this is what edited keys and values in the cache keep; without them it is exactly 0"
        " after the stop (uw.evals.memory also measures what the text itself keeps)",
    )


def by_token(
    patched: Patching, changes: Sequence[Change | None], behaviour: Behaviour, first: Tensor, longest: int
) -> Float[np.ndarray, "changes items tokens"]:
    """The behaviour on each token of the continuation after each change, in nats.

    Args:
        patched: Prompts with their continuations.
        changes: What is done; None changes nothing.
        behaviour: A `continuation` measure.
        first: (rows,) real tokens before each continuation.
        longest: Tokens of the continuations that are looked at.
    """
    items = np.arange(patched.rows) if behaviour.items is None else behaviour.items
    table = np.zeros((len(changes), int(items.max()) + 1, longest))
    for begin, rows, columns, logits in passes(patched, changes, behaviour.read):
        values = (behaviour.score(logits, rows, columns) * behaviour.weights(rows)).double().cpu().numpy()
        place = real_position(patched, rows, columns) + 1 - first[rows].numpy()
        seen = place < longest
        share = np.bincount(rows.numpy())[rows.numpy()]  # a mean over tokens becomes the token's own
        for number, value in enumerate(values):
            np.add.at(table[begin + number], (items[rows.numpy()][seen], place[seen]), (value * share)[seen])
    return table


def falling(values: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    """The closest sequence that never rises, in least squares: neighbours that rise are pooled."""
    blocks: list[list[float]] = []
    for value in values:
        blocks.append([float(value), 1.0])
        while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
            last = blocks.pop()
            size = blocks[-1][1] + last[1]
            blocks[-1] = [(blocks[-1][0] * blocks[-1][1] + last[0] * last[1]) / size, size]
    return np.concatenate([np.full(int(size), value) for value, size in blocks])


def _half_lives(table: np.ndarray, codes: np.ndarray, stop: int, draws: int, seed: int) -> tuple[float, float, float]:
    count = int(codes.max()) + 1
    sums = np.zeros((count, table.shape[1]))
    np.add.at(sums, codes, table)
    sizes = np.bincount(codes, minlength=count)
    rng = np.random.default_rng([seed, 13])
    picks = rng.multinomial(count, np.full(count, 1 / count), size=draws)
    curves = (picks @ sums) / (picks @ sizes)[:, None]
    lives = np.array([_half_life(curve[stop:]) for curve in curves])
    low, high = np.quantile(lives, [0.025, 0.975], method="nearest")
    return _half_life(table.mean(0)[stop:]), float(low), float(high)


def _half_life(curve: np.ndarray) -> float:
    fitted = falling(curve)
    below = np.nonzero(fitted <= fitted[0] / 2)[0]
    return float(below[0]) if len(below) and fitted[0] > 0 else float("inf")
