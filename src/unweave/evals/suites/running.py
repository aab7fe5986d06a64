"""`run_suite`: every test of a suite on a partition, beside identity, random and PCA partitions of equal sizes, with the
claims that a suite makes where the mechanism is known.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `whole` | B(x_b; h := h_s) - B(x_b) | scalar | effect of the whole site | specs/evaluation.md, section 9 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unweave.errors import InputError, unknown_name
from unweave.evals.causing.changes import source_of
from unweave.evals.causing.patching import Change, Patching, patching, scores
from unweave.evals.causing.spread import Spread, references, spread
from unweave.evals.findings import codes_of
from unweave.evals.planted.behaviour_task import BehaviourTask
from unweave.evals.planted.tasks import PlantedTask
from unweave.evals.suites.published import SuiteTest
from unweave.evals.suites.result import SuiteResult, SuiteRow
from unweave.features.featurizer import Featurizer
from unweave.log import SILENT, Progress
from unweave.models.model import Model
from unweave.tensors.grouped import grouped_mean

LEAST_DONE = 0.5
"""The model must do the task on at least this share of the prompts."""


def run_suite(
    model: Model | PlantedTask | BehaviourTask | None,
    featurizer: Featurizer | None,
    suite: str,
    *,
    count: int | None = None,
    data: Any = None,
    site: str | None = None,
    rows: Any = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> SuiteResult:
    """Every test of a suite, at the site of the featurizer, or at the published ones where there is none.

    Args:
        model: The model; a planted one brings what is known of it; None for the suite `planted` alone.
        featurizer: A partition at one site; None measures whole sites, or what the suite fits itself.
        suite: One of `suite_names()`.
        count: Prompts, pairs or claims of each test; None is the suite's own number.
        data: A file of your own prompts, entities or pairs instead of the suite's; see `unweave evaluate suites`.
        site: Where, if there is no featurizer.
        rows: Activations to fit the PCA partitions on; None takes those of the prompts.
        seed: Of prompts, rotation and intervals.
        progress: Who is told.

    Returns:
        A row a test and measure, and the claims. Where the model does not do the task, the row says so and nothing is
            patched.

    Raises:
        UnknownName: Another suite.
        InputError: A file that the suite does not take, or a model that the suite is not of.
        DataError: The tokenizer does not cut the suite's words as it needs.

    Example:
        >>> import unweave as uw
        >>> found = run_suite(uw.load_model("zoo:modadd"), None, "modular-addition", count=12)
        >>> found.as_expected(), found.claims[0].finding.effect.value
        ((2, 2), 1.0)
    """
    from unweave.evals.suites.table import SUITES, Asked

    if suite not in SUITES:
        raise unknown_name("suite", suite, SUITES)
    if model is None and suite != "planted":
        raise InputError(f"suite {suite!r} needs a model: {SUITES[suite].model}")
    if isinstance(model, PlantedTask | BehaviourTask) and model.name != suite:
        raise InputError(f"the planted model does {model.name}, not {suite}: give the one of that suite")
    if isinstance(model, PlantedTask) and data is not None and SUITES[suite].data:
        raise InputError("the planted model knows its own words alone: leave out the file, or give another model")
    given = Asked(
        count=SUITES[suite].count if count is None else count, data=data, site=site, rows=rows, seed=seed,
        progress=progress,
    )  # fmt: skip
    return SUITES[suite].run(model, featurizer, given)


def suite_tests(model: Model, suite: str, *, count: int = 1000, seed: int = 0) -> list[SuiteTest]:
    """The tests of a suite of prompts for a model.

    Args:
        model: The model.
        suite: `ioi` or `greater-than`.
        count: Prompts.
        seed: Of the words.

    Raises:
        UnknownName: Another suite.
        DataError: The tokenizer does not cut the suite's words as it needs.
    """
    from unweave.evals.suites.table import TESTS

    if suite not in TESTS:
        raise unknown_name("suite of prompts", suite, TESTS)
    return TESTS[suite](model, count=count, seed=seed)


def suite_names() -> tuple[str, ...]:
    """The suites.

    Example:
        >>> "ioi" in suite_names()
        True
    """
    from unweave.evals.suites.table import SUITES

    return tuple(SUITES)


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
