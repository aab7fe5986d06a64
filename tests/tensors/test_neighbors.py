"""Nearest neighbours in blocks against distances computed one by one."""

from __future__ import annotations

import pytest
import torch

from unweave.tensors.linalg import random_orthogonal
from unweave.tensors.neighbors import Exclusion, SearchOptions, block_columns, first_of_equal, nearest_in_blocks


def gaussian(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def by_definition(queries, keys, rotation, sizes, barred=None):
    """Every distance from its coordinates; argmin gives the first of equal ones."""
    found = []
    for block in block_columns(sizes):
        near = ((queries @ rotation)[:, None, block] - (keys @ rotation)[None, :, block]).square().sum(2)
        if barred is not None:
            near[barred] = torch.inf
        found.append(near.argmin(1))
    return torch.stack(found)


@pytest.mark.parametrize("tile", [4096, 64, 37, 700])
@pytest.mark.parametrize("sizes", [(4, 4, 4), (7, 3, 2), (12,), (1,) * 12])
def test_the_nearest_is_the_nearest_by_definition(sizes, tile) -> None:
    queries, keys, rotation = gaussian(40, 12), gaussian(700, 12, seed=1), random_orthogonal(12, seed=2)
    found = nearest_in_blocks(queries, keys, rotation, sizes, options=SearchOptions(tile=tile))
    assert torch.equal(found, by_definition(queries, keys, rotation, sizes))


def test_the_lowest_of_equal_keys_is_found() -> None:
    keys = gaussian(600, 6).repeat(2, 1)
    queries = gaussian(30, 6, seed=3)
    found = nearest_in_blocks(queries, keys, torch.eye(6, dtype=torch.float64), (3, 3))
    assert int(found.max()) < 600


def test_two_levels_agree_with_one_in_any_dtype() -> None:
    queries, keys, rotation = gaussian(50, 8), gaussian(4096, 8, seed=1), random_orthogonal(8, seed=2)
    exact = by_definition(queries, keys, rotation, (4, 4))
    single = nearest_in_blocks(queries.float(), keys.float(), rotation.float(), (4, 4))
    near = [torch.linalg.vector_norm(((queries - keys[found[s]]) @ rotation)[:, 4 * s : 4 * s + 4], dim=1)
            for found in (exact, single) for s in (0, 1)]  # fmt: skip
    # float32 may prefer another of two keys whose distances differ by rounding
    torch.testing.assert_close(near[2], near[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(near[3], near[1], rtol=1e-5, atol=1e-6)


def test_bfloat16_finds_nearly_all_and_what_it_finds_is_as_near() -> None:
    # specs/ndm.md, law 6: at least 95 % equal indices on Gaussian data at d_s = 32, loss within 1e-4
    queries, keys = gaussian(128, 64, dtype=torch.float32), gaussian(8192, 64, seed=1, dtype=torch.float32)
    rotation, sizes = random_orthogonal(64, seed=2, dtype=torch.float32), (32, 32)
    exact = nearest_in_blocks(queries, keys, rotation, sizes)
    rough = nearest_in_blocks(queries, keys, rotation, sizes, options=SearchOptions(precision="bfloat16"))
    assert float((exact == rough).float().mean()) >= 0.95
    total = [
        sum(float(torch.linalg.vector_norm((queries - keys[found[s]]) @ rotation[:, block], dim=1).mean())
            for s, block in enumerate(block_columns(sizes)))
        for found in (exact, rough)
    ]  # fmt: skip
    assert abs(total[1] / total[0] - 1) < 1e-4
    assert total[1] >= total[0]


def test_excluded_keys_are_not_found() -> None:
    rows = gaussian(300, 6)
    own = torch.arange(300)
    found = nearest_in_blocks(rows, rows, torch.eye(6, dtype=torch.float64), (3, 3), exclusion=Exclusion(own=own))
    assert torch.equal(found, by_definition(rows, rows, torch.eye(6).double(), (3, 3), torch.eye(300).bool()))
    groups = own // 10
    found = nearest_in_blocks(
        rows, rows, torch.eye(6, dtype=torch.float64), (3, 3),
        exclusion=Exclusion(query_groups=groups, key_groups=groups), options=SearchOptions(tile=100),
    )  # fmt: skip
    barred = groups[:, None] == groups[None]
    assert torch.equal(found, by_definition(rows, rows, torch.eye(6).double(), (3, 3), barred))


def test_a_query_that_may_find_nobody_is_told_so() -> None:
    rows = gaussian(3, 2)
    same = torch.zeros(3, dtype=torch.int64)
    found = nearest_in_blocks(
        rows, rows, torch.eye(2, dtype=torch.float64), (2,), exclusion=Exclusion(query_groups=same, key_groups=same)
    )
    assert found.tolist() == [[-1, -1, -1]]


def test_the_cosine_is_the_largest_cosine() -> None:
    queries, keys, rotation = gaussian(40, 8), gaussian(500, 8, seed=1), random_orthogonal(8, seed=2)
    found = nearest_in_blocks(queries, keys, rotation, (5, 3), options=SearchOptions(metric="cosine"))
    for s, block in enumerate(block_columns((5, 3))):
        one, two = (queries @ rotation)[:, block], (keys @ rotation)[:, block]
        cosines = torch.cosine_similarity(one[:, None], two[None], dim=2)
        assert torch.equal(found[s], cosines.argmax(1))


def test_first_of_equal_rows() -> None:
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [2.0, 1.0], [3.0, 4.0], [1.0, 2.0]])
    assert first_of_equal(rows).tolist() == [0, 1, 0, 3, 1, 0]


def test_a_search_that_forgets_the_length_of_keys_is_caught() -> None:
    queries, keys = gaussian(40, 4), gaussian(500, 4, seed=1)
    inner = (queries @ keys.T).argmax(1)
    with pytest.raises(AssertionError):
        assert torch.equal(inner[None], by_definition(queries, keys, torch.eye(4).double(), (4,)))
