"""`run_suite`: a suite by its name, on a model and maybe a partition."""

from __future__ import annotations

from typing import Any

from unweave.errors import InputError, unknown_name
from unweave.evals.suites.asked import Asked
from unweave.evals.suites.published import SuiteTest
from unweave.evals.suites.result import SuiteResult
from unweave.evals.suites.table import SUITES, TESTS
from unweave.evals.suites.tasks.behaviour import BehaviourTask
from unweave.evals.suites.tasks.by_hand import PlantedTask
from unweave.features.featurizer import Featurizer
from unweave.log import SILENT, Progress
from unweave.models.model import Model


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
    if suite not in TESTS:
        raise unknown_name("suite of prompts", suite, TESTS)
    return TESTS[suite](model, count=count, seed=seed)


def suite_names() -> tuple[str, ...]:
    """The suites.

    Example:
        >>> "ioi" in suite_names()
        True
    """
    return tuple(SUITES)
