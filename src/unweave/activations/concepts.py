"""`Concept`: what a representation is claimed to be of, typed, with the test that reads it and the test that writes it.

Three roles with three meanings of "represents": a property of the input is read out; a behaviour of the output is
written; a causal variable is exchanged between two inputs. A claim that names neither a way to read nor a way to write
cannot fail, and is refused (requirement R1).

| record of a file | meaning |
|---|---|
| `text, value` and maybe `group` | one example and its value: 0 or 1, a class, a number, an angle in radians |
| `positive, negative` and maybe `group` | one contrast pair |
| `base, source, expected` and maybe `group` | one counterfactual: what the output is when the variable comes from the source |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from unweave.errors import DataError, InputError, nearest


class Role(Enum):
    """What kind of thing a concept is."""

    INPUT_FEATURE = "a property of the input, decidable without the model"
    OUTPUT_BEHAVIOUR = "a property of the whole generation, measured by a sequence scorer"
    CAUSAL_VARIABLE = "a node of a causal model of the task"


class ValueKind(Enum):
    """What values a concept takes."""

    BINARY = "no or yes"
    CLASSES = "one of several names or whole numbers"
    SCALAR = "a number"
    CIRCULAR = "an angle in radians"


@dataclass(frozen=True, kw_only=True)
class Example:
    """A text with its value."""

    text: str
    value: Any
    group: str = ""
    """Entity, document or template; examples of one group stay on one side of every split."""


@dataclass(frozen=True, kw_only=True)
class ContrastPair:
    """Two texts that differ in the concept."""

    positive: str
    negative: str
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Counterfactual:
    """Two inputs, and what the output is when the concept comes from the source."""

    base: str
    source: str
    expected: str
    group: str = ""


RECORDS: dict[str, Any] = {"text": Example, "positive": ContrastPair, "base": Counterfactual}
"""First key of a record -> what it is."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Concept:
    """A claim that can fail: what it is, how it is read out, how it is written, and the data to do both with.

    Raises:
        InputError: No read-out or no write test (the message says which), or no data.

    Example:
        >>> truth = Concept(
        ...     name="truth", role=Role.INPUT_FEATURE, read="decodability", write="interchange",
        ...     examples=[Example(text="Two is even.", value=1), Example(text="Three is even.", value=0)],
        ... )
        >>> truth.targets().tolist(), truth
        ([0.0, 1.0], Concept(truth, input feature, binary, 2 examples))
    """

    name: str
    role: Role
    read: str = ""
    """The test that reads it out: `decodability`, `pair_accuracy`, `circularity`, `detection`, ..."""
    write: str = ""
    """The test that writes it: `interchange`, `ablation`, `steering`, ..."""
    values: ValueKind = ValueKind.BINARY
    examples: Sequence[Example] = ()
    pairs: Sequence[ContrastPair] = ()
    counterfactuals: Sequence[Counterfactual] | Callable[[int], Counterfactual] = ()
    """A list, or a sampler: seed -> counterfactual."""

    def __post_init__(self) -> None:
        """Checks that the claim can fail, and puts examples in an order that does not depend on the file's."""
        missing = [what for what, name in (("read=", self.read), ("write=", self.write)) if not name]
        if missing:
            raise InputError(
                f"the concept {self.name!r} has no {' and no '.join(missing)}: name the test that reads it out and the"
                " one that writes it, or the claim cannot fail"
            )
        if not (self.examples or self.pairs or self.counterfactuals):
            raise InputError(f"the concept {self.name!r} has no examples, pairs or counterfactuals: give some")
        if self.role is Role.CAUSAL_VARIABLE and not self.counterfactuals:
            raise InputError(f"the causal variable {self.name!r} has no counterfactuals: labels alone cannot test it")
        object.__setattr__(self, "examples", tuple(sorted(self.examples, key=lambda one: (one.text, str(one.value)))))
        object.__setattr__(self, "pairs", tuple(self.pairs))
        if self.examples:
            self.targets()

    def targets(self) -> Float[np.ndarray, "n ..."]:
        """What a read-out is to predict, an example each: 0 or 1, the number of the class, the number, or (cos, sin).

        Raises:
            DataError: A value that its kind does not have, or one class only.
        """
        values = [one.value for one in self.examples]
        if self.values is ValueKind.CLASSES:
            kinds = sorted({str(value) for value in values})
            found = np.array([kinds.index(str(value)) for value in values], dtype=np.float64)
        else:
            try:
                found = np.array([float(value) for value in values])
            except (TypeError, ValueError) as error:
                raise DataError(f"{self.name} has a value that is no number ({error}): say values=CLASSES") from error
        if not np.isfinite(found).all():
            raise DataError(f"{self.name} has a value that is not finite")
        if self.values is ValueKind.BINARY and not set(found.tolist()) <= {0.0, 1.0}:
            raise DataError(f"{self.name} is binary but has the values {sorted(set(found.tolist()))[:4]}: 0 and 1")
        if len(set(found.tolist())) < 2:
            raise DataError(f"all {len(found)} examples of {self.name} have one value: two are needed")
        return np.stack([np.cos(found), np.sin(found)], 1) if self.values is ValueKind.CIRCULAR else found

    def groups(self) -> list[str]:
        """Of the examples; an example without a group is one by itself."""
        return [one.group or f"example {number}" for number, one in enumerate(self.examples)]

    def counterfactual(self, seed: int) -> Counterfactual:
        """The counterfactual of a seed: the sampler's, or one of the list."""
        if callable(self.counterfactuals):
            return self.counterfactuals(seed)
        if not self.counterfactuals:
            raise InputError(f"the concept {self.name!r} has no counterfactuals: give a list or a sampler")
        return self.counterfactuals[int(np.random.default_rng(seed).integers(len(self.counterfactuals)))]

    def __repr__(self) -> str:
        """Name, role, values and how much data."""
        role, kind = (one.name.lower().replace("_", " ") for one in (self.role, self.values))
        sampled = "a sampler" if callable(self.counterfactuals) else f"{len(self.counterfactuals)} counterfactuals"
        data = [
            text
            for there, text in (
                (self.examples, f"{len(self.examples)} examples"),
                (self.pairs, f"{len(self.pairs)} pairs"),
                (self.counterfactuals, sampled),
            )
            if there
        ]
        return f"Concept({self.name}, {role}, {kind}, {', '.join(data)})"


