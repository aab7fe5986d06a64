"""`learned_mask`: which blocks of a featurizer must come from another input for the output to change as a causal model
says, learned as a sparse mask and judged on held-out groups.

mask = a soft gate a block + cross-entropy of the counterfactual label + a price of every open gate; gates harden at 1/2.
The mask is a choice among blocks, so the report is made on groups that it was not learned on, beside exchanges of
random subspaces of equal rank, scaled to the same length.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `gates` | m = sigmoid(t / T) | (s,) | z := z_b + m (z_s - z_b), block by block | specs/evaluation.md 5; Huang et al. 2024 (arXiv 2402.17700), section 4.3 |
| `temperature` | T | scalar | from 1 down to .1 | our own |
| `penalty` | lambda | nats | price of opening all gates: L1 over gates / s | specs/evaluation.md 5 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from unweave.directions.das import forward_of, interchange_pairs
from unweave.errors import InputError
from unweave.evals.causing.behaviours import FIRST_TOKEN
from unweave.evals.causing.changes import random_bases
from unweave.evals.findings import Finding, Prediction, finding
from unweave.features.featurizer import Featurizer, check_width
from unweave.tensors.paired import binomial
from unweave.tensors.splits import grouped_split, grouping

HOTTEST, COLDEST = 1.0, 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class LearnedMask:
    """A choice of blocks, and what their exchange does on groups it was not learned on."""

    blocks: tuple[int, ...]
    """With a gate above 1/2."""
    gates: Float[np.ndarray, " s"]
    """Of every block when learning ended, 0 to 1."""
    finding: Finding
    """Interchange accuracy on the held-out groups, against random subspaces of equal rank and length; `floor` exchanges
    nothing, `ceiling` everything.
    """
    loss: float
    """Cross-entropy of the last tenth of the steps, nats."""
    n_train: int

    @property
    def candidates(self) -> int:
        """Blocks it could choose from."""
        return len(self.gates)

    def __repr__(self) -> str:
        """Blocks and accuracy."""
        return f"LearnedMask({len(self.blocks)} of {self.candidates} blocks, {self.finding!r})"


def learned_mask(
    forward: Any,
    featurizer: Featurizer,
    base: Any,
    source: Any,
    labels: Any,
    groups: Any = None,
    *,
    penalty: float = 0.3,
    steps: int = 300,
    lr: float = 0.05,
    batch: int = 64,
    test: float = 0.3,
    prediction: Prediction | None = None,
    draws: int = 39,
    seed: int = 0,
) -> LearnedMask:
    """The blocks whose exchange makes the output the counterfactual one, chosen by gradient and judged on other groups.

    Args:
        forward: (h (m, d), rows (m,)) -> scores (m, classes), as in `uw.directions.das`.
        featurizer: Any; whole blocks are exchanged, what it leaves out stays the base's.
        base: Activations (n, d) of the base inputs at its site.
        source: Activations (n, d) of the source inputs.
        labels: (n,) the class that the causal model says after the exchange.
        groups: (n,) the entity or template of each pair.
        penalty: Price of opening all gates, in nats.
        steps: Of Adam.
        lr: Its step size.
        batch: Pairs a step.
        test: Share of the groups held out.
        prediction: What is claimed of the accuracy.
        draws: Random subspaces of equal rank and length.
        seed: Of split, batches and subspaces.

    Raises:
        InputError: Shapes that do not fit, a negative penalty, or fewer than one step.
        DataError: NaN, fewer than two pairs or a single group.

    Source:
        specs/evaluation.md 5; the differential binary mask of Huang et al. 2024 (arXiv 2402.17700).

    Example:
        >>> from unweave.features.bases import neurons
        >>> base, source = torch.randn(2, 300, 6, dtype=torch.float64)
        >>> def forward(h, rows): return torch.stack([-3 * h[:, 2], 3 * h[:, 2]], 1)
        >>> found = learned_mask(forward, neurons(6), base, source, (source[:, 2] > 0).long(), steps=100)
        >>> found.blocks, found.finding.supported
        ((2,), True)
    """
    if penalty < 0 or steps < 1:
        raise InputError(f"penalty is {penalty} and steps {steps}: 0 or more, and at least 1")
    one, two, wanted = interchange_pairs(base, source, labels)
    check_width(one, featurizer.width, featurizer.site)
    codes = grouping(groups, len(one)).codes
    held_out = grouped_split(grouping(codes, len(codes)), np.ones((len(codes), 1)), test=test, seed=seed)
    ground = _Exchange(forward=forward_of(forward), featurizer=featurizer, base=one, source=two, labels=wanted)
    generator = torch.Generator().manual_seed(seed)
    training = torch.from_numpy(np.flatnonzero(~held_out))
    gates, loss = _learned(ground, training, generator, (penalty, steps, lr, batch))
    chosen = tuple(np.flatnonzero(gates > 0.5).tolist())
    report = torch.from_numpy(np.flatnonzero(held_out))
    values = np.stack([ground.solved(some, report) for some in (range(0), range(len(gates)), chosen)])
    chance = ground.by_chance(chosen, report, draws, seed)
    found = finding(
        "learned mask",
        "mean 1[argmax M(base; z_F := z_F(source)) = counterfactual answer], F learned on other groups",
        values[2],
        chance,
        unit="share",
        scope=FIRST_TOKEN,
        groups=codes[held_out],
        prediction=prediction,
        floor=float(values[0].mean()),
        ceiling=float(values[1].mean()),
        seed=seed,
        intervals=binomial,
        details={"candidates": len(gates), "chosen": len(chosen), "penalty": penalty, "n_train": len(training)},
        warnings=() if chosen else ("no gate is open: the penalty outweighs the labels",),
    )
    return LearnedMask(blocks=chosen, gates=gates, finding=found, loss=loss, n_train=len(training))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Exchange:
    """The pairs and what follows the site."""

    forward: Any
    featurizer: Featurizer
    base: Float[Tensor, "n d"]
    source: Float[Tensor, "n d"]
    labels: Tensor

    def mixed(self, by_block: Float[Tensor, " s"], rows: Tensor) -> Float[Tensor, "m d"]:
        """The activations with each block moved by its gate towards the source."""
        gate = by_block.repeat_interleave(torch.tensor(self.featurizer.blocks))
        z, residual = self.featurizer.encode(self.base[rows])
        other, _ = self.featurizer.encode(self.source[rows])
        return self.featurizer.decode(z + gate.to(z) * (other - z), residual)

    def scores(self, mixed: Float[Tensor, "m d"], rows: Tensor) -> Tensor:
        """Of the output."""
        scores = self.forward(mixed, rows)
        if scores.ndim != 2 or len(scores) != len(rows):
            raise InputError(
                f"forward got {len(rows)} rows and returned shape {tuple(scores.shape)}: (rows, classes) is needed"
            )
        return scores

    def solved(self, blocks: Sequence[int], rows: Tensor) -> Float[np.ndarray, " m"]:
        """Whether the output is the counterfactual one when exactly these blocks are exchanged."""
        return self._right(self._exchanged(blocks, rows), rows)

    def by_chance(self, blocks: Sequence[int], rows: Tensor, draws: int, seed: int) -> Float[np.ndarray, "draws m"]:
        """The same with random subspaces of the blocks' rank, their exchange as long as that of the blocks."""
        base, source = self.base[rows].double(), self.source[rows].double()
        length = (self._exchanged(blocks, rows).double() - base).norm()
        size = min(sum(self.featurizer.blocks[block] for block in blocks), base.shape[1])
        found = []
        for basis in random_bases(base.shape[1], size, draws=draws, seed=seed):
            part = ((source - base) @ basis) @ basis.T
            found.append(self._right((base + part * (length / part.norm().clamp_min(1e-30))).to(self.base), rows))
        return np.stack(found)

    def _exchanged(self, blocks: Sequence[int], rows: Tensor) -> Float[Tensor, "m d"]:
        gate = torch.zeros(len(self.featurizer.blocks), dtype=torch.float64)
        gate[torch.as_tensor(list(blocks), dtype=torch.long)] = 1.0
        return self.mixed(gate, rows)

    def _right(self, values: Float[Tensor, "m d"], rows: Tensor) -> Float[np.ndarray, " m"]:
        with torch.no_grad():
            best = self.scores(values, rows).argmax(1).cpu()
        return (best == self.labels[rows].cpu()).double().numpy()


def _learned(
    ground: _Exchange, rows: Tensor, generator: torch.Generator, options: tuple[float, int, float, int]
) -> tuple[Float[np.ndarray, " s"], float]:
    """The gates, and the mean cross-entropy of the last tenth of the steps."""
    penalty, steps, lr, batch = options
    free = torch.zeros(len(ground.featurizer.blocks), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([free], lr=lr)
    losses, temperature = [], HOTTEST
    for step in range(steps):
        temperature = HOTTEST * (COLDEST / HOTTEST) ** (step / max(1, steps - 1))
        some = rows[torch.randperm(len(rows), generator=generator)[:batch]]
        with torch.enable_grad():
            gate = torch.sigmoid(free / temperature)
            loss = cross_entropy(ground.scores(ground.mixed(gate, some), some), ground.labels[some])
            (free.grad,) = torch.autograd.grad(loss + penalty * gate.mean(), [free])
        losses.append(float(loss.detach()))
        optimiser.step()
    gates = torch.sigmoid(free.detach() / temperature).numpy()
    return gates, float(np.mean(losses[-max(1, steps // 10) :]))
