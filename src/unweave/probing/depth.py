"""How sparsity changes with depth: early layers in superposition, middle layers with dedicated neurons.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `superposition` | F1(k_max) - F1(1) | () | what more neurons add to one: large where features share neurons | specs/probing.md 1 |
| `dedication` | F1(1) | () | of one neuron | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unweave.errors import DataError
from unweave.probing.result import Probe, ProbeTable
from unweave.probing.summary import combined_f1
from unweave.site import Site
from unweave.tensors.estimate import Estimate


@dataclass(frozen=True, kw_only=True)
class DepthContrast:
    """Early against middle layers of one model, on one collection; all means are over features and sites."""

    early: tuple[str, ...]
    """Sites whose relative depth (layer + 1/2) / layers is below 1/3."""
    middle: tuple[str, ...]
    """Those from 1/3 to 2/3."""
    most: int
    """The largest k."""
    superposition: Estimate
    """F1(most) - F1(1), early minus middle: positive where early layers share neurons more."""
    dedication: Estimate
    """F1(1), middle minus early: positive where the middle has more dedicated neurons."""


def relative_depth(site: str, layers: int) -> float | None:
    """(layer + 1/2) / layers, None for a site outside the layers.

    Example:
        >>> relative_depth("blocks.1.mlp_act", 6)
        0.25
    """
    layer = Site(site).layer
    return None if layer is None else (layer + 0.5) / layers


def depth_contrast(table: ProbeTable, layers: int) -> DepthContrast:
    """Early against middle layers, with intervals over held-out groups, paired.

    Args:
        table: From `sweep_many`, over sites of several layers.
        layers: Of the model.

    Raises:
        DataError: No early or no middle site, or probes of one size only.

    Example:
        >>> import unweave as uw, tempfile
        >>> from unweave.activations.token_strings import token_string_features
        >>> model = uw.load_model("zoo:docs")
        >>> texts = [f"{n} and {n + 1} make {2 * n + 1}, and that is all. " * 4 for n in range(12)]
        >>> store = uw.collect(model, texts, "blocks.{1..2}.mlp_act", tempfile.mkdtemp() + "/store")
        >>> digits = token_string_features(store, model.tokenizer)[0]
        >>> table = uw.probing.sweep_many(store, [digits], ks=(1, 2), shuffles=1)
        >>> found = depth_contrast(table, 6)
        >>> found.early, found.middle, found.most
        (('blocks.1.mlp_act',), ('blocks.2.mlp_act',), 2)
    """
    sites = sorted({site for _, site in table.sweeps})
    depths = {site: relative_depth(site, layers) for site in sites}
    early = [site for site, depth in depths.items() if depth is not None and depth < 1 / 3]
    middle = [site for site, depth in depths.items() if depth is not None and 1 / 3 <= depth < 2 / 3]
    if not early or not middle:
        raise DataError(
            f"the sites of {layers} layers have {len(early)} early and {len(middle)} middle ones: no contrast"
        )
    ks = sorted(set.intersection(*({probe.k for probe in sweep.probes} for sweep in table.sweeps.values())))
    if len(ks) < 2:
        raise DataError(f"all features have probes of {ks} units: two sizes are needed for a contrast")
    least, most = ks[0], ks[-1]
    superposition = [
        (table, sites_, k, sign)
        for sites_, sign_of_sites in ((early, 1), (middle, -1))
        for k, sign in ((most, sign_of_sites), (least, -sign_of_sites))
    ]
    dedication = [(table, middle, least, 1), (table, early, least, -1)]
    return DepthContrast(
        early=tuple(early),
        middle=tuple(middle),
        most=most,
        superposition=_contrast(superposition),
        dedication=_contrast(dedication),
    )


def _contrast(parts: Sequence[tuple[ProbeTable, Sequence[str], int, int]]) -> Estimate:
    """The signed sum of mean F1 over the features and sites of each part."""
    probes: list[Probe] = []
    weights: list[np.ndarray] = []
    for table, sites, k, sign in parts:
        own = [sweep.probe(k) for (_, site), sweep in table.sweeps.items() if site in sites]
        probes += own
        weights.append(np.full(len(own), sign / len(own)))
    table = parts[0][0]
    counted = [(probe.groups, probe.counts) for probe in probes]
    return combined_f1(counted, np.concatenate(weights), table.config, rows=sum(probe.f1.n for probe in probes))
