"""Mutual information between blocks of coordinates by nearest neighbours, all pairs from one pass of distances.

The first estimator of Kraskov, Stoegbauer and Grassberger with the maximum of the two block distances, each divided by
the block's standard deviation. Rows that coincide would make it infinite: where the joint distance is 0 their number
takes the place of k, as for mixtures of discrete and continuous parts. The distances of a tile of queries are held once
a block and serve every pair.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `radius` | eps_i | (q,) | distance to the k-th neighbour in the joint space of two blocks | Kraskov et al. 2004, eq. 8 |
| `inside` | n_x, n_y | (q,) | keys strictly nearer than that in one block | same |
| `nats` | I = psi(k) + psi(N+1) - mean(psi(n_x + 1) + psi(n_y + 1)) | scalar | N keys, the query not among them; nats | same |
| `ties` | k_i | (q,) | keys at joint distance 0; then closed counts | Gao et al. 2017, algorithm 1 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.tensors.neighbors import block_columns

CELLS = 1 << 22
"""Distances of one block that are held at once, at most."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PairInformation:
    """What two blocks tell of one another."""

    nats: float
    """The estimate; it may be slightly negative."""
    tied: float
    """Share of queries whose joint distance is 0."""


def pairwise_information(
    queries: Float[Tensor, "q d"],
    keys: Float[Tensor, "n d"],
    sizes: tuple[int, ...],
    *,
    own: Tensor | None = None,
    pairs: Sequence[tuple[int, int]] | None = None,
    neighbors: int = 1,
    cells: int = CELLS,
) -> dict[tuple[int, int], PairInformation]:
    """Mutual information of pairs of blocks, in nats.

    Args:
        queries: Rows at which it is estimated, in the coordinates of the blocks.
        keys: Rows among which neighbours are counted.
        sizes: Sizes of the blocks, summing to d.
        own: Position of each query among the keys, -1 if it is not there; such a key is not counted.
        pairs: Pairs of block numbers; None is all.
        neighbors: k.
        cells: Distances of one block that are held at once.

    Raises:
        InputError: Fewer keys than neighbours are left for a query.

    Example:
        >>> x = torch.randn(2000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        >>> rows = torch.cat([x, x + 0.1 * x.flip(0), x.roll(7)], 1)
        >>> found = pairwise_information(rows, rows, (1, 1, 1), own=torch.arange(2000))
        >>> found[0, 1].nats > 1.5, abs(found[0, 2].nats) < 0.15
        (True, True)
    """
    wanted = [(j, k) for j in range(len(sizes)) for k in range(j + 1, len(sizes))] if pairs is None else list(pairs)
    available = len(keys) - (0 if own is None else 1)
    if available < neighbors:
        raise InputError(f"{available} keys are left beside the query but k is {neighbors}: more rows are needed")
    if not wanted:
        return {}
    used = sorted({block for pair in wanted for block in pair})
    scaled_queries, scaled_keys = _scaled(queries, keys, sizes, used)
    sums = {pair: torch.zeros(2, dtype=torch.float64) for pair in wanted}
    step = max(1, cells // len(keys))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        mine = None if own is None else own[part]
        near = {block: _distances(scaled_queries[block][part], scaled_keys[block], mine) for block in used}
        spare = torch.empty_like(near[used[0]])
        for pair in wanted:
            sums[pair] += _pair_sums(near[pair[0]], near[pair[1]], spare, neighbors)
    rest = float(torch.digamma(torch.tensor(available + 1, dtype=torch.float64)))
    count = len(queries)
    return {
        pair: PairInformation(nats=rest + float(total[0]) / count, tied=float(total[1]) / count)
        for pair, total in sums.items()
    }


def _scaled(
    queries: Tensor, keys: Tensor, sizes: tuple[int, ...], used: list[int]
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """The rows of each block about the keys' mean, in units of the block's standard deviation."""
    slices = block_columns(sizes)
    one, two = {}, {}
    for block in used:
        mine = keys[:, slices[block]]
        centre = mine.mean(0)
        spread = (mine - centre).square().mean(0).sum().sqrt()
        unit = torch.where(spread > 0, spread, torch.ones_like(spread))
        one[block], two[block] = (queries[:, slices[block]] - centre) / unit, (mine - centre) / unit
    return one, two


def _distances(queries: Tensor, keys: Tensor, own: Tensor | None) -> Tensor:
    """(q, n) distances in one block, infinite to the query itself."""
    if queries.shape[1] == 1:  # exact, and cheaper than a product
        near = (queries - keys.T).abs_()
    elif queries.shape[1] <= 4:
        near = torch.cdist(queries, keys, compute_mode="donot_use_mm_for_euclid_dist")
    else:
        near = torch.cdist(queries, keys, compute_mode="use_mm_for_euclid_dist")
    if own is not None:
        here = torch.nonzero(own >= 0).flatten()
        near[here, own[here]] = torch.inf
    return near


def _pair_sums(first: Tensor, second: Tensor, spare: Tensor, neighbors: int) -> Tensor:
    """Sum over the queries of psi(k) minus the two marginal terms, and the number of ties."""
    joint = torch.maximum(first, second, out=spare[: len(first)])
    radius = joint.amin(1) if neighbors == 1 else joint.kthvalue(neighbors, dim=1).values
    tied = radius == 0
    ties = torch.full_like(radius, float(neighbors), dtype=torch.float64)
    if bool(tied.any()):
        ties[tied] = (joint[tied] == 0).sum(1).to(torch.float64)
    total = torch.digamma(ties).sum()
    for near in (first, second):
        inside = torch.lt(near, radius[:, None], out=spare[: len(near)]).sum(1).to(torch.float64)
        if bool(tied.any()):
            inside[tied] = (near[tied] == 0).sum(1).to(torch.float64)
        total = total - torch.digamma(inside + 1).sum()
    return torch.stack([total, tied.sum().to(torch.float64)])
