"""Collection 10: what is known about a person, at the last word of the name, the text cut right behind it.

A row is the maximum over the pieces of the surname (or its last piece). One mention an entity, of those that the text
names at least twice; exactly one class a property; the group is the entity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from unweave.activations.haystack.built import Built, TokenFeature, finished, start_tokens
from unweave.activations.haystack.cutting import encoded, prepared, room_for
from unweave.activations.haystack.entities import PROPERTIES, Entity, Mention, find_mentions
from unweave.activations.haystack.names import FACTS
from unweave.activations.prepared import Prepared
from unweave.activations.texts import Text

ROWS: Mapping[str, int] = MappingProxyType(
    {"sex_or_gender": 6000, "is_alive": 6000, "occupation": 6000, "occupation_athlete": 5000, "political_party": 3000,
     "country_of_citizenship": 6000}
)  # fmt: skip
"""Property -> most mentions."""
MENTIONS = 2
"""Names that the text has less often are left out."""
CHARACTERS_A_TOKEN = 16
"""Text in front of a name that is tokenised, a token of the context: more than any tokenizer's pieces have."""


def facts(
    texts: Iterable[Text],
    entities: Sequence[Entity],
    tokenizer: Any,
    *,
    pool: Literal["max", "last"] = "max",
    properties: Sequence[str] = tuple(FACTS),
    context: int = 128,
    rows: int = 6000,
    seed: int = 0,
) -> Built:
    """The 17 classes of five properties, one against the rest within a property.

    Args:
        texts: Documents that name the entities.
        entities: From `read_entities`.
        tokenizer: Of the model.
        pool: `max` over the surname's pieces, or its `last` piece.
        properties: Which ones; `country_of_citizenship` is there on request.
        context: Most tokens of a sequence, special ones included; the last ones before the cut.
        rows: Most mentions a property.
        seed: Of which mention of a name is taken, and of which names.

    Example:
        >>> import unweave as uw
        >>> from unweave.activations.haystack.entities import read_entities
        >>> people = [("Ada", "female"), ("Bob", "male")] * 25
        >>> rows = [{"name": f"{who} Smith{n:02}", "sex_or_gender": sex} for n, (who, sex) in enumerate(people)]
        >>> texts = [Text(text=f"This is {row['name']}, and {row['name']} again.") for row in rows]
        >>> built = facts(texts, read_entities(rows), uw.load_model("zoo:docs").tokenizer)
        >>> [one["feature"] for one in built.report() if one["status"] == "built"]
        ['female', 'male']
    """
    given = list(texts)
    drops: Counter[str] = Counter()
    mentions = _one_each([one.text for one in given], entities, drops, seed)
    sequences = _sequences(given, mentions, tokenizer, context, pool)
    features = []
    for name in properties:
        chosen = _of_property(name, mentions, min(rows, ROWS[name]), seed)
        classes = [mentions[number].entity.classes[name] for number in chosen]
        outside = sum(value not in PROPERTIES[name] for value in classes)
        if outside:
            drops[f"mentions of a class of {name} that is no feature"] += outside
        features += [_feature(value, name, chosen, classes, sequences) for value in PROPERTIES[name]]
    return finished("wikidata", sequences, features, context=context, drops=drops, seed=seed)


def _one_each(texts: Sequence[str], entities: Sequence[Entity], drops: Counter[str], seed: int) -> list[Mention]:
    """One mention of each name that stands there often enough."""
    found = find_mentions(texts, entities)
    rng = np.random.default_rng([seed, 5])
    chosen = []
    for name in sorted(found):
        if len(found[name]) < MENTIONS:
            drops[f"names that the text has fewer than {MENTIONS} times"] += 1
        else:
            chosen.append(found[name][int(rng.integers(len(found[name])))])
    drops["entities that the text does not name"] += len(entities) - len(found)
    return chosen


def _sequences(
    texts: Sequence[Text], mentions: Sequence[Mention], tokenizer: Any, context: int, pool: str
) -> list[Prepared]:
    special = start_tokens(tokenizer)
    room = room_for(context, special)
    cut = [_before(texts[one.document].text, one.end, room * CHARACTERS_A_TOKEN) for one in mentions]
    documents = encoded(
        ((text, texts[one.document].id, one.entity.name) for text, one in zip(cut, mentions, strict=True)), tokenizer
    )
    found = []
    for document, one in zip(documents, mentions, strict=True):
        count = len(document.ids)
        first = max(0, count - room)
        surname = len(one.entity.name.rsplit(" ", 1)[1])
        pieces = np.flatnonzero(document.inside([(len(document.text) - surname, len(document.text))])) - first
        pieces = pieces[pieces >= 0]
        kept = tuple(pieces.tolist()) if pool == "max" else (int(pieces[-1]),)
        sequence = prepared(document, first, count, special)
        found.append(replace(sequence, keep=kept, pool="max" if pool == "max" else "each"))
    return found


def _before(text: str, end: int, most: int) -> str:
    """The text up to `end`, of the last `most` characters what begins at a word."""
    if end <= most:
        return text[:end]
    start = end - most
    while start < end and not text[start].isspace():
        start += 1
    return text[start:end]


def _of_property(name: str, mentions: Sequence[Mention], most: int, seed: int) -> list[int]:
    """Numbers of the mentions whose entity has exactly one class of the property."""
    having = [number for number, one in enumerate(mentions) if name in one.entity.classes]
    order = np.random.default_rng([seed, 6]).permutation(len(having))[:most]
    return sorted(having[place] for place in order.tolist())


def _feature(
    value: str, name: str, chosen: Sequence[int], classes: Sequence[str], sequences: Sequence[Prepared]
) -> TokenFeature:
    return TokenFeature(
        name=value,
        sequence=np.array(chosen, dtype=np.int64),
        position=np.array([sequences[number].row_positions[0] for number in chosen], dtype=np.int64),
        values=np.array([one == value for one in classes], dtype=bool),
        note=f"of {name}",
    )
