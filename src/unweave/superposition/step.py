"""One training step by hand: loss and gradients of a batch of bags without a dense target and without autograd.

For ReLU and squared error the gradient of the sums is `x_hat` itself, minus 1 where a word is there and x_hat > 0: the
target is never made. What both products of the backward pass share is scaled in the small factor, not in the large one.
The two largest arrays are written over at every step: taking new ones from the system costs as much as filling them.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `h` | h | (B, m) | `phi(W x)`: sum of the rows of the active words | specs/superposition.md, 8 |
| `out` | x_hat, then dL/dz | (B, V) | written over in place | same |
| `scale` | 2/(B V) | scalar | of the mean over batch and words | same |
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csc_matrix
from torch import Tensor
from torch.nn.functional import embedding_bag

DENSE_ABOVE = 0.07
"""Share of active words from which a dense product is cheaper than adding up rows."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """Some windows as places of their words, and as rows where that is cheaper or they are no bags."""

    size: int
    columns: Int[Tensor, " z"]
    rows: Int[Tensor, " z"]
    by_column: tuple[Tensor, Tensor] | None
    """Rows of each word, and where each word's begin."""
    by_word: Any
    """The windows as a sparse matrix, column by column, (q, v): sums over it read the weights once, in order."""
    dense: Float[Tensor, "q v"] | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Gradients:
    """Of the mean squared error (or cross-entropy) over batch and words."""

    loss: float
    encoder: Float[Tensor, "v m"]
    decoder: Float[Tensor, "v m"] | None
    """None where tied: it is in `encoder`."""
    bias: Float[Tensor, " v"]


