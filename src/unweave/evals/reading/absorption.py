"""`absorption`: where the latent of a concept stays silent and another one speaks for it (E23).

A dictionary that splits a concept lets a more special latent take it over on its own tokens: the main latent is then no
detector of the concept although it looks like one. On held-out rows that show the concept and that a linear probe
finds, the probe's projection is split into the shares of the latents.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `projection` | q = (h - o) . p | (n,) | p the unit probe, o the origin of the dictionary | specs/evaluation.md, 4.2 |
| `shares` | a_j cos(w_j, p) | (n, k) | a_j the activation times the length of its decoder row w_j | same |
| `full` | q > 0, main silent, cos >= .025, share / q >= .4 | share of rows | of the latent with the largest share | same |
| `fraction` | min(A, q - m) / (min(A, q - m) + m) | mean over rows | m main sum; A sum of at most 3 others with cos >= .1; 0 if m >= q or A / q < .4, 1 if m <= 0 | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.config import config_from
from unweave.directions.logistic import logistic
from unweave.errors import DataError, InputError
from unweave.evals.averages import mean_estimate
from unweave.features.featurizer import Featurizer, check_width
from unweave.features.neurons import as_affine
from unweave.probing.config import ProbeConfig
from unweave.probing.problem import as_problem
from unweave.tensors.estimate import Estimate

SPLIT = 0.03
"""Rise of F1 on the training groups that makes a further latent a main one."""
MOST_MAIN = 5
SILENT_COS, SHARE, OTHERS_COS, OTHERS = 0.025, 0.4, 0.1, 3
"""Bounds of the definition."""


@dataclass(frozen=True, kw_only=True)
class Absorption:
    """How often a concept's own latents are silent while others carry it."""

    full: Estimate
    """Share of the rows where all main latents are silent and one other carries the concept; the control is the mean
    over dictionaries with the same activations and random decoder rows.
    """
    fraction: Estimate
    """Mean share of the concept that others carry."""
    main: tuple[int, ...]
    """The latents that detect the concept, chosen on the training groups."""
    probe_recall: float
    """Share of the held-out positives that the probe finds: the rows that are looked at."""

    def row(self) -> dict[str, Any]:
        """As one row of a table."""
        told: dict[str, Any] = {"main": list(self.main), "probe_recall": self.probe_recall, "n": self.full.n}
        for name, one in (("full", self.full), ("fraction", self.fraction)):
            told |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high, f"{name}_control": one.control}
        return told

    def __repr__(self) -> str:
        """Both, and the main latents."""
        return f"Absorption(full {self.full.value:.3f}, fraction {self.fraction.value:.3f}, main {list(self.main)})"


