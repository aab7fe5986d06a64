"""What the report says about a suite: sentences, claims with their intervals, rows of tests, the suite's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unweave.evals.suites.result import Claim, SuiteResult
from unweave.report.page import write_sections
from unweave.report.record import Figure, ModelEntry, Record, Run, Table, Value
from unweave.study.flow import versions
from unweave.study.suite_figures import figures_of_tables
from unweave.study.words import number, with_interval

FOLDER, STEP = "model", "suite"
MOST_IN_A_FIGURE = 30


def write_suite_report(found: SuiteResult, out: Path, *, model: str, command: str) -> Path:
    """Writes the records and `report.html` of a suite into a directory, and returns the page's path.

    Args:
        found: What `run_suite` gave.
        out: The directory.
        model: Its name.
        command: What was asked.

    Raises:
        StoreError: The directory cannot be written.
    """
    entry = ModelEntry(
        name=model, folder=FOLDER, description=f"suite {found.suite}", fingerprint=found.model,
        text="made by the suite", plan=command, steps=(STEP,),
    )  # fmt: skip
    run = Run(
        command=command, config={"suite": found.suite, "seed": found.seed}, versions=versions(),
        models=(entry,), status="complete", planned=(f"Suite {found.suite}",),
    )  # fmt: skip
    return write_sections(out, run, [suite_record(found, model)])


def suite_record(found: SuiteResult, model: str) -> Record:
    """The section of a suite in a report.

    Args:
        found: What `run_suite` gave.
        model: Its name.
    """
    return Record(
        step=STEP, model=model, title=f"Suite {found.suite}", key=found.model, summary=sentences(found),
        figures=(*_figures(found), *figures_of_tables(found)), tables=tables_of(found), warnings=found.notes(),
        results={"rows": found.table(), "claims": found.claim_table(), "gini": found.ginis()},
    )  # fmt: skip


def sentences(found: SuiteResult) -> tuple[str, ...]:
    """What was found, in words.

    Args:
        found: What `run_suite` gave.
    """
    if not found.tested:
        return (f"The model does not do the task of suite {found.suite}: nothing was tested.",)
    said = []
    right, known = found.as_expected()
    if known:
        said.append(f"{right} of {known} claims whose answer is known beforehand came out so.")
    supported = [one for one in found.claims if one.finding is not None and one.finding.supported]
    asked = [one for one in found.claims if one.finding is not None]
    if asked:
        said.append(f"{len(supported)} of {len(asked)} claims are supported against their controls.")
    for row in found.rows:
        if row.whole is not None and row.spreads:
            best = row.spreads[0].row()
            share = best["best_effect"] / row.whole.value if row.whole.value else float("nan")
            said.append(
                f"{row.test} ({row.measure}): the whole of {row.site} moves it by"
                f" {with_interval(row.whole)}, block {best['best']} of {best['blocks']} alone by {number(share)} of"
                " that."
            )
    return tuple(said)


def tables_of(found: SuiteResult) -> tuple[Table, ...]:
    """The tables of a suite, for the report and the terminal.

    Args:
        found: What `run_suite` gave.
    """
    made = []
    if found.claims:
        made.append(_claim_table(found.claims))
    if found.rows:
        made.append(_row_table(found))
    spreads = _spread_table(found)
    if spreads is not None:
        made.append(spreads)
    for title, rows in found.tables.items():
        columns = tuple(rows[0]) if rows else ()
        values = [tuple(_value(row.get(column)) for column in columns) for row in rows]
        made.append(Table(title=title[:1].upper() + title[1:], columns=columns, rows=values))
    return tuple(made)


def _claim_table(claims: Sequence[Claim]) -> Table:
    rows = []
    for one in claims:
        row, finding = one.row(), one.finding
        if finding is None:
            rows.append((one.about, one.site, row["expected"], one.note, "", None, None, None, None))
            continue
        rows.append(
            (
                one.about, one.site, row["expected"], finding.verdict.value, with_interval(finding.effect),
                finding.effect.control, finding.difference.p_value, finding.effect.n,
                finding.scope,
            )
        )  # fmt: skip
    columns = ("claim", "site", "known", "found", "effect", "control", "p", "n", "scope")
    note = (
        "known: what a published or planted mechanism says; control: random subspaces or directions of equal rank and"
        " norm, for heads of published models the strongest other head"
    )
    return Table(title="Claims", columns=columns, rows=rows, note=note)


def _row_table(found: SuiteResult) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            one.test, one.measure, one.site, one.n, one.done, with_interval(one.plain),
            None if one.whole is None else with_interval(one.whole),
        )
        for one in found.rows
    ]  # fmt: skip
    columns = ("test", "measure", "site", "n", "done", "plain", "effect of the whole")
    return Table(title="Tests", columns=columns, rows=rows, note="done: share of the prompts the model does unchanged")


def _spread_table(found: SuiteResult) -> Table | None:
    rows: list[tuple[Value, ...]] = []
    for row in found.rows:
        for one in row.spreads:
            facts = one.row()
            share = facts["best_effect"] / one.whole if one.whole else None
            ginis = [facts.get(f"gini_{name}") for name in ("plain", "dimension", "variance")]
            rows.append((row.test, row.measure, one.basis, facts["blocks"], facts["best"], share, *ginis))
    if not rows:
        return None
    columns = ("test", "measure", "basis", "blocks", "best block", "its share", "Gini", "by dimension", "by variance")
    note = "its share: of the best block in the whole site's effect; Gini is high even where all effects are small"
    return Table(title="Blocks of each partition", columns=columns, rows=rows, note=note)


def _figures(found: SuiteResult) -> list[Figure]:
    """The effect of every claim with its interval and control, one figure a unit."""
    made = []
    shown = [one for one in found.claims if one.finding is not None]
    for unit in dict.fromkeys(one.finding.unit for one in shown if one.finding is not None):
        own = [one for one in shown if one.finding is not None and one.finding.unit == unit][:MOST_IN_A_FIGURE]
        made.append(_forest(own, unit, found.seed))
    return made


def _forest(claims: Sequence[Claim], unit: str, seed: int) -> Figure:
    data: dict[str, list[Value]] = {name: [] for name in ("label", "value", "low", "high", "series", "control")}
    for one in claims:
        finding: Any = one.finding
        row: Mapping[str, Value] = {
            "label": one.about, "value": finding.effect.value, "low": finding.effect.low, "high": finding.effect.high,
            "series": finding.verdict.value, "control": finding.effect.control,
        }  # fmt: skip
        for name, value in row.items():
            data[name].append(value)
    caption = (
        "Effect of each claim with its 95 % interval over groups; the colour is the verdict against its controls,"
        " whose mean stands in the hint."
    )
    n = max(one.finding.effect.n for one in claims if one.finding is not None)
    return Figure(
        kind="forest", title=f"Effects of the claims, {unit}", caption=caption, data=data,
        options={"x": f"effect, {unit}"}, n=n, seed=seed,
    )  # fmt: skip


def _value(given: Any) -> Value:
    return given if isinstance(given, float | int | str | bool) or given is None else str(given)
