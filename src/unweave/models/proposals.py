"""A row for a family that has none: read off the structure and the order in which the modules run, and tried.

A proposal is text to look at and paste (`load_model(module, family=row)`), never applied by itself: which module adds
what to the stream cannot be known from names. The laws of `self_check` are tried with it and the result is part of the
text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from unweave.errors import InputError
from unweave.models.families import Family, gated_neurons, plain_neurons
from unweave.models.model import Model
from unweave.models.points import body_of, matrix_shape
from unweave.models.self_check import LAWS, check_laws

ORDERS: Mapping[str, str] = {
    "norm attention norm mlp": "pre",
    "norm attention norm norm mlp norm": "added",
    "attention norm mlp norm": "post",
    "norm attention mlp": "one",
    "norm norm attention mlp": "pre",
}
"""What runs in a block, in this order -> how it is put together."""


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """What was found in a block, by path."""

    blocks: str
    attention: str
    attention_matrix: str
    mlp: str | None
    mlp_matrix: str
    reads: tuple[str, ...]
    """The matrices that the neurons read by: one, or gate and up."""
    act: str
    norms: tuple[str, ...]
    """In the order in which they run."""
    order: str


def proposed_row(module: nn.Module) -> str | None:
    """Text with a row to paste for a transformers model of an unknown family, and which laws hold with it; None where
    no row can be read off.

    Args:
        module: A model object of transformers, in evaluation mode.

    Example:
        >>> import unweave as uw
        >>> text = proposed_row(uw.load_model("zoo:docs").module)
        >>> 'blocks="layers"' in text, "all four laws hold" in text
        (True, True)
    """
    config = getattr(module, "config", None)
    if config is None or not hasattr(module, "get_input_embeddings"):
        return None
    parts = _parts(module)
    if parts is None:
        return None
    tried = [
        (family, _broken(module, family)) for family in (_family(module, parts, parallel=p) for p in (False, True))
    ]
    family, broken = min(tried, key=lambda one: len(one[1]))
    return _text(module, family, parts, broken)


def _broken(module: nn.Module, family: Family) -> list[str]:
    """The laws that do not hold with a row; one that the model does not even run with breaks all."""
    try:
        laws = check_laws(Model(module=module, family=family, name="proposal"))
    except (InputError, AttributeError, RuntimeError, TypeError, LookupError) as error:  # a wrong row fails anywhere
        return [f"the model does not run with it ({type(error).__name__})", *(f"law {law}" for law in LAWS)]
    return [f"law {one.law} fails at {one.where} ({one.worst:.1e})" for one in laws if not one.holds]


def _family(module: nn.Module, parts: _Parts, *, parallel: bool) -> Family:
    kind, norms = ORDERS.get(parts.order, "pre"), parts.norms
    parallel = parallel or kind == "one"
    components = {
        "resid_pre": "in .",
        "attn_z": f"in {parts.attention_matrix}",
        "attn_out": parts.attention,
        "mlp_act": f"in {parts.mlp_matrix}",
        "mlp_out": parts.mlp or parts.mlp_matrix,
        "resid_post": ".",
    }
    second = {"added": 2, "one": 0}.get(kind, 1)
    if kind == "post":
        components["resid_mid"] = norms[0]
    elif len(norms) > second:
        components |= {"ln1": norms[0], "ln2": norms[second]}
        components |= {} if parallel else {"resid_mid": f"in {norms[second]}"}
    if kind == "added":
        components |= {"attn_out": norms[1], "mlp_out": norms[3]}
    roles = ("gate", "up") if len(parts.reads) == 2 else ("in",)
    mlp_inputs: dict[str, str] = dict(zip(roles, parts.reads, strict=True))
    if len(parts.reads) == 2:
        neurons = gated_neurons(parts.reads[0], parts.reads[1], parts.act)
    else:
        neurons = plain_neurons(parts.reads[0], parts.act)
    return Family(
        model_types=(str(cast(Any, module).config.model_type),),
        norm="post" if kind == "post" else "pre",
        causal=not bool(getattr(cast(Any, module).config, "is_encoder_decoder", False)) and kind != "post",
        blocks=parts.blocks,
        components=components,
        others=_others(module),
        attention=parts.attention,
        attention_matrix=parts.attention_matrix,
        mlp_matrix=parts.mlp_matrix,
        neurons=neurons,
        mlp_inputs=mlp_inputs,
        attention_norm=norms[0] if kind == "post" else None,
        mlp_norm=norms[1] if kind == "post" else None,
        attention_out_norm=norms[1] if kind == "added" else None,
        mlp_out_norm=norms[3] if kind == "added" else None,
        head=_path_of(module, cast(Any, module).get_output_embeddings()),
        parallel=parallel,
    )


def _others(module: nn.Module) -> dict[str, str]:
    body = body_of(module)
    found = {}
    embed = _path_of(body, cast(Any, module).get_input_embeddings())
    if embed is not None:
        found["embed"] = embed
    norms = [name for name, part in body.named_children() if _is_norm(part)]
    return found | ({"final_norm": norms[-1]} if norms else {})


def _parts(module: nn.Module) -> _Parts | None:
    """The parts of the first block; None where one is missing."""
    found = _list_of_blocks(body_of(module))
    if found is None:
        return None
    path, blocks = found
    block = blocks[0]
    width = getattr(cast(Any, module).config.get_text_config(), "hidden_size", None)
    matrices = {
        name: matrix_shape(part)
        for name, part in block.named_modules()
        if isinstance(getattr(part, "weight", None), Tensor) and cast(Tensor, part.weight).ndim == 2
    }
    attention = next(
        (
            name
            for name, part in block.named_modules()
            if any(word in name.rpartition(".")[2].lower() for word in ("attn", "attention"))
            and not _is_norm(part)
            and sum(one.startswith(name + ".") for one in matrices) >= 2
        ),
        None,
    )
    if attention is None:
        return None
    inside = [name for name in matrices if name.startswith(attention + ".") and matrices[name][1] == width]
    rest = {name: shape for name, shape in matrices.items() if not name.startswith(attention + ".")}
    downs = [name for name, (_, outputs) in rest.items() if outputs == width]
    if not inside or not downs:
        return None
    down = downs[-1]
    reads = [name for name, shape in rest.items() if shape == (width, rest[down][0]) and name != down]
    acts = [name for name, part in block.named_modules() if name and _is_activation(name, part)]
    if not 1 <= len(reads) <= 2 or not acts:
        return None
    try:
        norms, order = _order(module, block, attention, down)
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError):  # it wants more than token ids
        return None
    mlp = down.rpartition(".")[0]
    return _Parts(
        blocks=path, attention=attention, attention_matrix=inside[-1], mlp=mlp or None, mlp_matrix=down,
        reads=tuple(sorted(reads, key=lambda name: "gate" not in name and "w1" not in name)), act=acts[-1],
        norms=norms, order=order,
    )  # fmt: skip


def _list_of_blocks(body: nn.Module) -> tuple[str, Sequence[nn.Module]] | None:
    lists = [
        (name, list(part))
        for name, part in body.named_modules()
        if isinstance(part, nn.ModuleList) and len(part) and len({type(one) for one in part}) == 1
    ]
    return max(
        lists, key=lambda one: sum(weight.numel() for part in one[1] for weight in part.parameters()), default=None
    )


def _order(module: nn.Module, block: nn.Module, attention: str, down: str) -> tuple[tuple[str, ...], str]:
    """The norms of a block as they run, and the order of norms, attention and MLP."""
    seen: list[tuple[str, str]] = []
    watched = {name: "norm" for name, part in block.named_modules() if _is_norm(part) and attention + "." not in name}
    watched |= {attention: "attention", down: "mlp"}
    with ExitStack() as stack, torch.no_grad():
        for name, kind in watched.items():

            def note(_module: nn.Module, _args: Any, name: str = name, kind: str = kind) -> None:
                seen.append((kind, name))

            stack.callback(block.get_submodule(name).register_forward_pre_hook(note).remove)
        module(input_ids=torch.ones(1, 4, dtype=torch.long, device=next(module.parameters()).device))
    return tuple(name for kind, name in seen if kind == "norm"), " ".join(kind for kind, _ in seen)


def _is_norm(part: nn.Module) -> bool:
    return "norm" in type(part).__name__.lower() and isinstance(getattr(part, "weight", None), Tensor)


def _is_activation(name: str, part: nn.Module) -> bool:
    words = ("gelu", "relu", "silu", "activation", "tanh")
    is_leaf = not list(part.children()) and not list(part.parameters())
    return is_leaf and (
        any(word in type(part).__name__.lower() for word in words) or "act" in name.rpartition(".")[2].lower()
    )


def _path_of(owner: nn.Module, wanted: nn.Module | None) -> str | None:
    return next((name for name, part in owner.named_modules() if part is wanted), None)


def _text(module: nn.Module, family: Family, parts: _Parts, broken: Sequence[str]) -> str:
    """The row as Python to paste."""
    reads = ", ".join(map(repr, parts.reads)).replace("'", '"')
    kind = "gated" if len(parts.reads) == 2 else "plain"
    fields: dict[str, Any] = {
        name: getattr(family, name)
        for name in ("model_types", "norm", "causal", "blocks", "components", "others", "attention",
                     "attention_matrix", "mlp_matrix", "mlp_inputs", "attention_norm", "mlp_norm",
                     "attention_out_norm", "mlp_out_norm", "head", "parallel")
    }  # fmt: skip
    lines = [f"    {name}={_literal(value)}," for name, value in fields.items() if value not in (None, False)]
    lines.insert(9, f'    neurons={kind}_neurons({reads}, "{parts.act}"),')
    if not family.causal:
        lines.insert(2, "    causal=False,")
    return "\n".join(
        [
            f"# no row serves {family.model_types[0]!r} ({type(module).__name__}); this one was read off its structure:"
            f" {'; '.join(broken[:3]) or 'all four laws hold on a random batch'}",
            "# look at it, then: uw.load_model(module, family=row)",
            f"from unweave.models.families import Family, {kind}_neurons",
            "row = Family(",
            *lines,
            ")",
        ]
    )


def _literal(value: Any) -> str:
    return repr(dict(value) if isinstance(value, Mapping) else value).replace("'", '"')
