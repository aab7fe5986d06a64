"""RAVEL-style entity attributes and knowledge conflicts: pairs for cause, isolate and the two routes of an answer.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `cause`, `isolate` | - | pairs | target attribute follows the source; others stay with the base | specs/evaluation.md E10 |
| `context`, `memory` | corrupt-context, corrupt-parametric | tests | the first mention, or both, by a made-up name | same, section 9 |

Source: Huang et al. 2024, arXiv 2402.17700; the conflict of arXiv 2508.01916, section 5. Words are our own; give tables
of your own for what a model knows.
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from unweave.errors import DataError, InputError
from unweave.evals.causing.behaviours import logit_difference, probability
from unweave.evals.causing.pairs import Pairs
from unweave.evals.suites.published import SuiteTest
from unweave.evals.suites.words import CITIES, CITY_TEMPLATES, LAUREATES, MADE_UP, prefix_ids, token_ids
from unweave.models.model import Model
from unweave.models.tokens import Tokens, pad


@dataclass(frozen=True, kw_only=True, eq=False)
class AttributePairs:
    """Pairs of entities about one attribute and about the others."""

    attribute: str
    cause: Pairs
    isolate: Pairs

    def __repr__(self) -> str:
        """Attribute and pairs."""
        return f"AttributePairs({self.attribute}, {len(self.cause)} cause, {len(self.isolate)} isolate)"


def attributes(
    model: Model,
    attribute: str,
    *,
    entities: Mapping[str, Mapping[str, str]] = CITIES,
    templates: Mapping[str, Sequence[str]] = CITY_TEMPLATES,
    count: int = 200,
    seed: int = 0,
) -> AttributePairs:
    """Base and source prompts about two entities, the same template each, exchanged at the entity's last token.

    Args:
        model: A causal language model with a tokenizer.
        attribute: The target.
        entities: Entity -> attribute -> value; answers are the first tokens of the values.
        templates: Attribute -> texts with `{e}`.
        count: Pairs of each kind.
        seed: Of the choice.

    Raises:
        InputError: An attribute without values or templates.
        DataError: Fewer than two values that begin with another token.
    """
    known = {name: dict(values) for name, values in entities.items() if attribute in values}
    if not known or attribute not in templates:
        raise InputError(f"no entity or template has the attribute {attribute!r}: give tables that do")
    others = [name for name in templates if name != attribute and any(name in values for values in known.values())]
    if not others:
        raise InputError(f"{attribute!r} is the only attribute: isolation needs another one")
    rng = np.random.default_rng([seed, 41])
    cause = _attribute_pairs(model, [attribute], attribute, known, templates, count, rng, follow=True)
    isolate = _attribute_pairs(model, others, attribute, known, templates, count, rng, follow=False)
    return AttributePairs(attribute=attribute, cause=cause, isolate=isolate)


def _attribute_pairs(
    model: Model,
    asked: Sequence[str],
    target: str,
    known: Mapping[str, Mapping[str, str]],
    templates: Mapping[str, Sequence[str]],
    count: int,
    rng: np.random.Generator,
    *,
    follow: bool,
) -> Pairs:
    names = list(known)
    rows: list[tuple[list[int], int, list[int], int, int, int, str]] = []
    for _ in range(50 * count):
        if len(rows) == count:
            break
        attribute = str(rng.choice(asked))
        template = str(rng.choice(templates[attribute]))
        base, source = (str(one) for one in rng.choice(names, size=2, replace=False))
        if not all(attribute in known[one] for one in (base, source)) or known[base][target] == known[source][target]:
            continue
        answers = [_first_token(model, known[one][attribute]) for one in (base, source)]
        if answers[0] == answers[1]:
            continue
        one, two = (_entity_prompt(model, template, name) for name in (base, source))
        rows.append((one[0], one[1], two[0], two[1], answers[0], answers[1], base))
    if len(rows) < min(count, 2):
        raise DataError(f"{len(rows)} pairs differ in their answers' first token: give entities whose values differ")
    return Pairs(
        base=_tokens([row[0] for row in rows]),
        source=_tokens([row[2] for row in rows]),
        answer=[row[5 if follow else 4] for row in rows],
        base_answer=[row[4] for row in rows],
        source_answer=[row[5] for row in rows],
        positions=[[row[1]] for row in rows],
        source_positions=[[row[3]] for row in rows],
        groups=np.array([row[6] for row in rows]),
    )


def knowledge_conflict(
    model: Model,
    site: str,
    *,
    facts: Mapping[str, str] = LAUREATES,
    statement: str = "{e} won the Nobel Prize in {v}.",
    question: str = "{e} won the Nobel Prize in",
    invented: Sequence[str] = MADE_UP,
    shots: int = 2,
    count: int = 200,
    seed: int = 0,
) -> list[SuiteTest]:
    """Two routes of an answer: a wrong fact in the context against what the model knows.

    Args:
        model: A causal language model with a tokenizer.
        site: Where all positions are patched, such as a `resid_mid`.
        facts: Entity -> true value.
        statement: The wrong fact, with `{e}` and `{v}`.
        question: What is asked, with `{e}`.
        invented: Names of no one, of as many tokens as those they stand for.
        shots: True statements about others between the two.
        count: Prompts.
        seed: Of the choice.

    Returns:
        `context`: the source has another name at the first mention, so that the context no longer speaks of the entity;
            `memory`: at both, so that nothing is known of it. Measures: P(context answer), P(true answer), first
            tokens.

        A prompt counts as done where the model knows the fact without the wrong statement and answers one of the two
        with it; prompts are about entities that it knows, where it knows any.

    Raises:
        DataError: No invented name has as many tokens as an entity, or the facts have one value.
    """
    if len(set(facts.values())) < 2 or len(facts) < shots + 2:
        raise DataError(
            f"{len(facts)} facts with {len(set(facts.values()))} values: at least {shots + 2} entities and two values"
            " are needed for a conflict"
        )
    lengths: dict[int, list[str]] = {}
    for name in invented:
        lengths.setdefault(len(token_ids(model, f" {name}")), []).append(name)
    rng = np.random.default_rng([seed, 43])
    usable = [name for name in facts if len(token_ids(model, f" {name}")) in lengths]
    if not usable:
        raise DataError("no invented name has as many tokens as an entity: give invented= names that do")
    firsts = sorted({_first_token(model, value) for value in facts.values()})
    asked = [_with_shots(model, name, facts, statement, question, rng, shots) for name in usable]
    knows = _answers(model, asked, firsts) == np.array([_first_token(model, facts[name]) for name in usable])
    known = [name for name, right in zip(usable, knows, strict=True) if right]
    known = known if knows.mean() > _majority([facts[name] for name in usable]) else []
    rows = []
    for _ in range(count):
        entity = str(rng.choice(known if len(known) > 1 else usable))
        wrong = str(rng.choice(sorted({value for value in facts.values() if value != facts[entity]})))
        between = _between(entity, facts, statement, rng, shots)
        made_up = str(rng.choice(lengths[len(token_ids(model, f" {entity}"))]))
        texts = [
            f" {_put(statement, first, wrong)} {between} {_put(question, second)}"
            for first, second in ((entity, entity), (made_up, entity), (made_up, made_up))
        ]
        ids = [token_ids(model, text) for text in texts]
        if len({len(one) for one in ids}) == 1:
            rows.append((*ids, _first_token(model, wrong), _first_token(model, facts[entity]), entity))
    if len(rows) < 2:
        raise DataError("the invented names change the number of tokens in every prompt: give others")
    base = _tokens([row[0] for row in rows])
    said = _answers(model, [row[0] for row in rows], firsts)
    able = np.array([row[5] in known and one in row[3:5] for row, one in zip(rows, said, strict=True)])
    right, true = [row[3] for row in rows], [row[4] for row in rows]
    groups = np.array([row[5] for row in rows])
    shares = (probability([[one] for one in answers]) for answers in (right, true))
    measures = (logit_difference(right, true), *shares)
    return [
        SuiteTest(
            name=name, site=site, base=base, source=_tokens([row[place] for row in rows]), positions="all",
            measures=measures,
            chance=-np.inf, groups=groups, able=able,
        )
        for name, place in (("context", 1), ("memory", 2))
    ]  # fmt: skip


def _majority(values: Sequence[str]) -> float:
    """What one answer to everything would get right: that is no knowledge."""
    return max(values.count(one) for one in set(values)) / len(values)


def _put(text: str, entity: str, value: str = "") -> str:
    return text.replace("{e}", entity).replace("{v}", value)


def _between(entity: str, facts: Mapping[str, str], statement: str, rng: np.random.Generator, shots: int) -> str:
    """True statements about others."""
    others = rng.choice([name for name in facts if name != entity], size=shots, replace=False)
    return " ".join(_put(statement, str(one), facts[str(one)]) for one in others)


def _with_shots(
    model: Model,
    entity: str,
    facts: Mapping[str, str],
    statement: str,
    question: str,
    rng: np.random.Generator,
    shots: int,
) -> list[int]:
    return token_ids(model, f" {_between(entity, facts, statement, rng, shots)} {_put(question, entity)}")


def _answers(model: Model, rows: Sequence[Sequence[int]], among: Sequence[int]) -> np.ndarray:
    """The likeliest of some tokens after each prompt."""
    tokens, options = _tokens(rows), torch.tensor(list(among))
    found = []
    for first in range(0, len(rows), 64):
        part = Tokens(ids=tokens.ids[first : first + 64], mask=tokens.mask[first : first + 64])
        with torch.no_grad():
            logits = model(part)
        last = logits[torch.arange(len(part)), part.lengths() - 1].cpu()
        found.append(options[last[:, options].argmax(-1)].numpy())
    return np.concatenate(found)


def _entity_prompt(model: Model, template: str, entity: str) -> tuple[list[int], int]:
    """The ids of a template with its entity, and the position of the entity's last token; the blank before it is its
    own.
    """
    before, _, after = template.partition("{e}")
    name = f" {entity}" if before.endswith(" ") else entity
    ids = [*prefix_ids(model), *token_ids(model, before.removesuffix(" ") if name[0] == " " else before)]
    ids += token_ids(model, name)
    return [*ids, *token_ids(model, after)], len(ids) - 1


def _first_token(model: Model, value: str) -> int:
    return token_ids(model, f" {value}")[0]


def _tokens(rows: Sequence[Any]) -> Tokens:
    ids, mask = pad(rows)
    return Tokens(ids=ids, mask=mask)
