"""How an effect is spread over the blocks of a partition, and how concentrated that is.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `effects` | e_s = abs(mean effect) | (s,) | of each block alone | specs/evaluation.md E18 |
| `participation` | (sum e)^2 / sum e^2 | scalar | how many parts take part: 1 .. n | same |
| `recovery` | e_(1..k) / e_total | (s,) | effect of the k largest over that of all, from single effects | same |
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from unweave.errors import InputError
from unweave.evals.causing.behaviours import Behaviour
from unweave.evals.causing.changes import check_blocks_of, exchange, source_of, units_of
from unweave.evals.causing.patching import Patching, gradient, scores
from unweave.features.affine import AffineFeaturizer
from unweave.features.bases import pca, random_rotation
from unweave.features.featurizer import Featurizer
from unweave.tensors.concentration import gini
from unweave.tensors.estimate import Estimate
from unweave.tensors.grouped import grouped_mean
from unweave.tensors.splits import grouping


@dataclass(frozen=True, kw_only=True, eq=False)
class Spread:
    """The effects of all blocks of one partition."""

    basis: str
    sizes: tuple[int, ...]
    effects: tuple[Estimate, ...]
    """Mean effect of the interchange of each block alone, with its interval over groups."""
    whole: float
    """Effect of the whole site."""
    variances: tuple[float, ...]
    """Of each block over the base rows."""

    @property
    def sizes_of_effects(self) -> Float[np.ndarray, " s"]:
        """Absolute mean effects."""
        return np.abs([one.value for one in self.effects])

    @property
    def participation(self) -> float:
        """How many blocks take part."""
        return participation(self.sizes_of_effects)

    @property
    def top_share(self) -> float:
        """Share of the largest."""
        return float(self.sizes_of_effects.max() / max(self.sizes_of_effects.sum(), 1e-300))

    def ginis(self) -> dict[str, float]:
        """Gini's coefficient, plain and against what dimension and variance alone would give."""
        effects = self.sizes_of_effects
        return {
            "plain": gini(effects),
            "dimension": gini(effects, self.sizes),
            "variance": gini(effects, np.maximum(self.variances, 1e-12)),
        }

    def row(self) -> dict[str, Any]:
        """As one row of a table."""
        best = int(self.sizes_of_effects.argmax())
        found = {f"gini_{name}": value for name, value in self.ginis().items()} if len(self.sizes) > 1 else {}
        return {
            "basis": self.basis,
            "blocks": len(self.sizes),
            "best": best,
            "best_effect": self.effects[best].value,
            "best_size": self.sizes[best],
            "whole": self.whole,
            "sum": float(sum(one.value for one in self.effects)),
            "participation": self.participation,
            "top_share": self.top_share,
            **found,
        }

    def __repr__(self) -> str:
        """Basis, blocks and how concentrated the effect is."""
        return f"Spread({self.basis}, {len(self.sizes)} blocks, participation {self.participation:.2f})"


def spread(
    patched: Patching,
    featurizer: Featurizer,
    behaviour: Behaviour,
    *,
    groups: Any = None,
    seed: int = 0,
    basis: str | None = None,
) -> Spread:
    """The effect of every block of a partition, one at a time, behind one clean and one source pass.

    Args:
        patched: Base and source.
        featurizer: The partition.
        behaviour: What is measured.
        groups: The group of each item.
        seed: Of the intervals.
        basis: What to call it; None is its method.

    Example:
        >>> import unweave as uw
        >>> from unweave.evals import logit_difference, patching
        >>> model, site = uw.load_model("zoo:docs"), "blocks.1.resid_post"
        >>> base, source = model.tokenize(["One text.", "Two text."]), model.tokenize(["A set.", "B set."])
        >>> ready = patching(model, site, base, source, positions="last")
        >>> parts = AffineFeaturizer(read=np.eye(ready.width), blocks=(ready.width // 4,) * 4, site=site)
        >>> spread(ready, parts, logit_difference([5, 5], [7, 7]), basis="quarters").basis
        'quarters'
    """
    check_blocks_of(patched.model, featurizer, None)
    count = len(featurizer.blocks)
    changes = [
        exchange(patched, featurizer, None),
        *(exchange(patched, featurizer, (block,)) for block in range(count)),
    ]
    values = scores(patched, [None, *changes], behaviour)
    shifts = values[1:] - values[0]
    codes = grouping(groups, values.shape[1]).codes
    z = featurizer.encode(patched.base)[0].double()
    spans = np.cumsum([0, *featurizer.blocks])
    return Spread(
        basis=basis or featurizer.provenance.method or "featurizer",
        sizes=tuple(featurizer.blocks),
        effects=tuple(grouped_mean(shift, codes, seed=seed) for shift in shifts[1:]),
        whole=float(shifts[0].mean()),
        variances=tuple(float(z[:, int(a) : int(b)].var(0, correction=0).sum()) for a, b in pairwise(spans)),
    )


