"""One direction, read-out or featurizer a site: a behaviour has a direction a layer, never silently one for all
(requirement R9).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass, replace
from typing import Any

from unweave.errors import DataError, InputError
from unweave.features.bundle import Bundle


def per_site(
    fit: Callable[..., Any], rows: Mapping[str, Any], *others: Mapping[str, Any], model: str | None = None
) -> Bundle:
    """What `fit` gives at every site, as one bundle that saves as one artifact.

    Args:
        fit: From the rows at one site to a direction, read-out, eraser or featurizer.
        rows: Site -> rows (n, d), such as `text_rows` gives; more such mappings may follow, handed to `fit` beside the
            rows: the negative sides of pairs.
        model: Fingerprint of the model they come from.

    Raises:
        InputError: No site, or other sites in one of the mappings.
        DataError: What `fit` raises, with the site.

    Example:
        >>> from unweave.directions import mean_difference
        >>> rows = {f"blocks.{layer}.resid_post": torch.randn(20, 4) for layer in range(2)}
        >>> found = per_site(lambda X: mean_difference(X, np.arange(20) % 2), rows)
        >>> found["blocks.1.resid_post"].site == "blocks.1.resid_post"
        True
    """
    for other in others:
        if set(other) != set(rows):
            raise InputError(
                f"the mappings have the sites {sorted(rows)[:4]} and {sorted(other)[:4]}: the same ones are needed"
            )
    parts = {}
    for site in rows:
        try:
            found = fit(rows[site], *(other[site] for other in others))
        except DataError as error:
            raise DataError(f"at {site}: {error}") from error
        if not is_dataclass(found) or isinstance(found, type):
            raise InputError(
                f"fit returned a {type(found).__name__} at {site}: a direction, read-out, eraser or featurizer is"
                " needed"
            )
        changes: dict[str, Any] = {} if getattr(found, "site", None) is not None else {"site": site}
        provenance = getattr(found, "provenance", None)
        if model is not None and provenance is not None and provenance.model is None:
            changes["provenance"] = replace(provenance, model=model)
        parts[site] = replace(found, **changes) if changes else found
    return Bundle(parts=parts)
