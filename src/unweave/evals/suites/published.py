"""IOI and greater-than: prompts to the published pattern, in our own words, with the five tests of a partition of
GPT-2's stream.

| test | site (of 12 blocks) | positions | source | measure |
|---|---|---|---|---|
| previous token | blocks.4.resid_post | IO + 1, S1 + 1 | names at IO and S1 swapped | logit(IO) - logit(S) |
| duplicate | blocks.6.resid_post | S2 | the same | the same |
| position signal | blocks.8.resid_post | END | the same | the same |
| name signal | blocks.8.resid_post | END | S1, S2 := the name of IO, IO := that of S | the same |
| greater-than | blocks.9.resid_post | END | YY := 01 | sum of P(two digits > YY) |

Source: Wang et al. 2022, arXiv 2211.00593 (IOI); Hanna et al. 2023, arXiv 2305.00586 (greater-than); the five tests:
arXiv 2508.01916, section 4. In other depths the block is the same share of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unweave.errors import DataError, InputError
from unweave.evals.causing.behaviours import Behaviour, logit_difference, probability
from unweave.evals.causing.pairs import Pairs
from unweave.evals.suites.words import (
    CENTURIES,
    IOI_TEMPLATES,
    NAMES,
    NOUNS,
    PLACES,
    THINGS,
    filled,
    prefix_ids,
    single_tokens,
    token_ids,
)
from unweave.models.model import Model
from unweave.models.points import blocks_of
from unweave.models.tokens import Tokens, pad


@dataclass(frozen=True, kw_only=True, eq=False)
class SuiteTest:
    """One behaviour with its corruption."""

    name: str
    site: str
    """Where it is published for; any site may be tested."""
    base: Tokens
    source: Tokens
    positions: Any
    measures: tuple[Behaviour, ...]
    """The first one says whether the model does it: above 0 (logits) or above chance (shares)."""
    chance: float
    groups: np.ndarray
    """Template of each prompt."""

    answers: Any = None
    """(answer of the base, what the corruption would have it say, answer of the source), ids of each prompt; None where
    an answer is a set of tokens.
    """
    able: np.ndarray | None = None
    """Whether the model does each prompt, where `chance` does not say it."""

    def pairs(self) -> Pairs:
        """The test as pairs, the two answers competing.

        Raises:
            InputError: Its answers are sets of tokens.
        """
        if self.answers is None:
            raise InputError(f"the answers of {self.name!r} are sets of tokens: it has no pairs, run it as a suite")
        own, other, theirs = self.answers
        return Pairs(
            base=self.base,
            source=self.source,
            answer=list(other),
            base_answer=list(own),
            source_answer=list(theirs),
            among=[[one, two] for one, two in zip(own, other, strict=True)],
            positions=self.positions,
            groups=self.groups,
        )

    def at(self, site: str) -> SuiteTest:
        """The same test at another site.

        Args:
            site: Where.
        """
        return replace(self, site=site)

    def __repr__(self) -> str:
        """Name, site and prompts."""
        return f"SuiteTest({self.name}, {self.site}, {len(self.base)} prompts)"


def ioi(model: Model, *, count: int = 1000, seed: int = 0, templates: Sequence[str] = IOI_TEMPLATES) -> list[SuiteTest]:
    """The four tests of indirect object identification.

    Args:
        model: A causal language model with a tokenizer in which names are one token.
        count: Prompts.
        seed: Of the words.
        templates: With the slots `{a}`, `{b}`, `{s}`, `{place}`, `{thing}`, each taking a word with its blank; half of
            the prompts name the subject first, half second.

    Raises:
        DataError: Fewer than four names are one token.
    """
    _check(model)
    names = single_tokens(model, NAMES, least=4, kind="names")
    rng = np.random.default_rng([seed, 31])
    made = [_ioi_prompt(model, names, templates, rng, number) for number in range(count)]
    base = _tokens([one["ids"] for one in made])
    swapped, renamed = (_tokens([one[kind] for one in made]) for kind in ("swapped", "renamed"))
    right, wrong = ([one[kind] for one in made] for kind in ("io", "s"))
    measures = (logit_difference(right, wrong), probability([[one] for one in right]))
    groups = np.array([one["template"] for one in made])
    ends = [[len(one["ids"]) - 1] for one in made]
    rows = (
        ("previous token", 4, [[one["io_at"] + 1, one["s1_at"] + 1] for one in made], swapped),
        ("duplicate", 6, [[one["s2_at"]] for one in made], swapped),
        ("position signal", 8, ends, swapped),
        ("name signal", 8, ends, renamed),
    )
    return [
        SuiteTest(
            name=name, site=_site(model, block), base=base, source=source, positions=positions, measures=measures,
            chance=0.0, groups=groups, answers=(right, wrong, wrong if source is renamed else right),
        )
        for name, block, positions, source in rows
    ]  # fmt: skip


def greater_than(model: Model, *, count: int = 1000, seed: int = 0, nouns: Sequence[str] = NOUNS) -> list[SuiteTest]:
    """The test of year comparison.

    Args:
        model: A causal language model whose tokenizer cuts years into two tokens of two digits.
        count: Prompts.
        seed: Of the words.
        nouns: What lasted.

    Raises:
        DataError: Years are cut in another way.
    """
    _check(model)
    digits = {number: ids[-1] for number in range(100) if (ids := _pair(model, 17, number)) is not None}
    if len(digits) < 20:
        raise DataError(
            f"{len(digits)} of 100 years are two tokens of two digits for this model's tokenizer: 20 are needed, the"
            " suite does not apply to it"
        )
    rng = np.random.default_rng([seed, 37])
    bases, sources, answers, groups = [], [], [], []
    last = max(digits)
    while len(bases) < count:
        noun, century = str(rng.choice(nouns)), int(rng.choice(list(CENTURIES)))
        year = int(rng.choice([one for one in digits if 2 <= one < last]))
        pair, corrupt = _pair(model, century, year), _pair(model, century, 1)
        if pair is None or corrupt is None:
            continue
        start = prefix_ids(model) + token_ids(model, f"The {noun} lasted from the year")
        end = [*token_ids(model, " to"), pair[0]]
        bases.append([*start, *pair, *end])
        sources.append([*start, *corrupt, *end])
        answers.append([token for number, token in digits.items() if number > year])
        groups.append(noun)
    return [
        SuiteTest(
            name="greater-than",
            site=_site(model, 9),
            base=_tokens(bases),
            source=_tokens(sources),
            positions=[[len(ids) - 1] for ids in bases],
            measures=(probability(answers),),
            chance=0.5,
            groups=np.array(groups),
        )
    ]


def _ioi_prompt(model: Model, names: Any, templates: Sequence[str], rng: np.random.Generator, number: int) -> Any:
    template = templates[number % len(templates)]
    io, s = (names[str(one)] for one in rng.choice(list(names), size=2, replace=False))
    subject_first = (number // len(templates)) % 2 == 0
    words = {"place": token_ids(model, f" {rng.choice(PLACES)}"), "thing": token_ids(model, f" {rng.choice(THINGS)}")}
    first, second = ("s1", "io") if subject_first else ("io", "s1")
    a, b = ([s], [io]) if subject_first else ([io], [s])
    ids, places = filled(model, template, {"a": a, "b": b, "s": [s], **words})
    at = {first: places["a"], second: places["b"], "s2": places["s"]}
    swapped, renamed = list(ids), list(ids)
    swapped[at["io"]], swapped[at["s1"]] = s, io
    renamed[at["io"]], renamed[at["s1"]], renamed[at["s2"]] = s, io, io
    return {
        "ids": ids, "swapped": swapped, "renamed": renamed, "io": io, "s": s, "io_at": at["io"], "s1_at": at["s1"],
        "s2_at": at["s2"], "template": number % len(templates),
    }  # fmt: skip


def _pair(model: Model, century: int, year: int) -> list[int] | None:
    """The two tokens of a year, None where it is not cut between the century and the rest."""
    ids = token_ids(model, f" {century}{year:02d}")
    alone = token_ids(model, f" {century}")
    return ids if len(ids) == 2 and len(alone) == 1 and ids[0] == alone[0] else None


def _tokens(rows: Sequence[Sequence[int]]) -> Tokens:
    ids, mask = pad(rows)
    return Tokens(ids=ids, mask=mask)


def _site(model: Model, block: int) -> str:
    """The end of the block that lies as deep as this one of twelve."""
    if model.family is None:
        raise RuntimeError("a plain module has no blocks")
    depth = len(blocks_of(model.module, model.family))
    return f"blocks.{min(block * depth // 12, depth - 1)}.resid_post"


def _check(model: Model) -> None:
    if not model.predicts_next:
        raise InputError(
            f"{model.name} does not predict a next token: a suite needs a causal language model with its head"
        )
