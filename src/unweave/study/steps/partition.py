"""Into which subspaces the residual stream of the middle layer falls, what they share before and after blocks
were joined, what they tell, and what the inputs have in common that look alike in them.

A small fit on a part of the text: a look, not a measurement. Its distance stands beside that of a random rotation cut
into the same blocks.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from unweave.activations.collect import CollectOptions, run_collection
from unweave.activations.store import Column
from unweave.activations.token_strings import token_string_features
from unweave.errors import DataError, FingerprintError, InputError
from unweave.features.bases import random_rotation
from unweave.ndm.fit import fit
from unweave.ndm.measure import NeighborDistance, neighbor_distance
from unweave.ndm.naming import BlockLabel, label_blocks
from unweave.ndm.preimages import Hit, Preimages
from unweave.ndm.result import NDMResult
from unweave.report.record import Card, Figure, Passage, Passages, Table
from unweave.site import Site
from unweave.study.words import one_line
from unweave.study.work import Found, NotPossible, Work

TEXTS = 40
"""Documents that are looked at, the first ones."""
CONTEXT = 64
UNITS = 6
"""Blocks at the start."""
STEPS = 60
FEATURES = ("contains_digit", "leading_capital", "has_leading_space", "is_not_alphanumeric")
QUERIES, HITS = 2, 5
STORE = "partition-store"


def part_space(work: Work) -> Found:
    """A partition of the residual stream after the block of the middle site, and how to read it."""
    column = _rows(work)
    width = column.shape[1]
    if len(column) < 200:
        raise NotPossible(f"Not done: {len(column)} tokens are too few to part {width} dimensions.")
    result = fit(
        column, unit_size=max(2, -(-width // UNITS)), seed=work.config.seed, preset="quick", steps=STEPS, pool=1024,
        batch=256, init="identity", escape=0, mi_keys=2048, mi_queries=300, progress=work.progress,
    )  # fmt: skip
    chance = random_rotation(width, seed=work.config.seed, site=column.site)
    near = [
        neighbor_distance(column, one, pool=2048, queries=500, seed=work.config.seed)
        for one in (result.featurizer, replace(chance, blocks=result.featurizer.blocks))
    ]
    features = [one for one in token_string_features(column.store, work.model.tokenizer) if one.name in FEATURES]
    try:
        labels = label_blocks(column, result.featurizer, features, draws=2, seed=work.config.seed)
    except DataError:  # a single document: nothing can be held out
        labels = []
    reader = Preimages(X=column, featurizer=result.featurizer)
    cards = tuple(_card(work, reader, block, labels, len(column)) for block in range(len(result.partition)))
    return Found(
        figures=(_map(work, result, _sentence(column, result, near)), _information(work, result)),
        tables=tuple(table for table in (_merges(result),) if table.rows),
        cards=cards,
        warnings=result.warnings,
        results={
            "site": str(column.site),
            "partition": result.partition,
            "distance": near[0].unweighted,
            "random_distance": near[1].unweighted,
            "blocks": result.table(),
            "merge_tree": result.merge_tree,
            "labels": [one.row() for one in labels],
        },
        artifacts={"partition": result},
    )


def _rows(work: Work) -> Column:
    """The residual stream after the block of the middle site, on the first documents."""
    parts = str(work.middle).split(".")
    if parts[0] != "blocks":
        raise NotPossible(f"Not done: {work.middle} is in no block.")
    site = Site(f"blocks.{parts[1]}.resid_post")
    collected = partial(
        run_collection, work.model, work.text.texts[:TEXTS], (site,), work.folder / STORE,
        CollectOptions(context=min(CONTEXT, work.config.context), dtype="float32"), progress=work.progress,
    )  # fmt: skip
    try:
        done = collected()
    except FingerprintError:
        done = collected(resume=False)
    return done.store[site]


def _sentence(column: Column, result: NDMResult, near: list[NeighborDistance]) -> str:
    share = 1 - near[0].unweighted / near[1].unweighted
    return (
        f"At {column.site}, {len(result.partition)} blocks of {', '.join(map(str, result.partition))} dimensions:"
        f" neighbours are {share:.0%} nearer in them than in random blocks of the same sizes ({near[0].unweighted:.3g}"
        f" against {near[1].unweighted:.3g}, {near[0].pool:,} keys, one small fit)."
    )


def _map(work: Work, result: NDMResult, sentence: str) -> Figure:
    blocks = result.blocks
    return Figure(
        kind="bars",
        title="Blocks by their share of the variance",
        caption=(
            f"{sentence} Size in brackets, then the distance to the nearest key over the square root of the"
            " block's variance, and the effective dimension. A block with a third of the variance holds outliers."
        ),
        data={
            "label": [
                f"{one.number} ({one.size}): {one.relative_distance:.2f}, {one.effective_dimension:.0f}"
                for one in blocks
            ],
            "value": [round(one.variance_share, 4) for one in blocks],
        },
        options={"x": "share of the variance", "format": ".2f"},
        n=result.mi_keys,
        seed=work.config.seed,
    )


def _information(work: Work, result: NDMResult) -> Figure:
    """Scores before and after merging, over the largest of all."""
    tables = {"blocks": result.mi / np.add.outer(np.array(result.partition), np.array(result.partition))}
    if result.mi_before is not None:
        sizes = np.array(result.start_sizes)
        tables = {"units": result.mi_before / np.add.outer(sizes, sizes), **tables}
    finite = [values[np.isfinite(values)] for values in tables.values()]
    most = max([float(values.max()) for values in finite if len(values)], default=0.0) or 1.0
    rows = [
        (name, j, k, max(0.0, float(values[j, k])) / most, float(values[j, k]))
        for name, values in tables.items()
        for j in range(len(values))
        for k in range(len(values))
        if j != k
    ] or [("blocks", 0, 0, 0.0, 0.0)]
    null = max(result.mi_null, default=float("nan"))
    return Figure(
        kind="heatmap",
        title="What blocks share, before and after merging",
        caption=(
            f"Mutual information in nats per dimension over the largest, {most:.3g}; {result.mi_keys:,} rows,"
            f" differences below {result.config.merging.resolution:.0%} of a column hidden. Shuffled blocks reach"
            f" {null:.3g}."
        ),
        data={
            "select": [name for name, *_ in rows],
            "row": [f"block {j}" for _, j, *_ in rows],
            "column": [str(k) for _, _, k, *_ in rows],
            "value": [value for *_, value, _ in rows],
            "control": [nats for *_, nats in rows],
        },
        options={"column": "block", "value": "of the largest", "control": "nats per dimension", "select": "between"},
        n=result.mi_keys,
        seed=work.config.seed,
    )


def _merges(result: NDMResult) -> Table:
    return Table(
        title="What was joined",
        columns=("block", "from", "nats per dimension", "size"),
        rows=[
            (str(one["name"]), " + ".join(map(str, one["parts"])), round(one["score"], 4), one["size"])
            for one in result.merge_tree
        ],
        note="Units have the numbers from 0, in the order of their columns at the start.",
    )


def _card(work: Work, reader: Preimages, block: int, labels: list[BlockLabel], rows: int) -> Card:
    rng = np.random.default_rng([work.config.seed, block])
    shown = []
    for row in rng.permutation(rows)[: 5 * QUERIES].tolist():
        try:
            found = reader.query(row, block=block, k=HITS + 1, view="diverse")
        except InputError:  # zero in this block
            continue
        if found.query.tokens:
            title = f"Like “{found.query.tokens[found.query.focus].strip()}” of document {found.query.document}"
            hits = [hit for hit in found.hits if hit.row != row and hit.tokens][:HITS]
            shown.append(
                Passages(
                    title=title,
                    rows=tuple(_passage(hit) for hit in (found.query, *hits)),
                    note=f"{found.within:,} of {rows:,} rows have a cosine of {found.threshold} or more.",
                )
            )
        if len(shown) == QUERIES:
            break
    told = [
        f"{one.feature}: AUC {one.decode:.2f}, random blocks of its size {one.difference.control:.2f}: {one.verdict}."
        for one in labels
        if one.block == block
    ]
    return Card(
        title=f"Block {block}: {reader.featurizer.blocks[block]} dimensions", summary=tuple(told), passages=tuple(shown)
    )


def _passage(hit: Hit) -> Passage:
    return Passage(
        pieces=one_line(hit.tokens),
        shades=tuple(hit.similarity if place == hit.focus else 0.0 for place in range(len(hit.tokens))),
        focus=hit.focus,
        note=f"{hit.similarity:.2f}",
    )
