"""What is done to the values at a site: blocks exchanged or removed, vectors added, directions projected out, and the
random counterparts of each that serve as controls.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `exchange` | z_F := z_F(x_s) | (places, d) | residual kept; through `read` and `write`, never V V^T | specs/evaluation.md E9, T1 |
| `subspace` | h_b + (h_s - h_b) Q Q' | (d, k) | Q orthonormal | same, section 5, DAS |
| `project_out` | h - (h v_hat) v_hat' | (d,) | length of v does not count | same, E12 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import FingerprintError, InputError
from unweave.evals.causing.patching import Change, Patching
from unweave.features.compose import only_units
from unweave.features.direction import Direction, Readout
from unweave.features.featurizer import Featurizer, block_slices, units
from unweave.models.model import Model


def check_blocks_of(model: Model, featurizer: Featurizer, block: Any) -> tuple[int, ...] | None:
    """The blocks as a tuple, None for the whole site.

    Raises:
        InputError: Not a block of the featurizer, or a featurizer that is not of one site.
        FingerprintError: It was fitted on another model.
    """
    if featurizer.site is None or isinstance(featurizer.site, tuple):
        raise InputError("the featurizer must belong to one site: give it site=...")
    fitted = featurizer.provenance.model
    if fitted is not None and fitted != model.fingerprint:
        raise FingerprintError(
            f"the featurizer at {featurizer.site} was fitted on another model ({fitted[:12]}, this one is"
            f" {model.fingerprint[:12]}): fit it again"
        )
    if block is None:
        return None
    chosen = (block,) if isinstance(block, int | np.integer) and not isinstance(block, bool) else block
    count = len(featurizer.blocks)
    if (
        isinstance(chosen, str | bool)
        or not isinstance(chosen, Sequence)
        or not chosen
        or not all(0 <= int(one) < count for one in chosen)
    ):
        raise InputError(f"block is {block!r}: numbers from 0 to {count - 1}, or None for the whole site, are needed")
    return tuple(int(one) for one in chosen)


def units_of(featurizer: Featurizer, blocks: Sequence[int]) -> list[int]:
    """The units of some blocks."""
    slices = block_slices(featurizer)
    return [unit for block in blocks for unit in range(slices[block].start, slices[block].stop)]


def exchange(patched: Patching, featurizer: Featurizer, blocks: Sequence[int] | None) -> Change:
    """The source's values of some blocks in the base; None is the whole site.

    Args:
        patched: With a source.
        featurizer: With the blocks.
        blocks: Their numbers.

    Raises:
        InputError: There is no source.
    """
    source = source_of(patched)
    if blocks is None:
        return lambda _values, places: source[places]
    chosen = units_of(featurizer, blocks)

    def operate(_z: Tensor, places: Tensor) -> Tensor:
        return _encoded(featurizer, chosen, source[places])

    return _in_units(featurizer, chosen, operate)


def set_to_means(featurizer: Featurizer, blocks: Sequence[int], means: Float[Tensor, " units"] | None) -> Change:
    """Some blocks at their means over training rows; None is zero, in the featurizer's own origin."""
    chosen = units_of(featurizer, blocks)
    values = torch.zeros(len(chosen)) if means is None else means[chosen]
    return _in_units(featurizer, chosen, lambda z, _places: values.to(z).expand_as(z))


def scaled(featurizer: Featurizer, chosen: Sequence[int], scale: float) -> Change:
    """Some units times a number; 0 is zero in the featurizer's own origin."""
    return _in_units(featurizer, list(chosen), lambda z, _places: scale * z)


def resampled(patched: Patching, featurizer: Featurizer, blocks: Sequence[int], *, seed: int) -> Change:
    """Some blocks as another input has them, at the same turn of its places, chosen at random."""
    chosen = units_of(featurizer, blocks)
    given = patched.base[other_rows(patched.row, seed=seed)]

    def operate(_z: Tensor, places: Tensor) -> Tensor:
        return _encoded(featurizer, chosen, given[places])

    return _in_units(featurizer, chosen, operate)


