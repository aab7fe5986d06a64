"""Tables of entities (who is what), and where their names stand in text.

| column | meaning |
|---|---|
| `name` | as it stands in text; with a space and at least 8 characters, else it is left out |
| `popularity` | optional number; of two entities of one name the more popular one counts |
| a property of `FACTS` | its class; several (a list, or with `|` between them) leave the entity out of that property |
| `birth`, `death` | years or dates, for `is_alive` where there is no such column |
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unweave.activations.haystack.identification import opened
from unweave.activations.haystack.names import CITIZENSHIP, FACTS
from unweave.errors import InputError

LEAST_CHARACTERS = 8
LAST_DEATH = 1980
"""Dead for certain: who died later may be alive in older text."""
PROPERTIES = {**FACTS, "country_of_citizenship": CITIZENSHIP}
_FIRST_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, kw_only=True)
class Entity:
    """A name with its classes."""

    name: str
    classes: Mapping[str, str]
    """Property -> the one class it has."""


@dataclass(frozen=True, kw_only=True)
class Mention:
    """One place at which a name stands."""

    entity: Entity
    document: int
    start: int
    end: int


def read_entities(source: Any, drops: Counter[str] | None = None) -> list[Entity]:
    """The entities of a `.jsonl` or `.csv` table (also `.gz`, `.xz`) or of an iterable of mappings.

    Args:
        source: The table.
        drops: Is told what is left out, and why.

    Raises:
        InputError: No such file, or rows without a name.

    Example:
        >>> table = [{"name": "Ada Lovelace", "sex_or_gender": "female", "death": "1852-11-27"}]
        >>> dict(read_entities(table)[0].classes)
        {'sex_or_gender': 'female', 'is_alive': 'false'}
    """
    told = Counter() if drops is None else drops
    best: dict[str, tuple[float, Entity]] = {}
    for where, row in _rows(source):
        name = row.get("name")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{where} has no 'name': every entity needs one")
        name = " ".join(name.split())
        if " " not in name or len(name) < LEAST_CHARACTERS or not _FIRST_WORD.match(name):
            told[f"entities whose name has no space, or fewer than {LEAST_CHARACTERS} characters"] += 1
            continue
        popularity = _number(row.get("popularity"), where)
        if name in best:
            told["entities of a name that a more popular one has"] += 1
        if name not in best or popularity > best[name][0]:
            best[name] = (popularity, Entity(name=name, classes=_classes(row, told)))
    return [entity for _, entity in best.values()]


def find_mentions(texts: Sequence[str], entities: Iterable[Entity]) -> dict[str, list[Mention]]:
    """Name -> all places at which it stands as whole words; where one name begins another, the longer one counts."""
    by_word: dict[str, list[Entity]] = {}
    for entity in entities:
        found = _FIRST_WORD.match(entity.name)
        if found:
            by_word.setdefault(found[0], []).append(entity)
    for candidates in by_word.values():
        candidates.sort(key=lambda entity: -len(entity.name))
    mentions: dict[str, list[Mention]] = {}
    for number, text in enumerate(texts):
        for word in _FIRST_WORD.finditer(text):
            for entity in by_word.get(word[0], ()):
                end = word.start() + len(entity.name)
                if text.startswith(entity.name, word.start()) and not text[end : end + 1].isalnum():
                    place = Mention(entity=entity, document=number, start=word.start(), end=end)
                    mentions.setdefault(entity.name, []).append(place)
                    break
    return mentions


def _rows(source: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not isinstance(source, str | Path):
        yield from ((f"entity {number}", row) for number, row in enumerate(source))
        return
    path = Path(source)
    if not path.is_file():
        raise InputError(f"no table of entities at {path}: give a .jsonl or .csv file")
    text = opened(path)
    if ".csv" in path.suffixes:
        yield from ((f"{path} row {number}", row) for number, row in enumerate(csv.DictReader(io.StringIO(text)), 1))
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(
                    f"{path} line {number} is not JSON ({error.msg}): one object a line is needed"
                ) from error
            if not isinstance(row, Mapping):
                raise InputError(f"{path} line {number} is a {type(row).__name__}: an object with 'name' is needed")
            yield f"{path} line {number}", row


def _classes(row: Mapping[str, Any], drops: Counter[str]) -> dict[str, str]:
    """Property -> class, where the entity has exactly one."""
    found: dict[str, str] = {}
    for name in PROPERTIES:
        values = _values(row.get(name))
        if name == "is_alive" and not values:
            values = _alive(row, drops)
        if len(values) > 1:
            drops[f"entities of several classes of {name}"] += 1
        elif values:
            found[name] = values[0]
    if "political_party" in found and "politician" not in _values(row.get("occupation")):
        found.pop("political_party")
        drops["entities with a party that are no politicians"] += 1
    return found


def _values(value: Any) -> list[str]:
    if value is None or value == "":
        return []
    if isinstance(value, bool):
        return [str(value).lower()]
    parts = value if isinstance(value, list | tuple) else str(value).split("|")
    return list(dict.fromkeys(str(part).strip() for part in parts if str(part).strip()))


def _alive(row: Mapping[str, Any], drops: Counter[str]) -> list[str]:
    birth, death = _year(row.get("birth")), _year(row.get("death"))
    if death is None:
        return ["true"] if birth is not None and not row.get("death") else []
    if death > LAST_DEATH:
        drops[f"entities that died after {LAST_DEATH}, for is_alive"] += 1
        return []
    return ["false"]


def _year(value: Any) -> int | None:
    found = re.match(r"\s*([-+]?\d{1,4})(?!\d)", str(value)) if value not in (None, "") else None
    return int(found[1]) if found else None


def _number(value: Any, where: str) -> float:
    try:
        return float(value) if value not in (None, "") else 0.0
    except (TypeError, ValueError):
        raise InputError(f"{where} has the popularity {value!r}: a number is needed") from None
