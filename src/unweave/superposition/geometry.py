"""Every word's place in a model: how well it is read, what the others add, and why.

All scores are of held-out windows where there are any. Intervals resample documents; neighbouring windows share most of
their units and are never resampled on their own.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `lift` | Delta_i | (V,) | `E[I_i; x_i = 1] - E[I_i; x_i = 0] = C_i / (p_i (1 - p_i))` | specs/superposition.md, 5.2 |
| `help_` | C_i | (V,) | `sum_{j != i} G_ij Sigma_ij = <d_i, Q_i> - G_ii Sigma_ii` | same |
| `noise` | N_i | (V,) | `Var I_i = d_i' S_h d_i - 2 G_ii <d_i, Q_i> + G_ii^2 Sigma_ii` | same |
| `own` | G_ii | (V,) | what a word adds to its own sum | same |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from unweave.errors import InputError
from unweave.superposition.autoencoder import Autoencoder, activate
from unweave.superposition.config import Number
from unweave.superposition.counterfactual import Shuffled, shuffle_contexts
from unweave.superposition.dataset import Dataset, as_dataset, is_binary
from unweave.superposition.passes import GroupSums, LatentMoments, group_sums, latent_moments
from unweave.superposition.regimes import REGIMES, counts_over_tau, linear_r2, regime_of
from unweave.superposition.structure import dimensionality
from unweave.tensors.resampling import ratio_intervals

DRAWS = 500
BLOCK = 512
"""Columns of one-hot inputs that are scored together."""
NAN = float("nan")


@dataclass(frozen=True, eq=False, kw_only=True)
class Geometry:
    """Scores of every word, a column each, and of the whole model."""

    words: list[str]
    columns: dict[str, Float[np.ndarray, " v"]]
    regimes: list[str]
    tau: float
    mse: float
    """Squared error, mean over windows and words."""
    mean_mse: float
    """The same of predicting each word's mean: the floor of knowing nothing but frequencies."""
    zero_mse: float
    """The same of predicting 0."""
    r2: float
    """`1 - mse / mean_mse`."""
    ridge: float
    split: str
    n: int
    n_groups: int
    warnings: tuple[str, ...] = ()

    def table(self) -> list[dict[str, Any]]:
        """A word each, with every score; NaN for what a word that is always or never there has no value of."""
        names = list(self.columns)
        values = [column.tolist() for column in self.columns.values()]
        return [
            {"word": word, "regime": regime} | dict(zip(names, row, strict=True))
            for word, regime, *row in zip(self.words, self.regimes, *values, strict=True)
        ]

    def counts(self) -> dict[str, int]:
        """Words in each regime."""
        return {name: self.regimes.count(name) for name in REGIMES}

    def over_tau(self) -> list[dict[str, Any]]:
        """Words in each regime for every threshold."""
        return counts_over_tau(self.columns["r2_linear"], self.columns["r2_context"])

    def summary(self) -> str:
        """A few sentences."""
        counts = ", ".join(f"{number:,} {name}" for name, number in self.counts().items())
        gap = self.columns["r2_context"] - self.columns["r2_onehot"]
        known = gap[np.isfinite(gap)]
        better = f"{(known > 0).mean():.0%}" if len(known) else "none"
        return (
            f"MSE {self.mse:.5f} a word ({self.split}, {self.n:,} windows in {self.n_groups} groups); predicting each"
            f" word's mean gives {self.mean_mse:.5f}, 0 gives {self.zero_mse:.5f}. {counts} at tau {self.tau:g}."
            f" Read better in context than alone: {better} of {len(known):,} words."
        )

    def __repr__(self) -> str:
        """Words, error and regimes."""
        return f"Geometry({len(self.words):,} words, MSE {self.mse:.5f}, {self.counts()})"