class Workspace:
    """Arrays that every step of one model writes anew."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._held: dict[tuple[str, int, int, torch.dtype], Tensor] = {}

    def array(self, name: str, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
        """An array whose entries are whatever the last step left there."""
        key = (name, rows, columns, dtype)
        if key not in self._held:
            self._held[key] = torch.empty(rows, columns, dtype=dtype)
        return self._held[key]


def bag_batch(columns: np.ndarray, begins: np.ndarray, words: int) -> Batch:
    """A batch of bags from the columns of each window."""
    size = len(begins) - 1
    lengths = np.diff(begins)
    rows = np.repeat(np.arange(size), lengths)
    if len(columns) > DENSE_ABOVE * size * words:
        dense = torch.zeros(size, words)
        dense[torch.from_numpy(rows), torch.from_numpy(columns)] = 1.0
        return Batch(
            size=size, columns=torch.from_numpy(columns), rows=torch.from_numpy(rows), by_column=None, by_word=None,
            dense=dense,
        )  # fmt: skip
    order = np.argsort(columns.astype(np.uint16) if words <= 65_536 else columns, kind="stable")
    first = np.searchsorted(columns[order], np.arange(words))
    held = rows[order]
    ends = np.append(first, len(held)).astype(np.int32)
    by_word = csc_matrix((np.ones(len(held), dtype=np.float32), held.astype(np.int32), ends), shape=(size, words))
    return Batch(
        size=size, columns=torch.from_numpy(columns), rows=torch.from_numpy(rows),
        by_column=(torch.from_numpy(held), torch.from_numpy(first)), by_word=by_word, dense=None,
    )  # fmt: skip


def row_batch(rows: np.ndarray) -> Batch:
    """A batch of any rows."""
    nothing = torch.zeros(0, dtype=torch.int64)
    return Batch(
        size=len(rows), columns=nothing, rows=nothing, by_column=None, by_word=None,
        dense=torch.from_numpy(rows),
    )  # fmt: skip


def encode(batch: Batch, encoder: Float[Tensor, "v m"]) -> Float[Tensor, "b m"]:
    """`x W'` of every window."""
    if batch.dense is not None:
        return batch.dense.to(encoder.dtype) @ encoder
    return torch.from_numpy(batch.by_word @ encoder.numpy())


def gradients(
    batch: Batch,
    encoder: Float[Tensor, "v m"],
    decoder: Float[Tensor, "v m"] | None,
    bias: Float[Tensor, " v"],
    *,
    activation: str,
    loss: str,
    relu_latent: bool,
    half: bool = False,
    space: Workspace | None = None,
) -> Gradients:
    """Loss and gradients of one batch.

    Args:
        batch: The windows.
        encoder: A row a word.
        decoder: The same; None is the encoder.
        bias: Of the sums.
        activation: `relu`, `linear` or `sigmoid`.
        loss: `mse` or `bce`.
        relu_latent: Whether negative latents are cut off.
        half: Whether the three large products are computed in bfloat16.
        space: Arrays to write to, which the gradients then are until the next step; None takes new ones.
    """
    space = Workspace() if space is None else space
    words, width = encoder.shape
    reader = encoder if decoder is None else decoder
    h = encode(batch, encoder)
    if relu_latent:
        h = h.relu_()
    low = torch.bfloat16 if half else encoder.dtype
    reader_low = reader.to(low)
    out = space.array("out", batch.size, words, low)
    torch.addmm(bias.to(low), h.to(low), reader_low.T, out=out)
    value = _to_gradient(out, batch, activation, loss)
    scale = (2.0 if loss == "mse" else 1.0) / out.numel()
    pulled = (out @ reader_low).to(encoder.dtype).mul_(scale)
    if relu_latent:
        pulled.mul_(h > 0)
    low_product = torch.mm(out.T, (h * scale).to(low), out=space.array("product", words, width, low))
    from_decoder = space.array("gradient", words, width, encoder.dtype).copy_(low_product) if half else low_product
    shared = decoder is None
    to_encoder = from_decoder if shared else space.array("encoder", words, width, encoder.dtype).zero_()
    _spread(batch, pulled, to_encoder)
    total = out.sum(0, dtype=torch.float32 if half else None).to(bias.dtype) * scale
    return Gradients(
        loss=value / out.numel(), encoder=to_encoder, decoder=None if decoder is None else from_decoder, bias=total
    )


def _spread(batch: Batch, pulled: Float[Tensor, "b m"], into: Float[Tensor, "v m"]) -> None:
    """Adds `x' pulled`: every word gets the sum over the windows that hold it."""
    if batch.dense is not None:
        into.addmm_(batch.dense.to(pulled.dtype).T, pulled)
        return
    if batch.by_column is None:
        raise RuntimeError("a batch has neither rows nor places")
    rows, first = batch.by_column
    if not torch.backends.mkl.is_available():
        into.add_(embedding_bag(rows, pulled, first, mode="sum"))
        return
    begins = torch.cat([first, torch.tensor([len(rows)])])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch calls the format beta, once a process
        x = torch.sparse_csr_tensor(begins, rows, torch.ones(len(rows), dtype=pulled.dtype), (len(into), batch.size))
    torch.addmm(into, x, pulled, out=into)


def _to_gradient(out: Float[Tensor, "b v"], batch: Batch, activation: str, loss: str) -> float:
    """Turns sums into `dL/dz` without the scale, in place; gives the summed loss."""
    if loss == "bce":
        return _cross_entropy(out, batch)
    if activation == "sigmoid":
        out.sigmoid_()
        slope = out * (1 - out)
        value = _subtract_target(out, batch)
        out.mul_(slope)
        return value
    if activation == "linear":
        return _subtract_target(out, batch)
    out.relu_()
    if batch.dense is not None and not len(batch.columns):
        positive = out > 0
        value = _subtract_target(out, batch)
        out.mul_(positive)
        return value
    flat = out.view(-1)
    places = batch.rows * out.shape[1] + batch.columns
    there = flat[places]
    value = _square_sum(out) - 2 * float(there.sum(dtype=torch.float64)) + len(places)
    flat[places] = there - (there > 0).to(out.dtype)
    return value


def _subtract_target(out: Float[Tensor, "b v"], batch: Batch) -> float:
    if batch.dense is not None:
        out.sub_(batch.dense.to(out.dtype))
    else:
        out.view(-1)[batch.rows * out.shape[1] + batch.columns] -= 1
    return _square_sum(out)


def _cross_entropy(out: Float[Tensor, "b v"], batch: Batch) -> float:
    """`softplus(z) - x z` on the logits."""
    value = float(torch.nn.functional.softplus(out).sum(dtype=torch.float64))
    if batch.dense is not None:
        value -= float((out * batch.dense.to(out.dtype)).sum(dtype=torch.float64))
    else:
        value -= float(out.view(-1)[batch.rows * out.shape[1] + batch.columns].sum(dtype=torch.float64))
    out.sigmoid_()
    _subtract_target(out, batch)
    return value


def _square_sum(out: Float[Tensor, "b v"]) -> float:
    """In rows, so that float32 keeps its digits."""
    return float(
        torch.linalg.vector_norm(out.float() if out.dtype == torch.bfloat16 else out, dim=1).double().square().sum()
    )
