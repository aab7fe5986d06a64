"""GGUF control vectors, both ways: one direction a block, as llama.cpp adds them to the output of block N.

A file is read through a cursor that never goes beyond its end: every length, count and place that the header claims is
checked against the bytes that are there before anything is made of it. Numbers are little-endian; tensor data begins
at a multiple of the alignment, and so does every tensor in it.

| field | content |
|---|---|
| `general.architecture` | `controlvector` |
| `controlvector.model_hint` | name of the model, free text |
| `controlvector.layer_count` | number of directions |
| tensors `direction.N` | (width,) float32, N = 0-based block whose output receives it; N = 0 is refused by llama.cpp |
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unweave.errors import InputError
from unweave.features.bundle import Bundle
from unweave.features.direction import Direction
from unweave.features.featurizer import Provenance
from unweave.files import write_file

MAGIC, VERSION, ALIGNMENT = b"GGUF", 3, 32
ARCHITECTURE = "controlvector"
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
"""Type number -> how it is packed; 8 is a text, 9 an array."""
TEXT, ARRAY, UINT32, FLOAT32 = 8, 9, 4, 0
MOST_TEXT = 65_536
MOST_ENTRIES = 65_536
"""Fields or tensors: a control vector has one a block."""
_NAME = re.compile(r"direction\.([0-9]{1,6})")


@dataclass(frozen=True, eq=False, kw_only=True)
class ControlVector:
    """The directions of a control-vector file."""

    directions: Bundle
    """`blocks.N.resid_post` -> direction."""
    model_hint: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Every other field of the file."""


