"""`Section`: the model from one node layer to the next, as a pure differentiable function with its own completeness
check.

A node layer is one site or several whose values, side by side on the last axis, determine everything after them. What
is not an activation (masks, positions, rotary tables) is the context, read off an ordinary forward pass; after that no
hook is involved.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd as Convolution

from unweave.errors import InputError, UnweaveError
from unweave.models import dataflow
from unweave.models.body import Body
from unweave.models.capture import capture, run
from unweave.models.points import blocks_of, find_point
from unweave.models.quiet import load_forward_mode
from unweave.models.tokens import Tokens, padded_left
from unweave.site import Site

Function = Callable[[Tensor, Any], Tensor]
TOLERANCES: Mapping[torch.dtype, float] = MappingProxyType(
    {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
)
"""Relative difference that counts as rounding, by precision."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Section:
    """A function `(batch, pos, d_in) -> (batch, pos, d_out)` of the activations at its start."""

    name: str
    site_in: tuple[Site, ...]
    site_out: tuple[Site, ...]
    d_in: int
    d_out: int
    kind: str
    """`linear`, `norm`, `mlp`, `attention` if that is all it does, else `generic`."""
    positions: str
    """`all`, or `last`: only the last real token is kept at the output; padding is moved to the left for it."""
    function: Function
    """(x, context) -> y at all positions."""
    inputs: Callable[[Any], tuple[Tensor, Any]]
    """Tokens -> activations at the start, and the context."""
    outputs: Callable[[Any], Tensor]
    """Tokens -> captured activations at the end."""
    form: Any = None
    """The weights behind the function where closed forms need them (`unweave.interaction.forms`); None if only the
    function is known.
    """
    mixes: bool = True
    """Whether an output position can depend on other input positions."""
    isolated: int = 0
    """How many leading coordinates at its start are a norm's variance."""

    def __call__(
        self, x: Float[Tensor, "batch *axes width"], context: Any
    ) -> Float[Tensor, "batch *axes_out width_out"]:
        """The activations at the end; a plain module's have the shapes of its own values, channels second in images."""
        if x.ndim < 2 or x.shape[1 if x.ndim > 3 else -1] != self.d_in:
            raise InputError(
                f"section {self.name} takes width {self.d_in}, got {tuple(x.shape)}: section.inputs(tokens) gives what"
                " it takes"
            )
        return _kept(self.function(x, context), self.positions)

    def vjp(self, x: Tensor, context: Any, v: Tensor) -> Tensor:
        """`v` pulled back to the start: the gradient of `<v, section(x)>`; `v` may have leading axes beyond the
        output's, one pull each.
        """
        with torch.enable_grad():
            point = x.detach().requires_grad_(True)
            y = self(point, context)
            sources = v.reshape(-1, *y.shape)
            pulled = [torch.autograd.grad(y, point, source, retain_graph=True)[0] for source in sources]
        return torch.stack(pulled).reshape(*v.shape[: v.ndim - y.ndim], *x.shape)

    def jvp(self, x: Tensor, context: Any, u: Tensor) -> Tensor:
        """The change of the output along `u`; leading axes as in `vjp`."""
        from torch.nn.attention import SDPBackend, sdpa_kernel

        sources = u.reshape(-1, *x.shape)
        load_forward_mode()
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no forward derivative
            pushed = [
                torch.func.jvp(lambda point: self(point, context), (x.detach(),), (source,))[1].detach()
                for source in sources
            ]
        return torch.stack(pushed).reshape(*u.shape[: u.ndim - x.ndim], *pushed[0].shape)

    def check(self, tokens: Any) -> float:
        """Largest difference between the section of the captured start and the captured end, relative to the largest
        value there.

        Raises:
            UnweaveError: Above 1e-4 in float32, 1e-9 in float64, 1e-2 in float16, 5e-2 in bfloat16: the section is not
                the model.
        """
        with torch.no_grad():
            x, context = self.inputs(tokens)
            expected = _kept(self.outputs(tokens), self.positions)
            got = self(x, context)
        difference = float((got - expected).abs().max() / expected.abs().max().clamp_min(1e-30))
        tolerance = max(TOLERANCES[x.dtype], TOLERANCES[expected.dtype])
        if not difference <= tolerance:
            start = ", ".join(self.site_in)
            raise UnweaveError(
                f"section {self.name} misses something: {', '.join(self.site_out)} differs by {difference:.2g}"
                f" (relative) from the model's, so it depends on more than {start}"
            )
        return difference

    def __repr__(self) -> str:
        """Name, widths and kind."""
        return f"Section({self.name}, {self.d_in} -> {self.d_out}, {self.kind})"


