"""`planted_task`: a small language model that does the task of a suite by a mechanism set by hand, so that the suite runs
anywhere and its answers are known: which block of the stream carries what, and which blocks are decoys.

| task | mechanism | carries it |
|---|---|---|
| ioi | previous-token, induction, inhibition and name-moving heads | `previous`, `signal position`, `inhibited position`, `inhibited name` |
| greater-than | a head copies the year; the unembedding raises every larger one | `seen year` |
| ravel | cities bring their attributes; one head an attribute moves it, where its word stands | `country`, ... |
| knowledge-conflict | memory of a name against a value seen beside the same name | `context`, `memory` |

Source: the mechanisms follow Wang et al. 2022, arXiv 2211.00593, and Hanna et al. 2023, arXiv 2305.00586, in the
simplest form that does the task; the other two are our own. Nothing is claimed of trained models.
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from unweave.errors import unknown_name
from unweave.evals.suites import words
from unweave.evals.suites.tasks.assembly import ONE, Head, Layout, Plan, assemble
from unweave.evals.suites.tasks.word_tokenizer import CENTURIES, END, YEARS, word_tokenizer, words_in
from unweave.features.affine import AffineFeaturizer
from unweave.models.loading import load_model
from unweave.models.model import Model

SHARP = 40.0
"""Score of a match: half of it is the score of the first token, which holds nothing."""
GAIN = 10.0
"""Logit of the answer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PlantedTask:
    """A model that does a task, and which variables do it."""

    name: str
    model: Model
    layout: Layout
    carries: Mapping[str, tuple[str, ...]]
    """Test of the suite -> the variables whose exchange has the effect; every other one has none."""
    sites: Mapping[str, str]
    """Test of the suite -> where they lie."""
    decoys: tuple[str, ...]
    """Variables that hold something of the kind and that nothing behind the site reads in this way."""

    def featurizer(self, test: str) -> AffineFeaturizer:
        """The true partition at the site of a test.

        Args:
            test: Name of a test of the suite.
        """
        return self.layout.featurizer(self.sites[test], self.model.fingerprint)

    def block(self, variable: str) -> int:
        """The number of a variable's block.

        Args:
            variable: Its name.
        """
        return self.layout.names().index(variable)

    def __repr__(self) -> str:
        """Task and variables."""
        return f"PlantedTask({self.name}, {len(self.layout.names())} blocks of {self.layout.width} dimensions)"


def planted_task(name: str, *, seed: int = 0) -> PlantedTask:
    """A model that does the task of a suite, made by hand in a moment.

    Args:
        name: `ioi`, `greater-than`, `ravel` or `knowledge-conflict`.
        seed: Of the directions of its variables.

    Raises:
        UnknownName: Another task.

    Example:
        >>> task = planted_task("greater-than")
        >>> ids = task.model.tokenizer("The war lasted from the year 1732 to 17")["input_ids"]
        >>> task.model.tokenizer.decode(int(task.model(torch.tensor([[0, *ids]]))[0, -1].argmax())) > "32"
        True
    """
    if name not in TASKS:
        raise unknown_name("planted task", name, TASKS)
    return TASKS[name](seed)


def _made(
    name: str,
    plan: Plan,
    tokenizer: Any,
    carries: Mapping[str, tuple[str, ...]],
    sites: Mapping[str, str],
    seed: int,
) -> PlantedTask:
    module, layout = assemble(plan, seed=seed)
    model = load_model(module, tokenizer=tokenizer, name=f"planted {name}")
    return PlantedTask(name=name, model=model, layout=layout, carries=carries, sites=sites, decoys=DECOYS[name])