def geometry(
    model: Autoencoder,
    rows: Any,
    *,
    split: str = "auto",
    tau: Number = 0.5,
    controls: bool = True,
    draws: int = 10,
    seed: int = 0,
) -> Geometry:
    """How every word is represented, and what the words beside it do to it.

    `R2 in context = 1 - sum (x - x_hat)^2 / sum (x - mean x)^2`; one-hot R2 is the same over the V one-hot inputs;
    `lift = E[I | word there] - E[I | word absent]`, I being what other words add; `constructive share = lift / (G_ii +
    lift)`; `d' = (G_ii + lift) / pooled sd of I`.

    Args:
        model: A fitted model.
        rows: The bags it was fitted on, or a matrix (windows, words).
        split: `auto` scores held-out windows where there are any, else all; or a part's name.
        tau: R2 from which a word counts as read.
        controls: Whether contexts are shuffled, which gives the null of the lift and what correlation is worth.
        draws: Shuffles.
        seed: Of shuffles and resampling.

    Returns:
        `.table()` has a dictionary a word: word, regime, p, r2_context, r2_onehot, r2_linear, lift, lift_length (at
        equal number of other words), constructive_share, dprime, self, bias, dimensionality, the error split
        error_self, error_help, error_cost, shuffle_delta (rise of squared error in shuffled contexts) and shuffle_r2,
        null and interval columns.

    Raises:
        InputError: Words of model and rows differ.
        UnknownName: No such part.

    Source:
        arXiv 2603.09972; specs/superposition.md, section 5.

    Example:
        >>> from unweave.superposition.linear import closed_form
        >>> x = np.eye(4)[np.arange(40) % 4] + np.eye(4)[(np.arange(40) + 1) % 4]
        >>> found = geometry(closed_form(x, width=2), x)
        >>> sorted(found.table()[0])[:4], found.table()[0]["regime"]
        (['bias', 'constructive_share', 'dimensionality', 'dprime'], 'linear')
    """
    data = as_dataset(rows)
    if len(data.vocab) != len(model.bias):
        raise InputError(
            f"the model has {len(model.bias)} words but the rows {len(data.vocab)}: give those it was fitted on"
        )
    scored = data.held_out() if split == "auto" else split
    indices = data.split(scored)
    if not len(indices):
        raise InputError(f"the part {scored!r} has no windows: score another part")
    moments = {name: latent_moments(model, data, data.split(name)) for name in _parts(data, scored)}
    score = moments[scored]
    sums = group_sums(model, data, indices)
    told = []
    binary = is_binary(data)
    columns: dict[str, np.ndarray] = {"p": score.mean}
    columns |= _context(sums, score, seed)
    columns["r2_onehot"] = one_hot_r2(model) if binary else np.full(len(model.bias), NAN)
    columns["r2_linear"], ridge = linear_r2(moments["train"], moments.get("validation", moments["train"]), score)
    columns |= _interference(model, score, sums)
    if binary and controls and model.latent == "identity":
        columns |= _shuffled(shuffle_contexts(model, data, indices, draws=draws, seed=seed))
    else:
        names = ("shuffle_delta", "shuffle_r2", "shuffle_fn", "shuffle_fp", "lift_null", "lift_null_sd")
        columns |= {name: np.full(len(model.bias), NAN) for name in names}
    if not binary:
        told.append("rows hold other values than 0 and 1: lift, d', one-hot R2 and shuffles have no meaning there")
        for name in ("lift", "lift_low", "lift_high", "lift_length", "constructive_share", "dprime"):
            columns[name] = np.full(len(model.bias), NAN)
    columns |= {"self": model.self_weight, "bias": model.bias, "dimensionality": dimensionality(model.weight)}
    constant = int((score.variance <= 0).sum())
    if constant:
        told.append(f"{constant:,} words are in every or no window of {scored}: they have no scores")
    error = float(sums.error.sum() / sums.error.shape[1] / score.n)
    mean_mse = float(score.variance.mean())
    return Geometry(
        words=list(data.vocab), columns={name: np.asarray(value, dtype=np.float64) for name, value in columns.items()},
        regimes=regime_of(columns["r2_linear"], columns["r2_context"], float(tau)), tau=float(tau), mse=error,
        mean_mse=mean_mse,
        zero_mse=float(sums.squares.sum() / sums.error.shape[1] / score.n),
        r2=1 - error / mean_mse if mean_mse > 0 else NAN, ridge=ridge, split=scored, n=score.n,
        n_groups=len(sums.rows), warnings=tuple(told),
    )  # fmt: skip


def _parts(data: Dataset, scored: str) -> list[str]:
    """Parts whose moments are needed."""
    wanted = ("train", scored) if scored == "all" else ("train", "validation", scored)
    return [name for name in dict.fromkeys(wanted) if len(data.split(name))]


