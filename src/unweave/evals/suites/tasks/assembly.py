"""`assemble`: a GPT-2 whose stream holds named variables in known random directions and whose heads do what they are
told, so that the answer to every question about it is known.

assemble = a random rotation of named coordinates + a large constant, so that the norms do nothing + weights set by hand

A head looks where a query meets a key and writes values: all three are sums over variables. The constant makes the
length of every state nearly the same: a layer norm then returns its input to about one part in a thousand.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `rotation` | Q | (k, d) | orthonormal rows, each of mean 0: h = variables @ Q | our own |
| `CONSTANT` | c | scalar | value of the variable `one`; the norm is c to .1 % | our own |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Provenance
from unweave.tensors.linalg import random_orthogonal

CONSTANT = 100.0
ONE = "one"
Parts = Mapping[str, Tensor]
"""Variable -> matrix (its size, columns) from its values to the columns of a query, key or value."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a head does; columns of query and key meet, columns of value are written."""

    query: Parts
    key: Parts
    value: Parts
    writes: Parts
    """Variable -> matrix (size, columns of the value)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """Where each variable lies in the stream."""

    sizes: Mapping[str, int]
    rotation: Float[Tensor, "k d"]
    """Rows of the variables in order, then what is left of the space."""

    @property
    def width(self) -> int:
        """d."""
        return self.rotation.shape[1]

    def of(self, name: str) -> slice:
        """The rows of a variable."""
        start = 0
        for one, size in self.sizes.items():
            if one == name:
                return slice(start, start + size)
            start += size
        raise KeyError(name)

    def rows(self, parts: Parts) -> Float[Tensor, "d columns"]:
        """Matrix from the stream to the columns."""
        columns = next(iter(parts.values())).shape[1]
        found = torch.zeros(len(self.rotation), columns, dtype=torch.float64)
        for name, matrix in parts.items():
            found[self.of(name)] += matrix.double() / (CONSTANT if name == ONE else 1.0)
        return self.rotation.T @ found

    def featurizer(self, site: str, model: str) -> AffineFeaturizer:
        """The true partition at a site: a block a variable, the last one the rest of the space.

        Args:
            site: Where.
            model: Fingerprint.
        """
        used = sum(self.sizes.values())
        blocks = (*self.sizes.values(), len(self.rotation) - used)
        return AffineFeaturizer(
            read=self.rotation.T, site=site, blocks=blocks, provenance=Provenance(method="planted", model=model)
        )

    def names(self) -> tuple[str, ...]:
        """The variable of each block."""
        return (*self.sizes, "rest")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A model before its weights are set."""

    sizes: Mapping[str, int]
    """Variable -> dimensions."""
    words: Parts
    """Variable -> (vocabulary, size): what each token brings."""
    scores: Parts
    """Variable -> (vocabulary, size): what each token's logit reads."""
    layers: Sequence[Sequence[Head]]
    places: Parts = field(default_factory=dict)
    """Variable -> (positions, size)."""
    positions: int = 64
    heads: int = 1
    head_width: int = 0
    """The least width of a head; the stream grows with it."""


def assemble(plan: Plan, *, seed: int) -> tuple[Any, Layout]:
    """The transformers module and where its variables lie.

    Args:
        plan: Variables, tokens and heads.
        seed: Of the rotation.
    """
    sizes = {ONE: 1, **plan.sizes}
    least = max(sum(sizes.values()) + 2, plan.heads * plan.head_width)
    width = -(-least // plan.heads) * plan.heads
    layout = Layout(sizes=sizes, rotation=_rotation(width, seed))
    vocabulary = len(next(iter(plan.words.values())))
    module = _empty(vocabulary, width, plan)
    body = module.transformer
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        for norm in (body.ln_f, *(part for block in body.h for part in (block.ln_1, block.ln_2))):
            norm.weight.fill_(CONSTANT / width**0.5)
        body.wte.weight.copy_(_written(layout, {ONE: torch.full((vocabulary, 1), CONSTANT), **plan.words}))
        if plan.places:
            body.wpe.weight.copy_(_written(layout, plan.places))
        module.lm_head.weight.copy_(layout.rows({name: one.T for name, one in plan.scores.items()}).T)
        for block, heads in zip(body.h, plan.layers, strict=True):
            for number, head in enumerate(heads):
                _set_head(block.attn, layout, head, number, width // plan.heads)
    return module.eval(), layout


def _rotation(width: int, seed: int) -> Tensor:
    """Orthonormal rows without a mean, but the last, which is the mean itself: a layer norm takes it away."""
    mean = torch.full((width, 1), width**-0.5, dtype=torch.float64)
    others = random_orthogonal(width, seed=seed)[:, : width - 1]
    return torch.linalg.qr(torch.cat([mean, others], 1)).Q.T.roll(-1, 0)


def _written(layout: Layout, parts: Parts) -> Tensor:
    rows = torch.zeros(len(next(iter(parts.values()))), len(layout.rotation), dtype=torch.float64)
    for name, values in parts.items():
        rows[:, layout.of(name)] = values.double()
    return (rows @ layout.rotation).float()


def _set_head(attention: Any, layout: Layout, head: Head, number: int, size: int) -> None:
    width = layout.width
    for turn, parts in enumerate((head.query, head.key, head.value)):
        matrix = layout.rows(parts) * (size**0.5 if turn == 0 else 1.0)
        start = turn * width + number * size
        attention.c_attn.weight[:, start : start + matrix.shape[1]] = matrix.float()
    columns = next(iter(head.writes.values())).shape[1]
    out = _written(layout, {name: matrix.T for name, matrix in head.writes.items()})
    attention.c_proj.weight[number * size : number * size + columns] = out


def _empty(vocabulary: int, width: int, plan: Plan) -> Any:
    import transformers

    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=vocabulary,
            n_positions=plan.positions,
            n_embd=width,
            n_layer=len(plan.layers),
            n_head=plan.heads,
            n_inner=4,
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
