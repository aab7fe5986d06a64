"""Laws of layer 2 as functions of an implementation: the tests hold the real one to them, tests/mutants broken ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unweave.features.affine import AffineFeaturizer
from unweave.features.compare import Comparison
from unweave.features.featurizer import block_slices, units
from unweave.tensors.linalg import random_orthogonal

EPS = 1e-12
"""Rounding of a few products of 6 to 8 numbers of size 1 to 10 in float64."""


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(first: Tensor, second: Tensor, *, atol: float = EPS) -> None:
    torch.testing.assert_close(first, second, rtol=0, atol=atol)


def round_trip_law(featurizer: Any) -> None:
    """decode(*encode(h)) = h for one row, many rows and rows of rows; and encoding changes nothing of its input."""
    for shape in ((), (1,), (7,), (2, 3), (0,)):
        h = 3 * gaussian(*shape, featurizer.width)
        before = h.clone()
        z, residual = featurizer.encode(h)
        kept = z.clone(), residual.clone()
        assert z.shape == (*shape, units(featurizer))
        assert residual.shape == h.shape
        close(featurizer.decode(z, residual), h)
        assert torch.equal(h, before)
        assert torch.equal(z, kept[0])
        assert torch.equal(residual, kept[1])


def exchange_law(featurizer: Any) -> None:
    """A unit taken from another row arrives there and the residual stays: writing what was read is a no-op."""
    base, source = gaussian(5, featurizer.width), gaussian(5, featurizer.width, seed=1)
    z, residual = featurizer.encode(base)
    other, _ = featurizer.encode(source)
    swapped = z.clone()
    swapped[:, 0] = other[:, 0]
    change = featurizer.decode(swapped, residual) - base
    vector = featurizer.decode(one_hot(z, 0), torch.zeros_like(residual)) - featurizer.decode(
        torch.zeros_like(z), torch.zeros_like(residual)
    )
    close(change, (other[:, :1] - z[:, :1]) * vector)
    assert float(change.abs().max()) > 0.1  # it is not the no-op that a featurizer without units would be


def one_hot(z: Tensor, unit: int) -> Tensor:
    found = torch.zeros_like(z)
    found[..., unit] = 1
    return found


def batch_law(featurizer: Any) -> None:
    """A row alone gives what it gives among others."""
    h = gaussian(9, featurizer.width)
    z, residual = featurizer.encode(h)
    for row in range(9):
        alone, rest = featurizer.encode(h[row])
        close(alone, z[row], atol=1e-13)
        close(rest, residual[row], atol=1e-13)


def blocks_law(featurizer: Any) -> None:
    """Where the map is lossless and square, editing one block leaves the other blocks' units as they are."""
    z, residual = featurizer.encode(gaussian(6, featurizer.width))
    for block in block_slices(featurizer):
        edited = z.clone()
        edited[:, block] += 1.5
        again, _ = featurizer.encode(featurizer.decode(edited, residual))
        close(again, edited)


def projection_law(remove: Callable[[Any, Tensor], Tensor], featurizer: Any) -> None:
    """Setting all units to zero leaves nothing to read, also where vectors and covectors differ."""
    left = remove(featurizer, gaussian(6, featurizer.width))
    close(featurizer.encode(left)[0], torch.zeros(6, units(featurizer), dtype=torch.float64))


def restrict_law(restrict: Callable[..., Any], featurizer: Any) -> None:
    """The chosen blocks' units, in that order; everything else is residual."""
    h = gaussian(6, featurizer.width)
    z, _ = featurizer.encode(h)
    slices = block_slices(featurizer)
    for chosen in ([0], [len(slices) - 1, 0], list(range(len(slices)))[::-1]):
        part = restrict(featurizer, chosen)
        found, residual = part.encode(h)
        close(found, torch.cat([z[:, slices[block]] for block in chosen], dim=1))
        close(part.decode(found, residual), h)
        assert part.blocks == tuple(featurizer.blocks[block] for block in chosen)
        assert (part.site, part.width, part.provenance) == (featurizer.site, featurizer.width, featurizer.provenance)


def compose_law(compose: Callable[[Any, Any], Any], first: Any, second: Any) -> None:
    """One after the other: the same units, the same reconstruction."""
    h = 2 + gaussian(6, first.width)
    both = compose(first, second)
    z1, residual1 = first.encode(h)
    z2, residual2 = second.encode(z1)
    found, residual = both.encode(h)
    close(found, z2)
    reconstruction = first.decode(second.decode(z2, torch.zeros_like(residual2)), torch.zeros_like(residual1))
    close(h - residual, reconstruction)
    close(both.decode(found, residual), h)
    assert both.blocks == second.blocks
    assert both.site == first.site


