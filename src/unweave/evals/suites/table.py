"""The suites in one table: what each tests, what file of your own it takes, and on which models.

A suite gets a model, maybe a featurizer, and what was asked for, and gives a `SuiteResult`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from unweave.errors import InputError
from unweave.evals.suites.asked import Asked
from unweave.evals.suites.entities import run_ravel
from unweave.evals.suites.honesty import run_honesty
from unweave.evals.suites.known_circuits import run_brackets, run_copying, run_induction, run_modular_addition
from unweave.evals.suites.planted_truth import run_planted_rates, run_planted_task
from unweave.evals.suites.published import SuiteTest, greater_than, ioi
from unweave.evals.suites.result import SuiteResult
from unweave.evals.suites.routes import run_conflict
from unweave.evals.suites.tasks.by_hand import PlantedTask
from unweave.evals.suites.testing import run_tests
from unweave.models.model import Model

TESTS: Mapping[str, Callable[..., list[SuiteTest]]] = MappingProxyType({"ioi": ioi, "greater-than": greater_than})
"""Suites that are nothing but prompts: (model, count, seed) -> tests."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One entry of the table."""

    title: str
    model: str
    """What models it is of."""
    data: str
    """What `--data` may hold; empty where it takes none."""
    count: int
    """How many prompts, pairs or claims where nothing is said."""
    run: Callable[[Any, Any, Asked], SuiteResult]


def _prompts(name: str) -> Callable[[Any, Any, Asked], SuiteResult]:
    def run(model: Model | PlantedTask, featurizer: Any, asked: Asked) -> SuiteResult:
        no_data(name, asked)
        if isinstance(model, PlantedTask):
            return run_planted_task(model, featurizer, asked)
        tests = TESTS[name](model, count=asked.count, seed=asked.seed)
        if asked.site is not None and featurizer is None:
            tests = [one.at(asked.site) for one in tests]
        rows = run_tests(model, featurizer, tests, rows=asked.rows, seed=asked.seed, progress=asked.progress)
        return SuiteResult(suite=name, model=model.fingerprint, rows=rows, seed=asked.seed)

    return run


def no_data(name: str, asked: Asked) -> None:
    """Raises where a suite that takes no file was given one."""
    if asked.data is not None:
        taking = ", ".join(one for one, suite in SUITES.items() if suite.data)
        raise InputError(f"suite {name!r} makes its own inputs and takes no file; those that take one: {taking}")


def _without_file(name: str, run: Callable[[Any, Any, Asked], SuiteResult]) -> Callable[[Any, Any, Asked], SuiteResult]:
    def checked(model: Any, featurizer: Any, asked: Asked) -> SuiteResult:
        no_data(name, asked)
        return run(model, featurizer, asked)

    return checked


def _on_model(run: Callable[[Any, Asked], SuiteResult]) -> Callable[[Any, Any, Asked], SuiteResult]:
    """A suite that has representations of its own and takes none."""
    return lambda model, _featurizer, asked: run(model, asked)


LANGUAGE, WEIGHTS = "any causal language model, or `planted`", "the published weights (.safetensors or .pt)"

SUITES: Mapping[str, Suite] = MappingProxyType(
    {
        "ioi": Suite(
            title="indirect object: the four tests of a partition, whole site and blocks",
            model=LANGUAGE, data="", count=1000, run=_prompts("ioi"),
        ),
        "greater-than": Suite(
            title="comparison of years, whole site and blocks",
            model=LANGUAGE, data="", count=1000, run=_prompts("greater-than"),
        ),
        "ravel": Suite(
            title="attributes of entities: cause and isolate, held-out entities",
            model=LANGUAGE, data="entities and templates (.json), or RAVEL's *_entity_attributes.json", count=200,
            run=run_ravel,
        ),
        "knowledge-conflict": Suite(
            title="a wrong statement against what the model knows: two routes, and which block is of one",
            model=LANGUAGE, data="facts (.json), or RAVEL's *_entity_attributes.json", count=200, run=run_conflict,
        ),
        "honesty": Suite(
            title="a behaviour from contrast pairs: directions, whole continuations against first tokens, schedules",
            model=LANGUAGE, data="contrast pairs and continuations (.jsonl)", count=200, run=run_honesty,
        ),
        "induction": Suite(
            title="repeated tokens: which heads look back, which copy, and the path between them",
            model=WEIGHTS, data="", count=24, run=_without_file("induction", _on_model(run_induction)),
        ),
        "brackets": Suite(
            title="balanced brackets: which head carries which failure",
            model=WEIGHTS, data="", count=60, run=_without_file("brackets", _on_model(run_brackets)),
        ),
        "copying": Suite(
            title="a repeated cycle of letters: open claims about heads and the blocks of a partition",
            model=WEIGHTS, data="", count=40, run=_without_file("copying", run_copying),
        ),
        "modular-addition": Suite(
            title="sums modulo p: the key frequencies carry the sum, others do not",
            model="zoo:modadd (taken where none is named), or weights in that format", data="", count=60,
            run=_without_file("modular-addition", _on_model(run_modular_addition)),
        ),
        "planted": Suite(
            title="error rates of the tests themselves on worlds with known truth (`unweave evaluate planted`)",
            model="none", data="", count=40,
            run=_without_file("planted", _on_model(lambda _model, asked: run_planted_rates(asked))),
        ),
    }
)  # fmt: skip
"""Name -> suite."""
