"""A decomposition from what some command wrote, or from the file of another library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def featurizer_at(path: Path, site: str | None) -> Any:
    """The featurizer of a directory or file: one that was saved as such, that of a partition, one of a bundle or of a
    chain of bases, a direction as the one unit along it, a sparse dictionary in the layout of SAELens or sparsify, or a
    direction of a GGUF control vector.

    Raises:
        InputError: Something else, or several sites and none named to choose by.
        UnknownName: A site that is not among those of a bundle.
    """
    from unweave.errors import InputError, unknown_name
    from unweave.evals.comparing import with_site
    from unweave.features.direction import Direction, Readout
    from unweave.features.eraser import Eraser
    from unweave.features.featurizer import Featurizer
    from unweave.features.lines import along
    from unweave.site import Site

    found = _loaded(path)
    found = getattr(found, "featurizer", getattr(found, "bases", getattr(found, "directions", found)))
    if isinstance(found, Mapping):
        parts = {str(Site(str(name))): part for name, part in found.items()}
        wanted = next(iter(parts)) if site is None and len(parts) == 1 else site
        if wanted is None:
            raise InputError(f"{path} has {len(parts)} sites: give --site, one of {', '.join(list(parts)[:6])}")
        if str(Site(wanted)) not in parts:
            raise unknown_name("site", wanted, parts, hint=f"in {path}")
        found, site = parts[str(Site(wanted))], str(Site(wanted))
    if isinstance(found, Direction):
        found = along(found)
    if isinstance(found, Readout | Eraser):
        what = (
            "a read-out is a covector and cannot be written" if isinstance(found, Readout) else "an eraser has no units"
        )
        raise InputError(f"{path} holds a {type(found).__name__}: {what}; a featurizer or a direction is needed")
    if not isinstance(found, Featurizer):
        raise InputError(f"{path} holds a {type(found).__name__}: a featurizer, partition or bundle is needed")
    if found.site is None and site is None:
        raise InputError(f"the featurizer at {path} names no site: give --site")
    return with_site(found, str(Site(site))) if site is not None else found


def _loaded(path: Path) -> Any:
    from unweave.artifact import FACTS, load
    from unweave.features.foreign import load_gguf, load_saelens, load_sparsify
    from unweave.features.foreign.sparsify import WEIGHTS

    if path.suffix == ".gguf":
        return load_gguf(path)
    if (path / "cfg.json").exists() and not (path / FACTS).exists():
        return load_sparsify(path) if (path / WEIGHTS).exists() else load_saelens(path)
    return load(path)
