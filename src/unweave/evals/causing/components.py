"""`component_patching`: what every attention layer, every MLP and every head brings from one side of a contrast pair to
the other, measured on whole continuations.

component patching = exchange of one component's output + choice on some groups + controls and intervals on the others

Every component is exchanged alone, with one run of either side a site. Components are chosen on the groups of the
selection; those chosen (and those named) are compared on the other groups with turned edits: the same step at each
place, in random directions of equal rank and norm. Holm's correction counts all that were compared, Benjamini and
Hochberg's all that were measured.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `shift` | h_s - h_b | (places, k) | the step of a component's own coordinates | specs/evaluation.md E17 |
| `turned` | (h_s - h_b) Q' | (places, d) | Q (d, k) random, orthonormal columns: rank and norm at each place stay | our own |
| `whole` | B(h_b := h_s) - B | unit of B | bound: the whole stream behind the layer exchanged | specs/evaluation.md, section 8 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unweave.errors import InputError, unknown_name
from unweave.evals.averages import mean_estimate
from unweave.evals.causing.behaviours import Behaviour
from unweave.evals.causing.causal import DRAWS, shift_by
from unweave.evals.causing.changes import random_bases, source_of
from unweave.evals.causing.patching import Change, Patching, patching, scores
from unweave.evals.causing.spread import participation
from unweave.evals.findings import Finding, Prediction, finding, judged
from unweave.models.model import Model
from unweave.models.tokens import Tokens, as_tokens
from unweave.site import Site
from unweave.tensors.estimate import Estimate
from unweave.tensors.multiplicity import benjamini_hochberg, holm
from unweave.tensors.splits import chosen_on, grouping

LEAST_GROUPS = 4
TOGETHER = 16
"""Controls that are held at once: each is as large as all edited places."""
SELECT = 0.4
"""Share of the groups that components are chosen on."""
PARTS = {"attn_out": "attention", "mlp_out": "mlp", "attn_z": "head"}
STREAM, HEAD = "resid_post", " head "


@dataclass(frozen=True, kw_only=True, eq=False)
class ComponentEffect:
    """What one component brings from the source."""

    name: str
    """`blocks.0.attn_out`, or `blocks.0.attn_z head 3`."""
    site: str
    layer: int
    part: str
    """`attention`, `mlp` or `head 3`."""
    effect: Estimate
    """On the report groups; its p-value is that of sign flips over groups."""
    p_bh: float
    """The p-value over all components, Benjamini and Hochberg."""
    finding: Finding | None
    """Against turned edits, for what was chosen or named; its verdict is by Holm's p-value, `p_holm` in its details."""
    chosen: bool
    """Whether it is among the largest on the groups of the selection."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ComponentPatching:
    """The effects of all components."""

    components: tuple[ComponentEffect, ...]
    streams: tuple[Estimate, ...]
    """Bound: effect of the whole stream behind each layer."""
    participation: float
    """How many attention layers and MLPs take part, of as many as there are."""
    places: str
    """Which positions were exchanged."""
    selected_on: int
    """Groups that components were chosen on; none of them is in a number here."""
    seed: int

    @property
    def whole(self) -> Estimate:
        """Effect of the whole stream behind the last layer."""
        return self.streams[-1]

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a component."""
        return [
            {
                "component": one.name, "layer": one.layer, "part": one.part, "effect": one.effect.value,
                "low": one.effect.low, "high": one.effect.high,
                "share of the whole": one.effect.value / self.whole.value,
                "p (BH)": one.p_bh, "control": one.finding.effect.control if one.finding else None,
                "p (Holm)": one.finding.details["p_holm"] if one.finding else None,
                "found": one.finding.verdict.value if one.finding else "", "chosen": one.chosen,
            }
            for one in self.components
        ]  # fmt: skip

    def __repr__(self) -> str:
        """Components and how many take part."""
        return f"ComponentPatching({len(self.components)} components, {self.participation:.1f} layers' parts take part)"