def references(
    patched: Patching,
    featurizer: Featurizer,
    behaviour: Behaviour,
    *,
    groups: Any = None,
    rows: Any = None,
    seed: int = 0,
) -> tuple[Spread, ...]:
    """The same for identity, random and PCA partitions of equal sizes: what concentration is worth.

    Args:
        patched: Base and source.
        featurizer: The partition whose sizes they take.
        behaviour: What is measured.
        groups: The group of each item.
        rows: Activations to fit PCA on; None is the base rows.
        seed: Of rotation and intervals.

    Example:
        >>> from unweave.evals.planted.module import variable_world
        >>> from unweave.evals import logit_difference
        >>> from unweave.evals.causing.causal import ready_pairs
        >>> world = variable_world(seed=0)
        >>> pairs = world.pairs(20, seed=1)
        >>> ready = ready_pairs(world.model, world.featurizer, pairs)
        >>> measure = logit_difference(pairs.answer, pairs.base_answer)
        >>> [one.basis for one in references(ready, world.featurizer, measure)]
        ['identity', 'random', 'pca', 'pca descending']
    """
    width, sizes = patched.width, tuple(featurizer.blocks)
    if sum(sizes) != width:
        raise InputError(
            f"the blocks hold {sum(sizes)} of {width} dimensions: partitions of equal sizes need all of them"
        )
    made = {
        "identity": AffineFeaturizer(read=torch.eye(width, dtype=torch.float64)),
        "random": random_rotation(width, seed=seed),
        "pca": _rising(pca(patched.base if rows is None else rows)),
        "pca descending": pca(patched.base if rows is None else rows),
    }
    return tuple(
        spread(
            patched, replace(one, blocks=sizes, site=str(patched.site)), behaviour, groups=groups, seed=seed, basis=name
        )
        for name, one in made.items()
    )


def route_selectivity(first: Spread, second: Spread) -> Float[np.ndarray, " s"]:
    """Effect on the first route minus effect on the second, block by block, each as a share of the whole site's: a
    block of top variance moves both.

    Args:
        first: Of one behaviour.
        second: Of another, same partition.

    Example:
        >>> from unweave.evals.planted.module import variable_world
        >>> from unweave.evals import logit_difference
        >>> from unweave.evals.causing.causal import ready_pairs
        >>> world = variable_world(seed=0)
        >>> pairs = world.pairs(20, seed=1)
        >>> ready = ready_pairs(world.model, world.featurizer, pairs)
        >>> first = spread(ready, world.featurizer, logit_difference(pairs.answer, pairs.base_answer))
        >>> float(route_selectivity(first, first).max())
        0.0
    """
    if first.sizes != second.sizes:
        raise InputError("the two are of different partitions: selectivity compares blocks of one")
    shares = [np.array([one.value for one in part.effects]) / (part.whole or np.nan) for part in (first, second)]
    return shares[0] - shares[1]


def participation(effects: Any) -> float:
    """How many parts take part in an effect: (sum e)^2 / sum e^2 of absolute values.

    Example:
        >>> participation([1, 1, 1, 1]), participation([0, 5, 0])
        (4.0, 1.0)
    """
    sizes = np.abs(np.asarray(effects, dtype=np.float64))
    return float(sizes.sum() ** 2 / max((sizes**2).sum(), 1e-300))


def recovery(effects: Any) -> Float[np.ndarray, " s"]:
    """The share of the sum of absolute effects that the k largest hold, for k = 1, 2, ...

    Example:
        >>> recovery([1.0, 3.0]).tolist()
        [0.75, 1.0]
    """
    sizes = np.sort(np.abs(np.asarray(effects, dtype=np.float64)))[::-1]
    return sizes.cumsum() / max(sizes.sum(), 1e-300)


def screen_blocks(patched: Patching, featurizer: AffineFeaturizer, behaviour: Behaviour) -> Float[np.ndarray, " s"]:
    """The effect of each block to first order, all at once: `<(z_s - z_b)_F, (dB/dh W')_F>`, mean over items.

    Args:
        patched: Base and source.
        featurizer: Affine.
        behaviour: Smooth.
    """
    slope = gradient(patched, behaviour).double()
    z = featurizer.encode(patched.base.double())[0]
    shift = featurizer.encode(source_of(patched).double())[0] - z
    parts = (shift * (slope @ featurizer.write.double().T)).sum(0)
    return np.array([float(parts[units_of(featurizer, (block,))].sum()) for block in range(len(featurizer.blocks))]) / (
        behaviour.item_count(patched.rows)
    )


def _rising(found: AffineFeaturizer) -> AffineFeaturizer:
    """Components by rising variance, as the published control has them."""
    return replace(found, read=found.read.flip(1), write=found.write.flip(0), bias=found.bias.flip(0))
