"""What other tools call our sites, in and out: caches and hook names of TransformerLens, values that nnsight saved by
module path, and edits as functions that both can call.

A name means one quantity. What is named as none of our sites stays in `extra`, under its own name; what means another
quantity in this family of models is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unweave.artifact import fingerprint
from unweave.errors import InputError, UnknownName
from unweave.models.edits import Edit, as_edits, edit_value
from unweave.models.model import Model
from unweave.models.points import find_point, value_at
from unweave.models.running import Pass
from unweave.site import Site, lens_name


@dataclass(frozen=True, kw_only=True, eq=False)
class Exchanged:
    """Activations of a model that another tool ran."""

    values: Mapping[Site, Tensor]
    """Site -> (batch, position, ...)."""
    extra: Mapping[str, Any]
    """What is named as none of our sites."""
    model_fingerprint: str
    model_name: str


def lens_values(cache: Any, model: Model, *, processed: Sequence[str] = ()) -> Exchanged:
    """The activations in a cache of TransformerLens, by our names; an alias of the same memory counts once.

    Args:
        cache: An `ActivationCache` or a mapping of hook names to tensors.
        model: The model it was run on, as this library loads it.
        processed: What was done to the weights beforehand, such as `("fold_ln", "center_writing_weights")`: the values
            then belong to another model, with a fingerprint of its own.

    Raises:
        InputError: A spelling that means another quantity in this family, two values for one site, or a width that the
            model does not have.

    Example:
        >>> import unweave as uw
        >>> model = uw.load_model("zoo:docs")
        >>> found = lens_values({"blocks.0.hook_mlp_out": torch.zeros(1, 2, 192), "ln_final.hook_scale": None}, model)
        >>> list(found.values), list(found.extra)
        (['blocks.0.mlp_out'], ['ln_final.hook_scale'])
    """
    known = set(model.sites())
    values: dict[Site, Tensor] = {}
    extra: dict[str, Any] = {}
    for name, value in cache.items():
        site = Site(str(name))
        if site not in known or not isinstance(value, Tensor):
            extra[str(name)] = value
            continue
        find_point(model.module, model.family, site)  # refuses what means something else in this family
        _put(values, site, value, model, str(name))
    return _exchanged(values, extra, model, processed)


def lens_cache(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Hook name of TransformerLens -> tensor, from what `Model.capture` gives.

    Raises:
        InputError: A site for which TransformerLens has no name.

    Example:
        >>> list(lens_cache({"blocks.3.mlp_act": torch.zeros(1, 2, 8)}))
        ['blocks.3.mlp.hook_post']
    """
    return {lens_name(site): value for site, value in values.items()}


def lens_hooks(edits: Any) -> list[tuple[str, Callable[..., Tensor]]]:
    """Edits as the pairs `(name, f(tensor, hook))` that `run_with_hooks(fwd_hooks=...)` takes.

    Args:
        edits: What `model.edit` takes.

    Raises:
        InputError: A site for which TransformerLens has no name.

    Example:
        >>> lens_hooks({"blocks.0.resid_post": lambda h: 2 * h})[0][0]
        'blocks.0.hook_resid_post'
    """

    def hook_of(edit: Edit) -> Callable[..., Tensor]:
        function = edit_function(edit)
        return lambda tensor, hook=None: function(tensor)  # noqa: ARG005 - TransformerLens gives `hook` by name

    return [(lens_name(edit.site), hook_of(edit)) for edit in as_edits(edits)]


def module_values(saved: Mapping[str, Any], model: Model) -> Exchanged:
    """The activations in a dictionary of values by module path, as a trace of nnsight saves them.

    Args:
        saved: Module path -> what the module gave, a tensor or a tuple that begins with one. `path:in` or `path.input`
            is what it took, `path.output` what it gave.
        model: The model it was run on.

    Raises:
        InputError: A value that is not what the site holds.

    Example:
        >>> import unweave as uw
        >>> found = module_values({"model.layers.0.output": torch.zeros(1, 2, 192)}, uw.load_model("zoo:docs"))
        >>> list(found.values)
        ['blocks.0.resid_post']
    """
    places = _places(model)
    values: dict[Site, Tensor] = {}
    extra: dict[str, Any] = {}
    for name, held in saved.items():
        path, side = _path_and_side(str(name))
        sites = places.get((path, side)) or places.get((path.partition(".")[2], side), [])
        value = getattr(held, "value", held)  # what nnsight saved inside a trace that has ended
        for site in sites:
            point = find_point(model.module, model.family, site)
            _put(values, site, value_at(point, value), model, str(name))
        if not sites:
            extra[str(name)] = held
    return _exchanged(values, extra, model, ())


def edit_function(edit: Edit) -> Callable[[Tensor], Tensor]:
    """The edit as a pure function of the value at its site (batch, position, ...), all tokens real and all of them the
    prompt's: to call inside another tool's trace.

    Raises:
        InputError: When it is called: an operator that changes the shape, or positions outside the sequence.

    Example:
        >>> double = edit_function(Edit(site="blocks.0.resid_post", operator=lambda h: 2 * h, positions="last"))
        >>> double(torch.ones(1, 2, 1)).flatten().tolist()
        [1.0, 2.0]
    """

    def function(value: Tensor) -> Tensor:
        batch, length = value.shape[:2]
        every = torch.arange(length, device=value.device).expand(batch, length)
        whole = Pass(
            real=torch.ones_like(every, dtype=torch.bool),
            position=every,
            prompt=torch.full((batch,), length, device=value.device),
        )
        return edit_value(edit, value, whole)

    return function


def _put(values: dict[Site, Tensor], site: Site, value: Tensor, model: Model, name: str) -> None:
    there = values.get(site)
    if there is not None:
        same = there.data_ptr() == value.data_ptr() and there.shape == value.shape
        if not same and not torch.equal(there, value):
            raise InputError(f"{name} and another entry both hold {site}, with other values: leave one out")
        return
    if value.is_meta or value.layout != torch.strided or not value.is_floating_point():
        kind = "no values (meta)" if value.is_meta else f"{value.layout} {value.dtype} values".replace("torch.", "")
        raise InputError(f"{name} holds {kind}: an ordinary tensor of floating-point numbers is needed")
    width = value.shape[2:].numel() if value.ndim > 2 else 0
    if width != model.width(site):
        raise InputError(
            f"{name} has the shape {tuple(value.shape)} but {site} has {model.width(site)} values a token here:"
            " (batch, position, ...) of the same model is needed"
        )
    values[site] = value


def _exchanged(
    values: Mapping[Site, Tensor], extra: Mapping[str, Any], model: Model, processed: Sequence[str]
) -> Exchanged:
    own = model.fingerprint
    other = fingerprint({"model": own, "processed": sorted(processed)}) if processed else own
    return Exchanged(values=values, extra=extra, model_fingerprint=other, model_name=model.name)


def _places(model: Model) -> dict[tuple[str, str], list[Site]]:
    """(module path, side) -> the sites that are read there."""
    paths = {id(part): name for name, part in model.module.named_modules()}
    found: dict[tuple[str, str], list[Site]] = {}
    for site in model.sites():
        try:
            point = find_point(model.module, model.family, site)
        except UnknownName:
            continue
        if id(point.module) in paths:
            found.setdefault((paths[id(point.module)], point.side), []).append(site)
    return found


def _path_and_side(name: str) -> tuple[str, str]:
    for ending, side in ((":in", "in"), (".input", "in"), (".inputs", "in"), (".output", "out")):
        if name.endswith(ending):
            return name.removesuffix(ending), side
    return name, "out"