def load_gguf(path: str | Path, *, model: str | None = None) -> ControlVector:
    """The directions in a GGUF control vector.

    Args:
        path: The file.
        model: Fingerprint of the model that they belong to; the file has a hint only.

    Raises:
        InputError: No such file, no GGUF, cut or damaged, something else than a control vector, or a direction for
            block 0.

    Source:
        The GGUF format, version 3; control vectors as llama.cpp reads them.

    Example:
        >>> import tempfile
        >>> bundle = Bundle(parts={"blocks.3.resid_post": Direction(vector=torch.tensor([1.0, 2.0]))})
        >>> file = save_gguf(bundle, tempfile.mkdtemp() + "/calm.gguf", model_hint="llama")
        >>> load_gguf(file).directions["blocks.3.resid_post"].vector
        tensor([1., 2.])
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"no file at {file}: give a GGUF control vector")
    if file.stat().st_size < 24:
        raise InputError(f"{file} has {file.stat().st_size} bytes: it is cut or no GGUF file")
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _read(_Cursor(content, file), model)


def save_gguf(directions: Bundle, path: str | Path, *, model_hint: str = "") -> Path:
    """Writes directions as a GGUF control vector that llama.cpp takes; float32, so a float64 direction is rounded.

    Args:
        directions: `blocks.N.resid_post` -> direction, N from 1, all of one width.
        path: The file; one that stands there is replaced.
        model_hint: Name of the model.

    Raises:
        InputError: Something else than directions, a site that is not the output of a block, or block 0.

    Example:
        >>> import tempfile
        >>> bundle = Bundle(parts={"blocks.1.resid_post": Direction(vector=[1.0, 2.0])})
        >>> save_gguf(bundle, tempfile.mkdtemp() + "/v.gguf").stat().st_size % 32
        0
    """
    if directions.kind != "direction":
        raise InputError(f"the bundle holds {directions.kind}s: a control vector is made of directions")
    vectors: dict[int, np.ndarray] = {}
    for site, one in directions.items():
        if site.layer is None or site.component != "resid_post":
            raise InputError(f"{site} is not the output of a block: a control vector is added at blocks.N.resid_post")
        if site.layer == 0:
            raise InputError("blocks.0.resid_post cannot be exported: llama.cpp refuses a direction for block 0")
        vectors[site.layer] = one.vector.detach().cpu().to(torch.float32).numpy()
    widths = {len(vector) for vector in vectors.values()}
    if len(widths) > 1:
        raise InputError(f"the directions have the widths {sorted(widths)}: a control vector has one")
    if not all(np.isfinite(vector).all() for vector in vectors.values()):
        raise InputError("a direction is too large for float32: scale it down first")
    head = _header(vectors, model_hint)
    data = b"".join(_padded(vector.astype("<f4").tobytes()) for _, vector in sorted(vectors.items()))
    write_file(Path(path), lambda temporary: temporary.write_bytes(_padded(head) + data))
    return Path(path)


def _header(vectors: Mapping[int, np.ndarray], model_hint: str) -> bytes:
    fields = (
        (b"general.architecture", TEXT, _text(ARCHITECTURE)),
        (f"{ARCHITECTURE}.model_hint".encode(), TEXT, _text(model_hint)),
        (f"{ARCHITECTURE}.layer_count".encode(), UINT32, struct.pack("<I", len(vectors))),
    )
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(vectors), len(fields))]
    parts += [struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + value for key, kind, value in fields]
    place = 0
    for layer, vector in sorted(vectors.items()):
        parts.append(_text(f"direction.{layer}") + struct.pack("<IQIQ", 1, len(vector), FLOAT32, place))
        place += _aligned(4 * len(vector))
    return b"".join(parts)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-8")
    return struct.pack("<Q", len(encoded)) + encoded


def _aligned(size: int, alignment: int = ALIGNMENT) -> int:
    return -(-size // alignment) * alignment


def _padded(content: bytes) -> bytes:
    return content.ljust(_aligned(len(content)), b"\0")


class _Cursor:
    """Reads forward through a file and never beyond its end."""

    def __init__(self, content: mmap.mmap, file: Path) -> None:
        """Starts at the first byte."""
        self.content, self.file, self.place, self.size = content, file, 0, len(content)

    def take(self, count: int, what: str) -> bytes:
        """The next bytes."""
        if count > self.size - self.place:
            raise self.wrong(f"{what} needs {count} bytes at {self.place} of {self.size}: it is cut")
        found = self.content[self.place : self.place + count]
        self.place += count
        return found

    def number(self, packed: str, what: str) -> Any:
        """The next number."""
        return struct.unpack(packed, self.take(struct.calcsize(packed), what))[0]

    def text(self, what: str) -> str:
        """The next text."""
        length = self.number("<Q", what)
        if length > MOST_TEXT:
            raise self.wrong(f"{what} claims {length} characters")
        try:
            return self.take(length, what).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.wrong(f"{what} is no UTF-8") from error

    def value(self, kind: int, what: str, *, inside: bool = False) -> Any:
        """The next value of a type."""
        if kind in SCALARS:
            return self.number(SCALARS[kind], what)
        if kind == TEXT:
            return self.text(what)
        if kind != ARRAY or inside:
            raise self.wrong(f"{what} has the type {kind}, which control vectors do not use")
        inner, count = self.number("<I", what), self.number("<Q", what)
        least = struct.calcsize(SCALARS[inner]) if inner in SCALARS else 8
        if count > MOST_ENTRIES or count * least > self.size - self.place:
            raise self.wrong(f"{what} claims {count} entries")
        return [self.value(inner, what, inside=True) for _ in range(count)]

    def wrong(self, what: str) -> InputError:
        """The error that says so."""
        return InputError(f"{self.file} is no whole GGUF control vector: {what}")


def _read(cursor: _Cursor, model: str | None) -> ControlVector:
    if cursor.take(4, "the magic number") != MAGIC:
        raise cursor.wrong("it does not begin with 'GGUF'")
    version = cursor.number("<I", "the version")
    if version not in (2, VERSION):
        raise cursor.wrong(f"it has version {version}, 2 and 3 are read")
    tensors, fields = (cursor.number("<Q", what) for what in ("the number of tensors", "the number of fields"))
    if max(tensors, fields) > MOST_ENTRIES:
        raise cursor.wrong(f"it claims {tensors} tensors and {fields} fields")
    found: dict[str, Any] = {}
    for _ in range(fields):
        key = cursor.text("the name of a field")
        found[key] = cursor.value(cursor.number("<I", f"the type of {key}"), key)
    if found.get("general.architecture") != ARCHITECTURE:
        raise cursor.wrong(f"its architecture is {found.get('general.architecture')!r}, {ARCHITECTURE!r} is needed")
    alignment = found.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or not 1 <= alignment <= MOST_TEXT:
        raise cursor.wrong(f"its alignment is {alignment!r}")
    places = [_place(cursor) for _ in range(tensors)]
    if not places:
        raise cursor.wrong("it has no directions")
    start = _aligned(cursor.place, alignment)
    parts = {
        f"blocks.{layer}.resid_post": Direction(
            vector=torch.from_numpy(_vector(cursor, start + offset, length, alignment, layer)),
            provenance=Provenance(method="gguf", model=model),
        )
        for layer, length, offset in places
    }
    if len(parts) < len(places) or len({length for _, length, _ in places}) > 1:
        raise cursor.wrong("two directions are of one block, or not all are equally long")
    hint = found.pop(f"{ARCHITECTURE}.model_hint", "")
    return ControlVector(directions=Bundle(parts=parts), model_hint=str(hint), extra=found)


def _place(cursor: _Cursor) -> tuple[int, int, int]:
    """(block, length, place in the data) of the next tensor."""
    name = cursor.text("the name of a tensor")
    match = _NAME.fullmatch(name)
    if match is None:
        raise cursor.wrong(f"it has a tensor {name!r}, directions are called direction.N")
    if int(match[1]) == 0:
        raise cursor.wrong("it has a direction for block 0, which llama.cpp refuses")
    axes = cursor.number("<I", f"the axes of {name}")
    if axes != 1:
        raise cursor.wrong(f"{name} has {axes} axes, a direction has one")
    length, kind, offset = (cursor.number(packed, name) for packed in ("<Q", "<I", "<Q"))
    if kind != FLOAT32 or not 1 <= length <= cursor.size // 4 or offset > cursor.size:
        raise cursor.wrong(f"{name} claims {length} numbers of type {kind} at {offset}: float32 is needed")
    return int(match[1]), length, offset


def _vector(cursor: _Cursor, start: int, length: int, alignment: int, layer: int) -> np.ndarray:
    """The numbers; the padding behind them belongs to the file."""
    if start + _aligned(4 * length, alignment) > cursor.size:
        raise cursor.wrong(f"direction.{layer} ends beyond the file: it is cut")
    vector = np.frombuffer(cursor.content[start : start + 4 * length], dtype="<f4").astype(np.float32)
    if not np.isfinite(vector).all():
        raise cursor.wrong(f"direction.{layer} has a NaN or infinite entry")
    return vector
