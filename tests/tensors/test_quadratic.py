"""Searches on quadratic models find what looking at every support finds, or what they say they find."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor

from unweave.tensors.quadratic import explained, forward, shrink, swap_gains, swaps


def models(problems: int = 6, width: int = 9, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Least squares of random rows on a sum of three columns, as hessian and slope."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(problems, 60, width, generator=generator, dtype=torch.float64)
    rows = rows + 0.7 * torch.randn(problems, 60, 1, generator=generator, dtype=torch.float64)
    target = rows[:, :, :3].sum(2) + torch.randn(problems, 60, generator=generator, dtype=torch.float64)
    hessian = rows.transpose(1, 2) @ rows + 0.5 * torch.eye(width, dtype=torch.float64)
    return hessian, (rows.transpose(1, 2) @ target.unsqueeze(2)).squeeze(2)


def worth(hessian: Tensor, slope: Tensor, support: list[int]) -> float:
    """Twice the fall of one function, by the definition."""
    block = hessian[support][:, support]
    return float(slope[support] @ torch.linalg.solve(block, slope[support]))


def test_forward_adds_the_column_that_helps_most_each_time() -> None:
    hessian, slope = models()
    order = forward(hessian, slope, 5)
    for problem in range(len(order)):
        chosen: list[int] = []
        for step in range(5):
            rest = [column for column in range(9) if column not in chosen]
            best = max(rest, key=lambda column: worth(hessian[problem], slope[problem], [*chosen, column]))
            assert int(order[problem, step]) == best
            chosen.append(best)


def test_forward_keeps_out_what_is_not_allowed_and_takes_copies_last() -> None:
    hessian, slope = models(2, 6)
    allowed = torch.ones(2, 6, dtype=torch.bool)
    allowed[0, int(forward(hessian, slope, 1)[0, 0])] = False
    barred = int((~allowed[0]).nonzero()[0, 0])
    assert barred not in forward(hessian, slope, 5, allowed=allowed)[0].tolist()
    copy = [0, 1, 2, 0]
    order = forward(hessian[:, copy][:, :, copy] - 0.5 * torch.eye(4) * 0, slope[:, copy], 4)
    assert all(sorted(row) == [0, 1, 2, 3] for row in order.tolist())


def test_gains_of_exchanges_are_those_of_refitting() -> None:
    hessian, slope = models()
    support = torch.tensor([[0, 4, 7]]).expand(len(slope), -1)
    gain, _ = swap_gains(hessian, slope, support)
    for problem in range(len(slope)):
        before = worth(hessian[problem], slope[problem], [0, 4, 7])
        for place in range(3):
            for column in range(9):
                if column in (0, 4, 7):
                    assert gain[problem, place, column] == -torch.inf
                else:
                    after = [0, 4, 7]
                    after[place] = column
                    expected = worth(hessian[problem], slope[problem], after) - before
                    assert float(gain[problem, place, column]) == pytest.approx(expected, rel=1e-9, abs=1e-8)


def test_swaps_end_where_no_exchange_helps_and_mostly_at_the_best_support() -> None:
    hessian, slope = models(40, 8)
    found = swaps(hessian, slope, torch.tensor([[5, 6, 7]]).expand(40, -1))
    hits = 0
    for problem in range(40):
        support = found[problem].tolist()
        reached = worth(hessian[problem], slope[problem], support)
        for place in range(3):
            for column in set(range(8)) - set(support):
                other = [*support[:place], column, *support[place + 1 :]]
                assert worth(hessian[problem], slope[problem], other) <= reached * (1 + 1e-8)
        best = max(combinations(range(8), 3), key=lambda one: worth(hessian[problem], slope[problem], list(one)))
        hits += set(best) == set(support)
    assert hits >= 32


def test_what_is_explained_is_the_fall_of_the_function() -> None:
    hessian, slope = models()
    support = torch.tensor([[1, 3, 8]]).expand(len(slope), -1)
    for problem, found in enumerate(explained(hessian, slope, support).tolist()):
        assert found == pytest.approx(worth(hessian[problem], slope[problem], [1, 3, 8]), rel=1e-12)


def test_shrinking_is_minimising_on_what_is_left() -> None:
    hessian, slope = models(5, 30)
    inverse, beta, kept = shrink(torch.linalg.inv(hessian), torch.linalg.solve(hessian, slope), 4)
    for problem in range(5):
        columns = kept[problem]
        block = hessian[problem][columns][:, columns]
        torch.testing.assert_close(inverse[problem], torch.linalg.inv(block), rtol=1e-8, atol=1e-12)
        torch.testing.assert_close(beta[problem], torch.linalg.solve(block, slope[problem, columns]), rtol=1e-8, atol=0)
        assert columns.tolist() == sorted(set(columns.tolist()))


def test_shrinking_drops_the_cheapest_column_first() -> None:
    hessian, slope = models(5, 9)
    _, _, kept = shrink(torch.linalg.inv(hessian), torch.linalg.solve(hessian, slope), 8)
    for problem in range(5):
        left = [[column for column in range(9) if column != gone] for gone in range(9)]
        assert kept[problem].tolist() == max(left, key=lambda one: worth(hessian[problem], slope[problem], one))
