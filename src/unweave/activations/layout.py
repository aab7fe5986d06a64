"""The files of an activation store and the manifest that makes them one.

| file | content |
|---|---|
| `store.json` | the manifest: what was collected from what, the shards with rows, bytes and sha256, `complete` |
| `shards/00000.safetensors` | `activations/SITE` (rows, width), with uint8 also `scale/SITE` and `offset/SITE` (width,); `rows/COLUMN` (rows,); `documents/*` of the documents that begin in the shard |
| `shards/00000.text.json` | texts, ids and token strings of those documents |
| `shards/00000.json` | the shard's entry of the manifest, written last: with it the shard is whole, without it it is not there |
| `.lock` | held by the one process that may write, on this machine |

On this machine the manifest is there from the start and says `complete: false` until the end. Behind a URL nothing is
replaced in place: shards come first, each with its entry last, and the manifest when all are there.
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fnmatch import fnmatch
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import Field

from unweave.config import Config, config_from, config_json
from unweave.errors import InputError, StoreError
from unweave.files import write_text
from unweave.places import Place, Remote

SCHEMA = 1
MANIFEST, LOCK, SHARDS = "store.json", ".lock", "shards"
COLUMNS = ("document", "sequence", "position", "token_id")
DELETE = "delete it and collect again with the same arguments, finished shards are kept"
_SHARD_FILE = re.compile(r"\d{5,}\.(safetensors|text\.json|json)")
_UNFINISHED_SHARD_FILE = re.compile(
    r"\.\d{5,}\..+\.tmp|\.tmp\w+"
)  # ours, and what safetensors writes to before it renames
_UNFINISHED = f".{MANIFEST}.*.tmp"

C = TypeVar("C", bound=Config)

DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "uint8": torch.uint8}
)


Dtype = Literal["float32", "float16", "bfloat16", "uint8"]
Special = Literal["exclude", "include"]


class Collection(Config):
    """What a store holds and what it was made from: two collections with equal values hold equal bytes."""

    kind: Literal["text", "ids", "tensors", "sequences", "rows"]
    """What the inputs were; `rows` are activations that another tool made."""
    sites: dict[str, Annotated[int, Field(ge=1)]]
    """Site -> width of a row."""
    context: int | None
    """Tokens of a window, special ones included; None for tensors."""
    dtype: Dtype
    """Of the activations."""
    shard_rows: int
    """A shard is closed when it has at least this many rows."""
    batch_tokens: int
    """Most tokens (or inputs) that run together."""
    special: Special
    """Whether special tokens have rows."""
    keep_text: bool
    """Whether the texts are stored."""
    model: str
    """Fingerprint of the model."""
    model_name: str
    """What the model was called."""
    tokenizer: str | None
    """Fingerprint of the tokenizer and its special tokens."""


class Rounding(Config):
    """What the values of a site lost in a shard with eight bits a value."""

    largest_error: float
    """Largest difference between a value and what is read back."""
    bound: float
    """Half of the largest step of a column: what that error cannot exceed, up to rounding in float32."""
    lost: float
    """Sum of squared differences over the sum of squares about the columns' means: the share of variance that is
    noise.
    """


Count = Annotated[int, Field(ge=0)]


class ShardEntry(Config):
    """One shard in the manifest."""

    index: Count
    rows: Count
    documents: Count
    """Documents that begin in it."""
    excluded: int
    """Special tokens without a row."""
    inputs_sha256: str
    """Of the settings and of everything the model was given for it: a shard can be told from others without a manifest.
    """
    tensors_bytes: Count
    tensors_sha256: str
    text_bytes: Count
    text_sha256: str
    rounding: dict[str, Rounding] | None = None
    """Site -> what rounding to eight bits cost; None with other dtypes."""


class Manifest(Config):
    """`store.json`."""

    schema_version: int = SCHEMA
    collection: Collection
    complete: bool
    shards: tuple[ShardEntry, ...] = ()

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.rows for shard in self.shards)


def shard_files(folder: Place, index: int) -> tuple[Place, Place, Place]:
    """Tensors, text and entry of a shard."""
    base = folder / SHARDS
    return base / f"{index:05d}.safetensors", base / f"{index:05d}.text.json", base / f"{index:05d}.json"


def read_manifest(folder: Place) -> Manifest:
    """The manifest of a store.

    Raises:
        StoreError: There is none, it is damaged, or of another schema.
    """
    file = folder / MANIFEST
    if not file.exists():
        if (folder / SHARDS).is_dir() and not is_foreign(folder):
            raise StoreError(unfinished(folder))
        raise StoreError(f"no activation store at {folder}: there is no {MANIFEST}; collect one with `unweave collect`")
    values = read_json(file)
    if not isinstance(values, dict) or values.get("schema_version") != SCHEMA:
        got = values.get("schema_version") if isinstance(values, dict) else type(values).__name__
        raise StoreError(f"{file} has schema {got}, this version reads {SCHEMA}: update unweave or collect again")
    manifest = config_in(file, Manifest, values)
    for place, shard in enumerate(manifest.shards):
        check_claims(f"{file}: shard {place}", place, shard, manifest.collection)
    return manifest


def unfinished(folder: Place) -> str:
    """What is said of a store that is not complete."""
    return (
        f"{folder} is not finished: run the same `unweave collect` (or uw.collect) again, it goes on where it stopped"
    )


def check_claims(what: str, place: int, shard: ShardEntry, collection: Collection) -> None:
    """Raises `StoreError` if an entry claims another place, or more rows and documents than its files can hold."""
    if shard.index != place:
        raise StoreError(f"{what} calls itself shard {shard.index}: the file is damaged or foreign; {DELETE}")
    if collection.dtype == "uint8" and set(shard.rounding or {}) != set(collection.sites):
        raise StoreError(f"{what} does not say what rounding cost: the file is damaged or foreign; {DELETE}")
    row = sum(collection.sites.values()) * storage_dtype(collection.dtype).itemsize + 4 * len(COLUMNS)
    claimed = shard.rows * row + 12 * shard.documents  # of each document its number and where it ends
    if claimed > shard.tensors_bytes:
        raise StoreError(
            f"{what} claims {shard.rows} rows and {shard.documents} documents, which take {claimed} bytes, in a file of"
            f" {shard.tensors_bytes}: the file is damaged or foreign; {DELETE}"
        )


def config_in(file: Place, kind: type[C], values: Any) -> C:
    """The configuration that a file of a store holds.

    Raises:
        StoreError: The file holds something else.
    """
    try:
        return config_from(kind, values, source=str(file))
    except InputError as error:
        raise StoreError(f"{error}: the file is damaged or foreign; {DELETE}") from error


def write_manifest(folder: Place, manifest: Manifest) -> None:
    """Writes `store.json` whole or not at all; sites stay in the order in which they were asked for."""
    write_text(folder / MANIFEST, json.dumps(config_json(manifest), indent=1) + "\n")


def is_foreign(folder: Place) -> bool:
    """Whether something stands at `folder` that no collection put there. A killed one may leave a directory without a
    manifest, which is not foreign.
    """
    if not folder.is_dir():
        return folder.exists()
    shards = folder / SHARDS
    if shards.is_file() or any(not _is_shard_file(file.name) for file in _files_in(shards)):
        return True
    return not (folder / MANIFEST).exists() and any(
        file.name not in (LOCK, SHARDS) and not fnmatch(file.name, _UNFINISHED) for file in folder.iterdir()
    )


def leftovers(folder: Place) -> list[Place]:
    """Temporary files that a killed collection left behind; behind a URL there are none."""
    if isinstance(folder, Remote):
        return []
    shards = [file for file in _files_in(folder / SHARDS) if _UNFINISHED_SHARD_FILE.fullmatch(file.name)]
    return [*folder.glob(_UNFINISHED), *shards]


def _files_in(folder: Place) -> list[Place]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _is_shard_file(name: str) -> bool:
    return bool(_SHARD_FILE.fullmatch(name) or _UNFINISHED_SHARD_FILE.fullmatch(name))


def read_json(file: Place) -> Any:
    """The JSON in a file, or `StoreError` if it is damaged."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{file} is damaged ({error}): {DELETE}") from error


def storage_dtype(name: str) -> torch.dtype:
    """The torch dtype in which a store holds values."""
    return DTYPES[name]


def reading_dtype(name: str) -> torch.dtype:
    """The torch dtype in which values come out: eight bits stand for floats."""
    return torch.float32 if name == "uint8" else DTYPES[name]
