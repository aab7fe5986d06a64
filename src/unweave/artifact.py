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
import hashlib
import importlib
import json
import math
import shutil
import uuid
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unweave.config import Config, config_from
from unweave.errors import InputError, StoreError, UnweaveError, unknown_name
from unweave.files import file_sha256, replace_directory, write_file, write_tensors, write_text
from unweave.kinds import KINDS as KINDS
from unweave.site import Site
from unweave.version import __version__

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1
FACTS, TENSORS, TIMINGS = "artifact.json", "tensors.safetensors", "timings.json"


def save(value: object, path: str | Path) -> Path:
    """Writes a result as a directory and returns its path; an artifact that stands there is replaced in one step,
    anything else is refused.

    Args:
        value: A result, of a class that `KINDS` lists.
        path: The directory.

    Raises:
        InputError: `value` is not a result that can be saved, or the path holds something that is not an artifact.
        StoreError: The directory cannot be written (disk full, no permission); what stood there is untouched.

    Example:
        >>> import unweave as uw, tempfile
        >>> path = uw.save(uw.Direction(vector=[3.0, 4.0]), tempfile.mkdtemp() + "/direction")
        >>> uw.load(path)
        Direction(width 2, length 5)
    """
    target = Path(path).resolve()  # behind a link, what it points at is replaced and the link stays
    writer = _Writer()
    encoded = writer.encode(value, "value")
    if not isinstance(encoded, dict) or "$kind" not in encoded:
        raise InputError(
            f"cannot save a {type(value).__name__}: uw.save writes results such as {', '.join(list(KINDS)[:4])}"
        )
    _check_replaceable(target)
    fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        fresh.mkdir(parents=True)
        _write(fresh, encoded, writer)
        replace_directory(fresh, target)
    except OSError as error:
        raise StoreError(
            f"{target} cannot be written: {error.strerror or error}; nothing was changed, make room or choose another"
            " path"
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return Path(path)


def load(path: str | Path) -> Any:
    """The result that `save` wrote, equal to the bit.

    Raises:
        StoreError: Not an artifact, damaged (checksums), of a newer schema, or of a kind this version does not know.
    """
    folder = Path(path)
    facts = read_facts(folder)
    tensors = _read_tensors(folder, facts["tensors"])
    timings = _read_json(folder / TIMINGS) if (folder / TIMINGS).exists() else {}
    try:
        return _decode(facts["value"], tensors, timings)
    except (KeyError, TypeError, ValueError, AttributeError, UnweaveError) as error:
        raise StoreError(
            f"{folder} does not fit this version of unweave: {error}; update unweave or make the artifact again"
        ) from error


def read_facts(path: str | Path) -> dict[str, Any]:
    """The content of `artifact.json`, checked, without reading any tensor and without torch."""
    folder = Path(path)
    file = folder / FACTS
    if not file.exists():
        got = "it is a file" if folder.is_file() else f"there is no {FACTS}"
        raise StoreError(f"no artifact at {folder}: {got}; give the directory that uw.save wrote")
    facts = _read_json(file)
    claimed = facts.pop("sha256", None) if isinstance(facts, dict) else None
    if claimed != _sha256(facts):
        raise StoreError(f"{file} is damaged: its checksum does not fit its content; make the artifact again")
    if facts.get("schema") != SCHEMA:
        raise StoreError(
            f"{file} has schema {facts.get('schema')}, this version reads {SCHEMA}: update unweave or make the artifact"
            " again"
        )
    missing = [key for key in ("kind", "value", "tensors") if key not in facts]
    if missing:
        raise StoreError(f"{file} has no {', '.join(missing)}: it was not written by unweave; make the artifact again")
    return facts


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spare blanks: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(value: object) -> str:
    """sha256 of the canonical JSON of plain values."""
    return _sha256(value)


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


def _check_replaceable(target: Path) -> None:
    """Raises if something stands at `target` that is not an artifact and nothing else."""
    if not target.exists():
        return
    found = {entry.name for entry in target.iterdir()} if target.is_dir() else None
    if found is None or (found and FACTS not in found):
        raise InputError(f"{target} exists and is not an artifact: choose another path")
    strange = sorted(found - {FACTS, TENSORS, TIMINGS})
    if strange:
        raise InputError(f"{target} holds {strange[0]!r} beside an artifact, which would be lost: choose another path")


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


def _write(folder: Path, encoded: dict[str, Any], writer: _Writer) -> None:
    facts: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": encoded["$kind"],
        "library": __version__,
        "value": encoded,
        "tensors": None,
    }
    if writer.tensors:
        write_file(folder / TENSORS, lambda temporary: write_tensors(writer.tensors, temporary))
        facts["tensors"] = {"bytes": (folder / TENSORS).stat().st_size, "sha256": file_sha256(folder / TENSORS)}
    if writer.timings:
        write_text(folder / TIMINGS, json.dumps(writer.timings, indent=1) + "\n")
    facts["sha256"] = _sha256(facts)
    write_text(folder / FACTS, json.dumps(facts, indent=1, allow_nan=False) + "\n")


def _read_tensors(folder: Path, expected: Mapping[str, Any] | None) -> dict[str, Tensor]:
    if expected is None:
        return {}
    file = folder / TENSORS
    if not file.exists():
        raise StoreError(f"{folder} is incomplete: {TENSORS} is missing; make the artifact again")
    if file.stat().st_size != expected["bytes"]:
        raise StoreError(
            f"{file} has {file.stat().st_size} bytes, {expected['bytes']} were written: it is cut or foreign; make the"
            " artifact again"
        )
    if file_sha256(file) != expected["sha256"]:
        raise StoreError(f"{file} is damaged: its checksum does not fit its content; make the artifact again")
    from safetensors.torch import load_file

    return load_file(file)


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{file} is damaged: {error}; make the artifact again") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _sha256(value: object) -> str:
    """A text may hold half of a surrogate pair, which plain UTF-8 cannot say."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()