def _ioi(seed: int) -> PlantedTask:
    names, places = words.NAMES[:12], 20
    known = [*words_in([*words.IOI_TEMPLATES, *words.PLACES, *words.THINGS]), *names]
    tokenizer = word_tokenizer(known, numbers=False)
    code = _codes(tokenizer, [f" {name}" for name in names])
    n = len(names)
    here, eye = torch.eye(places), torch.eye(n)
    before = torch.diag(torch.ones(places - 1), -1)
    sink = _column(SHARP / 2)
    look_back = Head(
        query={"place": before * SHARP}, key={"place": here},
        value={"token": torch.cat([eye, torch.zeros(n, places)], 1),
               "place": torch.cat([torch.zeros(places, n), here], 1)},
        writes={"previous": torch.cat([eye, torch.zeros(n, places)], 1),
                "previous place": torch.cat([torch.zeros(places, n), here], 1)},
    )  # fmt: skip
    decoy = Head(query={"place": before * SHARP}, key={"place": here}, value={"token": eye}, writes={"decoy": eye})
    induction = Head(
        query={"token": torch.cat([eye * SHARP, torch.zeros(n, 1)], 1), ONE: torch.cat([torch.zeros(1, n), sink], 1)},
        key={"previous": torch.cat([eye, torch.zeros(n, 1)], 1), "start": torch.cat([torch.zeros(1, n), _column()], 1)},
        value={"previous place": torch.cat([here, torch.zeros(places, 1)], 1),
               ONE: torch.cat([torch.zeros(1, places), _column()], 1),
               "start": torch.cat([torch.zeros(1, places), -_column()], 1)},
        writes={"signal position": torch.cat([here, torch.zeros(places, 1)], 1),
                "seen before": torch.cat([torch.zeros(1, places), _column()], 1)},
    )  # fmt: skip
    inhibition = Head(
        query={"asks": _row(SHARP, 0.0), ONE: _row(0.0, SHARP / 2)},
        key={"seen before": _row(1.0, 0.0), "start": _row(0.0, 1.0)},
        value={"signal position": torch.cat([here, torch.zeros(places, n)], 1),
               "token": torch.cat([torch.zeros(n, places), eye], 1)},
        writes={"inhibited position": torch.cat([here, torch.zeros(places, n)], 1),
                "inhibited name": torch.cat([torch.zeros(n, places), eye], 1)},
    )  # fmt: skip
    rest = torch.zeros(n, 1 + places), torch.zeros(places, n)
    mover = Head(
        query={"asks": torch.cat([_column(SHARP), torch.zeros(1, places + n)], 1),
               "inhibited position": torch.cat([torch.zeros(places, 1), -3.0 * here, rest[1]], 1),
               "inhibited name": torch.cat([rest[0], -3.0 * eye], 1)},
        key={"is a name": torch.cat([_column(), torch.zeros(1, places + n)], 1),
             "place": torch.cat([torch.zeros(places, 1), here, rest[1]], 1),
             "token": torch.cat([rest[0], eye], 1)},
        value={"token": eye}, writes={"answer": eye},
    )  # fmt: skip
    size = {"is a name": 1, "asks": 1, "start": 1, "seen before": 1}
    size |= dict.fromkeys(("token", "previous", "inhibited name", "answer", "decoy"), n)
    size |= dict.fromkeys(("place", "previous place", "signal position", "inhibited position"), places)
    plan = Plan(
        sizes=size, heads=2, head_width=n + places + 1, positions=places, places={"place": here},
        words={"token": code, "is a name": code.sum(1, keepdim=True), "asks": _codes(tokenizer, [" to"]),
               "start": _codes(tokenizer, [END])},
        scores={"answer": GAIN * code},
        layers=[[look_back], [decoy], [], [induction], [inhibition], [mover]],
    )  # fmt: skip
    carries = {
        "previous token": ("previous",), "duplicate": ("signal position",),
        "position signal": ("inhibited position",), "name signal": ("inhibited name",),
    }  # fmt: skip
    at = zip(carries, (2, 3, 4, 4), strict=True)
    return _made("ioi", plan, tokenizer, carries, {one: f"blocks.{block}.resid_post" for one, block in at}, seed)