def _context(sums: GroupSums, score: LatentMoments, seed: int) -> dict[str, np.ndarray]:
    """R2 in context with its interval over groups."""
    spread = sums.squares - 2 * score.mean * sums.present + sums.rows[:, None] * score.mean**2
    varies = score.variance > 0
    found = ratio_intervals(sums.error, np.where(varies, spread, 0.0), seed=seed, draws=DRAWS)
    return {
        "r2_context": np.where(varies, 1 - found.value, NAN),
        "r2_context_low": np.where(varies, 1 - found.high, NAN),
        "r2_context_high": np.where(varies, 1 - found.low, NAN),
    }


def _interference(model: Autoencoder, score: LatentMoments, sums: GroupSums) -> dict[str, np.ndarray]:
    """Lift, share, d' and the linear error split, from second moments; the lift's interval from groups."""
    own, decoder = model.self_weight.astype(np.float64), model.decoder.astype(np.float64)
    joint = np.einsum("vm,mv->v", decoder, score.cross)
    help_ = joint - own * score.variance
    noise = np.einsum("vm,mv->v", decoder, score.latent_cov @ decoder.T) - 2 * own * joint + own**2 * score.variance
    noise = np.maximum(noise, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        lift = np.where(score.variance > 0, help_ / score.variance, NAN)
        share = np.where(own + lift > 0, lift / (own + lift), NAN)
        within = np.sqrt(np.maximum(noise - score.variance * lift**2, 0.0))
        dprime = np.where(within > 0, (own + lift) / within, NAN)
        error = _lift_error(sums)
        length = decoder @ score.length_latent - own * score.length_word  # Cov(I_i, number of active words)
        others = score.length_variance - 2 * score.length_word + score.variance
        crossed = score.length_word - score.variance
        apart = score.variance - np.where(others > 0, crossed**2 / others, 0.0)
        alone = help_ - np.where(others > 0, (length - help_) * crossed / others, 0.0)
        controlled = np.where(apart > 1e-12, alone / apart, NAN)
    return {
        "lift": lift, "lift_low": lift - error, "lift_high": lift + error, "lift_length": controlled,
        "constructive_share": share, "dprime": dprime,
        "error_self": (1 - own) ** 2 * score.variance, "error_help": -2 * (1 - own) * help_, "error_cost": noise,
    }  # fmt: skip


def _lift_error(sums: GroupSums) -> np.ndarray:
    """Half the 95 % interval of the lift: linearised, with groups as independent units."""
    from scipy.stats import t as student

    groups = len(sums.rows)
    if groups < 2:
        return np.full(sums.present.shape[1], NAN)
    there, absent = sums.present, sums.rows[:, None] - sums.present
    outside = sums.interference - sums.inner
    means = sums.inner.sum(0) / there.sum(0), outside.sum(0) / absent.sum(0)
    influence = (sums.inner - means[0] * there) / there.sum(0) - (outside - means[1] * absent) / absent.sum(0)
    return student.ppf(0.975, groups - 1) * np.sqrt(np.square(influence).sum(0) * groups / (groups - 1))


def _shuffled(found: Shuffled) -> dict[str, np.ndarray]:
    return {
        "shuffle_delta": found.mse, "shuffle_r2": found.r2, "shuffle_fn": found.false_negatives,
        "shuffle_fp": found.false_positives, "lift_null": found.lift_mean, "lift_null_sd": found.lift_sd,
    }  # fmt: skip


def one_hot_r2(model: Autoencoder) -> Float[np.ndarray, " v"]:
    """R2 of each word over the V one-hot inputs: what a model does without context. Other words' false positives count.

    Args:
        model: A fitted model.

    Example:
        >>> from unweave.superposition.linear import closed_form
        >>> one_hot_r2(closed_form(np.eye(3), width=3)).round(6).tolist()
        [1.0, 1.0, 1.0]
    """
    words = len(model.bias)
    if words < 2:
        return np.full(words, NAN)
    error = np.zeros(words)
    for first in range(0, words, BLOCK):
        size = min(BLOCK, words - first)
        x = np.zeros((size, words), dtype=model.weight.dtype)
        x[np.arange(size), first + np.arange(size)] = 1
        error += np.square(activate(model.sums(x), model.activation) - x).sum(0, dtype=np.float64)
    return 1 - error / (1 - 1 / words)