def absorption(
    featurizer: Featurizer,
    X: Any,
    y: Any,
    groups: Any = None,
    seed: int = 0,
    *,
    main: Sequence[int] | None = None,
    test: float = 0.3,
    draws: int = 20,
) -> Absorption:
    """How much of a concept the latents that detect it leave to others.

    Args:
        featurizer: A dictionary, affine up to its nonlinearity.
        X: Rows (n, d) at its site.
        y: (n,) binary labels of the concept.
        groups: (n,) the document or token type of each row.
        seed: Of split, bootstrap and random decoders.
        main: The concept's latents; None chooses them on the training groups: by standardised mean difference, a
            further one as long as F1 of a read-out of them rises by 0.03, at most five.
        test: Share of the groups held out.
        draws: Random decoders of the control.

    Raises:
        InputError: Shapes that do not fit, labels that are not binary, a main latent that does not exist.
        DataError: One class only, a single group, or no held-out positive that the probe finds.

    Source:
        specs/evaluation.md, 4.2; Chanin et al. 2024 (arXiv 2409.14507) and SAEBench (arXiv 2503.09532).

    Example:
        >>> from unweave.features.affine import AffineFeaturizer
        >>> rng = np.random.default_rng(0)
        >>> y = rng.random(600) < 0.5
        >>> X = np.stack([y, rng.random(600) < 0.1, rng.random(600)], 1).astype(float)
        >>> absorption(AffineFeaturizer(read=np.eye(3)), X, y).main
        (0,)
    """
    rows, problem = as_problem(X, y, groups, config_from(ProbeConfig, {"test": test, "seed": seed}, source="options"))
    affine = as_affine(featurizer)
    check_width(rows, affine.width, affine.site)
    exact, held_out, labels = rows.double(), problem.held_out, problem.labels
    training = torch.from_numpy(~held_out)
    z = affine.encode(exact)[0]
    codes = problem.groups.codes
    if main is None:
        signed = affine.act.kind == "identity"  # a unit without a nonlinearity may say yes by a negative value
        chosen = _main(z[training], labels[~held_out], codes[~held_out], (signed, seed))
    else:
        chosen = tuple(int(one) for one in main)
        if not chosen or not all(0 <= one < z.shape[1] for one in chosen):
            raise InputError(f"main is {list(chosen)}: numbers of latents, 0 to {z.shape[1] - 1}, are needed")
    probe = logistic(exact[training], labels[~held_out], groups=codes[~held_out], seed=seed)
    positives = torch.from_numpy(held_out & labels)
    found = positives & (probe.score(exact) > 0)
    if not bool(found.any()):
        raise DataError(
            f"the probe finds none of {int(positives.sum())} held-out positives: there is nothing to absorb"
        )
    direction = probe.covector / probe.covector.norm()
    projection = (exact[found] - affine.origin.double()) @ direction
    lengths = affine.write.double().norm(dim=1)
    amounts, rest = z[found] * lengths, torch.nn.functional.normalize(affine.write.double(), dim=1)
    values = _absorbed(projection, amounts, rest @ direction, chosen)
    generator = torch.Generator().manual_seed(seed)
    chance = []
    for _ in range(draws):
        drawn = torch.nn.functional.normalize(torch.randn(rest.shape, generator=generator, dtype=torch.float64), dim=1)
        drawn[list(chosen)] = rest[list(chosen)]
        chance.append([float(one.mean()) for one in _absorbed(projection, amounts, drawn @ direction, chosen)])
    inside = np.unique(codes[found.numpy()], return_inverse=True)[1].reshape(-1)
    full, fraction = (mean_estimate(one, inside, seed=seed, bounds=(0.0, 1.0)) for one in values)
    control = np.mean(chance, 0) if chance else (None, None)
    return Absorption(
        full=replace(full, control=None if control[0] is None else float(control[0])),
        fraction=replace(fraction, control=None if control[1] is None else float(control[1])),
        main=chosen,
        probe_recall=float(found.sum() / positives.sum()),
    )


def _absorbed(
    projection: Float[Tensor, " n"], amounts: Float[Tensor, "n k"], cosines: Float[Tensor, " k"], main: Sequence[int]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """(full, fraction) of every row."""
    shares = amounts * cosines
    other = torch.ones(len(cosines), dtype=torch.bool)
    other[list(main)] = False
    silent = (amounts[:, list(main)] == 0).all(1)
    best = torch.where(other, shares, -torch.inf).max(1) if bool(other.any()) else None
    q, tiny = projection, torch.finfo(torch.float64).tiny
    full = torch.zeros(len(q), dtype=torch.bool)
    if best is not None:
        full = silent & (cosines[best.indices] >= SILENT_COS) & (q > 0) & (best.values >= SHARE * q)
    offered = torch.where(other & (cosines >= OTHERS_COS), shares, torch.zeros_like(shares)).clamp_min(0)
    theirs = offered.topk(min(OTHERS, offered.shape[1]), dim=1).values.sum(1)
    own = shares[:, list(main)].sum(1)
    taken = torch.minimum(theirs, q - own)
    fraction = torch.where(own <= 0, torch.ones_like(q), taken / (taken + own).clamp_min(tiny))
    fraction = torch.where((own >= q) | (theirs < SHARE * q), torch.zeros_like(q), fraction)
    return full.double().numpy(), fraction.numpy()


def _main(z: Float[Tensor, "n k"], labels: np.ndarray, codes: np.ndarray, how: tuple[bool, int]) -> tuple[int, ...]:
    """The latents that detect the concept, the best first."""
    positive = torch.from_numpy(labels)
    spread = z.std(0, unbiased=False).clamp_min(1e-12)
    apart, (signed, seed) = (z[positive].mean(0) - z[~positive].mean(0)) / spread, how
    order = (apart.abs() if signed else apart).argsort(descending=True).tolist()
    best, chosen = 0.0, []
    for count in range(1, min(MOST_MAIN, len(order)) + 1):
        scores = logistic(z[:, order[:count]], labels, groups=codes, lams=(1.0,), seed=seed).score(z[:, order[:count]])
        called = (scores > 0).numpy()
        reached = 2 * float((called & labels).sum()) / max(float(called.sum() + labels.sum()), 1.0)
        if count > 1 and reached < best + SPLIT:
            break
        best, chosen = reached, order[:count]
    return tuple(chosen)
