"""Activations at named sites, from a forward pass that stops as soon as it has them.

Hooks read, nothing else: they are registered for one call by the thread that asks, removed in `finally`, and hand each
value to a sink while the pass goes on. The LM head runs only for `logits`. A module path of a plain module may run
several times in one pass; its first pass runs to the end to make sure that it does not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from unweave.errors import InputError
from unweave.models.body import Body
from unweave.models.points import Point, body_of, find_point, first_input, value_at
from unweave.models.tokens import Tokens, as_tokens
from unweave.site import Site

Sink = Callable[[Site, Tensor], None]
"""Takes each value as the pass produces it; a sink that keeps a value must copy it."""


class _Enough(Exception):
    """Raised inside the forward pass after the last wanted value."""


def capture(model: Body, tokens: Any, sites: Sequence[str] | str, *, device: str | None = "cpu") -> dict[str, Tensor]:
    """A copy of the activations at each site, keyed by the names as they were asked for.

    Args:
        model: The model.
        tokens: `Tokens` or ids (batch, pos); for a plain module whatever it takes.
        sites: Names; no patterns (`expand_sites` resolves those).
        device: Where the copies go; None leaves them where they are.

    Returns:
        Name -> (batch, pos, d); `attn_z` (batch, pos, head, d_head); module paths their own shape. Values at padding
            mean nothing.
    """
    asked = [sites] if isinstance(sites, str) else list(sites)
    by_name = {name: find_point(model.module, model.family, name) for name in asked}
    kept: dict[Site, Tensor] = {}

    def keep(site: Site, value: Tensor) -> None:
        kept[site] = value.detach().to(value.device if device is None else device, copy=True)

    with torch.no_grad():
        stream(model, tokens, list({point.site: point for point in by_name.values()}.values()), keep)
    return {name: kept[point.site] for name, point in by_name.items()}


def stream(model: Body, tokens: Any, points: Sequence[Point], sink: Sink) -> None:
    """Runs the model as far as the points need, giving each value to the sink; grad mode is the caller's.

    Raises:
        InputError: A site that does not run in this pass, or a module that runs several times.
    """
    if not points:
        raise InputError("no site was asked for: name at least one, model.sites() lists all")
    model.check_ready()
    shape = None if model.family is None else tuple(as_tokens(tokens).ids.shape)
    watch = _Watch(points, sink, verified=model.state.runs_once, tokens=shape)
    with ExitStack() as stack:
        for point in points:
            stack.callback(watch.register(point).remove)
        try:
            run(model, tokens, body_only=all(_in_body(model, point) for point in points))
        except _Enough:
            return
    missing = [str(point.site) for point in points if point.site not in watch.calls]
    if missing:
        raise InputError(f"{', '.join(missing)} did not run in this forward pass: the model skips it for this input")
    model.state.runs_once.update(point.site for point in points)


def run(model: Body, tokens: Any, *, body_only: bool = False) -> Any:
    """The model's (or its body's) own output; unpadded batches are passed on exactly as a user would."""
    if model.family is None:
        return model.module(tokens.to(model.device) if isinstance(tokens, Tensor) else tokens)
    batch = as_tokens(tokens)
    check_ids(model, batch)
    target = body_of(model.module, model.family) if body_only else model.module
    return target(**arguments(model, batch), use_cache=False)


def arguments(model: Body, batch: Tokens) -> dict[str, Tensor]:
    """Keyword arguments of a forward pass: mask and positions only where there is padding, so that an unpadded batch
    runs like a bare call.
    """
    device = model.device
    if not batch.is_padded:
        return {"input_ids": batch.ids.to(device)}
    return {
        "input_ids": batch.ids.to(device),
        "attention_mask": batch.mask.long().to(device),
        "position_ids": batch.positions().to(device),
    }


def check_ids(model: Body, batch: Tokens) -> None:
    """Raises if an id is outside the vocabulary or a sequence longer than the model's positions: a crash deep inside
    otherwise.
    """
    vocabulary, most = model.vocabulary_size, model.context
    low, high = int(batch.ids.min()), int(batch.ids.max())
    if low < 0 or (vocabulary is not None and high >= vocabulary):
        raise InputError(
            f"token ids run from {low} to {high} but the model has ids 0..{(vocabulary or 0) - 1}: use the model's own"
            " tokenizer"
        )
    longest = int(batch.lengths().max())
    if most is not None and longest > most:
        raise InputError(
            f"a sequence has {longest} tokens but the model takes at most {most}: cut the text, or collect() with"
            f" context={most} or less"
        )


class _Watch:
    """The hooks of one pass: which sites have fired, and when the pass may stop."""

    def __init__(
        self, points: Sequence[Point], sink: Sink, verified: set[Site], tokens: tuple[int, ...] | None
    ) -> None:
        """Remembers who asked: a pass of the same modules in another thread is not ours."""
        self.sink = sink
        self.tokens = tokens
        self.calls: dict[Site, int] = {}
        self.wanted = len(points)
        self.to_the_end = any(point.path is not None and point.site not in verified for point in points)
        self.thread = threading.get_ident()

    def register(self, point: Point) -> torch.utils.hooks.RemovableHandle:
        """One hook for a point."""
        if point.side == "in":
            # a pass of another thread can meet the hook while it is being removed: torch then gives it no kwargs
            def before(_module: nn.Module, args: tuple[Any, ...], kwargs: Any = None) -> None:
                if self.is_ours():
                    self.take(point, first_input(args, kwargs)[0])

            return point.module.register_forward_pre_hook(before, with_kwargs=True)

        def after(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
            if self.is_ours():
                self.take(point, output)

        return point.module.register_forward_hook(after)

    def is_ours(self) -> bool:
        """Whether the pass that runs belongs to the thread that asked."""
        return threading.get_ident() == self.thread

    def take(self, point: Point, found: Any) -> None:
        """Hands the value on, once, and ends the pass after the last one."""
        count = self.calls[point.site] = self.calls.get(point.site, 0) + 1
        if count > 1:
            raise InputError(
                f"{point.site} runs more than once in a forward pass: choose a module that runs once, or the input of"
                " the one after it"
            )
        self.sink(point.site, value_at(point, found, self.tokens))
        if len(self.calls) == self.wanted and not self.to_the_end:
            raise _Enough


def _in_body(model: Body, point: Point) -> bool:
    if point.needs_head:
        return False
    return point.path is None or any(point.module is part for part in body_of(model.module, model.family).modules())