def section(
    model: Body, site_in: str | Sequence[str], site_out: str | Sequence[str], *, positions: str = "all"
) -> Section:
    """The model between two node layers.

    Args:
        model: A transformer of a known family, or a module with `nn.Sequential` parts.
        site_in: Where it starts: a site, or several whose values are taken side by side.
        site_out: Where it ends.
        positions: `all`, or `last` to keep only the last real token at the output.

    Raises:
        InputError: The start does not determine the end (the missing path is named), or no chain of modules leads from
            one to the other.

    Example:
        >>> from unweave.models.loading import load_model
        >>> model = load_model(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)))
        >>> part = model.section("0", "2")
        >>> part, part.check(torch.randn(4, 3)) < 1e-6
        (Section(0 -> 2, 5 -> 2, generic), True)
    """
    starts, ends = (_sites(model, sites) for sites in (site_in, site_out))
    if positions not in ("all", "last"):
        raise InputError(f"positions is {positions!r}: 'all' or 'last'")
    build = _plain if model.family is None else _transformer
    kind, mixes, function, inputs, widths = build(model, starts, ends)
    return Section(
        name=f"{'+'.join(starts)} -> {'+'.join(ends)}",
        site_in=starts,
        site_out=ends,
        d_in=widths[0],
        d_out=widths[1],
        kind=kind,
        mixes=mixes,
        positions=positions,
        function=function,
        inputs=lambda tokens: inputs(_aligned(tokens, positions)),
        outputs=lambda tokens: _side_by_side(model, _aligned(tokens, positions), ends),
    )


def last_site(model: Body) -> Site:
    """Where a transformer's output is: the logits if they predict the next token, else its last hidden state."""
    family = model.family
    if family is None:
        raise InputError("a plain module does not say which of its sites is the output: name the site")
    if model.predicts_next:
        return Site("logits")
    if "final_norm" in family.others:
        return Site("final_norm")
    return Site(f"blocks.{len(blocks_of(model.module, family)) - 1}.resid_post")


def node_layer(model: Body, site: str, end: str) -> tuple[Site, ...] | None:
    """The smallest node layer that begins with the site and determines `end`: the site alone, or with the stream that
    passes it by; None if there is none.

    Example:
        >>> from unweave.models.loading import load_model
        >>> node_layer(load_model("zoo:docs"), "blocks.2.mlp_act", "logits")
        ('blocks.2.mlp_act', 'blocks.2.resid_mid')
    """
    (first,) = _sites(model, site)
    if model.family is None or first.layer is None:
        return None
    for others in ((), ("resid_mid",), ("resid_pre",)):
        layer = (first, *(Site(f"blocks.{first.layer}.{other}") for other in others))
        try:
            steps = dataflow.order(model.module, model.family, frozenset(layer), Site(end))
        except InputError:
            continue
        if any(first in step.parents for _, step in steps):  # else the other site hides this one
            return layer
    return None


def _aligned(tokens: Any, positions: str) -> Any:
    """Padding on the left where only the last position is kept, so that it is a real token in every sequence."""
    return padded_left(tokens) if positions == "last" and isinstance(tokens, Tokens) else tokens


def _sites(model: Body, sites: str | Sequence[str]) -> tuple[Site, ...]:
    names = [sites] if isinstance(sites, str) else list(sites)
    if not names:
        raise InputError("a node layer needs at least one site")
    return tuple(find_point(model.module, model.family, name).site for name in names)


def _transformer(
    model: Body, starts: tuple[Site, ...], ends: tuple[Site, ...]
) -> tuple[str, bool, Function, Any, tuple[int, int]]:
    family = model.family
    if family is None:
        raise RuntimeError("a plain module has no dataflow")
    steps = [one for end in ends for one in dataflow.order(model.module, family, frozenset(starts), end)]
    layers = sorted({site.layer for site, step in steps if step.kind == "attention" and site.layer is not None})
    widths = [model.width(site) for site in starts]

    def function(x: Tensor, context: Any) -> Tensor:
        parts = (part.contiguous() for part in x.split(widths, dim=-1))  # GPT-2's Conv1D takes views
        given = dict(zip(starts, parts, strict=True))
        return torch.cat([dataflow.evaluate(model.module, family, given, end, context) for end in ends], dim=-1)

    def inputs(tokens: Any) -> tuple[Tensor, Any]:
        return _side_by_side(model, tokens, starts), _attention_context(model, tokens, layers)

    return (
        _kind({step.kind for _, step in steps}),
        bool(layers),
        function,
        inputs,
        (sum(widths), sum(model.width(site) for site in ends)),
    )


