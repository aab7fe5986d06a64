"""The files of an artifact: written whole or not at all, checked before they are believed.

On this machine the directory is made beside its place and renamed. Behind a URL nothing can be renamed: the old facts
go first, the new ones come last, so a killed writer leaves no artifact and never a mixed one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unweave.errors import InputError, StoreError
from unweave.files import file_sha256, replace_directory, write_file, write_tensors, write_text
from unweave.places import Place, Remote, place_of, size_of
from unweave.version import __version__

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1
FACTS, TENSORS, TIMINGS = "artifact.json", "tensors.safetensors", "timings.json"


def write_artifact(
    place: Place, encoded: dict[str, Any], tensors: Mapping[str, Tensor], timings: Mapping[str, Any]
) -> None:
    """Writes the files; an artifact that stands there is replaced, anything else is refused.

    Raises:
        InputError: The place holds something that is not an artifact.
        StoreError: It cannot be written.
    """
    if isinstance(place, Remote):
        try:
            check_replaceable(place)
            (place / FACTS).unlink(missing_ok=True)
            for name in (TENSORS, TIMINGS):
                (place / name).unlink(missing_ok=True)
            _write(place, encoded, tensors, timings)
        except OSError as error:
            raise StoreError(f"{place} cannot be written: {error.strerror or error}; choose another place") from error
        return
    target = place.resolve()  # behind a link, what it points at is replaced and the link stays
    check_replaceable(target)
    fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        fresh.mkdir(parents=True)
        _write(fresh, encoded, tensors, timings)
        replace_directory(fresh, target)
    except OSError as error:
        raise StoreError(
            f"{target} cannot be written: {error.strerror or error}; nothing was changed, make room or choose another"
            " path"
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def read_artifact(folder: Place) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    """Facts, arrays and timings, checked.

    Raises:
        StoreError: Not an artifact, damaged, or of another schema.
    """
    try:
        facts = read_facts(folder)
        tensors = _read_tensors(folder, facts["tensors"])
        timings = read_json(folder / TIMINGS) if (folder / TIMINGS).exists() else {}
    except OSError as error:
        raise StoreError(f"{folder} cannot be read ({error.strerror or error}): give an artifact that can") from error
    if not isinstance(timings, dict):
        raise StoreError(f"{folder / TIMINGS} holds a {type(timings).__name__}: it is damaged; delete it")
    return facts, tensors, timings


def read_facts(path: str | Path | Remote) -> dict[str, Any]:
    """The content of `artifact.json`, checked, without reading any tensor and without torch."""
    folder = place_of(path)
    file = folder / FACTS
    if not file.exists():
        inside = sorted(one.parent.name for one in folder.glob(f"*/{FACTS}")) if isinstance(folder, Path) else []
        got = "it is a file" if folder.is_file() else f"there is no {FACTS}"
        got += f" (but in {', '.join(inside[:5])} inside it)" if inside else ""
        raise StoreError(f"no artifact at {folder}: {got}; give the directory that uw.save wrote")
    facts = read_json(file)
    claimed = facts.pop("sha256", None) if isinstance(facts, dict) else None
    if claimed != sha256_of(facts):
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


def sha256_of(value: object) -> str:
    """sha256 of the canonical JSON; a text may hold half of a surrogate pair, which plain UTF-8 cannot say."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()


def check_replaceable(target: Place) -> None:
    """Raises if something stands at `target` that is not an artifact and nothing else."""
    if not target.exists():
        return
    found = {entry.name for entry in target.iterdir()} if target.is_dir() else None
    if isinstance(target, Remote) and found is not None and found <= {TENSORS, TIMINGS}:
        return  # what a killed writer left
    if found is None or (found and FACTS not in found):
        raise InputError(f"{target} exists and is not an artifact: choose another path")
    strange = sorted(found - {FACTS, TENSORS, TIMINGS})
    if strange:
        raise InputError(f"{target} holds {strange[0]!r} beside an artifact, which would be lost: choose another path")


def _write(folder: Place, encoded: dict[str, Any], tensors: Mapping[str, Tensor], timings: Mapping[str, Any]) -> None:
    facts: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": encoded["$kind"],
        "library": __version__,
        "value": encoded,
        "tensors": None,
    }
    if tensors:
        written = write_file(folder / TENSORS, lambda temporary: write_tensors(tensors, temporary))
        facts["tensors"] = {"bytes": written.bytes, "sha256": written.sha256}
    if timings:
        write_text(folder / TIMINGS, json.dumps(timings, indent=1) + "\n")
    facts["sha256"] = sha256_of(facts)
    write_text(folder / FACTS, json.dumps(facts, indent=1, allow_nan=False) + "\n")


def _read_tensors(folder: Place, expected: Any) -> dict[str, Tensor]:
    if expected is None:
        return {}
    if not isinstance(expected, dict) or not {"bytes", "sha256"} <= set(expected):
        raise StoreError(f"{folder / FACTS} says nothing of its arrays: it is damaged; make the artifact again")
    file = folder / TENSORS
    if not file.exists():
        raise StoreError(f"{folder} is incomplete: {TENSORS} is missing; make the artifact again")
    size = size_of(file)
    if size != expected["bytes"]:
        raise StoreError(
            f"{file} has {size} bytes, {expected['bytes']} were written: it is cut or foreign; make the artifact again"
        )
    if not isinstance(file, Remote) and file_sha256(file) != expected["sha256"]:
        raise damaged(file)
    from safetensors import SafetensorError
    from safetensors.torch import load, load_file

    try:
        if not isinstance(file, Remote):
            return load_file(file)
        data = file.read_bytes()
        if hashlib.sha256(data).hexdigest() != expected["sha256"]:
            raise damaged(file)
        return load(data)
    except SafetensorError as error:
        raise StoreError(f"{file} is no safetensors file ({error}); make the artifact again") from error


def damaged(file: Place) -> StoreError:
    """The error for a file whose checksum does not fit."""
    return StoreError(f"{file} is damaged: its checksum does not fit its content; make the artifact again")


def read_json(file: Place) -> Any:
    """The JSON in a file, or `StoreError` if it is damaged."""
    try:
        return json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{file} is damaged: {error}; make the artifact again") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
