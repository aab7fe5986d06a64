"""The knowledge-conflict suite: the two routes of an answer, and how selective each block of a partition is for one."""

from __future__ import annotations

from typing import Any

from unweave.evals.causing.spread import route_selectivity
from unweave.evals.suites.asked import Asked
from unweave.evals.suites.facts import knowledge_conflict
from unweave.evals.suites.planted_truth import run_planted_task
from unweave.evals.suites.result import SuiteResult, SuiteRow
from unweave.evals.suites.tables_of_facts import read_facts
from unweave.evals.suites.tasks.by_hand import PlantedTask
from unweave.evals.suites.testing import run_tests
from unweave.evals.suites.words import middle_site
from unweave.models.model import Model


def run_conflict(model: Model | PlantedTask, featurizer: Any, asked: Asked) -> SuiteResult:
    """Rows of both routes and the selectivity of every block.

    Args:
        model: A causal language model with a tokenizer, or the planted one.
        featurizer: A partition; None measures whole sites.
        asked: Prompts, the table of facts, the site.
    """
    if isinstance(model, PlantedTask):
        found = run_planted_task(model, featurizer, asked)
        rows, names = found.rows, model.layout.names() if featurizer is None else None
        return SuiteResult(
            suite=found.suite, model=found.model, rows=rows, seed=found.seed, claims=found.claims,
            tables={**found.tables, **routes(rows, names)},
        )  # fmt: skip
    given = {} if asked.data is None else read_facts(asked.data)
    site = str(featurizer.site) if featurizer is not None else asked.site or middle_site(model, "resid_mid")
    tests = knowledge_conflict(model, site, count=asked.count, seed=asked.seed, **given)
    rows = run_tests(model, featurizer, tests, rows=asked.rows, seed=asked.seed, progress=asked.progress)
    return SuiteResult(
        suite="knowledge-conflict", model=model.fingerprint, rows=rows, seed=asked.seed, tables=routes(rows, None)
    )


def routes(rows: tuple[SuiteRow, ...], names: tuple[str, ...] | None) -> dict[str, Any]:
    """A row a block: its share of the whole site's effect on each route, and the difference; empty without a partition.

    Args:
        rows: Of both tests.
        names: Of the blocks.
    """
    first = {row.test: row for row in reversed(rows) if row.spreads}
    if set(first) != {"context", "memory"}:
        return {}
    context, memory = (first[name].spreads[0] for name in ("context", "memory"))
    selective = route_selectivity(context, memory)
    shares = [[one.value / (part.whole or float("nan")) for one in part.effects] for part in (context, memory)]
    return {
        "routes": tuple(
            {
                "block": names[number] if names else number, "dimensions": context.sizes[number],
                "context": shares[0][number], "memory": shares[1][number], "selectivity": float(selective[number]),
            }
            for number in range(len(context.sizes))
        )
    }  # fmt: skip
