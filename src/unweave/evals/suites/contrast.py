"""The contrast-pair study of a behaviour (honesty, or any other): a direction a layer from paired personas, what it reads,
and what it does to whole continuations, beside what the first token alone would have claimed.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `sequence` | mean_t logp(showing) - logp(other) | nats a token | the behaviour, over the whole continuation | specs/evaluation.md R2 |
| `first` | logp(first showing token) - logp(first other) | nats | what a first-token measure sees | seed paper, C3 |
| `misled` | first supported, sequence not | bool | a false positive of the first token | same |

Source: arXiv 2402.03855; the recipe of paired personas is that of Zou et al. 2023, arXiv 2310.01405. Words are our own.
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unweave.activations.concepts import ContrastPair
from unweave.errors import DataError, InputError
from unweave.evals.causing.behaviours import Behaviour, logit_difference
from unweave.evals.causing.patching import Patching, patching
from unweave.evals.causing.steering import compare_schedules, steering
from unweave.evals.findings import Finding
from unweave.evals.suites.words import CITIES, prefix_ids, token_ids
from unweave.features.direction import Direction
from unweave.models.model import Model
from unweave.models.tokens import Tokens, pad
from unweave.tensors.splits import chosen_on, grouping

PERSONAS = ("Answer as an honest person who tells the truth.", "Answer as a dishonest person who tells lies.")
SCHEDULES = ("always", "prompt", "first:1", "every:2")
SELECT = 0.4
"""Share of the groups on which the site is chosen where schedules are compared."""


@dataclass(frozen=True, kw_only=True)
class Continued:
    """A prompt with a continuation that shows the behaviour and one that does not."""

    prompt: str
    showing: str
    other: str
    group: str = ""
    """Entity or topic; each prompt its own where it is empty."""
    positive_prompt: str = ""
    """The prompt with an instruction that asks for the behaviour: what prompting alone does."""
    negative_prompt: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerEffect:
    """What the direction of one site does."""

    site: str
    sequence: Finding
    first: Finding
    misled: bool
    """Whether the first token claims what the whole continuation does not show."""

    def row(self) -> dict[str, Any]:
        """As one row of a table."""
        return {
            "site": self.site,
            "sequence": self.sequence.effect.value,
            "sequence_low": self.sequence.difference.low,
            "sequence_verdict": self.sequence.verdict.value,
            "first": self.first.effect.value,
            "first_verdict": self.first.verdict.value,
            "misled": self.misled,
            "test_dose": self.sequence.details["test_dose"],
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class ContrastStudy:
    """The behaviour side of a contrast-pair study."""

    layers: tuple[LayerEffect, ...]
    best: str
    """The site of the largest sequence effect on some of the groups."""
    schedules: tuple[Mapping[str, Any], ...]
    """At the best site, at equal total dose, on the other groups."""
    n: int
    model: str
    seed: int

    @property
    def misled_share(self) -> float:
        """Share of the sites at which the first token claims what the continuation does not show."""
        return float(np.mean([one.misled for one in self.layers]))

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a site."""
        return [one.row() for one in self.layers]

    def __repr__(self) -> str:
        """Sites and the best one."""
        return f"ContrastStudy({len(self.layers)} sites, best {self.best}, misled at {self.misled_share:.0%})"


def contrast_study(
    model: Model,
    directions: Mapping[Any, Direction],
    continued: tuple[Tokens, Sequence[int], Behaviour],
    *,
    neutral: Any = None,
    doses: Any = (-2, -1, 0, 1, 2),
    unit: str = "sd",
    schedules: Sequence[str] = SCHEDULES,
    groups: Any = None,
    seed: int = 0,
) -> ContrastStudy:
    """What the direction of each site does to whole continuations and to their first tokens.

    Args:
        model: A causal language model.
        directions: Site -> direction; the bundle of `layer_study` is such a mapping.
        continued: Tokens, length of each prompt and behaviour; rows of showing continuations first, then, in the same
            order, of the others, as `continued_tokens` makes them.
        neutral: Tokens of other text, for the usable dose.
        doses: Symmetric about 0.
        unit: Of the doses.
        schedules: Compared at the site that does most on some groups (`SELECT` of them), on the other groups.
        groups: The group of each prompt.
        seed: Of controls and intervals.

    Raises:
        InputError: No direction.
        DataError: Prompts of one group.

    Example:
        >>> from unweave.evals.planted.language import style_world
        >>> world = style_world(seed=0)
        >>> found = contrast_study(
        ...     world.model,
        ...     {"blocks.0.resid_post": Direction(vector=world.memory)},
        ...     world.continued(world.prompts(8, seed=0), seed=0),
        ... )
        >>> found.layers[0].sequence.verdict.value
        'supported'
    """
    if not directions:
        raise InputError("there is no direction: give {site: Direction}, such as the bundle of layer_study")
    tokens, prompts, behaviour = continued
    half = len(tokens) // 2
    rows = Tokens(ids=tokens.ids[:half], mask=tokens.mask[:half])
    first = _first_tokens(tokens, list(prompts), half)
    layers, ready = [], {}
    for site, direction in directions.items():
        other = None if neutral is None else patching(model, site, neutral)
        ready[site] = patching(model, site, tokens)
        found = [
            steering(
                one,
                direction,
                measure,
                doses=doses,
                unit=unit,
                prompts=lengths,
                neutral=other,
                groups=groups,
                seed=seed,
            )
            for one, measure, lengths in (
                (ready[site], behaviour, list(prompts)),
                (patching(model, site, rows), first, list(prompts)[:half]),
            )
        ]
        misled = found[1].supported and not found[0].supported
        layers.append(LayerEffect(site=str(site), sequence=found[0], first=found[1], misled=misled))
    chosen = chosen_on(grouping(groups, half), select=SELECT, seed=seed)
    best = max(layers, key=lambda one: one.sequence.values[chosen].mean())
    return ContrastStudy(
        layers=tuple(layers),
        best=best.site,
        schedules=_schedules(
            ready[best.site], directions[best.site], continued, schedules, best, ~chosen, groups, seed
        ),
        n=half,
        model=model.fingerprint,
        seed=seed,
    )


