"""How a sweep of probes is run."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field

from unweave.config import Config, Seed
from unweave.errors import unknown_name
from unweave.probing.choosing import NAMES


def increasing(ks: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers as they are, if each is larger than the one before it."""
    if not ks or any(later <= earlier for earlier, later in pairwise(ks)):
        raise ValueError("must be increasing numbers, at least one")
    return ks


Ks = Annotated[tuple[Annotated[int, Field(ge=1)], ...], AfterValidator(increasing)]
"""Numbers of units: increasing, at least one, each at least 1."""


def known(selector: str) -> str:
    """The selector, if there is one of that name."""
    if selector not in NAMES:
        raise ValueError(str(unknown_name("selector", selector, NAMES)))
    return selector


Selector = Annotated[str, AfterValidator(known)]
"""A name in `choosing.NAMES`."""


class ProbeConfig(Config):
    """Settings of a sweep; every probe of a sweep shares the split."""

    ks: Ks = (1, 2, 4, 8, 16)
    """Numbers of units a probe may use, increasing."""
    selector: Selector = "auto"
    """How units are chosen on the training rows."""
    lam: Annotated[float, Field(gt=0)] = 1.0
    """Ridge penalty of the refit, on standardised columns."""
    test: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of the groups held out."""
    shuffles: Annotated[int, Field(ge=0)] = 20
    """Draws of the label-shuffle control."""
    bootstrap: Annotated[int, Field(ge=100)] = 2000
    """Draws of groups for the intervals."""
    rows: Annotated[int, Field(ge=50)] = 10_000
    """Most labelled rows a feature uses, when features come from a store."""
    seed: Seed = 0
    """Of the split, the sampling of rows, the shuffles and the bootstrap."""