def component_patching(
    model: Model,
    base: Any,
    source: Any,
    behaviour: Behaviour,
    *,
    groups: Any = None,
    named: Sequence[str] = (),
    choose: int = 4,
    positions: Any = None,
    source_positions: Any = None,
    seed: int = 0,
) -> ComponentPatching:
    """The effect of every component, with controls for the largest ones.

    Args:
        model: A language model.
        base: Tokens of one side, with their continuations.
        source: Tokens of the other side, in the same order, with the same continuations.
        behaviour: What is measured on the base.
        groups: The group of each item of the behaviour.
        named: Components to be compared with controls whatever the selection says.
        choose: How many are chosen on the selection groups.
        positions: Where; None is everywhere if both sides are equally long, else what their ends have in common.
        source_positions: The positions of the source that belong to them.
        seed: Of split, controls and intervals.

    Raises:
        InputError: No transformer, nothing to compare, or sides that share no ending.
        UnknownName: A component that the model does not have.
        DataError: Fewer than four groups.

    Source:
        Patching of components: Vig et al. 2020 (arXiv 2004.12265), Wang et al. 2022 (arXiv 2211.00593); on
        representations of behaviours arXiv 2402.03855. Split, controls and corrections are ours.

    Example:
        >>> from unweave.evals.planted.language import TAG_AGAINST, TAG_FOR, style_world
        >>> world = style_world(seed=0)
        >>> sides = [world.prompts(16, seed=0, tag=tag) for tag in (TAG_AGAINST, TAG_FOR)]
        >>> (base, _, measure), (source, _, _) = (world.continued(one, seed=0, length=4) for one in sides)
        >>> found = component_patching(world.model, base, source, measure, choose=1)
        >>> [one.name for one in found.components if one.finding and one.finding.supported]
        ['blocks.0.attn_z head 0']
    """
    sides = as_tokens(base), as_tokens(source)
    places = (positions, source_positions) if positions is not None else shared_places(*sides)
    asked = _Asked(model=model, sides=sides, places=places, behaviour=behaviour)
    names = np.asarray(groups) if groups is not None else np.arange(behaviour.item_count(len(sides[0])))
    report = _report_items(names, seed)
    parts, streams = _measured(asked)
    if not parts:
        raise InputError(f"{model.name or 'this model'} names no attention or MLP output: components cannot be patched")
    for one in named:
        if one not in parts:
            raise unknown_name("component", one, parts)
    order = sorted(parts, key=lambda name: -float(parts[name][~report].mean()))
    chosen = [one for one in order[: max(choose, 0)] if parts[one][~report].mean() > 0]
    compared = {name: parts[name] for name in dict.fromkeys([*chosen, *named])}
    findings = _compared(asked, compared, report, names, seed)
    effects = {one: mean_estimate(values[report], names[report], seed=seed, null=0.0) for one, values in parts.items()}
    corrected = benjamini_hochberg(np.array([one.p_value for one in effects.values()]))
    made = tuple(
        ComponentEffect(
            name=name, site=_site(name), layer=int(_site(name).layer or 0), part=part_of(name), effect=effects[name],
            p_bh=float(corrected[number]), finding=findings.get(name), chosen=name in chosen,
        )
        for number, name in enumerate(parts)
    )  # fmt: skip
    return ComponentPatching(
        components=made,
        streams=tuple(mean_estimate(one[report], names[report], seed=seed) for one in streams),
        participation=participation([one.effect.value for one in made if HEAD not in one.name]),
        places="every position" if places[0] == "all" else "the ending that both sides share",
        selected_on=len(np.unique(names[~report])),
        seed=seed,
    )


def shared_places(base: Tokens, source: Tokens) -> tuple[Any, Any]:
    """(positions of the base, positions of the source) that belong together: all where both sides of every pair are
    equally long, else the tokens that their ends have in common.

    Args:
        base: One side.
        source: The other.

    Raises:
        InputError: Another number of inputs, or a pair that ends in different tokens.

    Example:
        >>> rows = [Tokens(ids=torch.tensor([ids]), mask=torch.ones(1, len(ids)).bool()) for ids in ([1, 2, 3], [9, 2, 3, 3])]
        >>> shared_places(rows[0], rows[1])
        ([[2]], [[3]])
    """  # noqa: E501 - the example does not wrap
    if len(base) != len(source):
        raise InputError(f"base has {len(base)} inputs but source has {len(source)}: one a pair is needed")
    if torch.equal(base.lengths(), source.lengths()):
        return "all", "all"
    found: tuple[list[list[int]], list[list[int]]] = ([], [])
    for row in range(len(base)):
        one, two = (side.ids[row][side.mask[row]].tolist() for side in (base, source))
        least = min(len(one), len(two))
        alike = next((n for n in range(least) if one[-1 - n] != two[-1 - n]), least)
        if not alike:
            raise InputError(f"the two sides of pair {row} end in different tokens: give them one continuation")
        for places, ids in zip(found, (one, two), strict=True):
            places.append(list(range(len(ids) - alike, len(ids))))
    return found


