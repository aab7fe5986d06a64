"""A decomposition from an artifact that some command wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def featurizer_at(path: Path, site: str | None) -> Any:
    """The featurizer of a directory: one that was saved as such, that of a partition, or one of a bundle.

    Raises:
        InputError: Something else, or a bundle without a site to choose by.
    """
    from unweave.artifact import load
    from unweave.errors import InputError
    from unweave.evals.comparing import with_site
    from unweave.features.bundle import Bundle
    from unweave.features.featurizer import Featurizer

    found = load(path)
    if isinstance(found, Bundle):
        if site is None:
            raise InputError(f"{path} has {len(found)} sites: give --site, one of {', '.join(list(found)[:6])}")
        found = found[site]
    found = getattr(found, "featurizer", found)
    if not isinstance(found, Featurizer):
        raise InputError(f"{path} holds a {type(found).__name__}: a featurizer, partition or bundle is needed")
    if found.site is None and site is None:
        raise InputError(f"the featurizer at {path} names no site: give --site")
    return with_site(found, site) if site is not None else found
