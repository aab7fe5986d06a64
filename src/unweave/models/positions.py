"""Where in a sequence an edit acts: rules on absolute positions of real tokens, never on offsets in a padded tensor.

| rule | meaning |
|---|---|
| `"all"` | every real token |
| `"last"` | the last token of the prompt |
| `[3, 5]` | these positions of every sequence, negative ones counted from the end of the prompt |
| `[[3], [4, 5]]` | these positions, a list a sequence |
| `3`, an array | the same as `[3]`, as the lists in it |

A schedule says when, by the index g of the generated token (g < 0 inside the prompt):

| schedule | acts where |
|---|---|
| `"always"` | everywhere |
| `"prompt"` | g < 0 |
| `"generated"` | g >= 0 |
| `"first:3"` | 0 <= g < 3 |
| `"from:3"` | g >= 3 |
| a function | it returns True for g (a tensor of integers in, of booleans out) |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from unweave.errors import InputError, unknown_name
from unweave.models.running import Pass

Schedule = str | Callable[[Tensor], Tensor]
Positions = str | Sequence[int] | Sequence[Sequence[int]]

_SCHEDULES = ("always", "prompt", "generated", "first:N", "from:N")
_COUNTED = re.compile(r"(first|from):(\d+)")


def checked_rules(positions: Any, schedule: Any) -> Positions:
    """The positions as one of the rules above; an integer is that position of every sequence, an array its lists.

    Raises:
        InputError: They, or the schedule, are none of the above.
    """
    rule = _listed(positions)
    if isinstance(rule, str):
        if rule not in ("all", "last"):
            raise unknown_name("position rule", rule, ("all", "last"), hint="or give a list of positions")
    elif not _is_integers(rule) and not (isinstance(rule, Sequence) and all(_is_integers(row) for row in rule)):
        raise InputError(
            f"positions is {positions!r}: 'all', 'last', an integer, a list of integers or one such list a sequence is"
            " needed"
        )
    if not callable(schedule) and (
        not isinstance(schedule, str) or not (schedule in _SCHEDULES[:3] or _COUNTED.fullmatch(schedule))
    ):
        raise unknown_name("schedule", str(schedule), _SCHEDULES)
    return cast(Positions, rule)


def _listed(positions: Any) -> Any:
    if isinstance(positions, np.ndarray | np.generic | Tensor):
        positions = positions.tolist()
    return [positions] if isinstance(positions, int) and not isinstance(positions, bool) else positions


def acts_at(current: Pass, positions: Positions, schedule: Schedule) -> Bool[Tensor, "batch pos"]:
    """Where rule and schedule both hold, among the real tokens of this pass.

    Raises:
        InputError: One list a sequence, but not as many lists as sequences.
    """
    return current.real & _by_rule(current, positions) & _by_schedule(current.generated(), schedule)


def _by_rule(current: Pass, positions: Positions) -> Bool[Tensor, "batch pos"]:
    if isinstance(positions, str):
        if positions == "all":
            return torch.ones_like(current.real)
        return current.position == (current.prompt - 1)[:, None]
    batch = len(current.position)
    rows = cast(list[Sequence[int]], [positions] * batch if _is_integers(positions) else list(positions))
    if len(rows) != batch:
        raise InputError(f"positions has {len(rows)} lists for a batch of {batch} sequences: one a sequence is needed")
    chosen = torch.zeros_like(current.real)
    for number, row in enumerate(rows):
        end = int(current.prompt[number])
        wanted = torch.tensor(
            [place + end if place < 0 else place for place in row], dtype=torch.long, device=chosen.device
        )
        chosen[number] = torch.isin(current.position[number], wanted)
    return chosen


def _by_schedule(generated: Int[Tensor, "batch pos"], schedule: Schedule) -> Bool[Tensor, "batch pos"]:
    if callable(schedule):
        found = schedule(generated)
        if not isinstance(found, Tensor) or found.shape != generated.shape:
            got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise InputError(
                f"the schedule got a tensor of shape {tuple(generated.shape)} and returned {got}: True or False for"
                " each entry is needed"
            )
        return found.bool()
    counted = _COUNTED.fullmatch(schedule)
    if counted:
        count = int(counted[2])
        return (generated >= 0) & (generated < count) if counted[1] == "first" else generated >= count
    return {
        "always": torch.ones_like(generated, dtype=torch.bool),
        "prompt": generated < 0,
        "generated": generated >= 0,
    }[schedule]


def _is_integers(values: Any) -> bool:
    return isinstance(values, Sequence) and all(
        isinstance(value, int) and not isinstance(value, bool) for value in values
    )