def part_of(name: str) -> str:
    """`attention`, `mlp` or `head 3` of a component's name."""
    return f"head {_head(name)}" if HEAD in name else PARTS[_site(name).component]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Asked:
    """Both sides, where they are exchanged, and what is measured."""

    model: Model
    sides: tuple[Tokens, Tokens]
    places: tuple[Any, Any]
    behaviour: Behaviour

    def ready(self, site: Site) -> Patching:
        """Both sides at a site."""
        at, theirs = self.places
        return patching(self.model, str(site), *self.sides, positions=at, source_positions=theirs)


def _measured(asked: _Asked) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """The effect on each item of every component, by name, and of the stream behind each layer."""
    parts, streams = {}, []
    for site in (Site(str(one)) for one in asked.model.sites()):
        if site.component not in (*PARTS, STREAM):
            continue
        ready = asked.ready(site)
        columns = _heads(ready) if site.component == "attn_z" else [slice(None)]
        values = scores(ready, [None, *(_exchanged(ready, one) for one in columns)], asked.behaviour)
        effects = values[1:] - values[0]
        if site.component == STREAM:
            streams.append(effects[0])
        elif site.component == "attn_z":
            parts |= {f"{site}{HEAD}{head}": one for head, one in enumerate(effects)}
        else:
            parts[str(site)] = effects[0]
    return parts, streams


def _compared(
    asked: _Asked, effects: dict[str, np.ndarray], report: np.ndarray, names: np.ndarray, seed: int
) -> dict[str, Finding]:
    """Each against turned edits on the report items, verdicts by Holm's p-values."""
    draws = max(DRAWS, 25 * len(effects) - 1)  # so that the least rank stays below .05 after Holm's correction
    found = {}
    for name, values in effects.items():
        ready = asked.ready(_site(name))
        columns = _heads(ready)[_head(name)] if HEAD in name else slice(None)
        plain = scores(ready, [None], asked.behaviour)[0]
        drawn = [scores(ready, part, asked.behaviour) - plain for part in _by(_turned(ready, columns, draws, seed))]
        found[name] = finding(
            "component patching", "B(base; component := that of the source) - B(base)", values[report],
            np.concatenate(drawn)[:, report], unit=asked.behaviour.unit, scope=asked.behaviour.scope,
            groups=names[report], floor=0.0, seed=seed,
        )  # fmt: skip
    adjusted = holm([float(one.difference.p_value or 0.0) for one in found.values()])
    return {
        name: replace(
            one, verdict=judged(one.difference, Prediction(), p_holm),
            details={**one.details, "p_holm": p_holm, "compared": len(found)},
        )
        for (name, one), p_holm in zip(found.items(), adjusted, strict=True)
    }  # fmt: skip


def _site(name: str) -> Site:
    return Site(name.partition(HEAD)[0])


def _head(name: str) -> int:
    return int(name.partition(HEAD)[2])


def _heads(ready: Patching) -> list[slice]:
    """The columns of each head at `attn_z`."""
    count, width = ready.shape[-2:]
    return [slice(head * width, (head + 1) * width) for head in range(count)]


def _exchanged(ready: Patching, columns: slice) -> Change:
    source = source_of(ready)

    def change(values: Tensor, places: Tensor) -> Tensor:
        new = values.clone()
        new[:, columns] = source[places][:, columns].to(values)
        return new

    return change


def _turned(ready: Patching, columns: slice, draws: int, seed: int) -> Iterator[Change]:
    """The component's own step in random directions: rank and norm at each place stay."""
    shift = (source_of(ready).double() - ready.base.double())[:, columns]
    if len(shift) < shift.shape[1]:  # fewer places than coordinates: only what the places span has to be turned
        left, sizes, _ = torch.linalg.svd(shift, full_matrices=False)
        shift = left * sizes
    for draw in range(draws):
        (basis,) = random_bases(ready.width, shift.shape[1], draws=1, seed=seed + 7919 * draw)
        yield shift_by(shift @ basis.T)


def _by(changes: Iterator[Change]) -> Iterator[list[Change]]:
    while part := list(islice(changes, TOGETHER)):
        yield part


def _report_items(names: np.ndarray, seed: int) -> np.ndarray:
    """Which items are reported: those of the groups that nothing is chosen on."""
    return ~chosen_on(grouping(names, len(names)), select=SELECT, seed=seed, least=LEAST_GROUPS, of="continuations")