def _greater_than(seed: int) -> PlantedTask:
    tokenizer = word_tokenizer(["The", *words_in(["lasted from the year to", *words.NOUNS])])
    year, century = _codes(tokenizer, YEARS), _codes(tokenizer, CENTURIES).sum(1, keepdim=True)
    eye = torch.eye(len(YEARS))
    larger = torch.triu(torch.ones_like(eye), 1)  # [year, answer]: 1 where the answer is the larger one
    copy = Head(
        query={"century": _row(SHARP, 0.0), ONE: _row(0.0, SHARP / 2)},
        key={"is a year": _row(1.0, 0.0), "start": _row(0.0, 1.0)},
        value={"year": eye}, writes={"seen year": eye},
    )  # fmt: skip
    decoy = Head(query={ONE: _column(SHARP)}, key={"is a year": _column()}, value={"year": eye}, writes={"decoy": eye})
    plan = Plan(
        sizes={"century": 1, "is a year": 1, "start": 1, "year": 100, "seen year": 100, "decoy": 100},
        words={"year": year, "century": century, "is a year": year.sum(1, keepdim=True),
               "start": _codes(tokenizer, [END])},
        scores={"seen year": GAIN * year @ larger.T}, layers=[[copy], [decoy], []], positions=16, head_width=100,
    )  # fmt: skip
    site = {"greater-than": "blocks.2.resid_post"}
    return _made("greater-than", plan, tokenizer, {"greater-than": ("seen year",)}, site, seed)


def _ravel(seed: int) -> PlantedTask:
    attributes = tuple(words.CITY_TEMPLATES)
    values = sorted({one for row in words.CITIES.values() for one in row.values()})
    texts = [one for row in words.CITY_TEMPLATES.values() for one in row]
    tokenizer = word_tokenizer(dict.fromkeys([*words_in(texts), *words.CITIES, *values]), numbers=False)
    city = _codes(tokenizer, [f" {name}" for name in words.CITIES])
    asked = _codes(tokenizer, [f" {one.lower()}" for one in attributes])
    answers = _codes(tokenizer, [f" {one}" for one in values])
    three, kinds = torch.eye(3), {}
    for attribute in attributes:
        own = sorted({row[attribute] for row in words.CITIES.values()})
        table = torch.tensor([[float(row[attribute] == one) for one in own] for row in words.CITIES.values()])
        kinds[attribute] = (own, table)
    asks = Head(
        query={ONE: _row(SHARP, SHARP / 2)},
        key={"attribute word": torch.cat([torch.ones(3, 1), torch.zeros(3, 1)], 1), "start": _row(0.0, 1.0)},
        value={"attribute word": three}, writes={"asked": three},
    )  # fmt: skip
    movers = []
    for number, (attribute, (own, _)) in enumerate(kinds.items()):
        wanted = torch.zeros(3, 2)
        wanted[number, 0] = SHARP
        to = torch.tensor([[float(one == value) for value in own] for one in values])
        movers.append(
            Head(
                query={"asked": wanted, ONE: _row(0.0, SHARP / 2)},
                key={"is a city": _row(1.0, 0.0), "start": _row(0.0, 1.0)},
                value={attribute.lower(): torch.eye(len(own))}, writes={"answer": to},
            )
        )  # fmt: skip
    plan = Plan(
        sizes={"is a city": 1, "start": 1, "attribute word": 3, "asked": 3, "which city": len(words.CITIES),
               **{name.lower(): len(own) for name, (own, _) in kinds.items()}, "answer": len(values)},
        words={"is a city": city.sum(1, keepdim=True), "start": _codes(tokenizer, [END]), "attribute word": asked,
               "which city": city, **{name.lower(): city @ table for name, (_, table) in kinds.items()}},
        scores={"answer": GAIN * answers}, layers=[[asks], [], movers], heads=4, head_width=len(words.CITIES) + 1,
    )  # fmt: skip
    carries = {one: (one.lower(),) for one in attributes}
    return _made("ravel", plan, tokenizer, carries, dict.fromkeys(attributes, "blocks.1.resid_post"), seed)


