"""Closed forms of a transformer's own sections, read off its weights.

The form is run beside the section; only where both give the same is it used, so that a model with something more inside
a block is computed by derivatives instead of wrongly.

| from | to | form |
|---|---|---|
| `resid_pre` | `resid_mid` | attention behind a norm |
| `resid_pre` | `attn_out`, `resid_pre` | the same where attention and MLP are side by side |
| `resid_mid` | `resid_post` | MLP behind a norm |
| `attn_out`, `resid_pre` | `resid_post` | the same where they are side by side |
| `resid_pre` | `ln1`, `resid_pre` | norm beside the stream |
| `ln1`, `resid_pre` | `resid_mid` | attention, the stream added |
| `resid_mid` | `ln2`, `resid_mid` | norm beside the stream |
| `ln2`, `resid_mid` | `mlp_act`, `resid_mid` | neurons beside the stream |
| `mlp_act`, `resid_mid` | `resid_post` | linear |
| `ln1`, `resid_pre` | `attn_out`, `resid_pre` | attention, the stream beside it; from here on side by side |
| `attn_out`, `resid_pre` | `ln2`, `attn_out`, `resid_pre` | norm beside both |
| `ln2`, `attn_out`, `resid_pre` | `mlp_act`, `attn_out`, `resid_pre` | neurons beside both |
| `mlp_act`, `attn_out`, `resid_pre` | `resid_post` | linear |
| `resid_post` | `final_norm` | norm |
| `final_norm` | `logits` | linear |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from unweave.interaction.attention import Attention
from unweave.interaction.forms import ACTIVATIONS, Form, Linear
from unweave.interaction.heads import Rotary
from unweave.interaction.norms import Norm, NormBeside
from unweave.interaction.perceptron import Mlp
from unweave.models.model import Model
from unweave.models.offloaded import value_of
from unweave.models.points import blocks_of, body_of, unembedding, unembedding_matrix
from unweave.models.sections import Section
from unweave.site import Site

LARGEST = 2**25
"""Most weights of a section of which a float64 copy is made."""
WIDEST = 8192
"""Most outputs: the metric of the end is a square matrix."""
SAME = 1e-4
"""Relative difference from the section, which may compute in float32."""
PROBE = 6
"""Tokens of the sequences that both are run on."""
SPELLINGS = {"gelu_pytorch_tanh": "gelu_new", "gelu_fast": "gelu_new", "swish": "silu"}
"""Names that configurations give to the nonlinearities of `ACTIVATIONS`."""


def form_of(model: Model, section: Section) -> Form | None:
    """The closed form of a section of a transformer with the norm before each part; None for any other."""
    family = model.family
    if family is None or family.norm != "pre" or section.d_out > WIDEST:
        return None
    layer = section.site_out[0].layer
    end = "+".join(site.component or str(site) for site in section.site_out)
    start = "+".join(_component(site, layer) for site in section.site_in)
    form: Form | None = None
    if (start, end) == ("resid_post", "final_norm"):
        form = _norm(body_of(model.module, family).get_submodule(family.others["final_norm"]))
    elif (start, end) == ("final_norm", "logits") and section.kind == "linear":
        form = _unembedding(model)
    elif (start, end) in _INSIDE and layer is not None:
        form = _INSIDE[start, end](model, layer)
    return form if form is not None and _agrees(form, section, model) else None


def _component(site: Site, layer: int | None) -> str:
    """What a site is to a block: the end of the one before it is its start."""
    if layer is None or site.layer == layer:
        return site.component or str(site)
    return "resid_pre" if site == f"blocks.{layer - 1}.resid_post" else str(site)


def _whole_attention(model: Model, layer: int) -> Attention | None:
    """Behind its norm, the stream added."""
    bare, norm = _attention(model, layer), _norm_of(model, layer, "ln1")
    return None if bare is None or norm is None else _behind(bare, norm)


def _attention_beside(model: Model, layer: int) -> Attention | None:
    """The same with the stream beside what attention adds to it."""
    whole = _whole_attention(model, layer)
    if whole is None:
        return None
    width = whole.w_q.shape[1]
    beside = functional.pad(torch.eye(width).double(), (width, 0))
    return replace(
        whole, w_o=functional.pad(whole.w_o, (0, width)), b_o=functional.pad(whole.b_o, (0, width)), skip=beside
    )


def _attention_of_normed(*, beside: bool) -> Callable[[Model, int], Attention | None]:
    """Attention that reads the first half of its input and adds the second, or has it beside."""

    def found(model: Model, layer: int) -> Attention | None:
        bare = _attention(model, layer)
        if bare is None:
            return None
        width = bare.w_q.shape[1]
        wide = {name: functional.pad(getattr(bare, name), (0, 0, 0, width)) for name in ("w_q", "w_k", "w_v")}
        if beside:
            wide |= {"w_o": functional.pad(bare.w_o, (0, width)), "b_o": functional.pad(bare.b_o, (0, width))}
        passed = functional.pad(torch.eye(width).double(), (width if beside else 0, 0, width, 0))
        return replace(bare, skip=passed, **wide)

    return found


def _whole_mlp(model: Model, layer: int) -> Mlp | None:
    """Behind its norm, the stream added."""
    bare, norm = _mlp(model, layer), _norm_of(model, layer, "ln2")
    return None if bare is None or norm is None else replace(bare, skip=True, norm=norm)


def _mlp_beside(model: Model, layer: int) -> Mlp | None:
    """The MLP of the stream, added to it and to what attention has added."""
    whole = _whole_mlp(model, layer)
    if whole is None:
        return None
    identity = torch.eye(len(whole.w_in)).double()
    return replace(whole, reads=len(identity), skip=torch.cat([identity, identity]))


def _neurons_of_normed(passed: int) -> Callable[[Model, int], Mlp | None]:
    """The neurons of the first part of the input, the others, as wide as the stream, beside them."""

    def found(model: Model, layer: int) -> Mlp | None:
        bare = _mlp(model, layer)
        if bare is None:
            return None
        width, count = bare.w_in.shape
        rest = passed * width
        skip = functional.pad(torch.eye(rest).double(), (count, 0, width, 0))
        return replace(
            bare, skip=skip, w_in=functional.pad(bare.w_in, (0, 0, 0, rest)),
            w_up=None if bare.w_up is None else functional.pad(bare.w_up, (0, 0, 0, rest)),
            w_out=functional.pad(torch.eye(count).double(), (0, rest)), b_out=torch.zeros(count + rest).double(),
        )  # fmt: skip

    return found


def _out_of_neurons(passed: int) -> Callable[[Model, int], Linear | None]:
    """The MLP's second matrix, all that passes added."""

    def found(model: Model, layer: int) -> Linear | None:
        bare = _mlp(model, layer)
        if bare is None:
            return None
        identity = torch.eye(bare.w_out.shape[1]).double()
        return Linear(weight=torch.cat([bare.w_out, *[identity] * passed]), bias=bare.b_out)

    return found


