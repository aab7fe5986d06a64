"""How alike two decompositions of one site are, block by block and as a whole, blind to what is arbitrary in them.

Directions are matched up to sign (or length), subspaces by their projectors, so no number depends on a gauge. What
cannot be compared is refused: another site, another width, another model.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `similarity` | norm(Q1' Q2)_F^2 / max(k1, k2) | (s1, s2) | overlap of two blocks: 1 for the same subspace, k/d on average for random ones of k dimensions | specs/evaluation.md, fact 8 |
| `projector_distance` | norm(P1 - P2)_F | scalar | sqrt(k1 + k2 - 2 norm(Q1' Q2)_F^2), from the sines of the angles: a difference would lose the digits of a small one | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import FingerprintError, InputError
from unweave.features.featurizer import Featurizer, Within, block_slices
from unweave.features.neurons import as_affine
from unweave.tensors.linalg import angles_between, orthonormal_basis


@dataclass(frozen=True, kw_only=True)
class BlockMatch:
    """One block of the first decomposition and the block of the second that the best overall matching gives it."""

    first: int
    second: int
    similarity: float
    """0 to 1; see the symbols table."""
    null: float
    """Its mean for random blocks of these sizes: min(k1, k2) / d."""
    cosine: float | None
    """Cosine of the two directions, with its sign where neither side's sign is arbitrary, else its size; None for
    larger blocks and for units that are zero.
    """


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """Two decompositions side by side."""

    angles: Float[Tensor, " k"]
    """Principal angles in radians between the two spans, ascending."""
    projector_distance: float
    """norm(P1 - P2)_F of the two spans."""
    overlap: float
    """norm(Q1' Q2)_F^2 of the two spans."""
    null_overlap: float
    """Its mean for random spans of these dimensions: k1 k2 / d."""
    matches: tuple[BlockMatch, ...]
    """The Hungarian matching of blocks that maximises the summed similarity."""

    @property
    def mean_similarity(self) -> float:
        """Mean similarity of the matched blocks."""
        return float(np.mean([match.similarity for match in self.matches]))

    @property
    def identical_blocks(self) -> float:
        """Share of the matched blocks that are the same subspace to 1e-6."""
        return float(np.mean([match.similarity > 1 - 1e-6 for match in self.matches]))

    def __repr__(self) -> str:
        """Mean similarity of blocks and overlap of spans."""
        return (
            f"Comparison({len(self.matches)} matched blocks, mean similarity {self.mean_similarity:.3f}, span overlap"
            f" {self.overlap:.2f})"
        )


def compare(first: Featurizer, second: Featurizer, *, by: str = "write") -> Comparison:
    """Principal angles, projector distance and the best matching of blocks of two affine featurizers at one site.

    Args:
        first: One decomposition.
        second: The other.
        by: `write` compares what the units write (vectors), `read` what they read (covectors); the same for orthogonal
            maps.

    Raises:
        InputError: Different widths or sites, an unknown `by`, or a featurizer that is not affine.
        FingerprintError: Fitted on different models.

    Example:
        >>> from unweave.features.bases import neurons, random_rotation
        >>> compare(neurons(4), neurons(4)).mean_similarity, compare(neurons(4), random_rotation(4)).identical_blocks
        (1.0, 0.0)
    """
    check_comparable(first, second)
    one, two = (_columns(featurizer, by) for featurizer in (first, second))
    span1, span2 = orthonormal_basis(one), orthonormal_basis(two)
    rank1, rank2 = span1.shape[1], span2.shape[1]
    overlap = float((span1.T @ span2).square().sum())
    angles = angles_between(span1, span2)
    return Comparison(
        angles=angles,
        projector_distance=float(np.sqrt(abs(rank1 - rank2) + 2 * float(angles.sin().square().sum()))),
        overlap=overlap,
        null_overlap=rank1 * rank2 / first.width,
        matches=_matches(first, second, one, two),
    )


def block_similarity(first: Featurizer, second: Featurizer, *, by: str = "write") -> Float[np.ndarray, "s1 s2"]:
    """Similarity of every block of the first with every block of the second."""
    check_comparable(first, second)
    return _similarity(_bases(first, _columns(first, by)), _bases(second, _columns(second, by)))


def check_comparable(first: Featurizer, second: Featurizer) -> None:
    """Raises unless both are decompositions of one site of one model."""
    if first.width != second.width:
        raise InputError(f"the widths are {first.width} and {second.width}: only decompositions of one site compare")
    if None not in (first.site, second.site) and first.site != second.site:
        raise InputError(f"the sites are {first.site} and {second.site}: only decompositions of one site compare")
    models = {featurizer.provenance.model for featurizer in (first, second)} - {None}
    if len(models) > 1:
        raise FingerprintError(
            "the two were made for different models: their coordinates have nothing to do with each other"
        )


def _columns(featurizer: Featurizer, by: str) -> Tensor:
    """The vectors or covectors in the dtype they came in, which says what is rounding in them."""
    if by not in ("write", "read"):
        raise InputError(f"by is {by!r}: 'write' or 'read' is needed")
    affine = as_affine(featurizer)
    return affine.write.T if by == "write" else affine.read


def _bases(featurizer: Featurizer, columns: Tensor) -> list[Tensor]:
    """An orthonormal basis of every block; a unit that is zero has an empty one."""
    if all(size == 1 for size in featurizer.blocks):
        exact = columns.double()
        sizes = exact.norm(dim=0)
        return [(exact[:, [unit]] / size) if size > 0 else exact[:, :0] for unit, size in enumerate(sizes.tolist())]
    return [orthonormal_basis(columns[:, block]) for block in block_slices(featurizer)]


def _similarity(one: list[Tensor], two: list[Tensor]) -> np.ndarray:
    """All pairs from one product of the stacked bases, summed over the columns of each block."""
    squares = (torch.cat(one, 1).T @ torch.cat(two, 1)).square().numpy()
    owners = [np.repeat(np.arange(len(bases)), [basis.shape[1] for basis in bases]) for bases in (one, two)]
    sums = np.zeros((len(one), len(two)))
    np.add.at(sums, np.ix_(*owners), squares)
    sizes1, sizes2 = (np.array([basis.shape[1] for basis in bases]) for bases in (one, two))
    return np.minimum(sums / np.maximum(np.maximum.outer(sizes1, sizes2), 1), 1)


def _matches(first: Featurizer, second: Featurizer, one: Tensor, two: Tensor) -> tuple[BlockMatch, ...]:
    from scipy.optimize import linear_sum_assignment

    similarity = _similarity(_bases(first, one), _bases(second, two))
    rows, columns = linear_sum_assignment(-similarity)
    slices1, slices2 = block_slices(first), block_slices(second)
    signed = all(featurizer.gauge.within is Within.NONE for featurizer in (first, second))
    found = []
    for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
        sizes = first.blocks[i], second.blocks[j]
        cosine = None
        if sizes == (1, 1):
            cosine = _cosine(one[:, slices1[i].start].double(), two[:, slices2[j].start].double(), signed)
        found.append(
            BlockMatch(
                first=i, second=j, similarity=float(similarity[i, j]), null=min(sizes) / first.width, cosine=cosine
            )
        )
    return tuple(found)


def _cosine(first: Tensor, second: Tensor, signed: bool) -> float | None:
    size = float(first.norm() * second.norm())
    if not size:
        return None
    cosine = float(first @ second) / size
    return cosine if signed else abs(cosine)
