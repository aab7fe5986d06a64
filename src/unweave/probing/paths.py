"""Rankings by the coefficients of one model of many columns: dense ridge probe, linear SVM, and the order of entry in an L1 path.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `beta` | beta | (m, d) | per standard deviation of the column over the training rows | specs/probing.md 4 |
| `penalty` | lambda_t | (p,) | of the L1 norm; falls by a twentieth a step from the value at which all is zero | same, `l1` |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweave.probing.families import Block, model_at
from unweave.probing.screening import Screens, gathered, pools
from unweave.tensors.logistic import Optimum, balanced_weights, designs, solve

FALL, STEPS, INNER = 0.95, 120, 50
"""By how much the L1 penalty falls a step, steps at most, and proximal steps on each model."""
SCREEN = 256

Labellings = Bool[np.ndarray, "m n"]


def coef(rows: Float[Tensor, "n d"], labellings: Labellings, found: Screens, lam: float, _most: int) -> Tensor:
    """Size of the coefficients of the ridge probe on all columns that vary: (m, d), zero for the others.

    Newton's method with a d x d matrix: meant for up to some thousands of columns.
    """
    live = torch.nonzero(found.live).flatten()
    design = gathered(rows, live, found).unsqueeze(0)
    strength = torch.zeros(len(labellings), rows.shape[1], dtype=torch.float64)
    for number, labels in enumerate(labellings):
        signs, weights = _signs_and_weights(labels[None])
        fit = solve(design, signs, weights, lam, decrement=1e-6)
        strength[number, live] = fit.beta[0, :-1].abs().double()
    return strength


def svm(rows: Float[Tensor, "n d"], labellings: Labellings, found: Screens, lam: float, _most: int) -> Tensor:
    """Size of the weights of a balanced linear SVM (squared hinge) on all columns that vary: (m, d)."""
    from sklearn.svm import LinearSVC

    live = torch.nonzero(found.live).flatten()
    columns = gathered(rows, live, found)[:-1].T.double().numpy()
    strength = torch.zeros(len(labellings), rows.shape[1], dtype=torch.float64)
    for number, labels in enumerate(labellings):
        model = LinearSVC(
            C=1 / lam,
            class_weight="balanced",
            dual=False,  # pyright: ignore[reportArgumentType] - its stub knows only the word "auto"
            tol=1e-3,
            random_state=0,
        )
        strength[number, live] = torch.from_numpy(np.abs(model.fit(columns, labels).coef_[0]))
    return strength


def l1(rows: Float[Tensor, "n d"], labellings: Labellings, found: Screens, lam: float, most: int) -> Tensor:
    """Order of entry in the L1 path on the screened columns, as a score: (m, d), the first to enter highest; columns
    that do not enter come after, in the order of the screen.
    """
    width = min(int(found.live.sum()), max(SCREEN, 2 * most))
    strength = torch.zeros(len(labellings), rows.shape[1], dtype=torch.float64)
    for number, labels in enumerate(labellings):
        pool = pools(found, number, width)[-1:]
        signs, weights = _signs_and_weights(labels[None])
        standard = gathered(rows, pool[0], found)
        design = designs(standard[:-1], torch.arange(width)[None], dtype=torch.float32)
        order = entry_order(Block(design=design, signs=signs, weights=weights, lam=lam), min(most, width))
        strength[number, pool[0, order[0]]] = torch.arange(width, 0, -1, dtype=torch.float64)
    return strength


PATHS: Mapping[str, Callable[[Tensor, np.ndarray, Screens, float, int], Tensor]] = MappingProxyType(
    {"coef": coef, "svm": svm, "l1": l1}
)
"""Selectors that rank by a model of many columns."""


def entry_order(block: Block, most: int) -> Int[Tensor, "p m"]:
    """Columns in the order in which the L1 path takes them in, `most` of them at least; the rest as they are.

    The path is followed by proximal Newton: the second-order model of the loss is refreshed twice a step.
    """
    problems, width = len(block.design), block.width
    every = torch.arange(width).expand(problems, -1)
    beta = torch.zeros(problems, width, dtype=torch.float64)
    fit = Optimum(
        beta=torch.zeros(problems, width + 1), scores=torch.zeros_like(block.signs), loss=torch.zeros(problems), steps=0
    )
    penalty = block.at_zero[1].abs().amax(1)
    entered = torch.full((problems, width), STEPS, dtype=torch.float64)
    for step in range(STEPS):
        penalty = penalty * FALL
        for _ in range(2):
            model, slope = model_at(block, every, fit)
            beta = _proximal(model, slope, penalty, beta)
            fit = _moved(block, beta)
        new = (beta != 0) & (entered == STEPS)
        # of columns that enter together the larger is first
        rank = torch.where(new, 1 / (1 + beta.abs()), 0.0)
        entered = torch.where(new, step + rank, entered)
        if bool(((entered < STEPS).sum(1) >= most).all()):
            break
    return torch.argsort(entered, dim=1, stable=True)


def _proximal(model: Tensor, slope: Tensor, penalty: Tensor, beta: Tensor) -> Tensor:
    """Minimum of the model plus the L1 norm, by accelerated proximal steps from where the last one ended."""
    size = torch.linalg.eigvalsh(model)[:, -1:]
    ahead, momentum = beta, 1.0
    for _ in range(INNER):
        moved = ahead + (slope - torch.bmm(model, ahead.unsqueeze(2)).squeeze(2)) / size
        fresh = moved.sign() * (moved.abs() - penalty.unsqueeze(1) / size).clamp_min(0)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = fresh + (momentum - 1) / following * (fresh - beta)
        beta, momentum = fresh, following
    return beta


def _moved(block: Block, beta: Float[Tensor, "p m"]) -> Optimum:
    """The scores at the coefficients with the best intercept."""
    scores = torch.bmm(beta.float().unsqueeze(1), block.design[:, :-1]).squeeze(1)
    bias = torch.zeros(len(beta), 1)
    for _ in range(4):
        miss = torch.sigmoid(-block.signs * (scores + bias))
        pull = block.weights * miss
        bias = bias + (pull * block.signs).sum(1, keepdim=True) / (pull * (1 - miss)).sum(1, keepdim=True).clamp_min(
            1e-9
        )
    return Optimum(beta=torch.cat([beta.float(), bias], 1), scores=scores + bias, loss=torch.zeros(len(beta)), steps=0)


def _signs_and_weights(labels: Bool[np.ndarray, "m n"]) -> tuple[Tensor, Tensor]:
    signs = torch.from_numpy(np.where(labels, 1.0, -1.0))
    weights = balanced_weights(signs, torch.ones_like(signs, dtype=torch.bool))
    return signs.float(), weights.float()
