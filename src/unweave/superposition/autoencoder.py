"""A model with fewer dimensions than words, fitted in closed form or trained.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `weight` | W | (m, V) | column i: where word i is put; `h = phi(W x)` | arXiv 2603.09972; specs/superposition.md, 3 |
| `decoder` | D | (V, m) | row i reads word i; `W'` where tied | same |
| `bias` | b | (V,) | `x_hat = act(D h + b)` | same |
| `gram` | G | (V, V) | `D W`: what word j adds to the sum of word i | same, symbols |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from unweave.errors import InputError, unknown_name
from unweave.features.activation import Activation
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Capacity, Provenance
from unweave.superposition.config import TrainConfig

ACTIVATIONS = ("relu", "linear", "sigmoid")


@dataclass(frozen=True, kw_only=True)
class TrainStep:
    """One entry of a history."""

    step: int
    loss: float
    """Mean over the steps since the last entry."""
    held_out: float
    """Mean squared error a word on held-out windows, NaN without any."""
    r2: float
    """1 - squared error over variance, summed over words, on the same windows."""
    norm2: float
    """Squared Frobenius norm of the encoder."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Autoencoder:
    """A fitted model."""

    weight: Float[np.ndarray, "m v"]
    decoder: Float[np.ndarray, "v m"]
    bias: Float[np.ndarray, " v"]
    activation: str
    """`linear`, `relu` or `sigmoid`."""
    vocab: list[str]
    rank: int
    """Numerical rank of the encoder."""
    train_mse: float
    """Squared error a word, mean over the training windows and words."""
    objective: float
    """What was minimised at the end: `sum over words of the squared error + l2 norm(W)^2` for closed forms."""
    latent: str = "identity"
    tied: bool = True
    decay: float = 0.0
    """Decoupled decay (AdamW); not the same as `l2`."""
    l2: float = 0.0
    seed: int | None = None
    """None for closed forms."""
    history: tuple[TrainStep, ...] = ()
    config: TrainConfig | None = None
    warnings: tuple[str, ...] = ()
    seconds: float | None = None
    """CPU-seconds."""

    @property
    def width(self) -> int:
        """Dimensions m."""
        return len(self.weight)

    @property
    def norm2(self) -> float:
        """Squared Frobenius norm of the encoder: m for a projector, about V when each word filters by itself."""
        return float(np.square(self.weight, dtype=np.float64).sum())

    @property
    def self_weight(self) -> Float[np.ndarray, " v"]:
        """G_ii: what a word adds to its own sum."""
        return np.einsum("vm,mv->v", self.decoder, self.weight)

    def encode(self, x: Any) -> Any:
        """The latent of each row, (n, m)."""
        rows, back = self._rows(x)
        return back(_latent(rows @ self.weight.T, self.latent))

    def logits(self, x: Any) -> Any:
        """Sums before the activation, (n, V)."""
        rows, back = self._rows(x)
        return back(self.sums(rows))

    def sums(self, rows: Any) -> Any:
        """The same for rows that are floating-point numbers already."""
        return _latent(rows @ self.weight.T, self.latent) @ self.decoder.T + self.bias

    def reconstruct(self, x: Any) -> Any:
        """x_hat of each row, (n, V); a tensor for a tensor."""
        rows, back = self._rows(x)
        return back(activate(self.sums(rows), self.activation))

    def _rows(self, x: Any) -> tuple[Any, Any]:
        is_tensor = isinstance(x, torch.Tensor)
        rows = np.asarray(x.detach().numpy() if is_tensor else x)
        if rows.ndim != 2 or rows.shape[1] != len(self.bias):
            raise InputError(
                f"x has shape {rows.shape} but the model has {len(self.bias)} words: (n, {len(self.bias)}) is needed"
            )
        rows = rows.astype(np.result_type(self.weight, rows.dtype if rows.dtype.kind == "f" else np.float32))
        return rows, (torch.from_numpy if is_tensor else _same)

    def gram(self, words: Any = None) -> Float[np.ndarray, "k k"]:
        """D W among some columns; all of them if none are named."""
        chosen = np.arange(len(self.bias)) if words is None else np.asarray(words)
        return self.decoder[chosen] @ self.weight[:, chosen]

    def column(self, word: str) -> int:
        """Column of a word.

        Raises:
            UnknownName: No such word.
        """
        if word not in self.vocab:
            raise unknown_name("word", word, self.vocab)
        return self.vocab.index(word)

    @property
    def featurizer(self) -> AffineFeaturizer:
        """The words as units of the latent: read = D', write = W'.

        Raises:
            InputError: A sigmoid is none of the nonlinearities a featurizer can have.
        """
        if self.activation == "sigmoid":
            raise InputError("a sigmoid model has no featurizer: train one with activation='relu' or 'linear'")
        return AffineFeaturizer(
            read=self.decoder.T.copy(),
            write=self.weight.T.copy(),
            bias=self.bias,
            act=Activation(kind="relu" if self.activation == "relu" else "identity"),
            capacity=Capacity(parameters=self.weight.size * (1 if self.tied else 2) + self.bias.size),
            provenance=Provenance(method="superposition", seed=self.seed),
        )

    def __repr__(self) -> str:
        """Shape, activation, decay and error."""
        how = "closed form" if self.seed is None else f"decay {self.decay:g}, seed {self.seed}"
        l2 = f", l2 {self.l2:g}" if self.l2 else ""
        return (
            f"Autoencoder({len(self.bias):,} words -> {self.width}, {self.activation}, {how}{l2}, train MSE"
            f" {self.train_mse:.5f})"
        )


def activate(sums: Any, activation: str) -> Any:
    """x_hat from the sums."""
    if activation == "relu":
        return np.maximum(sums, 0)
    if activation == "sigmoid":
        return 1 / (1 + np.exp(-np.clip(sums, -60, 60)))
    return sums


def _latent(h: Any, latent: str) -> Any:
    return np.maximum(h, 0) if latent == "relu" else h


def _same(value: Any) -> Any:
    return value