def _knowledge_conflict(seed: int) -> PlantedTask:
    people, values = [*words.LAUREATES, *words.MADE_UP], sorted(set(words.LAUREATES.values()))
    known = words_in([*people, *values, "won the Nobel Prize in"])
    tokenizer = word_tokenizer(known, numbers=False)
    who = _codes(tokenizer, [f" {name.split()[-1]}" for name in people])
    what = _codes(tokenizer, [f" {one}" for one in values])
    true = torch.tensor([[float(words.LAUREATES.get(name) == one) for one in values] for name in people])
    n, k, places = len(people), len(values), 64
    eye, kinds = torch.eye(n), torch.eye(k)
    subject = Head(
        query={ONE: _row(1.0, 1.0)}, key={"is a name": _row(200.0, 0.0), "turn": _row(0.0, 400.0)},
        value={"name": torch.cat([eye, torch.zeros(n, k)], 1), "remembered": torch.cat([torch.zeros(k, n), kinds], 1)},
        writes={"subject": torch.cat([eye, torch.zeros(n, k)], 1),
                "memory": torch.cat([torch.zeros(k, n), kinds], 1)},
    )  # fmt: skip
    match = Head(
        query={"subject": torch.cat([SHARP * eye, torch.zeros(n, 2)], 1),
               ONE: torch.cat([torch.zeros(1, n), _row(SHARP, 1.5 * SHARP)], 1)},
        key={"subject": torch.cat([eye, torch.zeros(n, 2)], 1),
             "is a value": torch.cat([torch.zeros(1, n), _row(1.0, 0.0)], 1),
             "start": torch.cat([torch.zeros(1, n), _row(0.0, 1.0)], 1)},
        value={"value": kinds}, writes={"context": kinds},
    )  # fmt: skip
    plan = Plan(
        sizes={"is a name": 1, "is a value": 1, "start": 1, "turn": 1, "name": n, "subject": n, "remembered": k,
               "memory": k, "value": k, "context": k},
        words={"is a name": who.sum(1, keepdim=True), "is a value": what.sum(1, keepdim=True), "name": who,
               "remembered": who @ true, "value": what, "start": _codes(tokenizer, [END])},
        places={"turn": torch.arange(places)[:, None] / places}, positions=places,
        scores={"context": GAIN * what, "memory": 0.6 * GAIN * what},
        layers=[[subject], [match], [], []], heads=2, head_width=n + k,
    )  # fmt: skip
    carries = {"context": ("context",), "memory": ("memory",)}
    return _made("knowledge-conflict", plan, tokenizer, carries, dict.fromkeys(carries, "blocks.2.resid_mid"), seed)


TASKS: Mapping[str, Callable[[int], PlantedTask]] = MappingProxyType(
    {"ioi": _ioi, "greater-than": _greater_than, "ravel": _ravel, "knowledge-conflict": _knowledge_conflict}
)
"""Suite -> the maker of its model."""


DECOYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ioi": ("decoy", "token"),
        "greater-than": ("decoy", "year"),
        "ravel": ("which city",),
        "knowledge-conflict": ("subject", "name"),
    }
)


def _codes(tokenizer: Any, tokens: Any) -> Tensor:
    """(vocabulary, tokens): 1 where the id is that of the token."""
    found = torch.zeros(len(tokenizer), len(tokens))
    for column, token in enumerate(tokens):
        found[tokenizer.convert_tokens_to_ids(token), column] = 1.0
    return found


def _column(value: float = 1.0) -> Tensor:
    return torch.full((1, 1), value)


def _row(*values: float) -> Tensor:
    return torch.tensor([values])
