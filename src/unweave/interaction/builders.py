"""Chains of sections: from weights, from a checkpoint of a modular-addition transformer, from any model or module."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from unweave.errors import InputError, unknown_name
from unweave.interaction.attention import Attention
from unweave.interaction.forms import Form, Linear
from unweave.interaction.norms import Divided, Norm, NormBeside, Variance
from unweave.interaction.perceptron import Mlp
from unweave.interaction.stream import as_rows
from unweave.interaction.weights import form_of
from unweave.models.families import Family
from unweave.models.loading import load_model
from unweave.models.modadd import ModularAddition, modadd_from
from unweave.models.model import Model
from unweave.models.points import blocks_of
from unweave.models.sections import Section, modules_between
from unweave.site import Site

GRANULARITIES = ("coarse", "fine", "isolated")
"""`coarse`: the stream before attention, between, and after the MLP; `fine`: behind every norm and at the neurons
too; `isolated`: also inside every norm, where the variance is a node of its own."""


def mlp(layers: Any, *, act: str = "relu") -> list[Section]:
    """A section a layer of a multilayer perceptron: `act(x W + b)`, the last one linear.

    Args:
        layers: Pairs (W of shape (in, out), b), `nn.Linear` modules, or a state dict with `layers.0.W`, `layers.0.b`,
            ...
        act: The nonlinearity: relu, gelu, gelu_new, silu, tanh or identity.

    Raises:
        InputError: Widths that do not chain, no layers, or an unknown nonlinearity.

    Example:
        >>> mlp([(torch.ones(4, 3), torch.zeros(3)), (torch.ones(3, 2), torch.zeros(2))])
        [Section(layers.0 -> layers.1, 4 -> 3, mlp), Section(layers.1 -> output, 3 -> 2, linear)]
    """
    pairs = [_weights(layer) for layer in (_numbered(layers) if isinstance(layers, Mapping) else layers)]
    if not pairs:
        raise InputError("no layers: give at least one pair (W, b)")
    for (one, _), (after, _) in itertools.pairwise(pairs):
        if one.shape[1] != after.shape[0]:
            raise InputError(f"a layer gives width {one.shape[1]} but the next takes {after.shape[0]}: they must agree")
    forms: list[Form] = [
        Mlp(w_in=weight, b_in=bias, w_out=torch.eye(len(bias)).double(), b_out=torch.zeros_like(bias), act=act)
        for weight, bias in pairs[:-1]
    ]
    forms.append(Linear(weight=pairs[-1][0], bias=pairs[-1][1]))
    names = [*(f"layers.{number}" for number in range(len(pairs))), "output"]
    return sections_of(forms, names, lambda x: as_rows(x.flatten(1) if x.ndim != 3 else x).double())


def modadd(model: Any) -> list[Section]:
    """The sections of a modular-addition transformer between `ln1.0`, `ln2.0`, `unembed` and `output`, in float64.

    Args:
        model: A state dict in the format of arXiv 2405.10928's code, a `ModularAddition`, or the `Model` around one.

    Raises:
        InputError: Not such a model.

    Example:
        >>> from unweave.models.modadd import ModularAddition
        >>> [section.name for section in modadd(ModularAddition(7, 8, 2, 4, 16))]
        ['ln1.0 -> ln2.0', 'ln2.0 -> unembed', 'unembed -> output']
    """
    module = modadd_from(model) if isinstance(model, Mapping) else getattr(model, "module", model)
    if not isinstance(module, ModularAddition):
        raise InputError(f"a {type(module).__name__} is not a modular-addition transformer: give its state dict")
    weights = {name: value.detach().double() for name, value in module.state_dict().items()}
    attention = {
        f"{kind.lower()}_{name.lower()}": weights[f"blocks.0.attn.{kind}_{name}"] for kind in "Wb" for name in "QKVO"
    }
    perceptron = {
        f"{kind.lower()}_{name}": weights[f"blocks.0.mlp.{kind}_{name}"] for kind in "Wb" for name in ("in", "out")
    }
    scale = attention["w_q"].shape[2] ** -0.5
    forms: list[Form] = [
        Attention(**attention, scale=scale, last=True),
        Mlp(**perceptron, skip=True),
        Linear(weight=weights["unembed.W_U"], bias=weights["unembed.b_U"]),
    ]
    embed, positions = weights["embed.W_E"], weights["pos_embed.W_pos"]

    def start(tokens: Tensor) -> Tensor:
        return embed[tokens] + positions

    double = modadd_from(weights)
    block = cast(nn.ModuleDict, double.blocks[0])
    steps = (block["attn"], block["mlp"], double.unembed)

    def ends(tokens: Tensor, count: int) -> Tensor:
        with torch.no_grad():
            x = double.embedding(tokens)
            for step in steps[:count]:
                x = step(x)
        return x

    names = ["ln1.0", "ln2.0", "unembed", "output"]
    found = sections_of(forms, names, start)
    return [replace(one, outputs=lambda t, n=n: ends(t, n + 1)) for n, one in enumerate(found)]


def chain(
    model: Any, node_layers: Sequence[Any] | None = None, *, granularity: str = "coarse", probe: Any = None
) -> list[Section]:
    """The sections of a model between node layers.

    Args:
        model: A `Model`, or any module with `nn.Sequential` parts.
        node_layers: Sites, or tuples of sites that together determine what follows; None takes those of a transformer
            that `granularity` names.
        granularity: `coarse`, `fine` or `isolated`, where `node_layers` is None. `isolated` cuts every norm in two at
            its variance (`blocks.0.ln1_variance`, beside the stream), behind which it is linear.
        probe: Inputs on which every section is compared with the model; None leaves that out.

    Raises:
        InputError: Fewer than two node layers, a path that a node layer misses, or a module without named layers.
        UnweaveError: A section that is not the model (on the probe).

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> chain(net, ["0:in", "1", "2"], probe=torch.randn(4, 3))
        [Section(0:in -> 1, 3 -> 5, mlp), Section(1 -> 2, 5 -> 2, linear)]
    """
    if granularity not in GRANULARITIES:
        raise unknown_name("granularity", granularity, GRANULARITIES)
    known = model if isinstance(model, Model) else load_model(model)
    if isinstance(known.module, ModularAddition) and node_layers is None:
        return modadd(known)
    layers = list(node_layers) if node_layers is not None else _usual_layers(known, granularity)
    if len(layers) < 2:
        raise InputError(f"{len(layers)} node layers: a chain needs at least two")
    found = [_with_form(known, known.section(start, end)) for start, end in itertools.pairwise(layers)]
    if granularity == "isolated" and node_layers is None:
        found = [half for one in found for half in _halves(one)]
    if probe is not None:
        for one in found:
            one.check(probe)
    return found


def sections_of(forms: Sequence[Form], names: Sequence[str], start: Callable[[Any], Tensor]) -> list[Section]:
    """Sections with known weights, one behind the other.

    Args:
        forms: Their weights.
        names: Of the node layers, one more than forms.
        start: Inputs -> rows at the first node layer.
    """

    def rows(inputs: Any, upto: int) -> Tensor:
        x = start(inputs)
        with torch.no_grad():
            for form in forms[:upto]:
                x = form.forward(x)
        return x

    return [
        Section(
            name=f"{names[number]} -> {names[number + 1]}",
            site_in=(Site(names[number]),),
            site_out=(Site(names[number + 1]),),
            d_in=_widths(form)[0],
            d_out=_widths(form)[1],
            kind=type(form).__name__.lower(),
            positions="all",
            function=lambda x, _context, form=form: form.forward(x),
            inputs=lambda inputs, number=number: (rows(inputs, number), None),
            outputs=lambda inputs, number=number: rows(inputs, number + 1),
            form=form,
            mixes=form.mixes,
        )
        for number, form in enumerate(forms)
    ]


def _weights(layer: Any) -> tuple[Tensor, Tensor]:
    if isinstance(layer, nn.Linear):
        weight = layer.weight.detach().T.double()
        bias = torch.zeros(weight.shape[1]) if layer.bias is None else layer.bias.detach()
        return weight.contiguous(), bias.double()
    weight, bias = layer
    return torch.as_tensor(weight).double(), torch.as_tensor(bias).double()


def _numbered(state: Mapping[str, Any]) -> list[tuple[Tensor, Tensor]]:
    """The layers of a state dict in order."""
    count = len([name for name in state if name.endswith(".W")])
    try:
        return [(state[f"layers.{number}.W"], state[f"layers.{number}.b"]) for number in range(count)]
    except KeyError as error:
        raise InputError(f"the state dict has no {error}: layers.0.W, layers.0.b, layers.1.W, ... are needed") from None


def _widths(form: Form) -> tuple[int, int]:
    match form:
        case Linear():
            return form.weight.shape[0], form.weight.shape[1]
        case Mlp():
            return form.w_in.shape[0], form.w_out.shape[1]
        case Attention():
            return form.w_q.shape[1], form.w_o.shape[2]
        case _:
            raise RuntimeError(f"a {type(form).__name__} does not say its widths")


def _usual_layers(model: Model, granularity: str) -> list[Any]:
    """The node layers of a transformer, first to last."""
    family = model.family
    if family is None:
        raise InputError("a plain module does not say which of its layers are node layers: name them")
    layers: list[Any] = ["blocks.0.resid_pre"]
    for block in range(len(blocks_of(model.module, family))):
        layers += _inside(family, f"blocks.{block}", fine=granularity != "coarse")
    if model.has_logits and "final_norm" in family.others:
        layers += ["final_norm", "logits"] if granularity != "coarse" else ["logits"]
    return layers


def _inside(family: Family, name: str, *, fine: bool) -> list[Any]:
    """The node layers of a block after its start."""
    parallel = "resid_mid" not in family.components  # attention and MLP side by side, each behind a norm of its own
    middle = (f"{name}.attn_out", f"{name}.resid_pre") if parallel else (f"{name}.resid_mid",)
    layers: list[Any] = []
    if fine and "ln1" in family.components:
        layers.append((f"{name}.ln1", f"{name}.resid_pre"))
    if fine or not parallel:
        layers.append(middle)
    if fine and "ln2" in family.components:
        layers += [(f"{name}.ln2", *middle), (f"{name}.mlp_act", *middle)]
    return [*layers, f"{name}.resid_post"]


def _halves(section: Section) -> list[Section]:
    """A norm as the section to its variance and the section from there; any other as it is.

    Raises:
        InputError: The section is a norm whose weights do not say what it does.
    """
    form = section.form
    name = next((site for site in section.site_out if site.rpartition(".")[2] in ("ln1", "ln2", "final_norm")), None)
    if name is None or section.site_in[0].rpartition(".")[2] in ("ln1", "ln2", "final_norm"):
        return [section]
    if not isinstance(form, Norm | NormBeside):
        raise InputError(f"the norm at {name} is no LayerNorm or RMSNorm of the stream: it has no variance to isolate")
    norm, beside, reads = (form.norm, True, form.reads) if isinstance(form, NormBeside) else (form, False, 0)
    first, second = Variance(norm=norm, reads=reads), Divided(norm=norm, beside=beside, reads=reads)
    middle = (Site(f"{name}_variance"), *section.site_in)

    def varied(inputs: Any) -> Tensor:
        return first.forward(section.inputs(inputs)[0])

    before = replace(
        section, name=f"{section.site_in[0]} -> {'+'.join(middle)}", site_out=middle, d_out=section.d_in + 1,
        kind="variance", form=first, outputs=varied, function=lambda x, _context: first.forward(x),
    )  # fmt: skip
    after = replace(
        section, name=f"{'+'.join(middle)} -> {'+'.join(section.site_out)}", site_in=middle, d_in=section.d_in + 1,
        kind="norm", form=second, inputs=lambda inputs: (varied(inputs), {}), isolated=1,
        function=lambda x, _context: second.forward(x),
    )  # fmt: skip
    return [before, after]


def _with_form(model: Model, section: Section) -> Section:
    """The section with its weights, where its kind has a closed form; else cast to the model's precision."""
    dtype = _dtype_of(model.module)
    if model.family is not None:
        form = form_of(model, section)
    else:
        parts = modules_between(model.module, section.site_in[0], section.site_out[0])
        form = None if dtype != torch.float64 and _is_wide(parts) else _form_of(parts)
    if form is None:
        return replace(section, function=lambda x, context: section.function(x.to(dtype), context))
    return replace(
        section,
        kind=type(form).__name__.lower(),
        form=form,
        mixes=form.mixes,
        inputs=lambda inputs: (as_rows(section.inputs(inputs)[0]).double(), {}),
        outputs=lambda inputs: as_rows(section.outputs(inputs)),
        function=lambda x, _context: form.forward(x),
    )


