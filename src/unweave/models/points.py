"""Where in a module a site is read and written: a submodule, its input or its output, and how the value found there is
laid out.

Reading and writing are not the same for `resid_mid` of pre-norm families: it is read at the norm before the MLP, but
the skip path carries it past that norm. An edit there changes what the norm sees and adds the difference to the output
of the block (`carry`), so that both paths see the edited stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from unweave.errors import InputError, UnknownName
from unweave.models.families import Family
from unweave.models.offloaded import value_of
from unweave.site import OTHER_COMPONENTS, Site, unknown_site

POST_NORM_REFUSAL = (
    "TransformerLens means the sum before the LayerNorm by {name}; this family passes on the value after it: ask for"
    " {ours} (after the LayerNorm, what the next block reads)"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Point:
    """One place in a module tree."""

    site: Site
    module: nn.Module
    side: str
    """`in` or `out`."""
    heads: int | None = None
    """Number of heads to split the last axis into, for `attn_z`."""
    carry: nn.Module | None = None
    """The block whose output must receive the difference that an edit makes here."""
    needs_head: bool = False
    """Whether the whole model must run, with its head."""
    path: str | None = None
    """Set for module paths: the module may run more than once in a forward pass, which is checked."""
    is_flat: bool = False
    """Whether the value lies there with all tokens of the batch on one axis."""
    key: str | None = None
    """Which of the named outputs of a whole model it is."""


def site_names(module: nn.Module, family: Family | None) -> list[Site]:
    """All sites by name: the components of every block and around them, or every submodule of a plain module."""
    if family is None:  # a list of modules only holds others: it never runs
        return [Site(name) for name, part in module.named_modules() if name and type(part).forward != nn.Module.forward]
    names = [name for name in ("embed",) if name in family.others]
    for layer, block in enumerate(blocks_of(module, family)):
        missing = {"mlp_act"} if family.is_routed(block) else set[str]()
        names += [f"blocks.{layer}.{component}" for component in family.components if component not in missing]
    names += [name for name in ("final_norm",) if name in family.others]
    return [Site(name) for name in [*names, *(["logits"] if has_logits(module) else [])]]


def has_logits(module: nn.Module) -> bool:
    """Whether the model has an output embedding: scores over the vocabulary at every position."""
    return unembedding(module) is not None


def body_of(module: nn.Module, family: Family | None = None) -> nn.Module:
    """The model without its head: what runs in every forward pass."""
    body = getattr(module, "base_model", module)
    return body if family is None or family.body is None else body.get_submodule(family.body)


def blocks_of(module: nn.Module, family: Family) -> list[nn.Module]:
    """The blocks of a transformer, first to last."""
    return list(cast(nn.ModuleList, body_of(module, family).get_submodule(family.blocks)))


def unembedding(module: nn.Module) -> Any:
    """The matrix that gives the logits, None for a model without one."""
    output = getattr(module, "get_output_embeddings", None)
    return None if output is None else output()


def unembedding_matrix(module: nn.Module, family: Family) -> Tensor:
    """(vocabulary, d) from the last site to the logits, before any cap: the product where two matrices lie between."""
    weight = value_of(unembedding(module))
    between = _before_head(module, family)
    return weight if between is None else weight @ value_of(between)


def _before_head(module: nn.Module, family: Family) -> nn.Module | None:
    return getattr(body_of(module, family), family.before_head, None) if family.before_head else None


def logits_from(module: nn.Module, family: Family, x: Tensor) -> Tensor:
    """The logits of what the last norm gives; of the last stream where there is no such norm."""
    if family.head is None:
        raise RuntimeError(f"the family of {family.model_types} has no unembedding")
    between = _before_head(module, family)
    logits = module.get_submodule(family.head)(x if between is None else between(x))
    cap = family.cap(cast(Any, module).config)
    return logits if cap is None else cap * (logits / cap).tanh()


def find_point(module: nn.Module, family: Family | None, name: str) -> Point:
    """The point of a site.

    Raises:
        UnknownName: The model has no such site; near names are given.
        InputError: A TransformerLens spelling that means another quantity in this family.
    """
    site = Site(name)
    if family is not None:
        _refuse_other_meaning(family, site)
        found = _component_point(module, family, site)
        if found is not None:
            return found
    return _path_point(module, family, site)


def value_at(point: Point, found: Any, tokens: tuple[int, ...] | None = None) -> Tensor:
    """The tensor of the site from what the module takes or gives: the first of a tuple, heads split, and tokens on the
    two axes (batch, pos) that the pass has.
    """
    if isinstance(found, tuple | list):
        tensor = found[0] if found else None
    else:
        tensor = found if point.key is None else found[point.key]
    if not isinstance(tensor, Tensor):
        raise InputError(f"{point.site} holds a {type(tensor).__name__}, not a tensor: choose a module inside it")
    if point.is_flat and tokens is not None:
        tensor = tensor.unflatten(0, tokens)
    if not point.heads:
        return tensor
    if tensor.ndim == 0 or not tensor.shape[-1] or tensor.shape[-1] % point.heads:
        raise InputError(f"{point.site} has the shape {tuple(tensor.shape)}: its last axis is not {point.heads} heads")
    return tensor.unflatten(-1, (point.heads, -1))


def put_value(point: Point, found: Any, value: Tensor) -> Any:
    """What the module takes or gives, with the tensor of the site replaced."""
    flat = value.flatten(-2) if point.heads else value.flatten(0, 1) if point.is_flat else value
    if isinstance(found, tuple):
        return (flat, *found[1:])
    if point.key is not None:
        return type(found)(**{**found, point.key: flat})
    return [flat, *found[1:]] if isinstance(found, list) else flat


def first_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, str | None]:
    """The first argument of a call and the keyword it came by, None if by position."""
    if args:
        return args[0], None
    key = "hidden_states" if "hidden_states" in kwargs else next(iter(kwargs))
    return kwargs[key], key


def width_of(module: nn.Module, family: Family | None, name: str) -> int:
    """The number of values a row has at a site, from the weights alone.

    Raises:
        InputError: A module path whose width the weights do not tell; capture shows it.
    """
    point = find_point(module, family, name)
    if family is None or point.path is not None:
        return _plain_width(point)
    component, layer = point.site.component, point.site.layer
    if component == "logits":
        return len(unembedding(module).weight)
    if layer is None:
        return _weight(point.module).shape[-1]
    block = blocks_of(module, family)[layer]
    if component == "attn_z":
        return matrix_shape(block.get_submodule(family.attention_matrix))[0]
    if component == "mlp_act":
        return matrix_shape(block.get_submodule(family.mlp_matrix))[0]
    return matrix_shape(block.get_submodule(family.attention_matrix))[1]


def matrix_shape(matrix: nn.Module) -> tuple[int, int]:
    """(inputs, outputs) of a linear map: `nn.Linear` stores the transpose, GPT-2's `Conv1D` does not."""
    rows, columns = _weight(matrix).shape
    return (columns, rows) if isinstance(matrix, nn.Linear) else (rows, columns)


