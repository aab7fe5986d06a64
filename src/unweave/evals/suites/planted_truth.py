"""Suites on models whose truth is planted: every claim has an answer that is known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from unweave.evals.causing.causal import disentangle, interchange_effect
from unweave.evals.causing.patching import patching
from unweave.evals.findings import Prediction
from unweave.evals.planted.negative import binomial_interval
from unweave.evals.suites.asked import Asked
from unweave.evals.suites.facts import attributes, knowledge_conflict
from unweave.evals.suites.published import SuiteTest, greater_than, ioi
from unweave.evals.suites.result import Claim, SuiteResult, SuiteRow
from unweave.evals.suites.tasks.by_hand import PlantedTask
from unweave.evals.suites.testing import run_test, run_tests

CALIBRATION = "calibration over effect size and pairs"
"""Title of the table."""
MOST_PROMPTS = 120
"""A claim needs no more prompts: its effect is as large as that of the whole site."""


def run_planted_task(task: PlantedTask, featurizer: Any, asked: Asked) -> SuiteResult:
    """Every test of the suite of a planted task: the true partition beside others, and a claim for each block that
    carries the answer and for decoys that do not.

    Args:
        task: The task with its model.
        featurizer: Measured instead of the true partition, without claims.
        asked: What was asked for.
    """
    count = min(asked.count, MOST_PROMPTS)
    tests = MADE[task.name](task, count, asked.seed)
    rows: list[SuiteRow] = []
    if featurizer is not None:
        rows += run_tests(task.model, featurizer, tests, rows=asked.rows, seed=asked.seed, progress=asked.progress)
        claims: tuple[Claim, ...] = ()
    else:
        with asked.progress.task("planted tests", len(tests), "test") as advance:
            for test in tests:
                rows += run_test(task.model, task.featurizer(test.name), test, asked.rows, asked.seed)
                advance(1)
        claims = tuple(claim for test in tests for claim in _claims(task, test, asked.seed))
    return SuiteResult(
        suite=task.name, model=task.model.fingerprint, rows=tuple(rows), seed=asked.seed, claims=claims,
        tables={"blocks": _blocks(task, rows)} if featurizer is None and rows else {},
    )  # fmt: skip


def planted_ravel_claims(task: PlantedTask, asked: Asked) -> tuple[Claim, ...]:
    """Cause and isolate of the block of every attribute, of another attribute's block and of the decoy.

    Args:
        task: The task `ravel`.
        asked: What was asked for.
    """
    claims = []
    for attribute, carrying in task.carries.items():
        basis = task.featurizer(attribute)
        pairs = attributes(task.model, attribute, count=min(asked.count, MOST_PROMPTS), seed=asked.seed)
        other = next(one for name, (one,) in task.carries.items() if name != attribute)
        for variable in (*carrying, other, *task.decoys):
            found = disentangle(task.model, basis, task.block(variable), pairs.cause, pairs.isolate, seed=asked.seed)
            about = f"{attribute}: block {variable!r} carries it and nothing else"
            claims.append(Claim(about=about, site=str(basis.site), expected=variable in carrying, finding=found))
    return tuple(claims)


def run_planted_rates(asked: Asked) -> SuiteResult:
    """The error rates of every test, as tables.

    Args:
        asked: `count` is the number of true and of false claims of each test.
    """
    from unweave.evals.planted.suite import evaluate_planted

    few = max(2, asked.count // 5)
    return planted_result(
        evaluate_planted(seed=asked.seed, repeats=asked.count, calibration=few, progress=asked.progress)
    )


def planted_result(found: Mapping[str, Any]) -> SuiteResult:
    """Error rates and calibration as the tables of a suite.

    Args:
        found: What `evaluate_planted` gave.
    """
    tests = tuple(
        {
            "test": name, "false_positive_rate": one["false_positive_rate"],
            "false_positive_low": one["false_positive_interval"][0],
            "false_positive_high": one["false_positive_interval"][1],
            "power": one["power"], "power_low": one["power_interval"][0], "power_high": one["power_interval"][1],
            "n": one["n"],
        }
        for name, one in found["tests"].items()
    )  # fmt: skip
    worlds = tuple(
        {
            "world": name, "supported_rate": one["supported_rate"], "low": one["supported_interval"][0],
            "high": one["supported_interval"][1], "n": one["n"],
        }
        for name, one in found["negative_worlds"].items()
    )  # fmt: skip
    curves = tuple(
        {"of": of, "name": name, **row, "low": interval[0], "high": interval[1]}
        for of, kind in (("true claims", "tests"), ("cards in negative worlds", "negative_worlds"))
        for name, one in found[kind].items()
        for row in one["calibration"]
        for interval in (binomial_interval(round(row["supported"] * row["n"]), row["n"]),)
    )
    tables = {"tests": tests, "negative worlds": worlds, CALIBRATION: curves}
    return SuiteResult(
        suite="planted", model="", rows=(), seed=found["seed"],
        tables={title: rows for title, rows in tables.items() if rows},
    )  # fmt: skip


def _claims(task: PlantedTask, test: SuiteTest, seed: int) -> list[Claim]:
    basis = task.featurizer(test.name)
    ready = patching(task.model, test.site, test.base, test.source, positions=test.positions)
    rises = test.name == "memory"
    found = []
    for variable in (*task.carries[test.name], *task.decoys):
        effect = interchange_effect(
            ready, basis, task.block(variable), test.measures[0], groups=test.groups,
            prediction=Prediction(direction="greater" if rises else "less"), seed=seed,
        )  # fmt: skip
        about = f"{test.name}: the effect comes through block {variable!r}"
        found.append(Claim(about=about, site=test.site, expected=variable in task.carries[test.name], finding=effect))
    return found


def _blocks(task: PlantedTask, rows: list[SuiteRow]) -> tuple[Mapping[str, Any], ...]:
    """Effect of every block on the first measure of each test, as a share of the whole site's."""
    found, seen = [], set()
    for row in rows:
        if row.test in seen or not row.spreads or row.whole is None:
            continue
        seen.add(row.test)
        for name, effect in zip(task.layout.names(), row.spreads[0].effects, strict=True):
            share = effect.value / row.whole.value if row.whole.value else float("nan")
            found.append({"test": row.test, "block": name, "effect": effect.value, "share of the whole": share})
    return tuple(found)


def _conflict(task: PlantedTask, count: int, seed: int) -> list[SuiteTest]:
    return knowledge_conflict(task.model, task.sites["context"], count=count, seed=seed)


def _prompts(make: Callable[..., list[SuiteTest]]) -> Callable[[PlantedTask, int, int], list[SuiteTest]]:
    return lambda task, count, seed: [one.at(task.sites[one.name]) for one in make(task.model, count=count, seed=seed)]


MADE: Mapping[str, Callable[[PlantedTask, int, int], list[SuiteTest]]] = MappingProxyType(
    {"ioi": _prompts(ioi), "greater-than": _prompts(greater_than), "knowledge-conflict": _conflict}
)
"""Suite -> its tests at the sites of the planted model."""
