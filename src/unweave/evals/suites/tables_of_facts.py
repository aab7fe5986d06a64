"""Tables of entities and facts from a file: your own, or those of RAVEL as their authors publish them.

| file | keys |
|---|---|
| for `ravel` | `{"entities": {entity: {attribute: value}}, "templates": {attribute: [text with {e}]}}` |
| for `ravel`, as published | `*_entity_attributes.json` beside `*_attribute_to_prompts.json` (texts with `%s`) |
| for `knowledge-conflict` | `{"facts": {entity: value}}` and maybe `statement` (with {e} and {v}), `question` (with {e}), `invented` |
| the same, from RAVEL | `*_entity_attributes.json` with the attribute `Field` |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unweave.errors import InputError, nearest

ENTITIES, PROMPTS = "_entity_attributes.json", "_attribute_to_prompts.json"
CONFLICT = ("facts", "statement", "question", "invented")


def read_entities(path: str | Path) -> dict[str, Any]:
    """`entities` and `templates` of a file.

    Args:
        path: The file.

    Raises:
        InputError: It cannot be read, or is not such a table; the key is named.
    """
    file = Path(path)
    given = _json(file)
    if file.name.endswith(ENTITIES):
        beside = file.with_name(file.name.removesuffix(ENTITIES) + PROMPTS)
        if not beside.exists():
            raise InputError(f"{beside.name} is not beside {file}: RAVEL's entities need its prompts, or give one file")
        prompts = _json(beside)
        given = {
            "entities": given,
            "templates": {one: [text.replace("%s", "{e}") for text in texts] for one, texts in prompts.items()},
        }
    _check_keys(file, given, ("entities", "templates"), needed=("entities", "templates"))
    entities, templates = given["entities"], given["templates"]
    if not isinstance(entities, Mapping) or not all(isinstance(one, Mapping) for one in entities.values()):
        raise InputError(f"{file}: 'entities' must be {{entity: {{attribute: value}}}}")
    if not isinstance(templates, Mapping) or not all(isinstance(one, list) for one in templates.values()):
        raise InputError(f"{file}: 'templates' must be {{attribute: [texts with {{e}}]}}")
    for attribute, texts in templates.items():
        if not texts or not all(isinstance(text, str) and text.count("{e}") == 1 for text in texts):
            raise InputError(f"{file}: every template of {attribute!r} must be a text with one {{e}} for the entity")
    named = {name: {str(a): str(v) for a, v in row.items()} for name, row in entities.items()}
    return {"entities": named, "templates": {one: list(texts) for one, texts in templates.items()}}


def read_facts(path: str | Path) -> dict[str, Any]:
    """What `knowledge_conflict` takes, from a file.

    Args:
        path: The file.

    Raises:
        InputError: It cannot be read, or is not such a table; the key is named.
    """
    file = Path(path)
    given = _json(file)
    if file.name.endswith(ENTITIES):
        given = {"facts": {name: row["Field"] for name, row in given.items() if "Field" in row}}
    _check_keys(file, given, CONFLICT, needed=("facts",))
    facts = given["facts"]
    if not isinstance(facts, Mapping) or not all(isinstance(value, str) for value in facts.values()) or not facts:
        raise InputError(f"{file}: 'facts' must be {{entity: value}}, both texts")
    for key, slots in (("statement", ("{e}", "{v}")), ("question", ("{e}",))):
        if key in given and not (isinstance(given[key], str) and all(slot in given[key] for slot in slots)):
            raise InputError(f"{file}: {key!r} must be a text with {' and '.join(slots)}")
    if "invented" in given and not (
        isinstance(given["invented"], list) and all(isinstance(one, str) for one in given["invented"])
    ):
        raise InputError(f"{file}: 'invented' must be a list of names")
    return dict(given)


def _json(file: Path) -> Any:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({error}): give a JSON file") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{file} holds a {type(found).__name__}: a JSON object is needed")
    return found


def _check_keys(file: Path, given: Mapping[str, Any], known: tuple[str, ...], *, needed: tuple[str, ...]) -> None:
    missing = [key for key in needed if key not in given]
    strange = [key for key in given if key not in known]
    if missing or strange:
        near = nearest(strange[0], known) if strange else []
        what = f"has no {missing[0]!r}" if missing else f"has the unknown key {strange[0]!r}"
        hint = f"; nearest: {near[0]!r}" if near else ""
        raise InputError(f"{file} {what}{hint}; the keys are {', '.join(known)}")
