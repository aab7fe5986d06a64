"""Results on disk: a directory with `artifact.json` (facts) and `tensors.safetensors` (arrays), written whole or not at
all.

One codec serves every result: frozen dataclasses, configurations and enums are written field by field, arrays by their
place in the object. What may be read back is the table `KINDS`; a file can name nothing else, so loading imports and
runs nothing of a stranger's. Numbers that change from run to run (`seconds`) go to `timings.json`, outside every
checksum: two equal runs write equal artifacts. Never pickle.

| file | content |
|---|---|
| `artifact.json` | `schema`, `kind`, `library` version, `value` (the object), `tensors` (file, bytes, sha256) and `sha256` of all that |
| `tensors.safetensors` | the arrays, named by their path in the object |
| `timings.json` | seconds by path in the object |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import dataclasses
import enum
import importlib
import math
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unweave.artifact_files import FACTS as FACTS
from unweave.artifact_files import canonical_json as canonical_json
from unweave.artifact_files import read_artifact, sha256_of, write_artifact
from unweave.artifact_files import read_facts as read_facts
from unweave.config import Config, config_from
from unweave.errors import InputError, StoreError, UnweaveError, unknown_name
from unweave.kinds import KINDS as KINDS
from unweave.places import Place, Remote, place_of
from unweave.site import Site

if TYPE_CHECKING:
    from torch import Tensor


def save(value: object, path: str | Path | Remote) -> Place:
    """Writes a result as a directory and returns its path; an artifact that stands there is replaced in one step,
    anything else is refused.

    Args:
        value: A result, of a class that `KINDS` lists.
        path: The directory, or a URL that fsspec understands; there an old artifact goes before the new one comes.

    Raises:
        InputError: `value` is not a result that can be saved, or the path holds something that is not an artifact.
        StoreError: The directory cannot be written (disk full, no permission); what stood there is untouched.

    Example:
        >>> import unweave as uw, tempfile
        >>> path = uw.save(uw.Direction(vector=[3.0, 4.0]), tempfile.mkdtemp() + "/direction")
        >>> uw.load(path)
        Direction(width 2, length 5)
    """
    place = place_of(path)
    writer = _Writer()
    encoded = writer.encode(value, "value")
    if not isinstance(encoded, dict) or "$kind" not in encoded:
        raise InputError(
            f"cannot save a {type(value).__name__}: uw.save writes results such as {', '.join(list(KINDS)[:4])}"
        )
    write_artifact(place, encoded, writer.tensors, writer.timings)
    return place


def load(path: str | Path | Remote) -> Any:
    """The result that `save` wrote, equal to the bit; from a directory or a URL.

    Raises:
        StoreError: Not an artifact, damaged (checksums), of a newer schema, or of a kind this version does not know.
    """
    folder = place_of(path)
    facts, tensors, timings = read_artifact(folder)
    try:
        return _decode(facts["value"], tensors, timings)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, UnweaveError) as error:
        raise StoreError(
            f"{folder} does not fit this version of unweave: {error}; update unweave or make the artifact again"
        ) from error


def fingerprint(value: object) -> str:
    """sha256 of the canonical JSON of plain values."""
    return sha256_of(value)


class _Writer:
    """Collects arrays and timings while an object is turned into plain values."""

    def __init__(self) -> None:
        """Starts empty."""
        self.tensors: dict[str, Tensor] = {}
        self.timings: dict[str, float | None] = {}

    def encode(self, value: Any, place: str) -> Any:
        """The plain value that stands for `value` in `artifact.json`."""
        if value is None or (isinstance(value, bool | int) and not isinstance(value, enum.Enum)):
            return value
        if isinstance(value, Site):
            return {"$site": value.asked}
        if isinstance(value, enum.Enum):
            return {"$kind": _kind_of(value), "$enum": value.name}
        if isinstance(value, str):
            return str(value)
        if isinstance(value, float):
            return value if math.isfinite(value) else {"$float": repr(value)}
        if isinstance(value, tuple | list):
            items = [self.encode(item, f"{place}.{number}") for number, item in enumerate(value)]
            return items if isinstance(value, list) else {"$tuple": items}
        if isinstance(value, Config):
            return {"$kind": _kind_of(value), "$config": value.model_dump(mode="json")}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):  # a Bundle is a mapping too
            return {
                "$kind": _kind_of(value),
                "$fields": {field.name: self._field(value, field.name, place) for field in dataclasses.fields(value)},
            }
        if isinstance(value, Mapping):
            return {
                "$pairs": [
                    [self.encode(key, place), self.encode(item, f"{place}.{key}")] for key, item in value.items()
                ]
            }
        return self._array(value, place)

    def _field(self, owner: Any, name: str, place: str) -> Any:
        value = getattr(owner, name)
        if name == "seconds":
            timing = _free(f"{place}.{name}", self.timings)
            self.timings[timing] = value
            return {"$timing": timing}
        return self.encode(value, f"{place}.{name}")

    def _array(self, value: Any, place: str) -> Any:
        import numpy as np
        import torch

        if isinstance(value, np.generic):
            return self.encode(value.item(), place)
        name = _free(place, self.tensors)
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.dtype.isnative:
            self.tensors[name] = torch.from_numpy(np.array(value, order="C"))
            return {"$array": name, "shape": list(value.shape)}
        if isinstance(value, torch.Tensor):
            self.tensors[name] = value.detach().cpu().contiguous().clone()
            return {"$tensor": name, "shape": list(value.shape)}
        raise InputError(
            f"cannot save {place.removeprefix('value.')}: a {type(value).__name__} has no place in an artifact"
        )


def _free(place: str, taken: Mapping[str, object]) -> str:
    """The place, or with a number behind it: keys such as 1 and "1" have one spelling."""
    if place not in taken:
        return place
    return next(name for number in count(2) if (name := f"{place}#{number}") not in taken)


def _kind_of(value: object) -> str:
    place = f"{type(value).__module__}:{type(value).__name__}"
    for kind, listed in KINDS.items():
        if listed == place:
            return kind
    raise InputError(
        f"cannot save a {type(value).__name__}: only the results listed in unweave.artifact.KINDS can be saved"
    )


def _class_of(kind: str) -> Any:
    if kind not in KINDS:
        raise unknown_name("kind", str(kind), KINDS)
    module, _, name = KINDS[kind].partition(":")
    return getattr(importlib.import_module(module), name)


def _decode(value: Any, tensors: Mapping[str, Tensor], timings: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors, timings) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"$site": name}:
            return Site(name)
        case {"$float": text}:
            return float(text)
        case {"$tuple": items}:
            return tuple(_decode(item, tensors, timings) for item in items)
        case {"$pairs": pairs}:
            return {_decode(key, tensors, timings): _decode(item, tensors, timings) for key, item in pairs}
        case {"$timing": place}:
            return timings.get(place)
        case {"$tensor": place, "shape": shape}:
            return _shaped(tensors[place], place, shape)
        case {"$array": place, "shape": shape}:
            return _shaped(tensors[place], place, shape).numpy()
        case {"$kind": kind, "$enum": name}:
            return _class_of(kind)[name]
        case {"$kind": kind, "$config": values}:
            return config_from(_class_of(kind), values, source=kind)
        case {"$kind": kind, "$fields": fields}:
            return _class_of(kind)(**{name: _decode(item, tensors, timings) for name, item in fields.items()})
        case _:
            raise StoreError(f"an entry with the keys {sorted(value)} means nothing here")


def _shaped(tensor: Tensor, place: str, shape: object) -> Tensor:
    if list(tensor.shape) != shape:
        raise StoreError(f"{place} has shape {list(tensor.shape)}, {shape} was written")
    return tensor
