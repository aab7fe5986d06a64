"""Where in its document a token stands, as a number that probes can be asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from unweave.activations.store import ActivationStore
from unweave.engine.local import map_units
from unweave.errors import DataError, unknown_name
from unweave.probing.values import ValueSweep, sweep_values

KINDS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = MappingProxyType(
    {
        "abs": lambda position: position,
        "norm_abs": lambda position: position / position.std(),
        "rel": lambda position: position - position.mean(),
        "norm_rel": lambda position: (position - position.mean()) / position.std(),
        "log2": lambda position: np.log2(position + 1),
    }
)
"""What is asked for; R2 of the first four is one and the same, their errors are in other units."""


def positions(store: ActivationStore, kind: str = "log2") -> Float[np.ndarray, " n"]:
    """The position of every row of a store in its window, counted from 0, in the form asked for.

    Args:
        store: Of tokens.
        kind: "abs", "norm_abs" (over its standard deviation), "rel" (about its mean), "norm_rel" (both) or "log2" (of
            one more).

    Raises:
        UnknownName: No such kind.
        DataError: The rows of the store are not tokens, or all stand at one position.
    """
    if kind not in KINDS:
        raise unknown_name("kind of position", kind, KINDS)
    if store.collection.kind == "tensors":
        raise DataError("the rows of this store are no tokens: they have no position in a text")
    columns = store.rows
    place = columns["position"].astype(np.float64)
    windows = np.stack([columns["document"], columns["sequence"]], 1)
    _, window = np.unique(windows, axis=0, return_inverse=True)
    begins = np.full(int(window.max()) + 1, np.inf)
    np.minimum.at(begins, window.reshape(-1), place)
    place = place - begins[window.reshape(-1)]  # the model sees a window, not the document
    if np.ptp(place) == 0:
        raise DataError(f"all rows stand at position {place[0]:.0f}: there is nothing to predict")
    return KINDS[kind](place)


def sweep_positions(
    store: ActivationStore,
    *,
    sites: Any = "*",
    kind: str = "log2",
    rows: int = 50_000,
    ks: tuple[int, ...] = (*range(1, 15), 16, 32, 64, 128, 256),
    seed: int = 0,
    selector: str = "auto",
    shuffles: int = 5,
) -> dict[str, ValueSweep]:
    """Sparse probes of the position of a token at every site: site -> probes, held-out documents apart.

    Args:
        store: Of tokens.
        sites: Names or patterns among the store's sites.
        kind: As in `positions`.
        rows: Most rows used, drawn at random.
        ks: Numbers of units; those beyond the width are left out.
        seed: Of the draw of rows, the split and the shuffles.
        selector: As in `sweep_values`.
        shuffles: Draws of the control.

    Raises:
        UnknownName: A site or kind that does not exist.
        DataError: The rows are no tokens, or of one document.

    Example:
        >>> import unweave as uw, tempfile
        >>> model = uw.load_model("zoo:docs")
        >>> texts = [f"{n} and {n + 1} make {2 * n + 1}, and that is all. " * 4 for n in range(12)]
        >>> store = uw.collect(model, texts, "blocks.0.resid_post", tempfile.mkdtemp() + "/store")
        >>> found = uw.probing.sweep_positions(store, ks=(64,), shuffles=1)["blocks.0.resid_post"]
        >>> found.probe(64).r2.value > 0.3
        True
    """
    values = positions(store, kind)
    index = np.arange(len(store))
    if len(index) > rows:
        index = np.sort(np.random.default_rng([seed, 2]).permutation(len(store))[:rows])
    documents = store.rows["document"][index]

    def at(site: Any) -> ValueSweep:
        found = store[site][index]
        fitting = tuple(k for k in ks if k <= found.shape[1])
        return sweep_values(
            found, values[index], groups=documents, ks=fitting, seed=seed, selector=selector, shuffles=shuffles
        )

    chosen = store.expand(sites)
    return {str(site): one for site, one in zip(chosen, map_units(at, chosen), strict=True)}