def _weight(module: nn.Module) -> Tensor:
    return cast(Tensor, module.weight)


def _refuse_other_meaning(family: Family, site: Site) -> None:
    spelling = site.asked.rpartition(".")[2]
    if family.norm == "post" and spelling in ("hook_resid_mid", "hook_resid_post"):
        raise InputError(POST_NORM_REFUSAL.format(name=repr(site.asked), ours=repr(str(site))))
    if family.norm == "pre" and spelling == "hook_normalized_resid_post":
        raise InputError(
            f"{site.asked!r} is a name of models with the norm after the sum; this family has {str(site)!r}, the stream"
            " itself"
        )


def _component_point(module: nn.Module, family: Family, site: Site) -> Point | None:
    body = body_of(module, family)
    if site == "logits" and has_logits(module):
        capped = family.cap(cast(Any, module).config) is not None
        head, key = (module, "logits") if capped else (unembedding(module), None)
        return Point(site=site, module=head, side="out", needs_head=True, key=key)
    if site in OTHER_COMPONENTS and site in family.others:
        return _point(site, body, family.others[site])
    blocks = blocks_of(module, family)
    if site.layer is None or site.layer >= len(blocks) or site.component not in family.components:
        return None
    block = blocks[site.layer]
    if site.component == "mlp_act" and family.is_routed(block):
        raise InputError(
            f"{site} does not exist: the MLP of that block sends each token to a few experts, so there are no neurons"
            f" that all tokens have; blocks.{site.layer}.mlp_out is the sum of what the experts write"
        )
    heads = family.heads(cast(Any, module).config) if site.component == "attn_z" else None
    carry = block if site.component == "resid_mid" and family.norm == "pre" else None
    return _point(
        site,
        block,
        family.components[site.component],
        heads=heads,
        carry=carry,
        is_flat=site.component in family.flattened,
    )


def _point(site: Site, owner: nn.Module, place: str, **details: Any) -> Point:
    side, name = ("in", place[3:]) if place.startswith("in ") else ("out", place)
    return Point(site=site, module=owner if name == "." else owner.get_submodule(name), side=side, **details)


def _path_point(module: nn.Module, family: Family | None, site: Site) -> Point:
    path, side = (site[:-3], "in") if site.endswith(":in") else (str(site), "out")
    try:
        found = module.get_submodule(path)
    except AttributeError:
        error = unknown_site(site.asked, site_names(module, family))
        kind = getattr(getattr(module, "config", None), "model_type", None)
        if family is not None or kind is None:
            raise error from None
        raise UnknownName(
            f"{error}; no adapter row serves models of type {kind!r}, so only module paths are known:"
            " unweave.models.proposals.proposed_row(model.module) proposes one",
            suggestions=error.suggestions,
        ) from None
    return Point(site=site, module=found, side=side, path=path)


def _plain_width(point: Point) -> int:
    found = point.module
    sizes = ("in_features", "in_channels") if point.side == "in" else ("out_features", "out_channels")
    for name in (*sizes, "num_features", "embedding_dim"):
        if isinstance(getattr(found, name, None), int):
            return getattr(found, name)
    if isinstance(found, nn.LayerNorm):
        return found.normalized_shape[-1]
    raise InputError(
        f"the weights do not tell the width at {point.site} (a {type(found).__name__}): model.capture shows the shape"
    )
