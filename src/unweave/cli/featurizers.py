"""A decomposition from an artifact that some command wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def featurizer_at(path: Path, site: str | None) -> Any:
    """The featurizer of a directory: one that was saved as such, that of a partition, one of a bundle or of a chain of
    bases, or a sparse dictionary in the layout of SAELens.

    Raises:
        InputError: Something else, or several sites and none named to choose by.
    """
    from unweave.artifact import FACTS, load
    from unweave.errors import InputError
    from unweave.evals.comparing import with_site
    from unweave.features.featurizer import Featurizer
    from unweave.features.foreign import load_saelens

    if (path / "cfg.json").exists() and not (path / FACTS).exists():
        found = load_saelens(path).featurizer
    else:
        found = load(path)
        found = getattr(found, "featurizer", getattr(found, "bases", found))
    if isinstance(found, Mapping):
        if site not in found:
            raise InputError(
                f"{path} has {len(found)} sites: give --site, one of {', '.join(map(str, list(found)[:6]))}"
            )
        found = found[site]
    if not isinstance(found, Featurizer):
        raise InputError(f"{path} holds a {type(found).__name__}: a featurizer, partition or bundle is needed")
    if found.site is None and site is None:
        raise InputError(f"the featurizer at {path} names no site: give --site")
    return with_site(found, site) if site is not None else found
