"""A circuit whose mechanism is published, as a check of the tests: modular addition is done in a few frequencies, so the
answer of another input comes over with the subspace of those frequencies and with no other of its size.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `strength` | norm(W_U F_k)^2 | (p // 2,) | strength of each frequency in the unembedding | Nanda et al. 2023, arXiv 2301.05217, section 4 |
| `strongest` | key frequencies | (k,) | the largest of them | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.evals.causing.pairs import Pairs
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Provenance
from unweave.tensors.linalg import orthonormal_basis


def key_frequencies(unembedding: Float[Tensor, "d v"], modulus: int) -> Float[np.ndarray, " f"]:
    """How strongly the unembedding reads each frequency 1 .. p // 2 of the answer.

    Args:
        unembedding: (d, vocabulary); the first p columns are the answers.
        modulus: p.

    Example:
        >>> answers = torch.arange(7) * 2 * torch.pi * 2 / 7
        >>> key_frequencies(torch.stack([answers.cos(), answers.sin()]), 7).argmax() + 1
        np.int64(2)
    """
    if unembedding.shape[1] < modulus:
        raise InputError(f"the unembedding has {unembedding.shape[1]} columns: {modulus} answers are needed")
    waves = _waves(modulus)
    strength = (unembedding[:, :modulus].double() @ waves).square().sum(0)
    return strength.reshape(-1, 2).sum(1).numpy()


def frequency_blocks(
    unembedding: Float[Tensor, "d v"], modulus: int, count: int, *, site: str, weakest: bool = False
) -> AffineFeaturizer:
    """The subspaces of the stream that the unembedding reads the key frequencies by, two dimensions each.

    Args:
        unembedding: (d, vocabulary).
        modulus: p.
        count: Key frequencies.
        site: Of the stream before the unembedding.
        weakest: The frequencies that it reads least instead, outside of what it reads the strongest by: a decoy of
            equal size.

    Example:
        >>> basis = frequency_blocks(torch.randn(12, 11), 11, 2, site="blocks.0.mlp")
        >>> basis.blocks, basis.width
        ((4,), 12)
    """
    strength = key_frequencies(unembedding, modulus)
    chosen = np.argsort(strength if weakest else -strength)[:count]
    columns = [2 * int(one) + part for one in chosen for part in (0, 1)]
    read = unembedding[:, :modulus].double() @ _waves(modulus)
    span = orthonormal_basis(read[:, columns])
    if weakest:
        strongest = frequency_blocks(unembedding, modulus, count, site=site).read
        span = orthonormal_basis(read[:, columns] - strongest @ (strongest.T @ read[:, columns]))
    return AffineFeaturizer(
        read=span, site=site, blocks=(span.shape[1],), gauge="rotation", provenance=Provenance(method="key frequencies")
    )


def modular_addition_pairs(modulus: int, count: int, *, seed: int = 0) -> Pairs:
    """Pairs of sums: after the interchange the answer is the source's.

    Args:
        modulus: p; the token p stands for `=`.
        count: Pairs.
        seed: Of the numbers.

    Example:
        >>> modular_addition_pairs(113, 5)
        Pairs(5 pairs)
    """
    rng = np.random.default_rng([seed, 53])
    made: list[Any] = [rng.integers(0, modulus, size=(count, 2)) for _ in range(2)]
    answers = [one.sum(1) % modulus for one in made]
    ids = [torch.from_numpy(np.concatenate([one, np.full((count, 1), modulus)], 1)) for one in made]
    return Pairs(
        base=ids[0],
        source=ids[1],
        answer=answers[1],
        base_answer=answers[0],
        source_answer=answers[1],
        among=list(range(modulus)),
    )


def _waves(modulus: int) -> Float[Tensor, "p f"]:
    """Cosine and sine of every frequency, columns in pairs, of length 1."""
    angles = 2 * torch.pi * torch.outer(torch.arange(modulus), torch.arange(1, modulus // 2 + 1)).double() / modulus
    waves = torch.stack([angles.cos(), angles.sin()], -1).flatten(1)
    return waves / waves.norm(dim=0)
