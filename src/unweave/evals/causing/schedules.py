"""When a direction is injected: the share of the dose at each token, by the index g of the generated token, negative
in the prompt.

| schedule | share of the dose |
|---|---|
| `always`, `prompt`, `generated` | 1 everywhere, where g < 0, where g >= 0 |
| `first:N`, `from:N`, `until:N` | 1 where 0 <= g < N, where g >= N, where g < N |
| `every:K` | 1 where g is a multiple of K, from 0 on |
| `decay:R` | 1 inside the prompt, then R^(g + 1) |
| a function of g | what it returns |
"""

from __future__ import annotations

import re
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import unknown_name
from unweave.evals.causing.changes import vector_of
from unweave.models.edits import Edit
from unweave.models.operators import add

SCHEDULES = ("always", "prompt", "generated", "first:N", "from:N", "until:N", "every:K", "decay:R")
_NUMBERED = re.compile(r"(first|from|until|every|decay):(\d+(?:\.\d+)?)")


def weights(schedule: Any, generated: Any) -> Float[Tensor, "*places"]:
    """The share of the dose at each place.

    Args:
        schedule: `always`; `prompt` (g < 0); `generated`; `first:N`, `from:N` and `until:N` of the generated tokens
            (`until` with the prompt); `every:K`, each k-th of them; `decay:R`, the prompt whole and then R^(g + 1); or
            a function of g.
        generated: g of each place.

    Raises:
        UnknownName: Another schedule.

    Example:
        >>> weights("every:2", [-1, 0, 1, 2]).tolist(), weights("decay:0.5", [-1, 0, 1]).tolist()
        ([0.0, 1.0, 0.0, 1.0], [1.0, 0.5, 0.25])
    """
    g = torch.as_tensor(generated)
    if callable(schedule):
        return torch.as_tensor(schedule(g)).double()
    plain = {"always": torch.ones_like(g), "prompt": g < 0, "generated": g >= 0}
    if schedule in plain:
        return plain[schedule].double()
    found = _NUMBERED.fullmatch(str(schedule))
    if found is None or (found[1] != "decay" and "." in found[2]) or (found[1] == "every" and int(found[2]) < 1):
        raise unknown_name("schedule", str(schedule), SCHEDULES)
    number = float(found[2])
    if found[1] == "decay":
        return torch.where(g < 0, 1.0, number ** (g.double() + 1))
    kinds = {
        "first": (g >= 0) & (g < number),
        "from": g >= number,
        "until": g < number,
        "every": (g >= 0) & (g % max(int(number), 1) == 0),
    }
    return kinds[found[1]].double()


def schedule_edits(site: str, direction: Any, dose: float, schedule: Any, *, longest: int = 64) -> list[Edit]:
    """The same injection as edits for `model.generate`: one edit where the dose is constant, one a token where it is
    not.

    Args:
        site: Where.
        direction: A `Direction` or a vector.
        dose: Times the vector.
        schedule: As in `weights`.
        longest: Generated tokens for which a changing dose is laid out.

    Example:
        >>> len(schedule_edits("blocks.0.resid_post", [1.0, 0.0], 2.0, "every:2"))
        1
    """
    vector = vector_of(direction)
    sizes = weights(schedule, torch.arange(-1, longest))
    levels = [float(one) for one in sizes.unique() if one]
    return [
        Edit(
            site=site,
            operator=add(vector, dose=dose * level),
            schedule=lambda g, level=level: (weights(schedule, g) - level).abs() < 1e-12,
        )
        for level in levels
    ]
