"""A network whose causal variables are known: two binary variables in known directions of a hidden layer, a decoy that
goes with the first one and that nothing reads, and a question that says which variable is answered.

    x = (a, b, c, q, noise)      h = x Q      logits = relu(h G + bias)

Q mixes all inputs into random orthonormal directions, so that no variable is a neuron. G reads a, b and the question
and nothing else. A second direction can carry a part of `a`: the block of the first then holds the rest, which is the
effect size.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `share` | phi | scalar | part of variable a that the true block carries | our own |
| `noise` | - | scalar | sd of what is added to a before it is read, in units of a | our own |
| `mixing` | Q | (d, d) | orthonormal rows | our own |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from unweave.evals.causing.pairs import Pairs
from unweave.features.affine import AffineFeaturizer
from unweave.models.loading import load_model
from unweave.models.model import Model
from unweave.tensors.linalg import random_orthogonal

WIDTH = 24
A, A_REST, B, DECOY, QUESTION, NOISE = range(6)
"""Inputs by what they are; all others are noise without effect."""
AGREES = 0.9
"""How often the decoy has the value of a."""
GATE = 4.0


@dataclass(frozen=True, kw_only=True, eq=False)
class VariableWorld:
    """A network, and the directions of its variables."""

    model: Model
    featurizer: AffineFeaturizer
    """One block a variable, in known directions, of a 'hidden' site."""
    share: float
    true: int = A
    other: int = B
    decoy: int = DECOY

    def inputs(self, count: int, *, seed: int, about: str = "a") -> tuple[Tensor, Tensor, Tensor]:
        """(inputs, a, b) with random values; the question is about a or b.

        Args:
            count: Inputs.
            seed: Of them.
            about: `a` or `b`.
        """
        rng = np.random.default_rng([seed, 29])
        a, b = rng.integers(0, 2, count), rng.integers(0, 2, count)
        agrees = rng.random(count) < AGREES
        x = rng.normal(0, 1.0, (count, WIDTH))
        x[:, A], x[:, A_REST] = self.share * (2 * a - 1), (1 - self.share) * (2 * a - 1)
        x[:, B], x[:, DECOY] = 2 * b - 1, np.where(agrees, 2 * a - 1, 1 - 2 * a)
        x[:, QUESTION] = 1.0 if about == "a" else -1.0
        x[:, NOISE] = rng.normal(0, 1.0, count)
        return torch.from_numpy(x), torch.from_numpy(a), torch.from_numpy(b)

    def pairs(self, count: int, *, seed: int, about: str = "a") -> Pairs:
        """Base and source inputs with another value of a; the answers are those after an interchange of a.

        Args:
            count: Pairs.
            seed: Of them.
            about: The variable that is asked for; of `b` the answer stays the base's.
        """
        base, a_base, b_base = self.inputs(count, seed=2 * seed, about=about)
        source, a_source, b_source = self.inputs(count, seed=2 * seed + 1, about=about)
        flip = a_source == a_base
        source[flip, A] *= -1
        source[flip, A_REST] *= -1
        source[flip, DECOY] *= -1
        a_source = torch.where(flip, 1 - a_source, a_source)
        own, theirs = (a_base, a_source) if about == "a" else (2 + b_base, 2 + b_source)
        return Pairs(
            base=base,
            source=source,
            answer=theirs if about == "a" else own,
            base_answer=own,
            source_answer=theirs,
            among=(0, 1, 2, 3),
            groups=np.arange(count),
        )


def variable_world(*, seed: int, share: float = 1.0, noise: float = 0.3, random_weights: bool = False) -> VariableWorld:
    """A network with known variables.

    Args:
        seed: Of the mixing.
        share: Part of `a` that its block carries; the rest lies in another direction. 0: the block is without effect.
        noise: How much of an irrelevant input is added to a, in units of a.
        random_weights: Read-outs drawn at random instead: the negative world, which answers nothing.

    Example:
        >>> world = variable_world(seed=0)
        >>> x, a, b = world.inputs(100, seed=1)
        >>> bool((world.model(x).argmax(1) == a).double().mean() > 0.95)
        True
    """
    mixing = random_orthogonal(WIDTH, seed=seed)
    gates = torch.zeros(WIDTH, 4, dtype=torch.float64)
    for answer, (variable, sign) in enumerate([("a", -1), ("a", 1), ("b", -1), ("b", 1)]):
        if variable == "a":
            gates[A, answer] = gates[A_REST, answer] = sign
            gates[NOISE, answer] = sign * noise
        else:
            gates[B, answer] = sign
        gates[QUESTION, answer] = GATE if variable == "a" else -GATE
    first, second = nn.Linear(WIDTH, WIDTH, bias=False).double(), nn.Linear(WIDTH, 4).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        first.weight.copy_(mixing.T)
        drawn = torch.randn(WIDTH, 4, generator=generator, dtype=torch.float64)
        second.weight.copy_((drawn if random_weights else mixing.T @ gates).T)
        second.bias.copy_(torch.zeros(4).double())
    model = load_model(nn.Sequential(first, second, nn.ReLU()).eval(), name="planted variables")
    return VariableWorld(
        model=model,
        featurizer=AffineFeaturizer(read=mixing.T, write=mixing, site="0"),
        share=share,
    )
