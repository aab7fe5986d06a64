"""Patching of components between the two prompts of a behaviour: what asks for it against what asks for the reverse.

The base is the prompt that asks for the reverse, the source the one that asks for the behaviour; both are followed by
the same continuations. A component that carries the instruction brings the behaviour with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from unweave.evals.causing.components import HEAD, LEAST_GROUPS, ComponentPatching, component_patching
from unweave.evals.suites.contrast import Continued, continued_tokens
from unweave.evals.suites.result import Claim
from unweave.models.model import Model

COMPONENTS = "components, from the prompt that asks for the reverse to the one that asks for it"
"""Title of the table."""


def patched_parts(
    model: Model, continued: Sequence[Continued], *, named: Mapping[str, bool], seed: int
) -> ComponentPatching | str:
    """Every component between the two prompts, or why that is not done.

    Args:
        model: The model.
        continued: Prompts with their continuations.
        named: Components of which it is known whether they carry the behaviour.
        seed: Of split, controls and intervals.
    """
    if not all(one.positive_prompt and one.negative_prompt for one in continued):
        return "components are not patched: no positive_prompt and negative_prompt beside the continuations"
    sides = [
        continued_tokens(model, [replace(one, prompt=getattr(one, side)) for one in continued])
        for side in ("negative_prompt", "positive_prompt")
    ]
    ((base, _, behaviour), groups), ((source, _, _), _) = sides
    if len(set(groups)) < LEAST_GROUPS:
        return f"components are not patched: {len(set(groups))} groups of continuations, {LEAST_GROUPS} are needed"
    if not any(str(site).endswith((".attn_out", ".mlp_out", ".attn_z")) for site in model.sites()):
        return "components are not patched: this family names no outputs of attention or MLP"
    return component_patching(model, base, source, behaviour, groups=groups, named=tuple(named), seed=seed)


def claims_of(found: ComponentPatching, named: Mapping[str, bool]) -> tuple[Claim, ...]:
    """A claim for every component that was compared with controls.

    Args:
        found: What was measured.
        named: What is known beforehand.
    """
    return tuple(
        Claim(
            about=f"{one.name} brings the behaviour", site=one.site, expected=named.get(one.name), finding=one.finding
        )
        for one in found.components
        if one.finding is not None
    )


def sentence(found: ComponentPatching) -> str:
    """How concentrated the effect is over layers' attention and MLPs."""
    count = sum(HEAD not in one.name for one in found.components)
    return (
        f"{found.participation:.1f} of {count} attention layers and MLPs take part in what the prompt does, by the"
        f" participation ratio of single effects, exchanged at {found.places}; the whole stream behind the last layer"
        f" brings {found.whole.value:.3g} nats a token"
    )