def direction_law(to_direction: Callable[[Tensor, Tensor], Tensor]) -> None:
    """LDA (specs/evaluation.md, fact 3): the direction of `Sw^-1 delta` is parallel to delta; the covector is not.

    For any covector, the direction raises its score by 1.
    """
    mix = gaussian(8, 8)
    within = mix @ mix.T / 8 + 0.1 * torch.eye(8, dtype=torch.float64)
    delta = gaussian(8, seed=1)
    w = torch.linalg.solve(within, delta)
    vector = to_direction(w, within)
    assert cosine(vector, delta) > 1 - 1e-10
    assert cosine(w, delta) < 0.9
    for seed in range(5):
        other = gaussian(8, seed=10 + seed)
        found = to_direction(other, within)
        assert abs(float(found @ other) - 1) < 1e-12
        # the regression of h on the score: what is left of h does not vary with the score
        close(within @ other - found * (other @ within @ other), torch.zeros(8, dtype=torch.float64), atol=1e-10)


def cosine(first: Tensor, second: Tensor) -> float:
    return float(first @ second / (first.norm() * second.norm()))


def blocked(rotation: Tensor, blocks: Sequence[int], *, within: str) -> AffineFeaturizer:
    """An orthogonal featurizer with these blocks and this gauge."""
    return AffineFeaturizer(read=rotation, write=rotation.T, blocks=blocks, gauge=within)


def gauge_changes(featurizer: AffineFeaturizer, *, seed: int = 0) -> dict[str, AffineFeaturizer]:
    """The same decomposition written differently: signs, lengths, rotations inside blocks, order of the blocks."""
    generator = torch.Generator().manual_seed(seed)
    slices = block_slices(featurizer)
    signs = torch.where(torch.rand(units(featurizer), generator=generator) < 0.5, -1.0, 1.0).double()
    lengths = (1 + 3 * torch.rand(units(featurizer), generator=generator)).double()
    turn = torch.block_diag(*[random_orthogonal(size, seed=seed + i) for i, size in enumerate(featurizer.blocks)])
    order = torch.randperm(len(slices), generator=generator).tolist()
    places = torch.cat([torch.arange(slices[block].start, slices[block].stop) for block in order])
    read, write = featurizer.read, featurizer.write
    return {
        "signs": replace(featurizer, read=read * signs, write=write * signs[:, None]),
        "lengths": replace(featurizer, read=read * lengths, write=write / lengths[:, None]),
        "rotation": replace(featurizer, read=read @ turn, write=turn.T @ write),
        "order": replace(
            featurizer,
            read=read[:, places],
            write=write[places],
            blocks=tuple(featurizer.blocks[block] for block in order),
        ),
    }


def gauge_law(compare: Callable[[Any, Any], Comparison]) -> None:
    """What is arbitrary changes no number; a real rotation does."""
    blocks = (1, 2, 3, 1, 2)
    first = blocked(random_orthogonal(9, seed=0), blocks, within="rotation")
    other = blocked(random_orthogonal(9, seed=1), blocks, within="rotation")
    plain = compare(first, other)
    assert plain.identical_blocks == 0
    for changed in gauge_changes(first).values():
        found = compare(changed, other)
        assert abs(found.mean_similarity - plain.mean_similarity) < EPS
        assert sorted(round(match.similarity, 10) for match in found.matches) == sorted(
            round(match.similarity, 10) for match in plain.matches
        )
        itself = compare(changed, first)
        assert itself.identical_blocks == 1
        assert itself.mean_similarity > 1 - EPS
        assert itself.projector_distance < 1e-6


def matching_law(compare: Callable[[Any, Any], Comparison]) -> None:
    """A planted permutation of directions comes back, also when every direction is disturbed a little."""
    rotation = random_orthogonal(12, seed=0)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    disturbed = rotation[:, order] + 0.1 * gaussian(12, 12)
    first = blocked(rotation, (1,) * 12, within="sign")
    second = AffineFeaturizer(read=disturbed, write=disturbed.T, gauge="sign")
    found = compare(first, second)
    assert [match.first for match in found.matches] == list(range(12))
    assert [int(order[match.second]) for match in found.matches] == list(range(12))
    assert found.mean_similarity > 0.8