def _kind(kinds: set[str]) -> str:
    beyond = kinds - {"linear"}
    if not beyond:
        return "linear"
    return beyond.pop() if len(beyond) == 1 else "generic"


def _side_by_side(model: Body, tokens: Any, sites: tuple[Site, ...]) -> Tensor:
    found = capture(model, tokens, sites, device=None)
    first = found[sites[0]].device
    values = [found[site].to(first) for site in sites]  # blocks of one model may lie on several devices
    return torch.cat(
        [value.flatten(2) if value.ndim > 3 and model.family is not None else value for value in values], dim=-1
    )


def _attention_context(model: Body, tokens: Any, layers: list[int]) -> dataflow.Context:
    """What the attention modules of these blocks are called with besides hidden states."""
    if not layers or model.family is None:
        return {}
    found: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = {}
    modules = dataflow.attention_modules(model.module, model.family)
    ours = threading.get_ident()
    with ExitStack() as stack, torch.no_grad():
        for layer in layers:

            def note(_module: nn.Module, args: tuple[Any, ...], kwargs: Any = None, layer: int = layer) -> None:
                if threading.get_ident() == ours:  # not a pass of another thread
                    found[layer] = (args[1:], {key: value for key, value in kwargs.items() if key != "hidden_states"})

            stack.callback(modules[layer].register_forward_pre_hook(note, with_kwargs=True).remove)
        run(model, tokens, body_only=True)
    return found


def _plain(
    model: Body, starts: tuple[Site, ...], ends: tuple[Site, ...]
) -> tuple[str, bool, Function, Any, tuple[int, int]]:
    if len(starts) != 1 or len(ends) != 1:
        raise InputError("a section of a plain module goes from one module to one other: give one site each")
    chain = modules_between(model.module, starts[0], ends[0])

    def function(x: Tensor, _context: Any) -> Tensor:
        for part in chain:
            x = part(x)
        return x

    def inputs(values: Any) -> tuple[Tensor, Any]:
        return capture(model, values, starts, device=None)[starts[0]], None

    kind = "linear" if all(isinstance(part, nn.Linear | nn.Identity) for part in chain) else "generic"
    return kind, True, function, inputs, (_width_along(model, starts[0], chain), _width_at_end(model, ends[0], chain))


def modules_between(module: nn.Module, start: Site, end: Site) -> list[nn.Module]:
    """The modules that run after `start` (itself included for `:in`) up to `end`, all children of one
    `nn.Sequential`.
    """
    inside = start.endswith(":in")
    path_in, path_out = start.removesuffix(":in"), end
    parent_in, _, first = path_in.rpartition(".")
    parent_out, _, last = path_out.rpartition(".")
    parent = module.get_submodule(parent_in)
    if parent_in != parent_out or not isinstance(parent, nn.Sequential):
        raise InputError(
            f"no chain of modules leads from {start} to {end}: they must be children of one nn.Sequential; for anything"
            " else build a Section from your own function"
        )
    names = [name for name, _ in parent.named_children()]
    begin, stop = names.index(first) + (0 if inside else 1), names.index(last) + 1
    if begin >= stop:
        raise InputError(f"{end} does not come after {start}: swap them")
    return [part for _, part in list(parent.named_children())[begin:stop]]


def _width_along(model: Body, start: Site, chain: list[nn.Module]) -> int:
    """Width at the start, from the first matrix that reads it or from its own weights."""
    for part in chain:
        if isinstance(part, nn.Linear | Convolution):
            return part.in_features if isinstance(part, nn.Linear) else part.in_channels
        if isinstance(part, nn.Flatten | nn.Unflatten):
            break
    return model.width(start)


def _width_at_end(model: Body, end: Site, chain: list[nn.Module]) -> int:
    """Width at the end, from the last matrix of the chain or the end's own weights."""
    for part in reversed(chain):
        if isinstance(part, nn.Linear | Convolution):
            return part.out_features if isinstance(part, nn.Linear) else part.out_channels
        if isinstance(part, nn.Flatten | nn.Unflatten):
            break
    return model.width(end)


def _kept(y: Tensor, positions: str) -> Tensor:
    if positions == "all":
        return y
    if y.ndim != 3:
        raise InputError(f"positions is 'last' but the output has shape {tuple(y.shape)}, without positions: use 'all'")
    return y[:, -1:]
