"""Broken twins of layer 2: each must be caught by the law that the real one keeps (tests/laws_features.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import laws_features as laws
import samples
from unweave.features import compose, restrict
from unweave.features.affine import AffineFeaturizer
from unweave.features.compare import BlockMatch, Comparison, compare
from unweave.features.featurizer import block_slices
from unweave.tensors.linalg import angles_between, orthonormal_basis

OBLIQUE = samples.featurizers()["oblique"]
SQUARE = AffineFeaturizer(read=laws.gaussian(6, 6, seed=2), origin=laws.gaussian(6, seed=3), blocks=(2, 3, 1))


class Broken:
    """A featurizer that hands everything to a good one, until a mutant overrides a part."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def encode(self, h: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner.encode(h)

    def decode(self, z: Tensor, residual: Tensor) -> Tensor:
        return self.inner.decode(z, residual)


class DropsTheResidual(Broken):
    """What one public implementation does to a truncated map (trap T2)."""

    def decode(self, z: Tensor, residual: Tensor) -> Tensor:
        return self.inner.decode(z, torch.zeros_like(residual))


class ForgetsTheOrigin(Broken):
    def decode(self, z: Tensor, residual: Tensor) -> Tensor:
        return z @ self.inner.write + residual


class WorksInPlace(Broken):
    def encode(self, h: Tensor) -> tuple[Tensor, Tensor]:
        z, residual = self.inner.encode(h)
        h -= self.inner.origin
        return z, residual


class CentresTheBatch(Broken):
    """Rows are encoded relative to their batch."""

    def encode(self, h: Tensor) -> tuple[Tensor, Tensor]:
        if h.ndim > 1:
            h = h - h.mean(tuple(range(h.ndim - 1)))
        return self.inner.encode(h)


class ReadsWhatItWrites(Broken):
    """Vectors used as covectors: right for an orthogonal map, wrong for an oblique one (trap T1)."""

    def encode(self, h: Tensor) -> tuple[Tensor, Tensor]:
        z = (h - self.inner.origin) @ self.inner.write.T
        return z, h - z @ self.inner.write - self.inner.origin


class Deaf(Broken):
    """Keeps everything as residual: every round trip works and no edit does anything."""

    def encode(self, h: Tensor) -> tuple[Tensor, Tensor]:
        z, _ = self.inner.encode(h)
        return z, h

    def decode(self, z: Tensor, residual: Tensor) -> Tensor:
        return residual + 0 * z[..., :1]


