"""Rows in a randomly rotated basis: the control of every claim that a basis is special.

The matrix is orthogonal, so lengths, angles and what a dense linear probe can read stay as they are; a Gaussian matrix
would stretch some directions a thousand times more than others and amplify their noise. Up to `EXACT_UP_TO` columns it
is drawn from the uniform distribution; beyond, three rounds of random signs and an orthonormal cosine transform stand
in for it, which need `d log d` operations a row instead of `d^2`.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `random_orthogonal` | Q | (d, d) | uniform over rotations and reflections; `x Q` | Mezzadri 2007 |
| `signs` | D_1, D_2, D_3 | (3, d) | random signs; `x D_1 H D_2 H D_3 H`, H the orthonormal DCT-II | Yu et al. 2016, arXiv 1610.09072 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.tensors.arrays import computing_dtype
from unweave.tensors.linalg import random_orthogonal

EXACT_UP_TO = 1024
"""Width from which the fast transform is used: a uniform draw costs `d^3` once and `d^2` a row."""
ROUNDS = 3


def rotated(rows: Float[Tensor, "n d"], *, seed: int, exact_up_to: int = EXACT_UP_TO) -> Float[Tensor, "n d"]:
    """The rows times one random orthogonal matrix; the same seed and width give the same matrix.

    Args:
        rows: Activations, centred by the caller where an origin matters; half precision is computed in float32.
        seed: Of the matrix.
        exact_up_to: Largest width for which it is drawn from the uniform distribution.

    Example:
        >>> rows = torch.randn(5, 8, dtype=torch.float64)
        >>> bool(torch.allclose(rotated(rows, seed=1).norm(dim=1), rows.norm(dim=1)))
        True
    """
    exact = rows.to(computing_dtype(rows.dtype))
    width = exact.shape[1]
    if width <= exact_up_to:
        return exact @ random_orthogonal(width, seed=seed).to(exact.dtype)
    from scipy.fft import dct

    signs = np.random.default_rng([seed, width]).choice(np.array([-1.0, 1.0]), size=(ROUNDS, width))
    values = exact.numpy()
    for flips in signs.astype(values.dtype):
        values = dct(values * flips, type=2, norm="ortho", axis=1, overwrite_x=True)
    return torch.from_numpy(values)
