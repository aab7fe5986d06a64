"""Collections 1 to 3: which programming language, natural language or source a document is in, from labelled folders
or jsonl lines.

| collection | first tokens left out (ignore_k) | least tokens behind them (m) |
|---|---|---|
| programming_lang_id | 100 | 5 |
| natural_lang_id | 1 | 2 |
| distribution_id | 25 | 2 |

One row a document: the mean over its tokens from `ignore_k` to the first end of text. A longer document gives one
contiguous window at random.
"""

from __future__ import annotations

import gzip
import json
import lzma
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from unweave.activations.haystack.built import Built, TokenFeature, finished, start_tokens
from unweave.activations.haystack.cutting import Encodings, encoded, prepared, room_for
from unweave.activations.haystack.names import names
from unweave.activations.prepared import Prepared
from unweave.errors import InputError, unknown_name

IGNORED: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"programming_lang_id": (100, 5), "natural_lang_id": (1, 2), "distribution_id": (25, 2)}
)
"""Collection -> (ignore_k, m)."""
SPELLINGS: Mapping[str, str] = MappingProxyType(
    {
        "c++": "C++", "cpp": "C++", "c-plus-plus": "C++", "cplusplus": "C++", "js": "JavaScript",
        "java-script": "JavaScript", "golang": "Go", "py": "Python", "english": "en", "french": "fr", "dutch": "nl",
        "italian": "it", "greek": "el", "german": "de", "portuguese": "pt", "swedish": "sv", "spanish": "es",
    }
)  # fmt: skip
"""How people also spell a label."""


@dataclass(frozen=True, kw_only=True)
class LabelledText:
    """A document with the class it belongs to."""

    text: str
    label: str
    id: str | None = None
    group: str | None = None


def read_labelled(source: Any) -> Iterator[LabelledText]:
    """Labelled documents from a directory, a jsonl file or an iterable.

    Args:
        source: A directory whose folders are the labels, each file below one a document; a `.jsonl` file (also `.gz`)
            with `text`, `label` and perhaps `id` and `group` a line; or an iterable of such mappings.

    Raises:
        InputError: Nothing there, or a line that lacks text or label.
    """
    if not isinstance(source, str | Path):
        yield from (_as_labelled(record, f"document {number}") for number, record in enumerate(source))
        return
    path = Path(source)
    if path.is_dir():
        yield from _from_folders(path)
    elif path.exists():
        for number, line in enumerate(opened(path).split("\n"), 1):
            if line.strip():
                yield _as_labelled(_parsed(line, f"{path} line {number}"), f"{path} line {number}")
    else:
        raise InputError(f"nothing at {path}: give a directory of labelled folders or a .jsonl file")


def opened(path: Path) -> str:
    """The text of a file, unpacked if it ends in .gz or .xz.

    Raises:
        InputError: It cannot be read, or is not UTF-8.
    """
    try:
        data = path.read_bytes()
        data = (
            gzip.decompress(data) if path.suffix == ".gz" else lzma.decompress(data) if path.suffix == ".xz" else data
        )
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 at byte {error.start}: save it as UTF-8") from error
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise InputError(f"{path} cannot be read ({error}): give a text file, plain or packed as .gz or .xz") from error