def read_records(source: Any) -> list[Any]:
    """The examples, contrast pairs or counterfactuals of a file, all of one kind.

    Args:
        source: A `.jsonl` file or an iterable of mappings.

    Raises:
        InputError: No such file, a line that is no record, an unknown key, or records of several kinds.
        DataError: No record.

    Example:
        >>> read_records([{"positive": "I love it.", "negative": "I hate it."}])
        [ContrastPair(positive='I love it.', negative='I hate it.', group='')]
    """
    found = [_record(record, where) for where, record in _lines(source)]
    if not found:
        raise DataError(f"{source if isinstance(source, str | Path) else 'the iterable'} has no records")
    kinds = {type(one).__name__ for one in found}
    if len(kinds) > 1:
        raise InputError(f"the records are of the kinds {', '.join(sorted(kinds))}: one file holds one kind")
    return found


def _lines(source: Any) -> Iterable[tuple[str, Any]]:
    if not isinstance(source, str | Path):
        yield from ((f"record {number}", record) for number, record in enumerate(source))
        return
    file = Path(source)
    if not file.is_file():
        raise InputError(f"no file at {file}: give a .jsonl file of pairs or examples")
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 at byte {error.start}") from None
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield f"{file}:{number}", json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{file}:{number} is no JSON: {error}") from None


def _record(record: Any, where: str) -> Any:
    if not isinstance(record, Mapping):
        raise InputError(f"{where} is a {type(record).__name__}: a table of keys and values is needed")
    given = {"value" if key == "label" else key: value for key, value in record.items()}
    kind = next((kind for key, kind in RECORDS.items() if key in given), None)
    if kind is None:
        raise InputError(f"{where} has the keys {sorted(given)[:6]}: text, positive and negative, or base and source")
    fields = list(kind.__dataclass_fields__)
    strange = sorted(set(given) - set(fields))
    if strange:
        near = nearest(str(strange[0]), fields)
        raise InputError(f"{where} has the unknown key {strange[0]!r}" + (f"; nearest: {near[0]!r}" if near else ""))
    missing = [name for name in fields if name not in given and name != "group"]
    if missing:
        raise InputError(f"{where} has no {', '.join(missing)}: a {kind.__name__} needs it")
    texts = [name for name in fields if name not in ("value", "group")]
    if not all(isinstance(given[name], str) and given[name] for name in texts):
        raise InputError(f"{where}: {', '.join(texts)} must be texts that are not empty")
    return kind(**{**given, "group": str(given.get("group", ""))})
