"""`Pairs`: base and source inputs with what a causal model says of the answers before and after an interchange, and
which of them the model solves at all.

A test of what a representation causes is about pairs that the model answers as the causal model says when nothing is
changed; where it solves too few, it does not do what is to be explained, and the test stops there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int

from unweave.errors import DataError, InputError
from unweave.evals.causing.behaviours import answered
from unweave.evals.causing.patching import patching, scores
from unweave.models.model import Model
from unweave.models.positions import checked_rules
from unweave.models.tokens import Tokens, as_tokens
from unweave.tensors.splits import chosen_on, grouping

LEAST_SHARE = 0.5
"""Below this share of solved pairs the model does not show the behaviour."""
LEAST_PAIRS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Inputs in pairs, with answers by a causal model.

    Example:
        >>> Pairs(base=[[1, 2]], source=[[1, 3]], answer=[5], base_answer=[4], source_answer=[5], among=[4, 5])
        Pairs(1 pairs)
    """

    base: Any
    """`Tokens` or ids; for a plain module its inputs."""
    source: Any
    answer: Any
    """What the causal model says after the interchange: token ids, or classes of a plain module."""
    base_answer: Any
    """What it says of the base as it is."""
    source_answer: Any
    """What it says of the source as it is."""
    among: Any = None
    """The answers that compete, one list for all pairs or one a pair; None is the whole vocabulary."""
    positions: Any = "all"
    source_positions: Any = None
    groups: Any = None
    """The group (entity, template, document) of each pair; None makes each its own."""

    def __post_init__(self) -> None:
        """Takes positions as lists, and raises unless there is one of everything for every pair."""
        for name in ("positions", "source_positions"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, checked_rules(getattr(self, name), "always"))
        count = len(as_list(self.base))
        for name in ("source", "answer", "base_answer", "source_answer", "groups"):
            given = getattr(self, name)
            if given is not None and len(as_list(given)) != count:
                raise InputError(f"base has {count} inputs but {name} has {len(as_list(given))}: one a pair is needed")

    def __len__(self) -> int:
        return len(as_list(self.base))

    def __repr__(self) -> str:
        """Pairs and answers."""
        return f"Pairs({len(self)} pairs)"


def as_list(values: Any) -> Any:
    """Something with a length and rows."""
    return values if isinstance(values, Tokens) or hasattr(values, "__len__") else list(values)


def rows_of(values: Any, chosen: Int[np.ndarray, " k"]) -> Any:
    """Some rows of tokens, a tensor, an array or a list."""
    if values is None or isinstance(values, str):
        return values
    if isinstance(values, Tokens):
        return Tokens(ids=values.ids[chosen], mask=values.mask[chosen])
    if isinstance(values, torch.Tensor | np.ndarray):
        return values[chosen]
    return [values[int(one)] for one in chosen]


def some_pairs(pairs: Pairs, chosen: Any) -> Pairs:
    """The pairs with these numbers or under this mask.

    Args:
        pairs: All.
        chosen: Numbers, or a mask over pairs.
    """
    index = np.asarray(chosen)
    index = np.nonzero(index)[0] if index.dtype == bool else index
    lists = {name: rows_of(getattr(pairs, name), index) for name in ("base", "source", "answer", "base_answer")}
    places = {
        name: rows_of(getattr(pairs, name), index) if _is_by_row(getattr(pairs, name)) else getattr(pairs, name)
        for name in ("positions", "source_positions", "among")
    }
    more = {name: rows_of(getattr(pairs, name), index) for name in ("source_answer", "groups")}
    return replace(pairs, **lists, **places, **more)


def solved(model: Model, pairs: Pairs) -> Bool[np.ndarray, " pairs"]:
    """Whether the model answers base and source as the causal model says, with nothing changed."""
    found = []
    for inputs, labels in ((pairs.base, pairs.base_answer), (pairs.source, pairs.source_answer)):
        ready = patching(model, _any_site(model), inputs)
        found.append(scores(ready, [None], answered(labels, among=pairs.among))[0] > 0.5)
    return found[0] & found[1]


def solved_pairs(model: Model, pairs: Pairs, *, least: float = LEAST_SHARE) -> tuple[Pairs, float]:
    """The pairs that the model solves, and which share of all they are.

    Args:
        model: The model.
        pairs: Base, source and answers.
        least: The smallest share at which the model shows the behaviour.

    Raises:
        DataError: It solves fewer: it does not do what is to be explained.

    Example:
        >>> from unweave.evals.planted.module import variable_world
        >>> world = variable_world(seed=0)
        >>> solved_pairs(world.model, world.pairs(20, seed=1))
        (Pairs(20 pairs), 1.0)
    """
    right = solved(model, pairs)
    share = float(right.mean())
    if share < least or int(right.sum()) < min(LEAST_PAIRS, len(right)):
        raise DataError(
            f"the model does not show the behaviour: it answers {share:.0%} of {len(right)} pairs as the causal model"
            f" says, {least:.0%} and {LEAST_PAIRS} pairs are needed; choose a task that it can do, nothing was tested"
        )
    return some_pairs(pairs, right), share


def split_pairs(pairs: Pairs, *, select: float = 0.4, seed: int = 0) -> tuple[Pairs, Pairs]:
    """(selection, report): the pairs of some groups to choose on, those of the others to report, so that no input is in
    both.

    Args:
        pairs: All.
        select: Share of the groups to choose on.
        seed: Of the order.

    Raises:
        DataError: Fewer than two groups.

    Example:
        >>> from unweave.evals.planted.module import variable_world
        >>> split_pairs(variable_world(seed=0).pairs(20, seed=1))
        (Pairs(8 pairs), Pairs(12 pairs))
    """
    chosen = chosen_on(grouping(pairs.groups, len(pairs)), select=select, seed=seed, of="pairs")
    return some_pairs(pairs, chosen), some_pairs(pairs, ~chosen)


def _any_site(model: Model) -> str:
    """A site late in the model, from where the rest is short."""
    sites = [str(site) for site in model.sites()]
    if model.family is None:
        return sites[-1]
    return next(site for site in reversed(sites) if site.endswith("resid_post"))


def as_inputs(model: Model, inputs: Any) -> Any:
    """`Tokens` for a transformer, inputs as they are for a plain module."""
    return inputs if model.family is None else as_tokens(inputs)


def _is_by_row(positions: Any) -> bool:
    return (
        not isinstance(positions, str)
        and positions is not None
        and len(positions) > 0
        and not isinstance(positions[0], int | np.integer)
    )
