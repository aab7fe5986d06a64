"""`patching`: base and source inputs at one site, run once, and the rest of the model as a function, so that any number
of changes there costs only what comes after the site.

patching = one clean pass + one source pass + the section behind the site with all changes along the batch axis

A change gets the values at the edited places and gives new ones. Only the positions that a behaviour reads go through
the unembedding. Where no section leads from the site to the output, the model itself is run with an edit: the slow way,
same numbers.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `base`, `source` | h_b, h_s | (places, d) | activations at the edited places, paired in order | specs/evaluation.md, notation |
| `start` | - | (rows, pos, D) | the node layer that begins with the site | specs/lib.md 1 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweave.errors import InputError
from unweave.evals.causing.behaviours import Behaviour
from unweave.models.edits import Edit
from unweave.models.model import Model
from unweave.models.points import find_point, unembedding
from unweave.models.positions import acts_at, checked_rules
from unweave.models.running import Pass
from unweave.models.sections import Section, last_site, node_layer
from unweave.models.tokens import Tokens, as_tokens
from unweave.site import Site

Change = Callable[[Tensor, Tensor], Tensor]
"""(values at some places (p, d), their numbers (p,)) -> new values."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Patching:
    """What the model had computed up to the site, and how to go on from there."""

    model: Model
    site: Site
    tokens: Any
    """`Tokens` of the base, or the inputs of a plain module."""
    rows: int
    """Base inputs."""
    row: Int[Tensor, " places"]
    column: Int[Tensor, " places"]
    """Which input and which position each edited place is; rows ascend."""
    base: Float[Tensor, "places d"]
    source: Float[Tensor, "places d"] | None
    """What the source has there; None for changes that need none."""
    start: Float[Tensor, "rows pos width"]
    shape: tuple[int, ...]
    """Of the site's value, without the batch axis."""
    section: Section | None
    """From the node layer to the last state before the unembedding; None where the model is run with an edit."""
    context: Any = None
    batch: int = 256
    """Sequences that are run together."""

    @property
    def width(self) -> int:
        """d of the site."""
        return self.base.shape[1]

    def ids(self) -> frozenset[str]:
        """A content hash of every base input: what tells rows of a selection from rows of a report."""
        return content_ids(self.tokens)

    def __repr__(self) -> str:
        """Site, inputs and places."""
        return f"Patching({self.site}, {self.rows} inputs, {len(self.row)} places)"


def patching(
    model: Model,
    site: str,
    base: Any,
    source: Any = None,
    *,
    positions: Any = "all",
    source_positions: Any = None,
    batch: int = 256,
) -> Patching:
    """Base and source at a site, each run once.

    Args:
        model: The model.
        site: Where changes are made.
        base: `Tokens` or ids (batch, pos); for a plain module its inputs.
        source: As many inputs, where values come from; None for changes that need none.
        positions: Which positions are changed; see `unweave.models.positions`.
        source_positions: The positions of the source that belong to them, in order; None is the same rule.
        batch: Sequences that are run together.

    Raises:
        InputError: Another number of inputs or positions in the source than in the base, or a value at the site that
            has no rows.

    Example:
        >>> import unweave as uw
        >>> model = uw.load_model("zoo:docs")
        >>> base, source = model.tokenize(["The first text."]), model.tokenize(["A second one."])
        >>> patching(model, "blocks.1.resid_post", base, source, positions="last")
        Patching(blocks.1.resid_post, 1 inputs, 1 places)
    """
    model.check_ready()
    positions = checked_rules(positions, "always")
    theirs = positions if source_positions is None else checked_rules(source_positions, "always")
    named = find_point(model.module, model.family, site).site
    inputs = base if model.family is None else as_tokens(base)
    with torch.no_grad():
        section = _section(model, named)
        if section is None:
            start, context = _values(model, inputs, named), None
        else:
            start, context = section.inputs(inputs)
        shape = tuple(model.capture(_first(inputs), [named])[named].shape[1:])
        width = _width(model, named, shape)
        start = _with_positions(start)
        row, column = _places(inputs, start.shape[:2], positions)
        given = None
        if source is not None:
            given = _source(model, named, source, theirs, row)
    return Patching(
        model=model,
        site=named,
        tokens=inputs,
        rows=len(start),
        row=row,
        column=column,
        base=start[row, column][:, :width],
        source=given,
        start=start,
        shape=shape,
        section=section,
        context=context,
        batch=batch,
    )


def scores(
    patched: Patching, changes: Sequence[Change | None], behaviour: Behaviour
) -> Float[np.ndarray, "changes items"]:
    """The behaviour after each change, one number an item; None changes nothing.

    Args:
        patched: Base and source.
        changes: What is done at the places.
        behaviour: What is measured.

    Example:
        >>> import unweave as uw
        >>> from unweave.evals.causing.behaviours import logit_difference
        >>> model = uw.load_model("zoo:docs")
        >>> ready = patching(model, "blocks.1.resid_post", model.tokenize(["The first text."]))
        >>> scores(ready, [None, lambda h, _: 0 * h], logit_difference([5], [7])).shape
        (2, 1)
    """
    totals = np.zeros((len(changes), behaviour.item_count(patched.rows)))
    for begin, rows, columns, logits in passes(patched, changes, behaviour.read):
        behaviour.add_to(totals[begin : begin + len(logits)], behaviour.score(logits, rows, columns), rows)
    return totals


