"""Frozen configurations from TOML, JSON or keyword arguments, with every fault reported at once and the nearest valid
key beside each unknown one.

`Config` is pydantic's base, frozen and closed; a subclass has at most 15 fields, each with a docstring line, and
nothing that acts.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unweave.errors import InputError, UnknownName, nearest
from unweave.places import place_of


class Config(BaseModel):
    """Base of all configurations: frozen, equal by value, unknown keys refused, fields documented by the string below
    them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, arbitrary_types_allowed=False)


Seed = Annotated[int, Field(ge=0)]
"""Of random draws: generators take no negative number."""
C = TypeVar("C", bound=Config)


def config_from(kind: type[C], values: Any, *, source: str) -> C:
    """The configuration with these values.

    Args:
        kind: The class of the configuration.
        values: A mapping of keys to values, as read from a file or given as options.
        source: Where they come from, for the message: a path or "options".

    Raises:
        UnknownName: A key that the configuration does not have; the nearest valid key is named.
        InputError: Not a mapping, or values of the wrong type or range; all of them in one message.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{source} holds a {type(values).__name__}: a configuration is a table of keys and values")
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise _readable(kind, error, source) from None


def read_config(kind: type[C], path: str | Path) -> C:
    """The configuration in a `.toml` or `.json` file; errors as in `config_from`, and `InputError` if the file cannot
    be read or parsed.
    """
    return config_from(kind, read_mapping(path), source=str(path))


def read_mapping(path: str | Path) -> dict[str, Any]:
    """The top-level table of a `.toml` or `.json` file."""
    file = place_of(path)
    try:
        text = file.read_text(encoding="utf-8")
        values = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        raise InputError(f"no configuration file at {file}: give the path of a .toml or .json file") from None
    except IsADirectoryError:
        raise InputError(f"{file} is a directory: give the path of a .toml or .json file") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror or error}): give a .toml or .json file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 at byte {error.start}: save the configuration as UTF-8") from None
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{file} cannot be parsed: {error}; correct it there") from None
    if not isinstance(values, dict):
        raise InputError(f"{file} holds a {type(values).__name__}: a configuration is a table of keys and values")
    return values


def config_json(config: Config) -> dict[str, Any]:
    """The configuration as plain JSON values; `config_from` gives it back unchanged."""
    return config.model_dump(mode="json")


def _readable(kind: type[Config], error: ValidationError, source: str) -> InputError:
    unknown: list[str] = []
    faults: list[str] = []
    suggestions: list[str] = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            valid = _fields_at(kind, fault["loc"][:-1])
            close = nearest(str(fault["loc"][-1]), valid)
            suggestions += close
            near = f" (nearest: {', '.join(map(repr, close))})" if close else f" (valid: {', '.join(valid)})"
            unknown.append(f"unknown key {key!r}{near}")
        elif fault["type"] == "missing":
            faults.append(f"{key}: a value is needed, none was given")
        else:
            message = fault["msg"].removeprefix("Value error, ")
            faults.append(f"{key or 'values'}: {message[:1].lower()}{message[1:]}, got {_short(fault['input'])}")
    text = f"{source}: " + "; ".join(unknown + faults)  # a misspelt key is often why another one is missing
    return UnknownName(text, suggestions=suggestions) if unknown else InputError(text)


def _fields_at(kind: type[Config], place: Sequence[int | str]) -> list[str]:
    """The keys that the table at this place may have: those of the configuration nested there."""
    for part in place:
        field = kind.model_fields.get(str(part))
        if field is not None:
            kind = next(_configs_in(field.annotation), kind)
    return list(kind.model_fields)


def _configs_in(annotation: Any) -> Iterator[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation
    for argument in get_args(annotation):
        yield from _configs_in(argument)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
