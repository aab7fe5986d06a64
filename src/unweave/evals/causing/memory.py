"""`memory`: where a behaviour lives after its injection stops: in the cache, or in the text that was written meanwhile.

A model is steered while it writes some tokens, then the injection stops. What it does next can differ for two reasons:
keys and values of the edited positions stay in the cache, and the words that were written under injection are now its
text. A fixed continuation behind the written text is scored in three runs: (0) behind what is written without
injection; (1) behind the steered text, with the cache recomputed without the edit; (2) the same with the edit kept at
the positions that were injected.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `text` | B_1 - B_0 | (tokens,) | memory of the text: cache recomputed | specs/evaluation.md, 4.3 |
| `cache` | B_2 - B_1 | (tokens,) | memory of the cache: edited keys and values kept | same |
| `total` | B_2 - B_0 = cache + text | (tokens,) | nats a token | same |
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.evals.averages import mean_estimate
from unweave.evals.causing.behaviours import continuation
from unweave.evals.causing.changes import random_bases, vector_of
from unweave.evals.causing.patching import patching
from unweave.evals.causing.persistence import by_token
from unweave.evals.causing.schedules import schedule_edits
from unweave.evals.causing.steering import generated_index, inject
from unweave.models.model import Model
from unweave.models.tokens import Tokens, as_tokens, pad
from unweave.tensors.estimate import Estimate


@dataclass(frozen=True, kw_only=True, eq=False)
class Memory:
    """What is left of a behaviour after its injection stops, split by where it is kept."""

    stop: int
    """Tokens that were written under injection."""
    total: Estimate
    """Nats a token of the continuation, its first token aside: that one is predicted from an injected position. The
    control is the mean over random directions of equal norm, the p-value that of signs flipped over groups.
    """
    cache: Estimate
    """The part that edited keys and values keep."""
    text: Estimate
    """The part that stays when the cache is recomputed without the edit."""
    curves: Float[np.ndarray, "3 tokens"]
    """Total, cache and text at each token, mean over prompts."""
    differing: float
    """Share of the written tokens that injection changed; 0: the text cannot remember anything."""

    def row(self) -> dict[str, Any]:
        """As one row of a table."""
        parts = {"total": self.total, "cache": self.cache, "text": self.text}
        told: dict[str, Any] = {"stop": self.stop, "differing": self.differing}
        for name, one in parts.items():
            told |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high, f"{name}_control": one.control}
        return told

    def __repr__(self) -> str:
        """Total and its parts."""
        return (
            f"Memory(stop {self.stop}, total {self.total.value:.3f} = cache {self.cache.value:.3f} + text"
            f" {self.text.value:.3f} nats a token)"
        )


def memory(
    model: Model,
    site: str,
    direction: Any,
    prompts: Any,
    showing: Any,
    other: Any = None,
    *,
    dose: float,
    stop: int,
    groups: Any = None,
    draws: int = 5,
    seed: int = 0,
) -> Memory:
    """Whether a behaviour outlasts its injection in the cache or in the text.

    Args:
        model: A causal language model.
        site: Where the direction is added.
        direction: A `Direction` or a vector; a read-out is refused.
        prompts: `Tokens` or ids (n, pos).
        showing: Token ids of a continuation that shows the behaviour, one for all prompts or one a prompt; 2 tokens or
            more.
        other: The same of one that does not; the behaviour then is the difference.
        dose: Times the vector, at every position of the prompt and of what is written.
        stop: Tokens that are written (the likeliest ones) under injection.
        groups: The group of each prompt.
        draws: Random directions of equal norm, each steered and scored alike.
        seed: Of directions and intervals.

    Raises:
        InputError: A continuation of one token, another number of continuations than prompts, or nothing to write.

    Source:
        specs/evaluation.md, 4.3.

    Example:
        >>> from unweave.evals.planted.language import style_world
        >>> world = style_world(seed=0)
        >>> showing, other = (world.words(of_the_style=kind)[:4] for kind in (True, False))
        >>> prompts = world.prompts(6, seed=0)
        >>> found = memory(
        ...     world.model, "blocks.0.resid_post", world.memory, prompts, showing, other, dose=2.0, stop=3, draws=1
        ... )
        >>> abs(found.cache.value) < 1e-5, found.text.value > 0.1
        (True, True)
    """
    if stop < 1 or draws < 1:
        raise InputError(f"stop is {stop} and draws {draws}: at least 1 each")
    vector, given = vector_of(direction).double(), as_tokens(prompts)
    ends = [_continuations(one, len(given.ids)) for one in ((showing,) if other is None else (showing, other))]
    plain = _rows(model.generate(given, stop))
    tables, differing = [], 0.0
    randoms = random_bases(len(vector), 1, draws=draws, seed=seed)
    for number, one in enumerate([vector, *(float(vector.norm()) * basis[:, 0] for basis in randoms)]):
        with model.edit(schedule_edits(site, one, dose, "always", longest=stop)):
            written = _rows(model.generate(given, stop))
        if number == 0:
            differing = _differing(plain, written, given)
        tables.append(_table(model, site, one * dose, plain, written, ends))
    parts = np.stack([np.stack([two - zero, two - one, one - zero]) for zero, one, two in tables])
    means = parts[..., 1:].mean(-1)  # (directions, parts, prompts)
    estimates = [
        mean_estimate(means[0, part], groups, seed=seed, null=0.0, control=float(means[1:, part].mean()))
        for part in range(3)
    ]
    note = () if differing else ("injection changed none of the written tokens: the text cannot remember anything",)
    total, cache, text = (replace(one, warnings=(*one.warnings, *note)) for one in estimates)
    return Memory(stop=stop, total=total, cache=cache, text=text, curves=parts[0].mean(1), differing=differing)


def _table(
    model: Model, site: str, step: Tensor, plain: list[list[int]], written: list[list[int]], ends: list[list[list[int]]]
) -> Float[np.ndarray, "3 items tokens"]:
    """The behaviour on each token behind the plain text, behind the steered one, and with its injection kept."""
    longest = min(len(end) for kind in ends for end in kind)
    runs = []
    for texts, kept in ((plain, False), (written, True)):
        tokens, starts = _joined(texts, ends)
        items = list(range(len(texts))) * len(ends)
        shows = [True] * len(texts) + [False] * len(texts) * (len(ends) - 1)
        behaviour = continuation(tokens, starts, shows=shows, items=items)
        ready = patching(model, site, tokens)
        sizes = (generated_index(ready, starts) < 0).double()
        changes = [None, inject(step, 1.0, sizes)] if kept else [None]
        runs.append(by_token(ready, changes, behaviour, torch.tensor(starts), longest))
    return np.concatenate(runs)


def _joined(texts: list[list[int]], ends: list[list[list[int]]]) -> tuple[Tokens, list[int]]:
    rows = [[*text, *end] for kind in ends for text, end in zip(texts, kind, strict=True)]
    ids, mask = pad(rows)
    return Tokens(ids=ids, mask=mask), [len(text) for text in texts] * len(ends)


def _rows(tokens: Tokens) -> list[list[int]]:
    return [ids[mask].tolist() for ids, mask in zip(tokens.ids, tokens.mask, strict=True)]


def _differing(plain: list[list[int]], written: list[list[int]], prompts: Tokens) -> float:
    """Share of the written tokens that are others."""
    starts = prompts.lengths().tolist()
    pairs = [
        (one[turn] if turn < len(one) else None) != (two[turn] if turn < len(two) else None)
        for one, two, start in zip(plain, written, starts, strict=True)
        for turn in range(start, max(len(one), len(two)))
    ]
    return float(np.mean(pairs)) if pairs else 0.0


def _continuations(given: Any, count: int) -> list[list[int]]:
    """One continuation a prompt."""
    rows = given.tolist() if isinstance(given, Tensor | np.ndarray) else [*given]
    found = [[int(one) for one in row] for row in (rows if rows and not isinstance(rows[0], int) else [rows] * count)]
    if len(found) != count:
        raise InputError(f"{len(found)} continuations for {count} prompts: give one, or one a prompt")
    if any(len(row) < 2 for row in found):
        raise InputError("a continuation has fewer than 2 tokens: the first one is predicted from an injected position")
    return found
