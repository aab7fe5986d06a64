"""Seeded typos of one edit, and whether an error names what was meant."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence


def typo(name: str, rng: random.Random, *, taken: Sequence[str] = ()) -> str:
    """The name with two letters swapped or one dropped, doubled or replaced, equal to no valid name."""
    while True:
        place = rng.randrange(len(name))
        head, letter, tail = name[:place], name[place], name[place + 1 :]
        made = {
            "swap": head + tail[:1] + letter + tail[1:],
            "drop": head + tail,
            "double": head + 2 * letter + tail,
            "replace": head + rng.choice(string.ascii_lowercase) + tail,
        }[rng.choice(["swap", "drop", "double", "replace"])]
        if made.strip() and made != name and made not in taken:
            return made


def share_answered(
    names: Sequence[str], answer: Callable[[str], Sequence[str]], *, count: int = 200, seed: int = 0
) -> float:
    """Of `count` random typos of random names, the share whose answer has the right name among its suggestions."""
    rng = random.Random(seed)
    hits = 0
    for _ in range(count):
        name = rng.choice(list(names))
        hits += name in answer(typo(name, rng, taken=names))
    return hits / count