def _beside(component: str, *, behind: int = 0) -> Callable[[Model, int], NormBeside | None]:
    """A norm of the stream with all that passes beside it: the stream, and parts as wide as it before it."""

    def found(model: Model, layer: int) -> NormBeside | None:
        norm = _norm_of(model, layer, component)
        return None if norm is None else NormBeside(norm=norm, reads=behind * len(norm.weight))

    return found


_INSIDE: Mapping[tuple[str, str], Callable[[Model, int], Form | None]] = MappingProxyType(
    {
        ("resid_pre", "resid_mid"): _whole_attention,
        ("resid_pre", "attn_out+resid_pre"): _attention_beside,
        ("resid_mid", "resid_post"): _whole_mlp,
        ("attn_out+resid_pre", "resid_post"): _mlp_beside,
        ("resid_pre", "ln1+resid_pre"): _beside("ln1"),
        ("ln1+resid_pre", "resid_mid"): _attention_of_normed(beside=False),
        ("resid_mid", "ln2+resid_mid"): _beside("ln2"),
        ("ln2+resid_mid", "mlp_act+resid_mid"): _neurons_of_normed(1),
        ("mlp_act+resid_mid", "resid_post"): _out_of_neurons(1),
        ("ln1+resid_pre", "attn_out+resid_pre"): _attention_of_normed(beside=True),
        ("attn_out+resid_pre", "ln2+attn_out+resid_pre"): _beside("ln2", behind=1),
        ("ln2+attn_out+resid_pre", "mlp_act+attn_out+resid_pre"): _neurons_of_normed(2),
        ("mlp_act+attn_out+resid_pre", "resid_post"): _out_of_neurons(2),
    }
)
"""(start, end) inside a block -> what reads its form off the weights."""


