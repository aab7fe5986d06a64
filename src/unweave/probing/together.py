"""Probes of many features on one matrix: what they ask of the rows is asked together.

Rankings and screens of all features, labellings and inner folds come from shared matrix products over one pass of the
rows; searches and refits then touch a few columns and rows each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweave.probing.auto import Chosen, inner_folds, searched
from unweave.probing.choosing import ranked
from unweave.probing.config import ProbeConfig
from unweave.probing.families import FAMILIES
from unweave.probing.kernel import all_labellings, probe_all
from unweave.probing.problem import Problem
from unweave.probing.ranking import SELECTORS, scores_and_live
from unweave.probing.result import Probe
from unweave.probing.screening import Task, screens_together
from unweave.tensors.splits import grouping

Labellings = Sequence[Bool[np.ndarray, "_ _"]]
Places = Sequence[Int[np.ndarray, " _"]]


def probe_together(
    rows: Float[Tensor, "n d"], problems: Sequence[Problem], places: Places, config: ProbeConfig
) -> list[list[Probe]]:
    """The probes of every feature; what `probe_all` gives for each alone, up to the rounding of sums.

    Args:
        rows: Activations of all rows that any feature uses.
        problems: The labels of each feature.
        places: Which rows each feature uses.
        config: Settings.
    """
    labellings = [all_labellings(problem, config) for problem in problems]
    return [
        probe_all(rows, problem, config, place=place, labellings=labels, chosen=chosen)
        for problem, place, labels, chosen in zip(
            problems, places, labellings, _chosen(rows, problems, labellings, places, config), strict=True
        )
    ]


def _chosen(
    rows: Tensor, problems: Sequence[Problem], labellings: Labellings, places: Places, config: ProbeConfig
) -> Iterator[Chosen | None]:
    """The units of every labelling of every feature; None where a selector has nothing to share."""
    if config.selector in SELECTORS:
        yield from _ranked(rows, problems, labellings, places, config)
    elif config.selector == "auto" or config.selector in FAMILIES:
        yield from _searched(rows, problems, labellings, places, config)
    else:
        yield from [None] * len(problems)


def _ranked(
    rows: Tensor, problems: Sequence[Problem], labellings: Labellings, places: Places, config: ProbeConfig
) -> Iterator[Chosen]:
    """A row that a feature does not use, or does not train on, has weight 0 for it."""
    counts = [len(labels) for labels in labellings]
    positives, members = (torch.zeros(len(rows), sum(counts), dtype=torch.float64) for _ in range(2))
    first = 0
    for problem, labels, place, count in zip(problems, labellings, places, counts, strict=True):
        training = torch.from_numpy(place[~problem.held_out])
        positives[training, first : first + count] = torch.from_numpy(labels[:, ~problem.held_out].T.astype(np.float64))
        members[training, first : first + count] = 1.0
        first += count
    found, live = scores_and_live(rows, positives, members, config.selector)
    ends = np.cumsum(counts).tolist()
    for end, count in zip(ends, counts, strict=True):
        yield ranked(found[end - count : end], live[end - count : end], config.ks, config.selector)


def _searched(
    rows: Tensor, problems: Sequence[Problem], labellings: Labellings, places: Places, config: ProbeConfig
) -> Iterator[Chosen]:
    tasks = []
    for problem, labels, place in zip(problems, labellings, places, strict=True):
        training = ~problem.held_out
        groups = grouping(problem.groups.codes[training], int(training.sum()))
        folds = inner_folds(labels[0, training], groups, config.selector, config.seed)
        tasks.append(Task(place=place[training], labellings=labels[:, training], folds=folds))
    for task, found in zip(tasks, screens_together(rows, tasks), strict=True):
        yield searched(rows, task, found, config.ks, selector=config.selector, lam=config.lam, seed=config.seed)
