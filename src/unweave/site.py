"""`Site`: the name of a tensor in a model, one quantity a name, and the patterns that stand for several.

`blocks.4.resid_post` is a component of a block; anything else is a component outside the blocks (`embed`, `final_norm`,
`logits`) or a module path of a plain module (`encoder.conv1`, with `:in` for what goes in). TransformerLens spellings
of the same quantity are accepted and become ours; which spelling was asked for is kept, because families with the norm
after the sum mean something else by some of them and must refuse those.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence

from unweave.errors import InputError, UnknownName, nearest, unknown_name

BLOCK_COMPONENTS = {
    "resid_pre": "residual stream before the block (batch, pos, d_model)",
    "ln1": "output of the norm that attention reads (batch, pos, d_model)",
    "attn_z": "weighted values of each head, before the output matrix (batch, pos, head, d_head)",
    "attn_out": "what attention adds to the stream (batch, pos, d_model)",
    "resid_mid": "residual stream between attention and MLP (batch, pos, d_model)",
    "ln2": "output of the norm that the MLP reads (batch, pos, d_model)",
    "mlp_act": "neurons, after the nonlinearity and the gate (batch, pos, d_mlp)",
    "mlp_out": "what the MLP adds to the stream (batch, pos, d_model)",
    "resid_post": "residual stream after the block (batch, pos, d_model)",
}
OTHER_COMPONENTS = {
    "embed": "token embedding (batch, pos, d_embedding)",
    "final_norm": "output of the last norm (batch, pos, d_model)",
    "logits": "scores of the next token (batch, pos, vocabulary)",
}
_TRANSFORMER_LENS = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "hook_normalized_resid_post": "resid_post",
    "hook_attn_out": "attn_out",
    "hook_mlp_out": "mlp_out",
    "mlp.hook_post": "mlp_act",
    "attn.hook_z": "attn_z",
}
_BLOCK = re.compile(r"blocks\.([0-9]{1,9})\.(.+)")
_LENS = re.compile(r"blocks\.([^.]+)\.(.+)")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"([0-9]{1,18})\.\.([0-9]{1,18})")
MOST_NAMES = 10_000
"""A pattern whose braces stand for more names than this is a slip: no model has so many sites."""


class Site(str):
    """The name of a tensor in a model, in our spelling; equal to the string of that name.

    Example:
        >>> site = Site("blocks.4.hook_resid_post")
        >>> site, site.layer, site.component, site.asked
        ('blocks.4.resid_post', 4, 'resid_post', 'blocks.4.hook_resid_post')
    """

    asked: str
    """The spelling that was given."""

    __slots__ = ("asked",)

    def __new__(cls, name: str) -> Site:
        """The site of this name, in our spelling."""
        if not name or name != name.strip():
            raise InputError(
                f"a site needs a name without blanks around it, got {str(name)!r}: for example 'blocks.0.resid_post'"
            )
        site = super().__new__(cls, _canonical(name))
        site.asked = getattr(name, "asked", str(name))
        return site

    @property
    def layer(self) -> int | None:
        """Number of the block, or None outside the blocks."""
        match = _BLOCK.fullmatch(self)
        return int(match[1]) if match and match[2] in BLOCK_COMPONENTS else None

    @property
    def component(self) -> str:
        """What is meant inside the block, or the whole name outside the blocks."""
        match = _BLOCK.fullmatch(self)
        return match[2] if match and match[2] in BLOCK_COMPONENTS else str(self)

    def __getnewargs__(self) -> tuple[str]:
        """Copies keep the spelling that was asked for."""
        return (self.asked,)


def expand_sites(patterns: str | Iterable[str], available: Sequence[str]) -> list[Site]:
    """The available sites that the patterns name, each once, pattern by pattern in the order of `available`.

    `*` and `?` stand for any characters, `{0..5}` for a range of numbers, `{a,b}` for alternatives. The sites remember
    the spelling of the pattern in `asked`, as `Site` does.

    Raises:
        UnknownName: A pattern that matches no available site; the nearest ones are named.
        InputError: Braces that stand for more names than any model has.

    Example:
        >>> expand_sites("blocks.{0..1}.mlp_act", ["blocks.0.mlp_act", "blocks.1.mlp_act", "blocks.2.mlp_act"])
        ['blocks.0.mlp_act', 'blocks.1.mlp_act']
    """
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    found: dict[Site, None] = {}
    for pattern in wanted:
        asked: dict[str, str] = {}
        for spelling in _alternatives(pattern):
            canonical = _canonical(spelling)
            names = fnmatch.filter(available, canonical) if is_pattern(canonical) else [canonical]
            for name in names:
                asked.setdefault(name, _respelled(name, spelling))
        matches = [Site(asked[name]) for name in available if name in asked]
        if not matches:
            raise unknown_site(pattern, available)
        found |= dict.fromkeys(matches)
    return list(found)


def is_pattern(name: str) -> bool:
    """Whether the name stands for several sites."""
    return any(mark in name for mark in "*?{[")


def unknown_site(name: str, available: Sequence[str]) -> UnknownName:
    """The error for a site that a model does not have, with the range of blocks and the nearest names."""
    canonical = _canonical(name)
    layers = [layer for layer in (Site(one).layer for one in available) if layer is not None]
    match = _BLOCK.fullmatch(canonical)
    near = nearest(canonical, available)
    hint = "model.sites() lists all"
    if match and layers and int(match[1]) > max(layers):
        last = nearest(f"blocks.{max(layers)}.{match[2]}", available, count=1)
        near = list(dict.fromkeys([*last, *near]))[:3]
        hint = f"the model has blocks 0..{max(layers)}; {hint}"
    return unknown_name("site", str(name), available, near=near, hint=hint)


def lens_name(site: str) -> str:
    """What TransformerLens calls a site.

    Raises:
        InputError: It has no name for it.

    Example:
        >>> lens_name("blocks.4.attn_z")
        'blocks.4.attn.hook_z'
    """
    ours = Site(site)
    if ours == "embed":
        return "hook_embed"
    for lens, component in _TRANSFORMER_LENS.items():
        if ours.layer is not None and component == ours.component:
            return f"blocks.{ours.layer}.{lens}"
    named = ", ".join(["embed", *dict.fromkeys(_TRANSFORMER_LENS.values())])
    raise InputError(f"TransformerLens has no name for {str(site)!r} that means the same: it has names for {named}")


def _canonical(name: str) -> str:
    if name == "hook_embed":
        return "embed"
    match = _LENS.fullmatch(name)
    if match and match[2] in _TRANSFORMER_LENS:
        return f"blocks.{match[1]}.{_TRANSFORMER_LENS[match[2]]}"
    return str(name)


def _respelled(name: str, spelling: str) -> str:
    """The name as the pattern spells it: families refuse spellings that mean something else there."""
    if _canonical(spelling) == spelling:
        return name
    lens, block = _LENS.fullmatch(spelling), _BLOCK.fullmatch(name)
    return f"blocks.{block[1]}.{lens[2]}" if lens and block else spelling


def _alternatives(pattern: str) -> list[str]:
    """The pattern without braces, one for each choice that they leave."""
    names = [str(pattern)]
    while names and (braces := _BRACES.search(names[0])):
        count = _count(braces[1])
        if count * len(names) > MOST_NAMES:
            raise InputError(
                f"the pattern {pattern!r} stands for more than {MOST_NAMES} names: no model has so many sites, '*'"
                " stands for all of them"
            )
        names = [
            name[: span.start()] + option + name[span.end() :]
            for name in names
            if (span := _BRACES.search(name))
            for option in _options(span[1])
        ]
    return names


def _count(inside: str) -> int:
    span = _RANGE.fullmatch(inside)
    return int(span[2]) - int(span[1]) + 1 if span else inside.count(",") + 1


def _options(inside: str) -> list[str]:
    span = _RANGE.fullmatch(inside)
    if span:
        return [str(number) for number in range(int(span[1]), int(span[2]) + 1)]
    return [option.strip() for option in inside.split(",")]
