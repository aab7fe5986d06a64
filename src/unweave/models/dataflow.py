"""The inside of a block as steps between sites, so that any part of it can be run as a function of what it starts from.

Each step computes one component from others of the same block. Evaluation works backwards from what is wanted and stops
at what is given; a component that leads to nothing given is a missing path, and its name says what the start lacks.

| component | pre-norm | post-norm |
|---|---|---|
| `ln1` | norm(resid_pre) | - |
| `attn_z` | attention(ln1), before the output matrix | attention(resid_pre), before the output matrix |
| `attn_out` | attn_z @ W_O + b_O | same |
| `resid_mid` | resid_pre + attn_out | norm(resid_pre + attn_out) |
| `ln2` | norm(resid_mid) | - |
| `mlp_act` | act(ln2 @ W_in + b_in), gated or not | act(resid_mid @ W_in + b_in) |
| `mlp_out` | mlp_act @ W_out + b_out | same |
| `resid_post` | resid_mid + mlp_out | norm(resid_mid + mlp_out) |

Where attention and MLP are side by side, `ln2` is norm(resid_pre), `resid_post` is resid_pre + attn_out + mlp_out, and
there is no `resid_mid`. Where a norm follows the matrix (Gemma), `attn_out` and `mlp_out` are that norm of it. Where an
MLP consists of experts, there is no `mlp_act`, and `mlp_out` is a function of `ln2`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from unweave.errors import InputError
from unweave.models.families import Family
from unweave.models.points import blocks_of, body_of, logits_from, matrix_shape
from unweave.site import Site

Context = Mapping[int, tuple[tuple[Any, ...], dict[str, Any]]]
"""Block -> what its attention takes besides hidden states: mask, positions, rotary tables."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """How a component comes from others."""

    kind: str
    """`linear`, `norm`, `mlp`, `attention`, `generic`: which closed forms hold."""
    parents: tuple[str, ...]
    run: Callable[..., Tensor]
    """(block, layer, context, *parent values) -> value."""


def evaluate(module: nn.Module, family: Family, given: Mapping[Site, Tensor], wanted: Site, context: Context) -> Tensor:
    """The value of a site computed from given ones, heads side by side.

    Raises:
        InputError: A path to `wanted` starts upstream of what is given; its name is in the message.
    """
    known = dict(given)
    for site, step in order(module, family, frozenset(given), wanted):
        owner = module if site.layer is None else blocks_of(module, family)[site.layer]
        known[site] = step.run(owner, site.layer, context, *(known[Site(parent)] for parent in step.parents))
    return known[wanted]


def order(module: nn.Module, family: Family, given: frozenset[Site], wanted: Site) -> list[tuple[Site, Step]]:
    """The steps from the given sites to the wanted one, in the order to take them; each once.

    Raises:
        InputError: As `evaluate`.
    """
    planned: dict[Site, Step] = {}

    def visit(site: Site) -> None:
        if site in given or site in planned:
            return
        step = _step(module, family, site)
        if step is None:
            raise InputError(
                f"{wanted} depends on {site}, which the start ({', '.join(sorted(given))}) does not determine: add that"
                " path to the start of the section"
            )
        for parent in step.parents:
            visit(Site(parent))
        planned[site] = step

    visit(wanted)
    return list(planned.items())


def attention_modules(module: nn.Module, family: Family) -> list[nn.Module]:
    """The module that mixes positions in each block."""
    return [block.get_submodule(family.attention) for block in blocks_of(module, family)]


def _step(module: nn.Module, family: Family, site: Site) -> Step | None:
    """How a site comes from others; None where the blocks begin."""
    if site.layer is None:
        return _outside(module, family).get(site)
    if site.component != "resid_pre":
        block = blocks_of(module, family)[site.layer]
        return _inside(family, f"blocks.{site.layer}", is_routed=family.is_routed(block)).get(site.component)
    if site.layer == 0:
        return None
    return Step(kind="linear", parents=(f"blocks.{site.layer - 1}.resid_post",), run=lambda _b, _l, _c, x: x)


def _outside(module: Any, family: Family) -> dict[str, Step]:
    last, norm = f"blocks.{len(blocks_of(module, family)) - 1}.resid_post", family.others.get("final_norm")
    steps: dict[str, Step] = {}
    if norm is not None:
        steps["final_norm"] = Step(
            kind="norm", parents=(last,), run=lambda m, _l, _c, x: body_of(m, family).get_submodule(norm)(x)
        )
    if family.head is not None:
        steps["logits"] = Step(
            kind="linear" if family.cap(module.config) is None else "generic",
            parents=(last if norm is None else "final_norm",),
            run=lambda m, _l, _c, x: logits_from(m, family, x),
        )
    return steps


def _inside(family: Family, block: str, *, is_routed: bool) -> dict[str, Step]:
    pre = family.norm == "pre"
    after_sum = "linear" if pre else "norm"
    attention, mlp = (
        [matrix] if norm is None else [matrix, norm]
        for matrix, norm in (
            (family.attention_matrix, family.attention_out_norm),
            (family.mlp_matrix, family.mlp_out_norm),
        )
    )
    table: dict[str, tuple[str, Callable[..., Tensor], tuple[str, ...]]] = {
        "attn_z": ("attention", partial(_heads, family), ("ln1" if pre else "resid_pre",)),
        "attn_out": ("linear" if len(attention) == 1 else "norm", partial(_through, attention), ("attn_z",)),
        "resid_mid": (after_sum, partial(_summed, family.attention_norm), ("resid_pre", "attn_out")),
        "mlp_act": ("mlp", partial(_neurons, family), ("ln2" if pre else "resid_mid",)),
        "mlp_out": ("linear" if len(mlp) == 1 else "norm", partial(_through, mlp), ("mlp_act",)),
        "resid_post": (after_sum, partial(_summed, family.mlp_norm), ("resid_mid", "mlp_out")),
    }
    if pre:
        table["ln1"] = ("norm", partial(_through, [family.components["ln1"]]), ("resid_pre",))
        read = "resid_pre" if family.parallel else "resid_mid"
        table["ln2"] = ("norm", partial(_through, [family.components["ln2"]]), (read,))
    if is_routed:
        del table["mlp_act"]
        table["mlp_out"] = ("mlp", partial(_through, [family.components["mlp_out"]]), ("ln2",))
    if family.parallel:
        del table["resid_mid"]
        table["resid_post"] = ("linear", partial(_summed, None), ("resid_pre", "attn_out", "mlp_out"))
    return {
        component: Step(kind=kind, parents=tuple(f"{block}.{parent}" for parent in parents), run=run)
        for component, (kind, run, parents) in table.items()
    }


def _through(paths: Sequence[str], block: nn.Module, _layer: int, _context: Context, x: Tensor) -> Tensor:
    """One submodule of the block after the other."""
    for path in paths:
        x = block.get_submodule(path)(x)
    return x


def _summed(
    norm: str | None, block: nn.Module, _layer: int, _context: Context, stream: Tensor, *added: Tensor
) -> Tensor:
    total = stream
    for one in added:
        total = total + one
    return total if norm is None else block.get_submodule(norm)(total)


def _neurons(family: Family, block: nn.Module, _layer: int, _context: Context, x: Tensor) -> Tensor:
    return family.neurons(block, x)


def _heads(family: Family, block: nn.Module, layer: int, context: Context, x: Tensor) -> Tensor:
    """Attention up to its output matrix: the model's own module, with that matrix replaced by the identity where it
    lies inside.
    """
    inner = family.attention_matrix.removeprefix(family.attention + ".")
    attention = block.get_submodule(family.attention)
    args, kwargs = context[layer]
    if inner == family.attention_matrix:
        return attention(x, *args, **kwargs)[0]
    matrix = attention.get_submodule(inner)
    if matrix.weight.is_meta:  # its own weights are brought when it is called, over the identity
        return _before(matrix, lambda: attention(x, *args, **kwargs))
    width = matrix_shape(matrix)[0]
    identity = {f"{inner}.weight": torch.eye(width, dtype=x.dtype, device=x.device)}
    if matrix.bias is not None:
        identity[f"{inner}.bias"] = torch.zeros(width, dtype=x.dtype, device=x.device)
    return torch.func.functional_call(attention, identity, (x, *args), kwargs)[0]


def _before(part: nn.Module, call: Callable[[], object]) -> Tensor:
    """What the part takes during a call of something around it."""
    taken: list[Tensor] = []
    handle = part.register_forward_pre_hook(lambda _module, args: taken.append(args[0]))
    try:
        call()
    finally:
        handle.remove()
    return taken[0]
