"""`run_suite`: every test of a suite on a partition, beside identity, random and PCA partitions of equal sizes.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `ginis` | G of e_s, e_s / (d_s/d), e_s / (var_s/total) | 3 | concentration of the effect over blocks | specs/evaluation.md, 4.1 |
| `whole` | B(x_b; h := h_s) - B(x_b) | scalar | effect of the whole site | same, section 9 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from unweave.errors import unknown_name
from unweave.evals.changes import source_of
from unweave.evals.findings import codes_of
from unweave.evals.patching import Change, Patching, patching, scores
from unweave.evals.spread import Spread, references, spread
from unweave.evals.suites.published import SuiteTest, greater_than, ioi
from unweave.features.featurizer import Featurizer
from unweave.log import SILENT, Progress
from unweave.models.model import Model
from unweave.tensors.estimate import Estimate
from unweave.tensors.grouped import grouped_mean

SUITES: Mapping[str, Any] = MappingProxyType({"ioi": ioi, "greater-than": greater_than})
"""Name -> (model, count, seed) -> tests."""
LEAST_DONE = 0.5
"""The model must do the task on at least this share of the prompts."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SuiteRow:
    """One test and measure on one site."""

    test: str
    measure: str
    scope: str
    site: str
    n: int
    done: float
    """Share of the prompts on which the model does the task with nothing changed."""
    plain: Estimate
    """The measure with nothing changed."""
    whole: Estimate | None
    """Effect of the whole site; None where the model does not do the task."""
    spreads: tuple[Spread, ...]
    """The partition first, then those of equal sizes."""
    note: str

    def row(self) -> dict[str, Any]:
        """As one row of a table."""
        return {
            "test": self.test,
            "measure": self.measure,
            "scope": self.scope,
            "site": self.site,
            "n": self.n,
            "done": self.done,
            "plain": self.plain.value,
            "whole": None if self.whole is None else self.whole.value,
            "whole_low": None if self.whole is None else self.whole.low,
            "whole_high": None if self.whole is None else self.whole.high,
            "note": self.note,
            "bases": [one.row() for one in self.spreads],
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class SuiteResult:
    """All tests of a suite on one model."""

    suite: str
    model: str
    """Fingerprint."""
    rows: tuple[SuiteRow, ...]
    seed: int
    warnings: tuple[str, ...] = field(default=())

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a test and measure."""
        return [one.row() for one in self.rows]

    def ginis(self) -> dict[str, float]:
        """Basis -> mean over tests and the three normalisations; NaN where no test could be done."""
        found: dict[str, list[float]] = {}
        for row in self.rows:
            for one in row.spreads:
                if len(one.sizes) > 1 and one.sizes_of_effects.sum():
                    found.setdefault(one.basis, []).extend(one.ginis().values())
        return {name: float(np.mean(values)) for name, values in found.items()}

    def __repr__(self) -> str:
        """Suite and tests."""
        return f"SuiteResult({self.suite}, {len(self.rows)} rows)"


def suite_tests(model: Model, suite: str, *, count: int = 1000, seed: int = 0) -> list[SuiteTest]:
    """The tests of a suite for a model.

    Args:
        model: The model.
        suite: `ioi` or `greater-than`.
        count: Prompts.
        seed: Of the words.

    Raises:
        UnknownName: Another suite.
        DataError: The tokenizer does not cut the suite's words as it needs.
    """
    if suite not in SUITES:
        raise unknown_name("suite", suite, SUITES)
    return SUITES[suite](model, count=count, seed=seed)


def run_suite(
    model: Model,
    featurizer: Featurizer | None,
    suite: str,
    *,
    count: int = 1000,
    rows: Any = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> SuiteResult:
    """Every test of a suite, at the site of the featurizer, or at the published ones where there is none.

    Args:
        model: The model.
        featurizer: A partition at one site; None measures whole sites alone.
        suite: `ioi` or `greater-than`.
        count: Prompts.
        rows: Activations to fit the PCA partitions on; None takes those of the prompts.
        seed: Of prompts, rotation and intervals.
        progress: Who is told.

    Returns:
        A row a test and measure. Where the model does not do the task, the row says so and nothing is patched.
    """
    tests = suite_tests(model, suite, count=count, seed=seed)
    if featurizer is not None:
        own = [one for one in tests if one.site == str(featurizer.site)]
        tests = own or [one.at(str(featurizer.site)) for one in tests]
    found: list[SuiteRow] = []
    with progress.task(f"suite {suite}", len(tests), "test") as advance:
        for one in tests:
            found += _run_test(model, featurizer, one, rows, seed)
            advance(1)
    return SuiteResult(suite=suite, model=model.fingerprint, rows=tuple(found), seed=seed)


def _run_test(model: Model, featurizer: Featurizer | None, test: SuiteTest, rows: Any, seed: int) -> list[SuiteRow]:
    ready = patching(model, test.site, test.base, test.source, positions=test.positions)
    codes = codes_of(test.groups, len(test.base))
    found, done = [], 0.0
    for place, measure in enumerate(test.measures):
        plain = scores(ready, [None], measure)[0]
        done = float((plain > test.chance).mean()) if place == 0 else done
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
        note = "" if can else f"the model does not do this task ({done:.0%} of the prompts): nothing was patched"
        found.append(
            SuiteRow(
                test=test.name, measure=measure.name, scope=measure.scope, site=test.site, n=len(test.base), done=done,
                plain=grouped_mean(plain, codes, seed=seed), whole=whole, spreads=spreads, note=note,
            )
        )  # fmt: skip
    return found


def shift_to_source(ready: Patching) -> Change:
    """The whole site from the source."""
    given = source_of(ready)
    return lambda _values, places: given[places]


def names() -> Sequence[str]:
    """The suites."""
    return tuple(SUITES)
