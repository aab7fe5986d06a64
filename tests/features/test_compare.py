"""Comparing decompositions: blind to the gauge, right about planted truth, and silent about what cannot be compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import laws_features as laws
import samples
import unweave as uw
from unweave.errors import FingerprintError, InputError
from unweave.features import neurons, pca, random_rotation
from unweave.features.affine import AffineFeaturizer
from unweave.features.compare import BlockMatch, block_similarity, compare
from unweave.tensors.linalg import principal_angles, random_orthogonal


def test_what_is_arbitrary_changes_nothing() -> None:
    laws.gauge_law(compare)


def test_a_planted_permutation_comes_back() -> None:
    laws.matching_law(compare)


def some(width: int, count: int, *, seed: int, blocks: tuple[int, ...] | None = None) -> AffineFeaturizer:
    """An oblique featurizer of part of the space."""
    return AffineFeaturizer(read=laws.gaussian(width, count, seed=seed), blocks=blocks)


@pytest.mark.parametrize(("k1", "k2"), [(2, 2), (1, 5), (5, 3), (8, 4), (8, 8)])
@pytest.mark.parametrize("by", ["write", "read"])
def test_spans_compare_as_dense_projectors_do(k1: int, k2: int, by: str) -> None:
    first, second = some(8, k1, seed=1), some(8, k2, seed=2)
    columns = [f.write.T if by == "write" else f.read for f in (first, second)]
    dense = [one @ torch.linalg.pinv(one) for one in columns]
    found = compare(first, second, by=by)
    # fact 8, from d x d matrices
    assert found.projector_distance == pytest.approx(float((dense[0] - dense[1]).norm()), abs=1e-12)
    assert found.overlap == pytest.approx(float((dense[0] * dense[1]).sum()), rel=1e-12)
    assert found.projector_distance**2 == pytest.approx(k1 + k2 - 2 * found.overlap, abs=1e-11)
    assert found.null_overlap == k1 * k2 / 8
    expected = principal_angles(*columns) if max(k1, k2) < 8 else torch.zeros(min(k1, k2), dtype=torch.float64)
    laws.close(found.angles, expected)


def test_comparing_is_symmetric_and_changes_nothing() -> None:
    first, second = some(8, 5, seed=1, blocks=(1, 2, 2)), some(8, 4, seed=2, blocks=(2, 1, 1))
    one, two = compare(first, second), compare(second, first)
    assert one.projector_distance == pytest.approx(two.projector_distance, rel=1e-13)
    assert {(m.first, m.second) for m in one.matches} == {(m.second, m.first) for m in two.matches}
    assert samples.same(first, some(8, 5, seed=1, blocks=(1, 2, 2)))


@pytest.mark.parametrize("blocks", [None, (1, 3, 2), (3, 3)])
def test_block_similarities_equal_projectors_a_pair_at_a_time(blocks: tuple[int, ...] | None) -> None:
    first, second = some(7, 6, seed=1, blocks=blocks), some(7, 5, seed=2, blocks=(2, 1, 2))
    found = block_similarity(first, second)
    ends1, ends2 = np.cumsum((0, *first.blocks)), np.cumsum((0, *second.blocks))
    for i, size1 in enumerate(first.blocks):
        for j, size2 in enumerate(second.blocks):
            one, two = first.write[ends1[i] : ends1[i + 1]], second.write[ends2[j] : ends2[j + 1]]
            projectors = [torch.linalg.pinv(part) @ part for part in (one, two)]
            expected = float((projectors[0] * projectors[1]).sum()) / max(size1, size2)
            assert found[i, j] == pytest.approx(expected, rel=1e-11)


def test_the_matching_is_the_best_of_all() -> None:
    from itertools import permutations

    first, second = some(6, 5, seed=1), some(6, 5, seed=3)
    table = block_similarity(first, second)
    best = max(sum(table[i, j] for i, j in enumerate(order)) for order in permutations(range(5)))
    assert sum(match.similarity for match in compare(first, second).matches) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("size", [1, 3])
def test_random_blocks_average_the_null(size: int) -> None:
    blocks = (size,) * (12 // size)
    values, nulls = [], set()
    for seed in range(60):
        first, second = (replace(random_rotation(12, seed=seed + step), blocks=blocks) for step in (0, 1000))
        values.append(block_similarity(first, second)[0, 0])
        nulls |= {match.null for match in compare(first, second).matches}
    assert nulls == {size / 12}
    assert abs(np.mean(values) - size / 12) < 4 * np.std(values) / np.sqrt(60)


@pytest.mark.parametrize(
    ("gauges", "expected"),
    [(("none", "none"), [1.0, -1.0]), (("sign", "none"), [1.0, 1.0]), (("none", "scale"), [1.0, 1.0])],
)
def test_a_cosine_has_a_sign_where_neither_side_is_free(gauges: tuple[str, str], expected: list[float]) -> None:
    first = AffineFeaturizer(read=np.eye(2), gauge=gauges[0])
    second = AffineFeaturizer(read=np.diag([2.0, -3.0]), gauge=gauges[1])
    assert [match.cosine for match in compare(first, second).matches] == expected
    assert compare(first, replace(second, blocks=(2,))).matches[0].cosine is None


def test_vectors_and_covectors_compare_apart() -> None:
    shear = np.array([[1.0, 5.0], [0.0, 1.0]])
    oblique = AffineFeaturizer(read=shear)
    plain = AffineFeaturizer(read=np.eye(2))
    assert compare(plain, oblique, by="read").matches[0].cosine == pytest.approx(1.0)
    assert compare(plain, oblique, by="write").matches[1].cosine == pytest.approx(1.0)
    assert compare(plain, oblique, by="write").matches[0].cosine == pytest.approx(1 / np.sqrt(26), rel=1e-12)


def test_units_that_are_zero_match_nothing() -> None:
    write = torch.eye(3, dtype=torch.float64)
    write[1] = 0
    found = compare(AffineFeaturizer(read=np.eye(3), write=write), neurons(3))
    assert found.matches[1] == BlockMatch(first=1, second=1, similarity=0.0, null=1 / 3, cosine=None)
    assert found.overlap == pytest.approx(2.0)
    assert found.projector_distance == pytest.approx(1.0)
    nothing = AffineFeaturizer(read=np.zeros((3, 2)), blocks=(2,))
    empty = compare(nothing, neurons(3))
    assert (empty.overlap, empty.mean_similarity, len(empty.angles)) == (0.0, 0.0, 0)
    assert compare(nothing, nothing).projector_distance == 0.0


def test_neurons_compare_with_their_own_matrix() -> None:
    index = [3, 0, 4]
    some_neurons = uw.NeuronFeaturizer(width=5, index=index)
    dense = AffineFeaturizer(read=np.eye(5)[:, index])
    found = compare(some_neurons, dense)
    assert found.identical_blocks == 1
    assert found.projector_distance == 0
    assert repr(found) == "Comparison(3 matched blocks, mean similarity 1.000, span overlap 3.00)"


def test_a_small_turn_keeps_its_digits() -> None:
    turn = torch.eye(4, dtype=torch.float64)
    angle = 1e-9
    turn[0, 0] = turn[1, 1] = np.cos(angle)
    turn[0, 1], turn[1, 0] = np.sin(angle), -np.sin(angle)
    first = AffineFeaturizer(read=np.eye(4)[:, :1])
    found = compare(first, AffineFeaturizer(read=turn[:, :1]))
    # norm(P1 - P2)_F = sqrt(2) sin(angle); the difference k1 + k2 - 2 overlap would be rounding
    assert found.projector_distance == pytest.approx(np.sqrt(2) * angle, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_rounded_matrices_compare_as_what_they_are(dtype: torch.dtype) -> None:
    rotation = random_orthogonal(16, seed=0)[:, :8]
    exact = AffineFeaturizer(read=rotation, write=rotation.T, blocks=(4, 4))
    rounded = AffineFeaturizer(read=rotation.to(dtype), write=rotation.T.to(dtype), blocks=(4, 4))
    assert compare(rounded, rounded).projector_distance < 1e-12
    # rounding of 16 x 8 entries
    assert compare(exact, rounded).projector_distance < 20 * torch.finfo(dtype).eps
    assert [match.second for match in compare(exact, rounded).matches] == [0, 1]


def test_rounding_of_float32_is_no_dimension() -> None:
    factor = laws.gaussian(20, 3)
    flat = AffineFeaturizer(
        read=(factor @ laws.gaussian(3, 6, seed=1)).float(), write=(laws.gaussian(6, 3) @ factor.T).float()
    )
    assert len(compare(flat, flat).angles) == 3


@pytest.mark.parametrize(
    ("first", "second", "error", "text"),
    [
        (neurons(3), neurons(4), InputError, "the widths are 3 and 4: only decompositions of one site compare"),
        (
            neurons(3, site="embed"),
            neurons(3, site="blocks.0.mlp_out"),
            InputError,
            "the sites are embed and blocks.0.mlp_out: only decompositions of one site compare",
        ),
        (
            neurons(3, model="a"),
            pca(laws.gaussian(5, 3), model="b"),
            FingerprintError,
            "the two were made for different models: their coordinates have nothing to do with each other",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(
    first: uw.Featurizer, second: uw.Featurizer, error: type[Exception], text: str
) -> None:
    for function in (compare, block_similarity):
        with pytest.raises(error, match=text):
            function(first, second)


def test_bare_arrays_compare_with_those_of_a_site() -> None:
    assert compare(neurons(3, site="blocks.0.hook_mlp_out", model="a"), neurons(3)).identical_blocks == 1
    assert compare(neurons(3, site="blocks.0.hook_mlp_out"), neurons(3, site="blocks.0.mlp_out")).identical_blocks == 1


def test_an_unknown_side_is_refused() -> None:
    for function in (compare, block_similarity):
        with pytest.raises(InputError, match="by is 'reads': 'write' or 'read' is needed"):
            function(neurons(2), neurons(2), by="reads")
