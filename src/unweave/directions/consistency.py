"""Contrast-consistent search: a read-out from pairs of a statement and its negation, without labels.

It looks for a direction along which the two sides of a pair have probabilities that sum to one and are not both one
half. Which end means "true" nobody has told it: the sign is free, and a score that takes the better of both ends is no
evidence (trap T10).

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `consistency` | (p+ - (1 - p-))^2 + min(p+, p-)^2, mean | scalar | 0 is perfect; 1/4 for p = 1/2 everywhere | Burns et al. 2022 (arXiv 2212.03827), eq. 4 and 5 |
| `positive_mean` | mu+ | (d,) | each side is centred on its own training mean | same, section 2.2 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.directions.rows import finite_rows, paired, source_of
from unweave.features.direction import Readout
from unweave.features.featurizer import Provenance, as_sites, check_width


@dataclass(frozen=True, eq=False, kw_only=True)
class ContrastProbe:
    """What contrast-consistent search found; its sign is free."""

    covector: Any
    """(d,), of the side's deviation from its own mean."""
    bias: float
    positive_mean: Any
    """(d,), of the training pairs."""
    negative_mean: Any
    """(d,), of the training pairs."""
    losses: tuple[float, ...]
    """Final loss of each restart, best first."""
    site: Any = None
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        """Takes our spelling of the site."""
        object.__setattr__(self, "site", as_sites(self.site))

    def probabilities(self, positive: Any, negative: Any) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """p+ and p- of pairs, each side centred on its *training* mean."""
        sides = []
        for side, mean in ((positive, self.positive_mean), (negative, self.negative_mean)):
            rows = finite_rows(side).double()
            check_width(rows, len(self.covector), self.site)
            sides.append(torch.sigmoid((rows - mean) @ self.covector + self.bias))
        return sides[0], sides[1]

    @property
    def readout(self) -> Readout:
        """The score of a single statement, about the middle of both means."""
        middle = (self.positive_mean + self.negative_mean) / 2
        return Readout(
            covector=self.covector,
            bias=self.bias - float(middle @ self.covector),
            site=self.site,
            provenance=self.provenance,
        )

    def __repr__(self) -> str:
        """Width and loss."""
        return f"ContrastProbe(width {len(self.covector)}, loss {self.losses[0]:.4f} of {len(self.losses)} restarts)"


def ccs(
    positive: Any,
    negative: Any,
    *,
    restarts: int = 10,
    steps: int = 1000,
    lr: float = 1e-3,
    seed: int = 0,
    site: Any = None,
    model: str | None = None,
) -> ContrastProbe:
    """The read-out that is most consistent on contrast pairs, of several restarts.

    Args:
        positive: Rows (n, d) of statements.
        negative: Rows (n, d); row i is the negation of row i of `positive`.
        restarts: Random starts, all run together; the one of the lowest loss is kept.
        steps: Of AdamW with the whole data.
        lr: Its step size, in units of the data's standard deviation.
        seed: Of the starts.
        site: Where the rows come from.
        model: Fingerprint of the model they come from.

    Raises:
        InputError: Not as many rows on both sides, or not as wide.
        DataError: Fewer than two pairs, or NaN.

    Source:
        Burns et al. 2022 (arXiv 2212.03827), section 2.2; their code's 10 restarts, 1000 steps and step size.

    Example:
        >>> truth = torch.sign(torch.randn(60)); noise = 0.1 * torch.randn(60, 4); axis = torch.tensor([0.0, 1, 0, 0])
        >>> plus, minus = noise + truth[:, None] * axis, noise - truth[:, None] * axis
        >>> found = ccs(plus, minus, restarts=3, steps=300, lr=0.03)
        >>> p, _ = found.probabilities(plus, minus)
        >>> agree = float(((p > 0.5) == (truth > 0)).double().mean())
        >>> max(agree, 1 - agree) > 0.9
        True
    """
    source = source_of(positive, site, model)
    plus, minus = paired(positive, negative)
    means = plus.mean(0), minus.mean(0)
    sides = (plus - means[0], minus - means[1])
    scale = float(torch.cat(sides).square().mean().sqrt()) or 1.0
    one, two = (side / scale for side in sides)
    generator = torch.Generator().manual_seed(seed)
    width = plus.shape[1]
    weight = torch.randn(width, restarts, generator=generator, dtype=torch.float64) / width**0.5
    bias = torch.zeros(restarts, dtype=torch.float64)
    for free in (weight, bias):
        free.requires_grad_(True)
    optimiser = torch.optim.AdamW([weight, bias], lr=lr, weight_decay=0.01)
    losses = torch.zeros(restarts, dtype=torch.float64)
    with torch.enable_grad():
        for _ in range(steps):
            p, q = (torch.sigmoid(side @ weight + bias) for side in (one, two))
            losses = consistency(p, q)
            optimiser.zero_grad()
            losses.sum().backward()
            optimiser.step()
    order = torch.argsort(losses.detach(), stable=True)
    best = int(order[0])
    return ContrastProbe(
        covector=weight.detach()[:, best] / scale,
        bias=float(bias.detach()[best]),
        positive_mean=means[0],
        negative_mean=means[1],
        losses=tuple(losses.detach()[order].tolist()),
        site=source.site,
        provenance=source.provenance("ccs", len(plus), seed=seed),
    )


def consistency(positive: Float[Tensor, "n ..."], negative: Float[Tensor, "n ..."]) -> Float[Tensor, " ..."]:
    """Mean of `(p+ - (1 - p-))^2 + min(p+, p-)^2` over the pairs.

    Args:
        positive: p+ of each pair.
        negative: p- of each pair.

    Example:
        >>> consistency(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])), consistency(*torch.full((2, 3), 0.5))
        (tensor(0.), tensor(0.2500))
    """
    return ((positive - (1 - negative)).square() + torch.minimum(positive, negative).square()).mean(0)
