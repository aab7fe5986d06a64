"""Compound words in superposition: no neuron of an early layer stands for "social security" alone, a few of them
together do.

For each word the best neurons are taken from training rows; on held-out rows they are held against the compound, its
halves and everything else, one by one and summed. Superposition is claimed where every member fires for other things
too (precision below .9, or at least two words at F1 above .5) while the sum is specific.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `d_prime` | (m+ - m-) / sqrt((v+ + v-) / 2) | scalar | distance of the classes in standard deviations | Green and Swets 1966 |
| `above` | share of positives above the 99.9 % quantile of negatives | scalar | rows that nothing else reaches | specs/probing.md 9 |
| `strata` | interference: mean activation on other rows | by stratum | training standard deviations from the training mean | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from unweave.errors import DataError, InputError
from unweave.probing.config import ProbeConfig
from unweave.probing.controls import fixed_probe
from unweave.probing.problem import as_problem
from unweave.probing.ranking import LIVE, best_columns, scores_and_live
from unweave.tensors.estimate import Estimate

POSITIVE = "bigram"
"""Name of the stratum that is the compound itself."""
SPECIFIC = 0.9
"""Precision from which a unit counts as specific."""
TELLS = 0.5
"""F1 from which a unit counts as telling a word."""
FAR = 0.999


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One unit, or the sum of several, against one compound word on held-out rows."""

    units: tuple[int, ...]
    f1: Estimate
    precision: float
    d_prime: float
    above: float
    """Share of the compound's rows above the 99.9 % quantile of the others."""
    strata: Mapping[str, float]
    """Stratum -> mean activation, in standard deviations from the training mean."""
    fired: Mapping[str, float]
    """Stratum -> share of its rows that are called the compound."""
    words: tuple[str, ...]
    """Other words that it tells with an F1 above .5 by its own."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Compound:
    """One compound word: its best units alone and together."""

    word: str
    singles: tuple[Compared, ...]
    """Best first, by training rows."""
    together: Compared
    """Their sum, each standardised and signed by its class means."""
    is_superposed: bool
    """Whether every single one is polysemantic while the sum is specific."""

    def row(self) -> dict[str, Any]:
        """The word as one row of a table."""
        best = max(self.singles, key=lambda one: one.f1.value)
        return {
            "word": self.word,
            "units": list(self.together.units),
            "best_f1": best.f1.value,
            "best_precision": best.precision,
            "best_d_prime": best.d_prime,
            "sum_f1": self.together.f1.value,
            "sum_low": self.together.f1.low,
            "sum_high": self.together.f1.high,
            "sum_precision": self.together.precision,
            "sum_d_prime": self.together.d_prime,
            "sum_above": self.together.above,
            "is_superposed": self.is_superposed,
        }


def compound(
    X: Any,
    strata: Mapping[str, Any],
    *,
    groups: Any = None,
    config: ProbeConfig | None = None,
    units: int = 5,
) -> list[Compound]:
    """How each compound word is written at a site: by a unit of its own, or by several that all mean other things too.

    Args:
        X: Rows (n, d), the last token of each.
        strata: Word -> (n,) names of what each row is to it: `bigram` for the compound, any others (`missing_first`,
            `missing_second`, `other`) for the rest, "" for rows that are not used for the word.
        groups: (n,) the document of each row.
        config: Whose split, penalty and seed are used.
        units: Units of each word.

    Raises:
        InputError: No words, or strata that do not fit.
        DataError: A word without both classes on both sides of the split, or NaN.

    Source:
        arXiv 2305.01610, section 5; specs/probing.md 9.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> kind = rng.choice(["bigram", "missing_first", "missing_second"], p=[0.2, 0.4, 0.4], size=1500)
        >>> X = rng.normal(size=(1500, 30))
        >>> X[:, 3] += 3 * (kind != "missing_first")   # fires for the first word, whatever follows
        >>> X[:, 8] += 3 * (kind != "missing_second")  # fires for the second, whatever precedes
        >>> (found,) = compound(X, {"social security": kind}, groups=np.arange(1500) // 10, units=2)
        >>> sorted(found.together.units), found.is_superposed, found.row()["sum_f1"] > found.row()["best_f1"] + 0.1
        ([3, 8], False, True)
    """
    if not strata:
        raise InputError("strata is empty: give the strata of at least one word")
    settings = config or ProbeConfig()
    names = {word: _names(kinds, word, len(X)) for word, kinds in strata.items()}
    singles: dict[str, list[Compared]] = {}
    sums: dict[str, Compared] = {}
    for word, kinds in names.items():
        singles[word], sums[word] = _of_word(X, kinds, groups, settings, units)
    told = {
        (word, one.units[0]): one.f1.value > TELLS for word, found in singles.items() for one in found
    }  # a unit that is not among a word's best has not been tried for it: the count is a lower bound
    results = []
    for word, found in singles.items():
        members = tuple(_with_words(one, word, told) for one in found)
        poly = all(one.precision < SPECIFIC or len(one.words) + (one.f1.value > TELLS) > 1 for one in members)
        results.append(
            Compound(
                word=word,
                singles=members,
                together=sums[word],
                is_superposed=poly and sums[word].precision >= SPECIFIC,
            )
        )
    return results


def _names(kinds: Any, word: str, rows: int) -> np.ndarray:
    names = np.asarray(kinds)
    if names.shape != (rows,) or names.dtype.kind not in "UO":
        raise InputError(
            f"the strata of {word!r} are {names.dtype} of shape {names.shape} but there are {rows} rows: one name a row"
            " is needed"
        )
    if POSITIVE not in names:
        raise DataError(f"the strata of {word!r} have no {POSITIVE!r}: they have {sorted(set(names.tolist()))[:5]}")
    return names.astype(str)


def _of_word(
    X: Any, kinds: np.ndarray, groups: Any, config: ProbeConfig, units: int
) -> tuple[list[Compared], Compared]:
    used = np.flatnonzero(kinds != "")
    own_groups = None if groups is None else np.asarray(groups)[used]
    rows, problem = as_problem(np.asarray(X)[used], kinds[used] == POSITIVE, own_groups, config)
    train = torch.from_numpy(~problem.held_out)
    masks = torch.from_numpy(problem.labels[~problem.held_out].astype(np.float64)).unsqueeze(1)
    found, live = scores_and_live(rows[train], masks, torch.ones_like(masks), "std_mean_diff")
    chosen = best_columns(found, live, units)[0]
    columns = rows[:, chosen].double()
    standard = (columns - columns[train].mean(0)) / columns[train].std(0, unbiased=False).clamp_min(LIVE)
    labels = torch.from_numpy(problem.labels)
    signs = torch.sign(standard[train & labels].mean(0) - standard[train & ~labels].mean(0))
    signed = standard * signs
    test, names = problem.held_out, kinds[used]

    def compared(values: torch.Tensor, members: Sequence[int]) -> Compared:
        probe = fixed_probe(values[:, None], problem, [0], config)
        scores = values.numpy()[test]
        fired = (scores - probe.mean[0]) / probe.sd[0] * probe.coef[0] + probe.bias > 0
        kind = names[test]
        present = sorted(set(kind.tolist()))
        return Compared(
            units=tuple(members),
            f1=probe.f1,
            precision=probe.precision,
            d_prime=d_prime(scores[problem.labels[test]], scores[~problem.labels[test]]),
            above=float(np.mean(scores[problem.labels[test]] > np.quantile(scores[~problem.labels[test]], FAR))),
            strata={name: float(scores[kind == name].mean()) for name in present},
            fired={name: float(fired[kind == name].mean()) for name in present},
            words=(),
        )

    singles = [compared(signed[:, place], [int(unit)]) for place, unit in enumerate(chosen.tolist())]
    return singles, compared(signed.sum(1), chosen.tolist())


def d_prime(positives: Float[np.ndarray, " a"], negatives: Float[np.ndarray, " b"]) -> float:
    """Distance of the means in root mean squared standard deviations; infinite where neither class varies."""
    spread = np.sqrt((positives.var() + negatives.var()) / 2)
    distance = positives.mean() - negatives.mean()
    return float(distance / spread) if spread > 0 else float(np.copysign(np.inf, distance) if distance else 0.0)


def _with_words(one: Compared, word: str, told: Mapping[tuple[str, int], bool]) -> Compared:
    return replace(
        one, words=tuple(other for (other, unit), yes in told.items() if yes and unit == one.units[0] and other != word)
    )
