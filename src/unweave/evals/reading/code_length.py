"""`code_length`: how many bits the labels cost somebody who learns to read them from the activations as they come.

Decodability says how well a read-out ends up; the prequential code also pays for what it took to get there. The
training rows are sent in blocks that double: each is coded by the read-outs fitted on all before it, the penalty being
the one that would have coded the earlier blocks best. No row is coded by a read-out that has seen it.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `bits` | L = t_1 + sum_i -log2 p_i(y_block) | (n,) | bits; the first block costs 1 bit a label | Voita and Titov 2020 (arXiv 2003.12298), section 2.2.2 |
| `compression` | n / L | scalar | 1: nothing is learnt | same |
| `plain` | H(rate) | scalar | bits a label, of one who knows the share of positives and nothing else | Shannon 1948 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweave.config import config_from
from unweave.errors import DataError, InputError
from unweave.evals.averages import mean_estimate
from unweave.probing.config import ProbeConfig
from unweave.probing.problem import posed
from unweave.tensors.estimate import Estimate
from unweave.tensors.logistic import designs, solve
from unweave.tensors.splits import grouping

LAMS = (1000.0, 100.0, 10.0, 1.0, 0.1)
FRACTIONS = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Ends of the blocks, as shares of the groups."""
LEAST_ROWS = 8
"""A block ends no earlier."""
WEIGHT_FLOOR = 1e-6


@dataclass(frozen=True, kw_only=True)
class CodeLength:
    """What the labels cost."""

    bits: Estimate
    """A label, mean over rows; its null is the cost for one who knows the share of positives alone, its control the
    same code for shuffled labels.
    """
    total: float
    """Bits in all."""
    compression: float
    """One bit a label over what they cost: larger is easier to read, 1 or less is not at all."""
    ends: tuple[int, ...]
    """Rows that had been sent after each block."""
    block_bits: tuple[float, ...]
    """Bits a label in each block: the learning curve."""

    def __repr__(self) -> str:
        """Bits a label and compression."""
        return f"CodeLength({self.bits.value:.3f} bits a label, compression {self.compression:.2f})"


def code_length(
    X: Any, y: Any, groups: Any = None, seed: int = 0, *, lams: Sequence[float] = LAMS, shuffles: int = 3
) -> CodeLength:
    """The prequential code length of labels given activations, by logistic read-outs.

    Args:
        X: Rows (n, d), or the coordinates of any featurizer.
        y: (n,) binary labels.
        groups: (n,) the document of each row; a group is sent whole, in random order.
        seed: Of the order, the shuffles and the bootstrap.
        lams: Ridge penalties on standardised columns that the code may use.
        shuffles: Draws of the control, labels shuffled over rows in the same order; 0 leaves it out.

    Raises:
        InputError: Shapes that do not fit, labels that are not binary, a penalty that is not positive.
        DataError: One class only, or fewer than 16 rows or 4 groups.

    Source:
        Voita and Titov 2020 (arXiv 2003.12298).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = rng.random(400) < 0.5; X = rng.normal(size=(400, 5)); X[:, 2] += 3 * y
        >>> found = code_length(X, y, shuffles=1)
        >>> found.compression > 1.5 > 1.1 > 1 / found.bits.control
        True
    """
    if not lams or min(lams) <= 0:
        raise InputError(f"lams are {list(lams)}: at least one penalty above 0 is needed")
    asked = posed(X, y, groups, config_from(ProbeConfig, {"seed": seed}, source="options"))
    labels, codes = asked.problem.labels, asked.problem.groups.codes
    rng = np.random.default_rng([seed, 31])
    order, ends = _order(codes, rng)
    if len(labels) < 2 * LEAST_ROWS or len(ends) < 2:
        raise DataError(f"{len(labels)} rows of {codes.max() + 1} groups: at least {2 * LEAST_ROWS} of 4 are needed")
    rows, inside = asked.rows.double()[torch.from_numpy(order)], grouping(codes[order], len(order)).codes
    bits = _bits(rows, labels[order], ends, tuple(sorted(map(float, lams), reverse=True)))
    rate = float(labels.mean())
    plain = float(-(rate * np.log2(rate) + (1 - rate) * np.log2(1 - rate)))
    chance = [float(_bits(rows, rng.permutation(labels), ends, (max(lams),)).mean()) for _ in range(shuffles)]
    found = mean_estimate(bits, inside, seed=seed, null=plain, control=float(np.mean(chance)) if chance else None)
    starts = (0, *ends[:-1])
    told = ("no groups: every row counts as independent",) if groups is None else ()
    return CodeLength(
        bits=replace(found, warnings=tuple(dict.fromkeys((*found.warnings, *told)))),
        total=float(bits.sum()),
        compression=len(bits) / float(bits.sum()),
        ends=ends,
        block_bits=tuple(float(bits[start:end].mean()) for start, end in zip(starts, ends, strict=True)),
    )


def _order(codes: Int[np.ndarray, " n"], rng: np.random.Generator) -> tuple[Int[np.ndarray, " n"], tuple[int, ...]]:
    """Rows by groups in random order, and the ends of the blocks among them."""
    count = int(codes.max()) + 1
    place = rng.permutation(count)
    order = np.argsort(place[codes], kind="stable")
    sent = np.cumsum(np.bincount(place[codes], minlength=count))
    ends = [int(sent[max(1, round(count * share)) - 1]) for share in FRACTIONS]
    return order, tuple(dict.fromkeys(end for end in ends if end >= LEAST_ROWS or end == len(codes)))


def _bits(
    rows: Float[Tensor, "n d"], labels: Bool[np.ndarray, " n"], ends: Sequence[int], lams: Sequence[float]
) -> Float[np.ndarray, " n"]:
    """What each label costs."""
    signs = torch.from_numpy(np.where(labels, 1.0, -1.0))
    bits = np.ones(len(labels))
    spent = np.zeros(len(lams) + 1)
    for start, end in pairwise(ends):
        cost = np.stack([_by_rate(labels[:end], start), *_costs(rows[:end], signs[:end], start, lams)])
        bits[start:end] = cost[int(spent.argmin())]
        spent += cost.sum(1)
    return bits


def _costs(
    rows: Float[Tensor, "m d"], signs: Float[Tensor, " m"], seen: int, lams: Sequence[float]
) -> list[Float[np.ndarray, " q"]]:
    """Bits of each new label by the read-out of the rows before it, for each penalty."""
    mean, sd = rows[:seen].mean(0), rows[:seen].std(0, unbiased=False)
    live = sd > WEIGHT_FLOOR * sd.max().clamp_min(WEIGHT_FLOOR)
    standard = ((rows - mean) / torch.where(live, sd, torch.ones_like(sd)) * live).clamp(-10, 10)
    design = designs(standard.T.contiguous(), torch.arange(rows.shape[1])[None], dtype=torch.float64)
    weights = (torch.arange(len(rows)) < seen).double()[None]
    found, start = [], None
    sure = float(np.log(seen + 1))  # one who has seen n rows is no surer than (n + 1) to 1
    for lam in lams:
        fitted = solve(design, signs[None], weights, lam, start=start)
        start = fitted.beta
        scores = fitted.scores[0].clamp(-sure, sure)
        found.append(torch.nn.functional.softplus(-signs * scores)[seen:].numpy() / np.log(2))
    return found


def _by_rate(labels: Bool[np.ndarray, " m"], seen: int) -> Float[np.ndarray, " q"]:
    """Bits of each new label for one who counts, with one of each to begin with."""
    rate = (labels[:seen].sum() + 1) / (seen + 2)
    return -np.log2(np.where(labels[seen:], rate, 1 - rate))
