"""`Bundle`: one featurizer a site, for a behaviour or an interaction basis that lives in several places of one
model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from unweave.errors import FingerprintError, InputError, unknown_name
from unweave.features.featurizer import Featurizer
from unweave.site import Site


@dataclass(frozen=True, eq=False, kw_only=True)
class Bundle(Mapping[Site, Featurizer]):
    """A mapping from site to the featurizer at it, all of one model.

    Raises:
        InputError: A featurizer that belongs to another site than its key, or no featurizer.
        FingerprintError: Featurizers of different models.

    Example:
        >>> from unweave.features.bases import neurons
        >>> bundle = Bundle(parts={name: neurons(4, site=name) for name in ("blocks.0.mlp_act", "blocks.1.mlp_act")})
        >>> bundle["blocks.1.mlp_act"], len(bundle)
        (NeuronFeaturizer(4 of 4 neurons, blocks.1.mlp_act), 2)
    """

    parts: Mapping[Any, Any]

    def __post_init__(self) -> None:
        """Turns the keys into sites and checks the parts."""
        parts = {Site(key): part for key, part in self.parts.items()}
        if not parts:
            raise InputError("a bundle needs at least one featurizer, got none: give parts={site: featurizer}")
        for site, part in parts.items():
            if not isinstance(part, Featurizer):
                raise InputError(f"what stands under {site} is a {type(part).__name__}: a featurizer is needed")
            if part.site is not None and part.site != site:
                raise InputError(f"the featurizer under {site} belongs to {part.site}: give each its own site")
        models = {part.provenance.model for part in parts.values()} - {None}
        if len(models) > 1:
            raise FingerprintError(f"the featurizers come from {len(models)} different models: a bundle is of one")
        object.__setattr__(self, "parts", parts)

    def __getitem__(self, site: str) -> Featurizer:
        if site not in self:
            raise unknown_name("site", str(site), self.parts)
        return self.parts[Site(site)]

    def __contains__(self, site: object) -> bool:
        """Whether there is a featurizer at the site, in any of its spellings."""
        return isinstance(site, str) and bool(site.strip()) and Site(site.strip()) in self.parts

    def get(self, site: str, default: Any = None) -> Any:
        """The featurizer at the site, or the default."""
        return self.parts[Site(site)] if site in self else default

    def __iter__(self) -> Iterator[Site]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __repr__(self) -> str:
        """Sites of the bundle."""
        return f"Bundle({', '.join(self.parts)})"