def _unembedding(model: Model) -> Linear | None:
    """The map to the logits; two matrices as their product."""
    head = unembedding(model.module)
    if model.family is None or model.family.before_head is None or head.bias is not None:
        return _linear(head)
    weight = unembedding_matrix(model.module, model.family)
    if weight.numel() > LARGEST:
        return None
    return Linear(weight=weight.T.double().contiguous(), bias=torch.zeros(len(weight)).double())


def _agrees(form: Form, section: Section, model: Model) -> bool:
    """Whether the form gives what the section gives, on rows that are no model's."""
    generator = torch.Generator().manual_seed(0)
    x, context = torch.randn(2, PROBE, section.d_in, generator=generator).to(model.dtype), {}
    with torch.no_grad():
        if form.mixes:
            ids = torch.randint(model.vocabulary_size or 2, (2, PROBE), generator=generator)
            context = section.inputs(ids)[1]
        expected = section(x, context).double()
        found = form.forward(x.double())
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-30)) < SAME


def _attention(model: Model, layer: int) -> Attention | None:
    """Attention without the norm in front: queries, keys and values from three matrices or from one."""
    family = model.family
    if family is None or not family.causal or family.attention_out_norm is not None:
        return None
    config = cast(Any, model.module).config
    if getattr(config, "sliding_window", None):
        return None  # keys far back are not seen
    block = blocks_of(model.module, family)[layer]
    module = block.get_submodule(family.attention)
    out = _linear(block.get_submodule(family.attention_matrix))
    count = family.heads(config)
    maps = _queries_keys_values(module, count)
    if out is None or maps is None or len(out.weight) % count:
        return None
    size = len(out.weight) // count
    (w_q, b_q), (w_k, b_k), (w_v, b_v) = (_by_head(one, count, size) for one in maps)
    return Attention(
        w_q=w_q, w_k=w_k, w_v=w_v, w_o=out.weight.unflatten(0, (count, size)), b_q=b_q, b_k=b_k, b_v=b_v,
        b_o=out.bias, scale=float(getattr(module, "scaling", size**-0.5)), skip=False, rotary=_rotary(model),
    )  # fmt: skip


def _queries_keys_values(module: nn.Module, count: int) -> list[Linear] | None:
    parts = dict(module.named_children())
    if {"q_proj", "k_proj", "v_proj"} <= set(parts):
        found = [_linear(parts[name]) for name in ("q_proj", "k_proj", "v_proj")]
        return None if None in found else cast(list[Linear], found)
    fused = _linear(parts["c_attn"] if "c_attn" in parts else parts["query_key_value"]) if (
        "c_attn" in parts or "query_key_value" in parts
    ) else None  # fmt: skip
    if fused is None:
        return None
    weight, bias = fused.weight, fused.bias
    if "query_key_value" in parts:  # head by head
        weight, bias = (one.unflatten(-1, (count, 3, -1)).transpose(-3, -2).flatten(-3) for one in (weight, bias))
    return [Linear(weight=w, bias=b) for w, b in zip(weight.chunk(3, 1), bias.chunk(3), strict=True)]