def other_rows(row: Tensor, *, seed: int) -> Tensor:
    """For each place a place of another input: the inputs are turned by a random permutation without a fixed point."""
    inputs = row.unique().tolist()
    if len(inputs) < 2:
        raise InputError("resampling needs two inputs or more: there is only one")
    order = np.random.default_rng([seed, 11]).permutation(len(inputs))
    partner = {inputs[int(one)]: inputs[int(two)] for one, two in zip(order, np.roll(order, 1), strict=True)}
    places = {one: torch.nonzero(row == one).flatten() for one in inputs}
    found = torch.empty(len(row), dtype=torch.long)
    for one in inputs:
        theirs = places[partner[one]]
        found[places[one]] = theirs[torch.arange(len(places[one])) % len(theirs)]
    return found


def add(direction: Any, dose: float | Float[Tensor, " places"]) -> Change:
    """Plus a dose of a direction; one dose, or one a place.

    Raises:
        TypeError: A read-out: convert it with `to_direction(covariance)`.
    """
    step = vector_of(direction)

    def change(values: Tensor, places: Tensor) -> Tensor:
        size = dose[places].unsqueeze(-1).to(values) if isinstance(dose, Tensor) else dose
        return values + size * step.to(values)

    return change


def project_out(direction: Any) -> Change:
    """Without the part along a direction."""
    step = vector_of(direction)
    unit = step / step.norm()
    return lambda values, _places: values - (values @ unit.to(values)).unsqueeze(-1) * unit.to(values)


def subspace(patched: Patching, basis: Float[Tensor, "d k"]) -> Change:
    """The source's part in a subspace with this orthonormal basis."""
    source = source_of(patched)

    def change(values: Tensor, places: Tensor) -> Tensor:
        exact = basis.to(values)
        return values + ((source[places].to(values) - values) @ exact) @ exact.T

    return change


def random_bases(width: int, size: int, *, draws: int, seed: int) -> list[Float[Tensor, "d k"]]:
    """Orthonormal bases of random subspaces, uniformly distributed."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(draws, width, min(size, width), generator=generator, dtype=torch.float64)
    return list(torch.linalg.qr(drawn).Q)


def source_of(patched: Patching) -> Tensor:
    """The source's values, or an error that says that there are none."""
    if patched.source is None:
        raise InputError("there is no source to take values from: give patching(..., source=...)")
    return patched.source


def vector_of(direction: Any) -> Tensor:
    """The vector of a `Direction` or an array; a read-out is a covector and no direction."""
    if isinstance(direction, Readout):
        raise TypeError(
            "a Readout is a covector and cannot be written: convert it with to_direction(covariance), or give a"
            " Direction"
        )
    found = direction.vector if isinstance(direction, Direction) else torch.as_tensor(direction)
    return found if found.is_floating_point() else found.double()


def _encoded(featurizer: Featurizer, chosen: list[int], values: Tensor) -> Tensor:
    alone = only_units(featurizer, chosen)
    return alone.encode(values)[0] if alone is not None else featurizer.encode(values)[0][..., chosen]


def _in_units(featurizer: Featurizer, chosen: list[int], operate: Any) -> Change:
    """A change of some units; rows whose units stay are left as they are to the bit."""
    alone = only_units(featurizer, chosen)

    def change(values: Tensor, places: Tensor) -> Tensor:
        z, residual = (alone or featurizer).encode(values)
        kept = slice(None) if alone is not None else torch.tensor(chosen)
        old = z[..., kept]
        new = operate(old, places).to(z)
        moved = z.clone()
        moved[..., kept] = new
        decoded = (alone or featurizer).decode(moved, residual).to(values)
        return torch.where((new != old).any(-1, keepdim=True), decoded, values)

    return change


def size_of(featurizer: Featurizer, blocks: Sequence[int]) -> int:
    """Dimensions of some blocks, at most the width."""
    return min(sum(featurizer.blocks[block] for block in blocks), featurizer.width, units(featurizer))
