"""What a model still does when it sees only what the units keep (E21).

Two yardsticks, zero and the mean at the site, because either alone can flatter: at a site with a large mean, zero
breaks everything and any reconstruction looks good.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `ce_zero` | (CE_abl - CE_rec) / (CE_abl - CE_clean) | scalar | share of the rise of the loss that is won back; 1 is all | specs/evaluation.md, E21 |
| `kl_zero` | (KL_abl - KL_rec) / KL_abl | scalar | the same of the divergence from the clean predictions | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.evals.averages import ratio_estimate
from unweave.features.featurizer import Featurizer
from unweave.models.edits import Edit, check_model
from unweave.models.model import Model
from unweave.models.tokens import Tokens, as_tokens
from unweave.tensors.estimate import Estimate


@dataclass(frozen=True, kw_only=True)
class BehaviourRecovered:
    """Shares of behaviour that come back with the units alone, by yardstick."""

    ce_zero: Estimate
    """Of the loss, against zero at the site."""
    ce_mean: Estimate
    """Of the loss, against the mean at the site."""
    kl_zero: Estimate
    """Of the predictions, against zero."""
    kl_mean: Estimate
    """Of the predictions, against the mean."""
    losses: tuple[float, float, float, float]
    """Nats a token: clean, with the units alone, with zero, with the mean."""

    def __repr__(self) -> str:
        """Shares of the loss."""
        return f"BehaviourRecovered(CE {self.ce_zero.value:.3f} of zero, {self.ce_mean.value:.3f} of mean)"


def behaviour_recovered(
    model: Model, featurizer: Featurizer, batches: Sequence[Any], *, site: str | None = None, seed: int = 0
) -> BehaviourRecovered:
    """What the model's predictions lose when the site holds only what the units give back.

    Args:
        model: A model that predicts the next token.
        featurizer: Any; its residual is dropped here, which is what is being tested.
        batches: Tokens; every sequence is a group.
        site: Where; None takes the featurizer's own.
        seed: Of the bootstrap.

    Raises:
        InputError: A model without next-token logits, no site, or sequences of one token only.
        FingerprintError: A featurizer of another model.

    Example:
        >>> import unweave as uw
        >>> model = uw.load_model("zoo:docs")
        >>> width = model.width("blocks.1.resid_post")
        >>> whole = uw.features.random_rotation(width, site="blocks.1.resid_post")
        >>> round(behaviour_recovered(model, whole, [model.tokenize(["One text.", "Another one."])]).ce_mean.value, 3)
        1.0
    """
    if not model.predicts_next:
        raise InputError("the model does not predict the next token: compare its hidden states instead")
    where = featurizer.site if site is None else site
    if not isinstance(where, str):
        raise InputError(f"the featurizer is at {where}: give one site=")
    check_model(model, Edit(site=where, operator=torch.clone, featurizer=featurizer))
    tokens = [as_tokens(batch) for batch in batches]
    mean = _mean_at(model, tokens, where)

    def kept(h: Tensor) -> Tensor:
        flat = h.flatten(2) if h.ndim > 3 else h
        z, residual = featurizer.encode(flat)
        return featurizer.decode(z, torch.zeros_like(residual)).reshape(h.shape)

    arms: tuple[Callable[[Tensor], Tensor], ...] = (kept, torch.zeros_like, lambda h: mean.to(h).expand_as(h).clone())
    rows = np.concatenate([_sums(model, batch, where, arms) for batch in tokens])
    clean, rec, zero, average = rows[:, :4].T
    kl_rec, kl_zero, kl_mean = rows[:, 4:7].T
    names = np.arange(len(rows))
    estimates = {
        "ce_zero": ratio_estimate(zero - rec, zero - clean, names, seed=seed),
        "ce_mean": ratio_estimate(average - rec, average - clean, names, seed=seed),
        "kl_zero": ratio_estimate(kl_zero - kl_rec, kl_zero, names, seed=seed),
        "kl_mean": ratio_estimate(kl_mean - kl_rec, kl_mean, names, seed=seed),
    }
    total = rows[:, 7].sum()
    means = tuple(float(column.sum() / total) for column in (clean, rec, zero, average))
    return BehaviourRecovered(**estimates, losses=(means[0], means[1], means[2], means[3]))


def _mean_at(model: Model, batches: Sequence[Tokens], site: str) -> Tensor:
    total, count = torch.zeros(()), 0
    for batch in batches:
        value = model.capture(batch, [site])[site].double()
        mask = batch.mask.reshape(*batch.mask.shape, *[1] * (value.ndim - 2))
        total, count = total + (value * mask).sum((0, 1)), count + int(batch.mask.sum())
    return total / count


def _sums(
    model: Model, batch: Tokens, site: str, arms: Sequence[Callable[[Tensor], Tensor]]
) -> Float[np.ndarray, "sequences 8"]:
    """Of each sequence: loss clean and in each arm, divergence in each arm, tokens predicted."""
    predicted = (batch.mask[:, :-1] & batch.mask[:, 1:]).double()
    if not bool(predicted.sum(1).all()):
        raise InputError("a sequence has one token only: nothing in it is predicted")
    with torch.no_grad():
        clean = torch.log_softmax(model(batch)[:, :-1].double().cpu(), -1)
        runs = []
        for arm in arms:
            with model.edit({site: arm}):
                runs.append(torch.log_softmax(model(batch)[:, :-1].double().cpu(), -1))
    targets = batch.ids[:, 1:, None].cpu()
    losses = [-(one.gather(2, targets)[..., 0] * predicted).sum(1) for one in (clean, *runs)]
    kl = [((clean.exp() * (clean - one)).sum(-1) * predicted).sum(1) for one in runs]
    return torch.stack([*losses, *kl, predicted.sum(1)], 1).numpy()