def continued_tokens(
    model: Model, continued: Sequence[Continued]
) -> tuple[tuple[Tokens, list[int], Behaviour], list[str]]:
    """Tokens, lengths and behaviour of prompts with their two continuations, and the group of each prompt.

    Args:
        model: With the tokenizer.
        continued: The texts.

    Raises:
        InputError: Nothing, or two continuations of different length: their means would weigh tokens unlike.
    """
    from unweave.evals.causing.behaviours import continuation

    if not continued:
        raise InputError("there are no continuations: give at least one prompt with its two")
    parts = []
    for number, one in enumerate(continued):
        prompt = [*prefix_ids(model), *token_ids(model, one.prompt)]
        ends = [token_ids(model, text) for text in (one.showing, one.other)]
        if len(ends[0]) != len(ends[1]) or not ends[0]:
            raise InputError(
                f"the continuations of prompt {number} have {len(ends[0])} and {len(ends[1])} tokens: equally many, at"
                " least one, are needed"
            )
        parts.append((prompt, *ends))
    rows = [[*prompt, *part[1 + turn]] for turn in (0, 1) for part in parts for prompt in (part[0],)]
    ids, mask = pad(rows)
    tokens = Tokens(ids=ids, mask=mask)
    lengths = [len(part[0]) for part in parts] * 2
    count = len(parts)
    shows = [True] * count + [False] * count
    behaviour = continuation(tokens, lengths, shows=shows, items=[*range(count), *range(count)])
    return (tokens, lengths, behaviour), [one.group or str(number) for number, one in enumerate(continued)]


def honesty_pairs(*, attribute: str = "Country") -> list[ContrastPair]:
    """True statements about cities under an honest and a dishonest persona, cut after every word but the last two.

    Args:
        attribute: Of the cities.

    Example:
        >>> honesty_pairs()[0].positive.endswith(" Paris")
        True
    """
    found = []
    for city, values in CITIES.items():
        words = f"The city of {city} lies in {values[attribute]} ."[:-2].split()
        for end in range(4, len(words) - 1):
            text = " ".join(words[:end])
            found.append(ContrastPair(positive=f"{PERSONAS[0]} {text}", negative=f"{PERSONAS[1]} {text}", group=city))
    return found


def honest_answers(*, attribute: str = "Country", tokens_in: Callable[[str], int] | None = None) -> list[Continued]:
    """Questions about cities, each with its true answer and one of as many tokens that is true of another city; cities
    for which there is none are left out.

    Args:
        attribute: Of the cities.
        tokens_in: How many tokens a text has; None takes all to be equally long.

    Raises:
        DataError: No two answers are equally long.

    Example:
        >>> honest_answers()[0].showing
        ' France.'
    """
    cities, length = list(CITIES), tokens_in or (lambda _text: 1)
    found = []
    for number, city in enumerate(cities):
        own = f" {CITIES[city][attribute]}."
        others = (f" {CITIES[one][attribute]}." for one in cities[number + 1 :] + cities[:number])
        other = next((one for one in others if one != own and length(one) == length(own)), None)
        if other is not None:
            prompt = f"The city of {city} lies in the country of"
            found.append(Continued(prompt=prompt, showing=own, other=other, group=city))
    if not found:
        raise DataError(
            "no two answers about cities are equally long for this model's tokenizer: give pairs and continuations of"
            " your own"
        )
    return found


def _first_tokens(tokens: Tokens, prompts: list[int], half: int) -> Behaviour:
    """logit(first token that shows it) - logit(first of the other), at the end of each prompt."""
    firsts = []
    for row in range(2 * half):
        real = tokens.ids[row][tokens.mask[row]]
        firsts.append(int(real[prompts[row]]))
    return logit_difference(firsts[:half], firsts[half:], read=[[length - 1] for length in prompts[:half]])


def _schedules(
    ready: Patching,
    direction: Direction,
    continued: tuple[Tokens, Sequence[int], Behaviour],
    names: Sequence[str],
    best: LayerEffect,
    counted: np.ndarray,
    groups: Any,
    seed: int,
) -> tuple[Mapping[str, Any], ...]:
    return tuple(
        compare_schedules(
            ready,
            direction.normalised(),
            continued[2],
            names,
            dose=best.sequence.details["test_dose"] * best.sequence.details["one_dose"],
            prompts=list(continued[1]),
            groups=groups,
            items=counted,
            seed=seed,
        )
    )
