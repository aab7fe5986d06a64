"""`Edit`: what is changed in a forward pass, where, when and how; and the hooks that do it.

    edit = site x positions x units x operator x schedule

An operator is a function of the value at the site, or, with a featurizer, of the values of the chosen units; the
residual is kept and rows whose units did not change stay as they are to the bit. It gets a copy, so nothing that
another part of the model holds is ever written to. Edits nest: each removes only its own hooks, also when the body of
the `with` raises.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unweave.errors import FingerprintError, InputError
from unweave.features.compose import only_units
from unweave.features.featurizer import Featurizer, units
from unweave.models.body import Body
from unweave.models.points import Point, body_of, find_point, first_input, put_value, value_at
from unweave.models.positions import acts_at, checked_rules
from unweave.models.running import Pass, pass_of
from unweave.site import Site

Loaded = TypeVar("Loaded", bound=Body)
Operator = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Edit:
    """One change of a forward pass.

    Args:
        site: Where.
        operator: Value -> new value of the same shape: (batch, pos, d) without a featurizer, (batch, pos, units) with
            one. `unweave.models.operators` has the usual ones.
        positions: Which tokens; see `unweave.models.positions`.
        schedule: When during generation; same place.
        featurizer: Coordinates to act in; its residual is kept.
        units: Which coordinates of the featurizer the operator gets, in this order; None is all.

    Raises:
        InputError: Unknown rule or schedule, units without a featurizer or outside it, a featurizer of another site.

    Example:
        >>> from unweave.models.operators import scale
        >>> Edit(site="blocks.0.mlp_out", operator=scale(0.5), positions="last").site
        'blocks.0.mlp_out'
    """

    site: str
    operator: Any
    """An `Operator`; `Any` because what is none gets a clear error here."""
    positions: Any = "all"
    """`Positions`."""
    schedule: Any = "always"
    """A `Schedule`."""
    featurizer: Featurizer | None = None
    units: Sequence[int] | None = None

    def __post_init__(self) -> None:
        """Takes our spelling of the site, and raises what can be seen to be wrong before any model runs."""
        object.__setattr__(self, "site", Site(self.site))
        object.__setattr__(self, "positions", checked_rules(self.positions, self.schedule))
        if not callable(self.operator):
            raise InputError(
                f"the operator at {self.site} is a {type(self.operator).__name__}: a function of the activations is"
                " needed"
            )
        if self.featurizer is None:
            if self.units is not None:
                raise InputError("units= needs a featurizer=: without one the operator gets the whole activation")
            return
        if self.featurizer.site is not None and self.featurizer.site != self.site:
            raise InputError(
                f"the featurizer belongs to {self.featurizer.site}, the edit is at {self.site}: fit one there"
            )
        count = units(self.featurizer)
        chosen = [] if self.units is None else [int(unit) for unit in self.units]
        if not all(0 <= unit < count for unit in chosen) or len(set(chosen)) < len(chosen):
            raise InputError(f"units are {chosen[:8]}: numbers from 0 to {count - 1} are needed, each once")
        object.__setattr__(self, "units", None if self.units is None else tuple(chosen))


Edits = Edit | Sequence[Edit] | Mapping[str, Operator]


def as_edits(edits: Any) -> list[Edit]:
    """A list of edits from one, several, or `{site: f}`."""
    if isinstance(edits, Edit):
        return [edits]
    if isinstance(edits, Mapping):
        return [Edit(site=site, operator=operator) for site, operator in edits.items()]
    if isinstance(edits, Sequence) and not isinstance(edits, str) and all(isinstance(edit, Edit) for edit in edits):
        return list(edits)
    raise InputError(f"edits is a {type(edits).__name__}: an Edit, a list of them, or {{site: f(h) -> h}} is needed")


@contextmanager
def edited(model: Loaded, edits: Any) -> Generator[Loaded, None, None]:
    """Within it, every forward pass of the model is edited; see `Model.edit`."""
    planned = [(edit, find_point(model.module, model.family, edit.site)) for edit in as_edits(edits)]
    for edit, _ in planned:
        check_model(model, edit)
    passes = _Passes()
    with ExitStack() as stack:
        if model.family is not None:
            stack.callback(
                body_of(model.module, model.family)
                .register_forward_pre_hook(passes.before, with_kwargs=True, prepend=True)
                .remove
            )
        for edit, point in planned:
            for handle in _hooks(edit, point, passes):
                stack.callback(handle.remove)
        model.state.active_edits += len(planned)
        try:
            yield model
        finally:
            model.state.active_edits -= len(planned)


class _Passes:
    """The pass that each thread is in."""

    def __init__(self) -> None:
        """No pass yet."""
        self.local = threading.local()

    def before(self, _module: nn.Module, args: tuple[Any, ...], kwargs: Any = None) -> None:
        """Notes the pass that starts; a hook that another thread is just removing gets no kwargs."""
        if kwargs is not None:
            self.local.current = pass_of(args, kwargs, self.current)

    @property
    def current(self) -> Pass | None:
        """The pass of this thread, None for plain modules."""
        return getattr(self.local, "current", None)

    @property
    def shape(self) -> tuple[int, ...] | None:
        """(batch, pos) of the pass."""
        return None if self.current is None else tuple(self.current.real.shape)


def _hooks(edit: Edit, point: Point, passes: _Passes) -> Iterator[torch.utils.hooks.RemovableHandle]:
    difference = threading.local()
    if point.carry is not None:

        def carry(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
            delta = difference.__dict__.pop("value", None)
            if delta is None:
                return output
            return (output[0] + delta, *output[1:]) if isinstance(output, tuple) else output + delta

        yield point.carry.register_forward_hook(carry, prepend=True)
    if point.side == "in":

        def before(_module: nn.Module, args: tuple[Any, ...], kwargs: Any = None) -> tuple[Any, Any] | None:
            if kwargs is None:  # another thread is just leaving the context: torch gives a removed hook no kwargs
                return None
            found, key = first_input(args, kwargs)
            old = value_at(point, found, passes.shape)
            new = _apply(edit, point, old, passes.current)
            if point.carry is not None:
                difference.value = new - old
            put = put_value(point, found, new)
            return ((put, *args[1:]), kwargs) if key is None else (args, {**kwargs, key: put})

        yield point.module.register_forward_pre_hook(before, with_kwargs=True)
    else:

        def after(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
            old = value_at(point, output, passes.shape)
            return put_value(point, output, _apply(edit, point, old, passes.current))

        yield point.module.register_forward_hook(after)


def edit_value(edit: Edit, value: Tensor, current: Pass) -> Tensor:
    """The value at the edit's site after the edit, in this pass and outside any model.

    Raises:
        InputError: The operator changes the shape, or positions do not fit the batch.
    """
    heads = value.shape[2] if edit.site.endswith(".attn_z") and value.ndim == 4 else None
    return _apply(edit, Point(site=Site(edit.site), module=nn.Identity(), side="out", heads=heads), value, current)


def _apply(edit: Edit, point: Point, value: Tensor, current: Pass | None) -> Tensor:
    new = _operated(edit, point, value)
    if current is None or (point.path is not None and value.shape[:-1] != current.real.shape):
        if edit.positions != "all" or edit.schedule != "always":
            raise InputError(
                f"the edit at {edit.site} names positions or a schedule, but the value there, of shape"
                f" {tuple(value.shape)}, has no axis of tokens: edit it everywhere"
            )
        return new
    where = acts_at(current, edit.positions, edit.schedule)[:, -value.shape[1] :]  # a head may see only the last tokens
    where = where.to(value.device)  # blocks of one model may lie on several devices
    return torch.where(where.reshape(*where.shape, *[1] * (value.ndim - 2)), new, value)


def _operated(edit: Edit, point: Point, value: Tensor) -> Tensor:
    if edit.featurizer is None:
        return _checked(edit, edit.operator(value.clone()), value).to(value.dtype)
    changed = rows_after(edit, _as_rows(point, value))
    return changed.movedim(-1, 1).contiguous() if _is_image(point, value) else changed.reshape(value.shape)


def rows_after(edit: Edit, rows: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
    """Rows of activations, width last, after an edit with a featurizer, at every row."""
    if edit.featurizer is None:
        raise InputError(f"the edit at {edit.site} has no featurizer, so it has no units to act in")
    alone = only_units(edit.featurizer, edit.units) if edit.units else None
    z, residual = (alone or edit.featurizer).encode(rows)
    every = alone is not None or edit.units is None
    chosen = slice(None) if every else torch.tensor(edit.units, dtype=torch.long, device=z.device)
    old = z[..., chosen]
    new = _checked(edit, edit.operator(old.clone()), old).to(z.dtype)
    moved = z.clone()
    moved[..., chosen] = new
    decoded = (alone or edit.featurizer).decode(moved, residual).to(rows.dtype)
    return torch.where((new != old).any(-1, keepdim=True), decoded, rows)


def _as_rows(point: Point, value: Tensor) -> Tensor:
    """Width last, as in a store: channels of an image moved there, heads side by side."""
    if _is_image(point, value):
        return value.movedim(1, -1)
    return value.flatten(2) if point.heads else value


def _is_image(point: Point, value: Tensor) -> bool:
    return value.ndim > 3 and not point.heads


def _checked(edit: Edit, new: Any, old: Tensor) -> Tensor:
    if not isinstance(new, Tensor) or new.shape != old.shape:
        got = f"shape {tuple(new.shape)}" if isinstance(new, Tensor) else f"a {type(new).__name__}"
        raise InputError(
            f"the operator at {edit.site} got shape {tuple(old.shape)} and returned {got}: it must return a tensor of"
            " the same shape"
        )
    return new


def check_model(model: Body, edit: Edit) -> None:
    """Raises if the edit's featurizer was fitted on another model."""
    if edit.featurizer is None:
        return
    expected = edit.featurizer.provenance.model
    if expected is not None and expected != model.fingerprint:
        raise FingerprintError(
            f"the featurizer at {edit.site} was fitted on another model ({expected[:12]}, this one is"
            f" {model.fingerprint[:12]}): fit it again"
        )
