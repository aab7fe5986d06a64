"""Activations at every node layer, batch by batch, as rows of positions.

A section's own values may be vectors, sequences or images; here they are always (batch, position, width), and the
section is a function between such. Small runs keep the activations between passes, large ones compute them again:
memory is bounded either way.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.activations.store import ActivationStore
from unweave.errors import DataError, InputError
from unweave.models.sections import Section
from unweave.models.tokens import Tokens

KEPT_BYTES = 2**26
"""Activations up to this size are kept between the passes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Local:
    """A section at one batch."""

    x: Float[Tensor, "batch pos d"]
    function: Callable[[Tensor], Tensor]
    """Rows at the start -> rows at the end."""

    def at(self, dtype: torch.dtype) -> Local:
        """The same with rows of another precision."""
        return Local(x=self.x.to(dtype), function=self.function)


class Stream:
    """The batches of the inputs at each node layer of a chain of sections."""

    def __init__(
        self, sections: Sequence[Section], inputs: Any, batch: int, *, dtype: torch.dtype = torch.float64
    ) -> None:
        """Remembers what to run, sections with closed forms in `dtype`; nothing is run yet."""
        check_chain(sections)
        self.sections = tuple(sections)
        self.layers = layer_names(sections)
        self.inputs = inputs if isinstance(inputs, Tensor | Tokens | ActivationStore) else list(inputs)
        self.batch = batch
        self.dtype = dtype
        self._kept: list[list[Tensor]] | None = []

    def walk(self) -> Iterator[list[Tensor]]:
        """For every batch its rows at every node layer; keeps them if they are small."""
        if self._kept:
            yield from self._kept
            return
        kept: list[list[Tensor]] | None = [] if self._kept is not None else None
        size = 0
        for part in split(self.inputs, self.batch):
            rows = self._rows(part)
            size += sum(one.numel() * one.element_size() for one in rows)
            kept = None if kept is None or size > KEPT_BYTES else [*kept, rows]
            yield rows
        self._kept = kept

    def locals(self, number: int) -> Iterator[Local]:
        """The section at every batch."""
        section = self.sections[number]
        if section.form is not None and self._kept:
            for rows in self._kept:
                yield Local(x=rows[number], function=section.form.forward)
            return
        for part in split(self.inputs, self.batch):
            yield from self._through(part, upto=number)

    def each_batch(self) -> Iterator[list[Local]]:
        """For every batch all sections, each on what the one before it gives."""
        for part in split(self.inputs, self.batch):
            yield [*self._each(part)]

    def composed(self, number: int) -> Iterator[Local]:
        """All sections from this one on, as one function."""
        for whole in self.each_batch():
            found = whole[number:]

            def function(x: Tensor, found: list[Local] = found) -> Tensor:
                for one in found:
                    x = one.function(x)
                return x

            yield Local(x=found[0].x, function=function)

    def _rows(self, part: Any) -> list[Tensor]:
        with torch.no_grad():
            found = [*self._each(part)]
            end = found[-1].x if self.sections[-1].form is None else found[-1].x.to(self.dtype)
            rows = [one.x for one in found] + [found[-1].function(end)]
        for name, one in zip(self.layers, rows, strict=True):
            if not bool(torch.isfinite(one).all()):
                row = int((~torch.isfinite(one.flatten(1)).all(1)).nonzero()[0, 0])
                raise DataError(
                    f"{name} has NaN or infinite values at row {row} of a batch: check the model and inputs"
                )
        return rows

    def _through(self, part: Any, *, upto: int) -> Iterator[Local]:
        *_, last = self._each(part, count=upto + 1)
        yield last

    def _each(self, part: Any, count: int | None = None) -> Iterator[Local]:
        """The sections at one batch, each on what the one before it gives."""
        x: Tensor | None = None
        for section in self.sections[:count]:
            context: Any = {}  # what a section without attention takes
            if x is None or (section.form is None and section.mixes):
                with torch.no_grad():
                    start, context = _inputs(section, part)
                x = start if x is None else x
            local = as_local(section, x, context)
            yield local
            with torch.no_grad():
                x = section(x, context) if section.form is None else local.function(local.x.to(self.dtype))


def as_local(section: Section, x: Tensor, context: Any) -> Local:
    """A section between rows, whatever the shape of its values."""
    if section.form is not None:
        return Local(x=as_rows(x).double(), function=section.form.forward)
    shape = x.shape[1:]

    def function(rows: Tensor) -> Tensor:
        return as_rows(section(_from_rows(rows, shape), context))

    return Local(x=as_rows(x), function=function)


def as_rows(values: Tensor) -> Float[Tensor, "batch pos d"]:
    """(batch, d), (batch, pos, d) or (batch, channels, ...) as (batch, pos, d)."""
    if values.ndim == 2:
        return values[:, None]
    return values if values.ndim == 3 else values.flatten(2).transpose(1, 2)


def _from_rows(rows: Tensor, shape: torch.Size) -> Tensor:
    if len(shape) == 1:
        return rows[:, 0]
    return rows if len(shape) == 2 else rows.transpose(1, 2).reshape(-1, *shape)


def split(inputs: Any, batch: int) -> Iterator[Any]:
    """The inputs in batches: rows of a tensor or of tokens, rows of a store, or the items of a list, each split in
    turn.
    """
    if isinstance(inputs, str):
        raise InputError("inputs are text: give token ids, as model.tokenize makes them")
    if isinstance(inputs, ActivationStore):
        yield inputs
    elif isinstance(inputs, Tokens):
        if inputs.is_padded:
            raise InputError("some sequences are padded: give sequences of one length, padding has no activations")
        for first in range(0, len(inputs.ids), batch):
            yield Tokens(ids=inputs.ids[first : first + batch], mask=inputs.mask[first : first + batch])
    elif isinstance(inputs, Tensor):
        for first in range(0, len(inputs), batch):
            yield inputs[first : first + batch]
    else:
        for one in inputs:
            yield from split(one, batch)


def layer_names(sections: Sequence[Section]) -> tuple[str, ...]:
    """The node layers by name, sites of one layer joined by `+`."""
    return (*("+".join(section.site_in) for section in sections), "+".join(sections[-1].site_out))


def check_chain(sections: Sequence[Section]) -> None:
    """Raises unless the sections follow one another."""
    if not sections:
        raise InputError("no sections: a chain needs two node layers at least, so one section")
    for one, after in itertools.pairwise(sections):
        if one.d_out != after.d_in or one.site_out != after.site_in:
            raise InputError(
                f"{one.name} ({one.d_out} wide) is followed by {after.name} ({after.d_in} wide): each section must"
                " begin where the one before it ends"
            )
    names = layer_names(sections)
    if len(set(names)) < len(names):
        raise InputError(f"a node layer occurs twice in {', '.join(names)}: a chain visits each once")


def _inputs(section: Section, part: Any) -> tuple[Tensor, Any]:
    if isinstance(part, ActivationStore):
        if section.mixes:
            raise InputError(f"section {section.name} mixes positions: a store has rows alone, give tokens")
        columns = [torch.from_numpy(part[site][:]) for site in section.site_in]
        return torch.cat(columns, 1).float(), None
    return section.inputs(part)


def count_inputs(inputs: Any) -> int | None:
    """Number of inputs where it is known without running anything."""
    if isinstance(inputs, Tokens):
        return len(inputs.ids)
    if isinstance(inputs, Tensor):
        return len(inputs)
    if isinstance(inputs, Iterable) and not isinstance(inputs, ActivationStore):
        counts = [count_inputs(one) for one in inputs]
        return sum(one for one in counts if one is not None) if None not in counts else None
    return None
