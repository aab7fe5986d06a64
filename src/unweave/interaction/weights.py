"""Closed forms of a transformer's own sections: the MLP with its norm and skip, the last norm, the unembedding.

The form is read off the weights and then run beside the section; only where both give the same is it used, so that a
model with something more inside a block is computed by derivatives instead of wrongly.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from unweave.interaction.forms import ACTIVATIONS, Form, Linear
from unweave.interaction.norms import Norm
from unweave.interaction.perceptron import Mlp
from unweave.models.model import Model
from unweave.models.points import blocks_of, body_of, unembedding, unembedding_matrix
from unweave.models.sections import Section

LARGEST = 2**25
"""Most weights of a section of which a float64 copy is made."""
WIDEST = 8192
"""Most outputs: the metric of the end is a square matrix."""
SAME = 1e-4
"""Relative difference from the section, which may compute in float32."""
SPELLINGS = {"gelu_pytorch_tanh": "gelu_new", "gelu_fast": "gelu_new", "swish": "silu"}
"""Names that configurations give to the nonlinearities of `ACTIVATIONS`."""


def form_of(model: Model, section: Section) -> Form | None:
    """The closed form of a section of a transformer with the norm before each part; None for any other."""
    family = model.family
    if family is None or family.norm != "pre" or section.d_out > WIDEST:
        return None
    start, end = ("+".join(sites) for sites in (section.site_in, section.site_out))
    site = section.site_in[0]
    form: Form | None = None
    if site.layer is not None and start == f"blocks.{site.layer}.resid_mid":
        if end == f"blocks.{site.layer}.resid_post":
            form = _mlp(model, site.layer)
    elif end == "final_norm" and site.component == "resid_post":
        form = _norm(body_of(model.module, family).get_submodule(family.others["final_norm"]))
    elif (start, end) == ("final_norm", "logits") and section.kind == "linear":
        form = _unembedding(model)
    return form if form is not None and _agrees(form, section, model) else None


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
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, section.d_in, generator=generator).to(model.dtype)
    with torch.no_grad():
        expected = section(x, {}).double()
        found = form.forward(x.double())
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-30)) < SAME


def _mlp(model: Model, layer: int) -> Mlp | None:
    family = model.family
    if family is None:
        return None
    block = blocks_of(model.module, family)[layer]
    norm = _norm(block.get_submodule(family.components["ln2"])) if "ln2" in family.components else None
    config = cast(Any, model.module).config
    named = getattr(config, "hidden_act", None) or getattr(config, "activation_function", "")
    act = SPELLINGS.get(named, named)
    if norm is None or act not in ACTIVATIONS:
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
        skip=True,
        w_up=None if second is None else second.weight,
        b_up=None if second is None else second.bias,
        norm=norm,
    )


def _linear(module: nn.Module) -> Linear | None:
    """`nn.Linear` stores the transpose, GPT-2's `Conv1D` does not."""
    weight = cast(Tensor, module.weight).detach()
    if weight.numel() > LARGEST:
        return None
    matrix = (weight.T if isinstance(module, nn.Linear) else weight).double().contiguous()
    bias = cast(Tensor | None, getattr(module, "bias", None))
    return Linear(weight=matrix, bias=torch.zeros(matrix.shape[1]).double() if bias is None else bias.detach().double())


def _norm(module: nn.Module) -> Norm | None:
    weight = cast(Tensor, module.weight).detach().double()
    if isinstance(module, nn.LayerNorm):
        bias = torch.zeros_like(weight) if module.bias is None else module.bias.detach().double()
        return Norm(weight=weight, bias=bias, epsilon=module.eps)
    epsilon = getattr(module, "variance_epsilon", None)
    return (
        None
        if epsilon is None
        else Norm(weight=weight, bias=torch.zeros_like(weight), epsilon=float(epsilon), centred=False)
    )