def _form_of(parts: Sequence[nn.Module]) -> Form | None:
    """The closed form of `Linear`, or of `Linear` and a nonlinearity; None for anything else."""
    kinds = {nn.ReLU: "relu", nn.SiLU: "silu", nn.Tanh: "tanh", nn.Identity: "identity"}
    match list(parts):
        case [nn.Linear() as only]:
            weight, bias = _weights(only)
            return Linear(weight=weight, bias=bias)
        case [nn.Linear() as first, act] if type(act) in kinds or isinstance(act, nn.GELU):
            weight, bias = _weights(first)
            name = kinds.get(type(act)) or ("gelu" if getattr(act, "approximate", "none") == "none" else "gelu_new")
            eye = torch.eye(len(bias)).double()
            return Mlp(w_in=weight, b_in=bias, w_out=eye, b_out=torch.zeros_like(bias), act=name)
        case _:
            return None


def _dtype_of(module: nn.Module) -> torch.dtype:
    """Dtype of a module's weights; float32 without any."""
    return next((weight.dtype for weight in module.parameters()), torch.float32)


def _is_wide(parts: Sequence[nn.Module]) -> bool:
    """Whether a float64 copy of the weights would be large."""
    return sum(weight.numel() for part in parts for weight in part.parameters()) > 2**24