def logits_after(
    patched: Patching, changes: Sequence[Change | None], *, read: Any = "last"
) -> Float[Tensor, "changes reads vocabulary"]:
    """The logits at the positions that are read, by rows, after each change.

    Args:
        patched: Base and source.
        changes: What is done at the places; None changes nothing.
        read: The positions.
    """
    parts: list[list[Tensor]] = [[] for _ in changes]
    for begin, _, _, logits in passes(patched, changes, read):
        for number, part in enumerate(logits):
            parts[begin + number].append(part)
    return torch.stack([torch.cat(part) for part in parts])


def passes(
    patched: Patching, changes: Sequence[Change | None], rule: Any
) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """(first change, input and position of each read, logits) of every group of rows and changes that is run
    together.
    """
    reads = read_mask(patched.tokens, patched.start, rule)
    together = max(1, min(patched.rows, patched.batch))
    for first in range(0, patched.rows, together):
        rows = torch.arange(first, min(first + together, patched.rows))
        where = torch.nonzero(reads[rows])
        step = max(1, patched.batch // len(rows))
        for begin in range(0, len(changes), step):
            logits = _logits(patched, changes[begin : begin + step], rows, where)
            yield begin, rows[where[:, 0]], where[:, 1], logits


def changed(patched: Patching, change: Change) -> Float[Tensor, "places d"]:
    """The values at the places after a change."""
    return change(patched.base, torch.arange(len(patched.row)))


def gradient(patched: Patching, behaviour: Behaviour) -> Float[Tensor, "places d"]:
    """The slope of the sum of the behaviour over items by the value at each place: one pass forward and one back screen
    any number of blocks, `effect = <change, gradient>` to first order.

    Args:
        patched: Base and source.
        behaviour: What is measured; it must be smooth (a logit difference or log-probability, not a share of right
            answers).

    Raises:
        InputError: The rest of the model is not known as a section, or the behaviour has no slope.
    """
    if patched.section is None:
        raise InputError(
            f"no section leads from {patched.site} to the output: its slope is not known, test every block"
        )
    reads = read_mask(patched.tokens, patched.start, behaviour.read)
    parts = []
    for first in range(0, patched.rows, patched.batch):
        rows = torch.arange(first, min(first + patched.batch, patched.rows))
        where = torch.nonzero(reads[rows])
        with torch.enable_grad():
            point = patched.start[rows].clone().requires_grad_(True)
            logits = _read_out(patched, go_on(patched, point, rows), where, 1)
            values = behaviour.score(logits, rows[where[:, 0]], where[:, 1])
            weights = behaviour.weights(rows[where[:, 0]]).to(values)
            total = (values * weights).sum()
            if not total.requires_grad:
                raise InputError(f"{behaviour.name} has no slope: screen with a logit difference or a log-probability")
            (slope,) = torch.autograd.grad(total, point)
        own = (patched.row >= int(rows[0])) & (patched.row <= int(rows[-1]))
        parts.append(slope[patched.row[own] - int(rows[0]), patched.column[own]][:, : patched.width])
    return torch.cat(parts)


def read_mask(tokens: Any, start: Tensor, rule: Any) -> Bool[Tensor, "rows pos"]:
    """Where the output is read."""
    mask = torch.zeros(start.shape[:2], dtype=torch.bool)
    mask[_places(tokens, start.shape[:2], rule)] = True
    return mask


def content_ids(tokens: Any) -> frozenset[str]:
    """A content hash of every input, the same for any padding and batch."""
    if not isinstance(tokens, Tokens):
        return frozenset(
            hashlib.sha256(np.ascontiguousarray(row.detach().cpu()).tobytes()).hexdigest() for row in tokens
        )
    rows = (ids[mask].tolist() for ids, mask in zip(tokens.ids, tokens.mask, strict=True))
    return frozenset(hashlib.sha256(repr(row).encode()).hexdigest() for row in rows)


def _section(model: Model, site: Site) -> Section | None:
    """From the smallest node layer of the site to the last state before the unembedding, None where there is none."""
    try:
        if model.family is None:
            parent, _, _ = site.removesuffix(":in").rpartition(".")
            children = [name for name, _ in model.module.get_submodule(parent).named_children()]
            return model.section(site, f"{parent}.{children[-1]}" if parent else children[-1])
        end = Site("final_norm") if "final_norm" in model.family.others else last_site(model)
        layer = node_layer(model, site, end)
        return None if layer is None else model.section(layer, end)
    except InputError:
        return None


def _values(model: Model, inputs: Any, site: Site) -> Tensor:
    value = model.capture(inputs, [site])[site]
    return value.flatten(2) if value.ndim > 3 and model.family is not None else value


def _width(model: Model, site: Site, shape: tuple[int, ...]) -> int:
    if not shape or (model.family is None and len(shape) > 2):
        raise InputError(f"the value at {site} has shape {shape} an input: rows of one width are needed, not images")
    return int(np.prod(shape[1:])) if model.family is not None else int(list(shape)[-1])


def _with_positions(value: Tensor) -> Tensor:
    """A plain module's (rows, d) gets an axis of one position."""
    return value.unsqueeze(1) if value.ndim == 2 else value


def _first(inputs: Any) -> Any:
    return Tokens(ids=inputs.ids[:1], mask=inputs.mask[:1]) if isinstance(inputs, Tokens) else inputs[:1]


def _places(inputs: Any, shape: Sequence[int], rule: Any) -> tuple[Tensor, Tensor]:
    """Row and column of each place that the rule names, by rows."""
    if isinstance(inputs, Tokens):
        now = Pass(real=inputs.mask, position=inputs.positions(), prompt=inputs.lengths())
    else:
        real = torch.ones(tuple(shape[:2]), dtype=torch.bool)
        now = Pass(real=real, position=real.cumsum(1) - 1, prompt=real.sum(1))
    rows, columns = torch.nonzero(acts_at(now, rule, "always"), as_tuple=True)
    return rows, columns


def _source(model: Model, site: Site, source: Any, rule: Any, row: Tensor) -> Tensor:
    inputs = source if model.family is None else as_tokens(source)
    value = _with_positions(_values(model, inputs, site))
    rows, columns = _places(inputs, value.shape[:2], rule)
    if not torch.equal(rows, row):
        counts = [torch.bincount(one, minlength=int(max(row.max(), rows.max())) + 1).tolist() for one in (row, rows)]
        wrong = next(number for number, pair in enumerate(zip(*counts, strict=True)) if pair[0] != pair[1])
        raise InputError(
            f"input {wrong} has {counts[0][wrong]} positions in the base but {counts[1][wrong]} in the source: give"
            " positions= and source_positions= that pair up"
        )
    return value[rows, columns]


def _logits(patched: Patching, changes: Sequence[Change | None], rows: Tensor, where: Tensor) -> Tensor:
    """(changes, reads, vocabulary) after each change of these rows."""
    own = slice(*np.searchsorted(patched.row.numpy(), [int(rows[0]), int(rows[-1]) + 1]).tolist())
    values, places = patched.base[own], torch.arange(own.start, own.stop)
    edited = patched.start[rows].repeat(len(changes), *[1] * (patched.start.ndim - 1))
    local = patched.row[own] - int(rows[0])
    for number, change in enumerate(changes):
        if change is not None:
            edited[number * len(rows) + local, patched.column[own], : patched.width] = change(values, places).to(edited)
    with torch.no_grad():
        ended = go_on(patched, edited, rows.repeat(len(changes)))
        return _read_out(patched, ended, where, len(changes))


def go_on(patched: Patching, edited: Tensor, rows: Tensor) -> Tensor:
    """(n, pos, width) behind the site: the last state before the unembedding where a section is known, else the output.

    Args:
        patched: Base inputs.
        edited: (n, pos, D) node-layer values.
        rows: Which base input each is of.
    """
    model = patched.model
    if patched.section is not None:
        given = edited.reshape(len(edited), *_given_shape(patched))
        return _with_positions(patched.section(given, _rows_of(patched.context, rows, patched.rows)))
    shape = (len(edited), *(edited.shape[1:2] if model.family is not None else ()), *patched.shape[-1:])
    if model.family is not None and len(patched.shape) > 2:
        shape = (*edited.shape[:2], *patched.shape[1:])
    put = edited.reshape(shape) if model.family is not None else edited.reshape(len(edited), *patched.shape)
    tokens = patched.tokens
    chosen = Tokens(ids=tokens.ids[rows], mask=tokens.mask[rows]) if isinstance(tokens, Tokens) else tokens[rows]
    with model.edit(Edit(site=str(patched.site), operator=lambda old: put.to(old))):
        return _with_positions(model(chosen))


def _given_shape(patched: Patching) -> tuple[int, ...]:
    return patched.shape if patched.model.family is None else tuple(patched.start.shape[1:])


def _read_out(patched: Patching, ended: Tensor, where: Tensor, changes: int) -> Tensor:
    """(changes, reads, vocabulary): only what is read goes through the unembedding."""
    split = ended.reshape(changes, -1, *ended.shape[1:])
    columns = where[:, 1] if split.shape[2] > 1 else torch.zeros_like(where[:, 1])
    picked = split[:, where[:, 0], columns]
    head = None if patched.section is None or patched.model.family is None else unembedding(patched.model.module)
    ends_in_logits = patched.section is None or str(patched.section.site_out[0]) == "logits"
    return picked if head is None or ends_in_logits else head(picked)


def _rows_of(context: Any, rows: Tensor, count: int) -> Any:
    """The context of these rows: what has a batch axis is taken row by row, the rest is shared."""
    if isinstance(context, Tensor):
        return context[rows.to(context.device)] if context.ndim > 1 and len(context) == count > 1 else context
    if isinstance(context, dict):
        return {key: _rows_of(value, rows, count) for key, value in context.items()}
    if isinstance(context, tuple | list):
        return tuple(_rows_of(value, rows, count) for value in context)
    return context
