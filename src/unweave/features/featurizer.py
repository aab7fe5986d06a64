"""The protocol that every decomposition of a site implements, and what it declares about itself.

    encode(h) -> (z, residual)      decode(z, residual) -> h       decode(*encode(h)) = h, always

`h` has the width of the site on its last axis, `z` one entry a unit, and the residual is what the units miss. Tests of
a representation take the protocol; a closed form that needs an affine map asks for `AffineFeaturizer` by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import accumulate
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError, unknown_name
from unweave.site import Site

Sites = Site | tuple[Site, ...] | None
"""A site, sites concatenated on the last axis, or None for bare arrays."""


class Within(Enum):
    """What is arbitrary inside one block."""

    NONE = "nothing: every coordinate means itself"
    SIGN = "the sign of each direction"
    SCALE = "the sign and length of each direction"
    ROTATION = "any rotation of the block"


@dataclass(frozen=True, kw_only=True)
class Gauge:
    """What is arbitrary in a decomposition: two that differ by it are the same, so nothing may depend on it."""

    within: Within = Within.NONE
    """What is arbitrary inside a block."""
    permutation: bool = False
    """Whether the order of the blocks is arbitrary."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """How much freedom the map had, so that tests compare like with like."""

    kind: str = "affine"
    """`affine`, `piecewise` (one ReLU-like nonlinearity) or `nonlinear`."""
    parameters: int = 0
    """Numbers that were fitted; 0 for neurons and random bases."""
    search_budget: int = 1
    """Candidates this one was chosen from."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a decomposition comes from."""

    method: str = ""
    """`pca`, `random`, `neurons`, ..."""
    model: str | None = None
    """Fingerprint of the model whose activations it decomposes."""
    data: str | None = None
    """Fingerprint of the rows it was fitted on."""
    rows: int | None = None
    """Number of rows it was fitted on."""
    seed: int | None = None
    """Seed of the fit."""
    warnings: tuple[str, ...] = ()
    """What a reader must know before using it."""


@runtime_checkable
class Featurizer(Protocol):
    """A decomposition of the activations at a site into units, grouped in blocks."""

    @property
    def site(self) -> Sites:
        """Where it applies."""
        ...

    @property
    def width(self) -> int:
        """Width d of the activations."""
        ...

    @property
    def blocks(self) -> tuple[int, ...]:
        """Sizes of the contiguous groups of coordinates of z; they sum to the number of units."""
        ...

    @property
    def gauge(self) -> Gauge:
        """What is arbitrary."""
        ...

    @property
    def capacity(self) -> Capacity:
        """How much freedom the map had."""
        ...

    @property
    def provenance(self) -> Provenance:
        """Where it comes from."""
        ...

    def encode(self, h: Float[Tensor, "*rows d"]) -> tuple[Float[Tensor, "*rows k"], Float[Tensor, "*rows d"]]:
        """The units' values and what they miss."""
        ...

    def decode(self, z: Float[Tensor, "*rows k"], residual: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
        """The activations again."""
        ...


def units(featurizer: Featurizer) -> int:
    """The number of coordinates of z."""
    return sum(featurizer.blocks)


def block_slices(featurizer: Featurizer) -> list[slice]:
    """The coordinates of each block."""
    ends = list(accumulate(featurizer.blocks))
    return [slice(end - size, end) for size, end in zip(featurizer.blocks, ends, strict=True)]


def as_sites(site: object) -> Sites:
    """A `Site`, a tuple of them or None, from strings."""
    if site is None:
        return None
    if isinstance(site, str):
        return Site(site)
    if isinstance(site, tuple | list):
        return tuple(Site(one) for one in site)
    raise InputError(f"site is a {type(site).__name__}: a name, a tuple of names or None is needed")


def as_gauge(gauge: Gauge | str) -> Gauge:
    """A gauge from its name: `none`, `sign`, `scale` or `rotation`, with the order of the blocks arbitrary except for
    `none`.
    """
    if isinstance(gauge, Gauge):
        return gauge
    names = {member.name.lower(): member for member in Within}
    if gauge not in names:
        raise unknown_name("gauge", str(gauge), names)
    return Gauge(within=names[gauge], permutation=gauge != "none")


def check_width(h: Tensor, width: int, site: Sites) -> None:
    """Raises unless `h` has floating-point values and its last axis is the width of the featurizer."""
    if not h.is_floating_point():
        raise InputError(f"activations hold {h.dtype} values: floating-point ones are needed")
    if h.ndim == 0 or h.shape[-1] != width:
        where = f" at {site}" if site is not None else ""
        raise InputError(
            f"activations have shape {tuple(h.shape)} but the featurizer{where} has width {width}: the last axis must"
            " be that wide"
        )


def check_units(z: Tensor, count: int, site: Sites) -> None:
    """Raises unless the last axis of `z` holds the units of the featurizer."""
    if z.ndim == 0 or z.shape[-1] != count:
        where = f" at {site}" if site is not None else ""
        raise InputError(
            f"values have shape {tuple(z.shape)} but the featurizer{where} has {count} units: the last axis must hold"
            " one value a unit"
        )


def check_blocks(blocks: tuple[int, ...], count: int) -> None:
    """Raises unless the block sizes are positive and sum to the number of units."""
    if any(size < 1 for size in blocks) or sum(blocks) != count:
        raise InputError(
            f"blocks {blocks[:8]}{'...' if len(blocks) > 8 else ''} sum to {sum(blocks)} but there are {count} units:"
            " sizes must be 1 or more and sum to that"
        )
