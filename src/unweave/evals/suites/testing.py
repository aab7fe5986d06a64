"""The tests of prompts: each on the whole site and on the blocks of a partition, beside identity, random and PCA partitions
of equal sizes.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `whole` | B(x_b; h := h_s) - B(x_b) | scalar | effect of the whole site | specs/evaluation.md, section 9 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unweave.evals.causing.changes import source_of
from unweave.evals.causing.patching import Change, Patching, patching, scores
from unweave.evals.causing.spread import Spread, references, spread
from unweave.evals.findings import codes_of
from unweave.evals.suites.published import SuiteTest
from unweave.evals.suites.result import SuiteRow
from unweave.features.featurizer import Featurizer
from unweave.log import SILENT, Progress
from unweave.models.model import Model
from unweave.tensors.grouped import grouped_mean

LEAST_DONE = 0.5
"""The model must do the task on at least this share of the prompts."""


def run_tests(
    model: Model,
    featurizer: Featurizer | None,
    tests: Sequence[SuiteTest],
    *,
    rows: Any = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> tuple[SuiteRow, ...]:
    """Rows of several tests; with a featurizer the tests at its site, or all of them moved there.

    Args:
        model: The model.
        featurizer: A partition at one site.
        tests: The tests.
        rows: Activations to fit the PCA partitions on.
        seed: Of rotation and intervals.
        progress: Who is told.
    """
    if featurizer is not None:
        own = [one for one in tests if one.site == str(featurizer.site)]
        tests = own or [one.at(str(featurizer.site)) for one in tests]
    found: list[SuiteRow] = []
    with progress.task("tests of the suite", len(tests), "test") as advance:
        for one in tests:
            found += run_test(model, featurizer, one, rows, seed)
            advance(1)
    return tuple(found)


def run_test(model: Model, featurizer: Featurizer | None, test: SuiteTest, rows: Any, seed: int) -> list[SuiteRow]:
    """A row a measure of one test."""
    ready = patching(model, test.site, test.base, test.source, positions=test.positions)
    codes = codes_of(test.groups, len(test.base))
    found, done = [], 0.0
    for place, measure in enumerate(test.measures):
        plain = scores(ready, [None], measure)[0]
        if place == 0:
            done = float((plain > test.chance).mean()) if test.able is None else float(test.able.mean())
        can = done >= LEAST_DONE
        spreads: tuple[Spread, ...] = ()
        whole = None
        if can:
            moved = scores(ready, [shift_to_source(ready)], measure)[0]
            whole = grouped_mean(moved - plain, codes, seed=seed)
        if can and featurizer is not None:
            spreads = (spread(ready, featurizer, measure, groups=test.groups, seed=seed),)
            if sum(featurizer.blocks) == ready.width:
                spreads += references(ready, featurizer, measure, groups=test.groups, rows=rows, seed=seed)
        found.append(
            SuiteRow(
                test=test.name, measure=measure.name, scope=measure.scope, site=test.site, n=len(test.base), done=done,
                plain=grouped_mean(plain, codes, seed=seed), whole=whole, spreads=spreads,
                note="" if can else cannot(done, "prompts"),
            )
        )  # fmt: skip
    return found


def cannot(done: float, what: str) -> str:
    """The sentence where a model does not do the task."""
    return f"the model does not do this task ({done:.0%} of the {what}): nothing was patched"


def shift_to_source(ready: Patching) -> Change:
    """The whole site from the source."""
    given = source_of(ready)
    return lambda _values, places: given[places]
