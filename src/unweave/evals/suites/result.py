"""What a suite found: effects of whole partitions (`SuiteRow`), claims with controls (`Claim`), and other tables.

A claim says beforehand whether it should hold: a published or planted mechanism should be supported, a decoy should
not. Where nothing is known beforehand, it is an open question.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `ginis` | G of e_s, e_s / (d_s/d), e_s / (var_s/total) | 3 | concentration of the effect over blocks | specs/evaluation.md, 4.1 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unweave.evals.causing.spread import Spread
from unweave.evals.findings import Finding
from unweave.tensors.estimate import Estimate

EXPECTED = {True: "supported", False: "not supported", None: ""}


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
            "plain_low": self.plain.low,
            "plain_high": self.plain.high,
            "whole": None if self.whole is None else self.whole.value,
            "whole_low": None if self.whole is None else self.whole.low,
            "whole_high": None if self.whole is None else self.whole.high,
            "note": self.note,
            "bases": [one.row() for one in self.spreads],
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Claim:
    """One representation said to do one thing, tested."""

    about: str
    """What is claimed, in words."""
    site: str
    expected: bool | None
    """Whether a mechanism that is known says that it holds; None where nothing is known."""
    finding: Finding | None
    """None where the model does not do the task."""
    note: str = ""

    @property
    def as_expected(self) -> bool | None:
        """Whether what is known beforehand was found; None for open questions and what was not tested."""
        if self.expected is None or self.finding is None:
            return None
        return self.finding.supported == self.expected

    def row(self) -> dict[str, Any]:
        """As one row of a table."""
        found = {} if self.finding is None else self.finding.row()
        return {
            "about": self.about, "site": self.site, "expected": EXPECTED[self.expected],
            "as_expected": self.as_expected, "note": self.note, **found,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class SuiteResult:
    """All tests of a suite on one model."""

    suite: str
    model: str
    """Fingerprint."""
    rows: tuple[SuiteRow, ...]
    seed: int
    warnings: tuple[str, ...] = field(default=())
    claims: tuple[Claim, ...] = ()
    tables: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    """Title -> rows of plain values that belong to it."""

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a test and measure."""
        return [one.row() for one in self.rows]

    def claim_table(self) -> list[dict[str, Any]]:
        """One dictionary a claim."""
        return [one.row() for one in self.claims]

    @property
    def tested(self) -> bool:
        """Whether anything was tested: not where the model does not do the task."""
        others = any(one.finding is not None for one in self.claims) or any(one.whole is not None for one in self.rows)
        return others or bool(self.tables)

    def as_expected(self) -> tuple[int, int]:
        """(claims found as they were known beforehand, claims of which something was known)."""
        known = [one.as_expected for one in self.claims if one.as_expected is not None]
        return sum(known), len(known)

    def ginis(self) -> dict[str, float]:
        """Basis -> mean over tests and the three normalisations; NaN where no test could be done."""
        found: dict[str, list[float]] = {}
        for row in self.rows:
            for one in row.spreads:
                if len(one.sizes) > 1 and one.sizes_of_effects.sum():
                    found.setdefault(one.basis, []).extend(one.ginis().values())
        return {name: float(np.mean(values)) for name, values in found.items()}

    def notes(self) -> tuple[str, ...]:
        """What a reader must know, each once."""
        said = [one.note for one in (*self.rows, *self.claims) if one.note]
        return tuple(dict.fromkeys([*said, *self.warnings]))

    def __repr__(self) -> str:
        """Suite and tests."""
        claims = f", {len(self.claims)} claims" if self.claims else ""
        return f"SuiteResult({self.suite}, {len(self.rows)} rows{claims})"