def identification(
    collection: str, texts: Iterable[LabelledText], tokenizer: Any, *, context: int = 512, seed: int = 0
) -> Built:
    """The classes of a collection, one against the rest, on one row a document.

    Args:
        collection: `programming_lang_id`, `natural_lang_id` or `distribution_id`.
        texts: Documents with labels; those of a label outside the collection are left out, and counted.
        tokenizer: Of the model.
        context: Most tokens of a sequence, special ones included.
        seed: Of the windows of long documents.

    Raises:
        UnknownName: No such collection.

    Example:
        >>> import unweave as uw
        >>> texts = [LabelledText(text=f"{w} {n} " * 40, label=w) for n in range(25) for w in ("en", "fr")]
        >>> built = identification("natural_lang_id", texts, uw.load_model("zoo:docs").tokenizer, context=64)
        >>> [one["feature"] for one in built.report() if one["status"] == "built"], len(built.sequences)
        (['en', 'fr'], 50)
    """
    if collection not in IGNORED:
        raise unknown_name("collection", collection, IGNORED)
    ignored, least = IGNORED[collection]
    special = start_tokens(tokenizer)
    room = room_for(context, special)
    drops: Counter[str] = Counter()
    kept = [(one, label) for one in texts if (label := _name(one.label, collection, drops))]
    documents = encoded(((one.text, one.id, one.group) for one, _ in kept), tokenizer)
    rng = np.random.default_rng([seed, 4])
    sequences: list[Prepared] = []
    labels: list[str] = []
    for document, (_, label) in zip(documents, kept, strict=True):
        first = int(rng.integers(0, max(1, len(document.ids) - room + 1)))
        last = min(first + room, _end(document, first, tokenizer))
        if len(document.ids) <= ignored + least or last - first <= ignored:
            drops[f"documents of at most {ignored + least} tokens"] += 1
            continue
        one = prepared(document, first, last, special)
        valid = tuple(range(ignored, last - first))
        sequences.append(_pooled(one, valid))
        labels.append(label)
    features = [_feature(name, labels, sequences) for name in names(collection)]
    return finished(collection, sequences, features, context=context, drops=drops, seed=seed)


def _pooled(one: Prepared, valid: tuple[int, ...]) -> Prepared:
    return Prepared(
        ids=one.ids,
        before=one.before,
        after=one.after,
        text=one.text,
        offsets=one.offsets,
        id=one.id,
        group=one.group,
        keep=valid,
        pool="mean",
    )


def _feature(name: str, labels: list[str], sequences: list[Prepared]) -> TokenFeature:
    return TokenFeature(
        name=name,
        sequence=np.arange(len(labels)),
        position=np.array([one.row_positions[0] for one in sequences], dtype=np.int64),
        values=np.array([label == name for label in labels], dtype=bool),
    )


def _end(document: Encodings, first: int, tokenizer: Any) -> int:
    """The first end-of-text token at or behind `first`, or the end of the document."""
    stop = getattr(tokenizer, "eos_token_id", None)
    found = np.flatnonzero(document.ids[first:] == stop) if stop is not None else []
    return first + int(found[0]) if len(found) else len(document.ids)


def _name(label: str, collection: str, drops: Counter[str]) -> str:
    valid = {one.lower(): one for one in names(collection)}
    plain = label.strip().lower().replace(" ", "-").replace("_", "-")
    for spelt in (plain, plain.replace("-", "_"), SPELLINGS.get(plain, "").lower()):
        if spelt in valid:
            return valid[spelt]
    drops[f"documents labelled {label!r}, which is no class of {collection}"] += 1
    return ""


def _from_folders(path: Path) -> Iterator[LabelledText]:
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir())
    if not folders:
        raise InputError(f"{path} has no folders: one folder a label is needed, with its documents as files")
    for folder in folders:
        for file in sorted(one for one in folder.rglob("*") if one.is_file()):
            name = file.relative_to(path).as_posix()
            yield LabelledText(text=opened(file), label=folder.name, id=name, group=name)


def _parsed(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{where} is not JSON ({error.msg}): one object a line is needed") from error


def _as_labelled(record: Any, where: str) -> LabelledText:
    if isinstance(record, LabelledText):
        return record
    if not isinstance(record, Mapping) or not all(isinstance(record.get(key), str) for key in ("text", "label")):
        raise InputError(f"{where} has no 'text' and 'label': every document needs both")
    extra = {key: str(record[key]) for key in ("id", "group") if record.get(key) is not None}
    return LabelledText(text=record["text"], label=record["label"], **extra)