def _by_head(one: Linear, count: int, size: int) -> tuple[Tensor, Tensor]:
    """(head, d, e) and (head, e); heads that share a key or value get a copy each."""
    weight, bias = one.weight.unflatten(1, (-1, size)), one.bias.unflatten(0, (-1, size))
    times = count // weight.shape[1]
    weight, bias = weight.repeat_interleave(times, 1), bias.repeat_interleave(times, 0)
    return weight.transpose(0, 1).contiguous(), bias


def _rotary(model: Model) -> Rotary | None:
    """Turned by the model's own tables, which are made once a length."""
    module = getattr(body_of(model.module, model.family), "rotary_emb", None)
    if module is None:
        return None
    held: dict[int, tuple[Tensor, Tensor]] = {}

    def tables(count: int) -> tuple[Tensor, Tensor]:
        if count not in held:
            with torch.no_grad():
                found = module(torch.zeros(1, dtype=torch.float64), torch.arange(count)[None])
            held[count] = (found[0][0].double(), found[1][0].double())
        return held[count]

    return Rotary(tables)


def _behind(bare: Attention, norm: Norm) -> Attention:
    """Attention behind a norm: its weight and bias go into the matrices that read it."""
    read = {}
    for name in "qkv":
        weight, bias = getattr(bare, f"w_{name}"), getattr(bare, f"b_{name}")
        read[f"w_{name}"] = norm.weight[:, None] * weight
        read[f"b_{name}"] = bias + torch.einsum("d,hde->he", norm.bias, weight)
    one = replace(norm, weight=torch.ones_like(norm.weight), bias=torch.zeros_like(norm.bias))
    return replace(bare, norm=one, skip=True, **read)


def _mlp(model: Model, layer: int) -> Mlp | None:
    """The MLP alone."""
    family = model.family
    if family is None or family.mlp_out_norm is not None:
        return None
    block = blocks_of(model.module, family)[layer]
    config = cast(Any, model.module).config
    named = getattr(config, "hidden_act", None) or getattr(config, "activation_function", "")
    act = SPELLINGS.get(named, named)
    if act not in ACTIVATIONS or family.is_routed(block):
        return None
    maps = {role: _linear(block.get_submodule(path)) for role, path in family.mlp_inputs.items()}
    out = _linear(block.get_submodule(family.mlp_matrix))
    first, second = maps.get("in") or maps.get("gate"), maps.get("up")
    if first is None or out is None or ("up" in maps and second is None):
        return None
    return Mlp(
        w_in=first.weight,
        b_in=first.bias,
        w_out=out.weight,
        b_out=out.bias,
        act=act,
        w_up=None if second is None else second.weight,
        b_up=None if second is None else second.bias,
    )


def _linear(module: nn.Module) -> Linear | None:
    """`nn.Linear` stores the transpose, GPT-2's `Conv1D` does not."""
    weight = value_of(module)
    if weight.numel() > LARGEST:
        return None
    matrix = (weight.T if isinstance(module, nn.Linear) else weight).double().contiguous()
    has_bias = getattr(module, "bias", None) is not None
    bias = value_of(module, "bias").double() if has_bias else torch.zeros(matrix.shape[1]).double()
    return Linear(weight=matrix, bias=bias)


def _norm_of(model: Model, layer: int, component: str) -> Norm | None:
    family = model.family
    if family is None or component not in family.components:
        return None
    return _norm(blocks_of(model.module, family)[layer].get_submodule(family.components[component]))


def _norm(module: nn.Module) -> Norm | None:
    weight = value_of(module).double()
    if isinstance(module, nn.LayerNorm):
        bias = torch.zeros_like(weight) if module.bias is None else value_of(module, "bias").double()
        return Norm(weight=weight, bias=bias, epsilon=module.eps)
    epsilon = getattr(module, "variance_epsilon", None)
    return (
        None
        if epsilon is None
        else Norm(weight=weight, bias=torch.zeros_like(weight), epsilon=float(epsilon), centred=False)
    )