MUTANTS: dict[type[Broken], Callable[[Any], None]] = {
    DropsTheResidual: laws.round_trip_law,
    ForgetsTheOrigin: laws.round_trip_law,
    WorksInPlace: laws.round_trip_law,
    CentresTheBatch: laws.batch_law,
    Deaf: laws.exchange_law,
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_broken_featurizers_are_caught(mutant: type[Broken]) -> None:
    MUTANTS[mutant](OBLIQUE)
    with pytest.raises(AssertionError):
        MUTANTS[mutant](mutant(OBLIQUE))


def test_reading_with_vectors_is_caught_by_editing_blocks() -> None:
    laws.blocks_law(SQUARE)
    with pytest.raises(AssertionError):
        laws.blocks_law(ReadsWhatItWrites(SQUARE))


def test_projecting_with_vectors_only_is_caught() -> None:
    def with_write_only(featurizer: Any, h: Tensor) -> Tensor:
        """`W' W` in place of `R W`: no projector of an oblique basis."""
        return h - (h - featurizer.origin) @ featurizer.write.T @ featurizer.write

    oblique = AffineFeaturizer(read=laws.gaussian(6, 3))
    with pytest.raises(AssertionError):
        laws.projection_law(with_write_only, oblique)


def in_order(featurizer: Any, blocks: Sequence[int]) -> Any:
    """Forgets the order that was asked for."""
    return restrict(featurizer, sorted(blocks))


def without_bias(featurizer: Any, blocks: Sequence[int]) -> Any:
    part = restrict(featurizer, blocks)
    return replace(part, bias=torch.zeros_like(part.bias))


def first_ones(featurizer: Any, blocks: Sequence[int]) -> Any:
    """The first units instead of the units of the blocks."""
    count = sum(featurizer.blocks[block] for block in blocks)
    return replace(
        featurizer,
        read=featurizer.read[:, :count],
        write=featurizer.write[:count],
        bias=featurizer.bias[:count],
        blocks=tuple(featurizer.blocks[block] for block in blocks),
    )


@pytest.mark.parametrize("mutant", [in_order, without_bias, first_ones])
def test_broken_parts_are_caught(mutant: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError):
        laws.restrict_law(mutant, OBLIQUE)


def matrices_only(first: Any, second: Any) -> Any:
    """Multiplies the matrices and leaves origins and biases alone."""
    return replace(second, read=first.read @ second.read, write=second.write @ first.write, site=first.site)


def turned(first: Any, second: Any) -> Any:
    return compose(second, first)


def own_site(first: Any, second: Any) -> Any:
    return replace(compose(first, second), site="embed")


@pytest.mark.parametrize("mutant", [matrices_only, turned, own_site])
def test_broken_compositions_are_caught(mutant: Callable[..., Any]) -> None:
    first = samples.featurizers()["pca"]
    second = AffineFeaturizer(read=laws.gaussian(6, 6, seed=5), origin=laws.gaussian(6), bias=laws.gaussian(6, seed=1))
    laws.compose_law(compose, first, second)
    with pytest.raises(AssertionError):
        laws.compose_law(mutant, first, second)


def covector_as_vector(w: Tensor, sigma: Tensor) -> Tensor:
    """The commonest mistake of the field."""
    return w / (w @ w)


def unscaled(w: Tensor, sigma: Tensor) -> Tensor:
    return sigma @ w


def inverse(w: Tensor, sigma: Tensor) -> Tensor:
    found = torch.linalg.solve(sigma, w)
    return found / (w @ found)


@pytest.mark.parametrize("mutant", [covector_as_vector, unscaled, inverse])
def test_broken_bridges_are_caught(mutant: Callable[..., Tensor]) -> None:
    with pytest.raises(AssertionError):
        laws.direction_law(mutant)


def comparison(first: Any, second: Any, pairs: list[tuple[int, int, float]]) -> Comparison:
    """A comparison with these matches and the true spans."""
    span1, span2 = orthonormal_basis(first.write.T), orthonormal_basis(second.write.T)
    return Comparison(
        angles=angles_between(span1, span2),
        projector_distance=0.0,
        overlap=float((span1.T @ span2).square().sum()),
        null_overlap=0.0,
        matches=tuple(BlockMatch(first=i, second=j, similarity=s, null=0.0, cosine=None) for i, j, s in pairs),
    )


def coordinates_one_by_one(first: Any, second: Any) -> Comparison:
    """Compares matrices entry by entry, as if nothing were arbitrary."""
    pairs = [
        (i, i, float(first.write[i] @ second.write[i] / (first.write[i].norm() * second.write[i].norm())))
        for i in range(min(len(first.write), len(second.write)))
    ]
    return comparison(first, second, pairs)


def in_place(first: Any, second: Any) -> Comparison:
    """Projectors, but the blocks matched by their number."""
    slices1, slices2 = block_slices(first), block_slices(second)
    pairs = []
    for i, (one, two) in enumerate(zip(slices1, slices2, strict=True)):
        basis1, basis2 = orthonormal_basis(first.write[one].T), orthonormal_basis(second.write[two].T)
        pairs.append((i, i, float((basis1.T @ basis2).square().sum()) / max(basis1.shape[1], basis2.shape[1])))
    return comparison(first, second, pairs)


def best_for_each(first: Any, second: Any) -> Comparison:
    """Every block takes its best partner, however many others took it."""
    found = compare(first, second)
    return replace(found, matches=tuple(replace(match, second=found.matches[0].second) for match in found.matches))


def unnormalised(first: Any, second: Any) -> Comparison:
    """Products of the vectors as they are: lengths count."""
    found = compare(first, second)
    sizes = first.write.norm(dim=1).mean() * second.write.norm(dim=1).mean()
    return replace(
        found,
        matches=tuple(replace(match, similarity=match.similarity * float(sizes)) for match in found.matches),
    )


@pytest.mark.parametrize("mutant", [coordinates_one_by_one, in_place, unnormalised])
def test_comparisons_that_see_the_gauge_are_caught(mutant: Callable[..., Comparison]) -> None:
    with pytest.raises(AssertionError):
        laws.gauge_law(mutant)


@pytest.mark.parametrize("mutant", [in_place, best_for_each])
def test_broken_matchings_are_caught(mutant: Callable[..., Comparison]) -> None:
    with pytest.raises(AssertionError):
        laws.matching_law(mutant)
