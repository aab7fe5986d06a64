"""`Bundle`: one featurizer, direction, read-out or eraser a site, for a behaviour or an interaction basis that lives in
several places of one model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, SupportsFloat

from unweave.errors import FingerprintError, InputError, unknown_name
from unweave.features.direction import Direction, Readout
from unweave.features.eraser import Eraser
from unweave.features.featurizer import Featurizer
from unweave.site import Site

KINDS: dict[str, Any] = {
    "featurizer": Featurizer, "direction": Direction, "read-out": Readout, "eraser": Eraser,
}  # fmt: skip
"""What a bundle may hold, one kind throughout."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Bundle(Mapping[Site, Any]):
    """A mapping from site to what stands there, all of one kind and of one model. Bundles of directions or of read-outs
    add up and scale site by site.

    Raises:
        InputError: A part that belongs to another site than its key, parts of several kinds, or no part.
        FingerprintError: Parts of different models.

    Example:
        >>> from unweave.features.bases import neurons
        >>> bundle = Bundle(parts={name: neurons(4, site=name) for name in ("blocks.0.mlp_act", "blocks.1.mlp_act")})
        >>> bundle["blocks.1.mlp_act"], len(bundle)
        (NeuronFeaturizer(4 of 4 neurons, blocks.1.mlp_act), 2)
        >>> (2 * Bundle(parts={"fc": Direction(vector=[1.0, 2.0], site="fc")}))["fc"].vector
        tensor([2., 4.], dtype=torch.float64)
    """

    parts: Mapping[Any, Any]

    def __post_init__(self) -> None:
        """Turns the keys into sites and checks the parts."""
        parts = {Site(key): part for key, part in self.parts.items()}
        if not parts:
            raise InputError("a bundle needs at least one featurizer, got none: give parts={site: featurizer}")
        for site, part in parts.items():
            kind = kind_of(part)
            if kind is None:
                raise InputError(
                    f"what stands under {site} is a {type(part).__name__}: a featurizer, direction, read-out or eraser"
                    " is needed"
                )
            if part.site is not None and part.site != site:
                raise InputError(f"the {kind} under {site} belongs to {part.site}: give each its own site")
        kinds = {str(kind_of(part)) for part in parts.values()}
        if len(kinds) > 1:
            raise InputError(f"the parts are of the kinds {', '.join(sorted(kinds))}: a bundle is of one kind")
        models = {part.provenance.model for part in parts.values()} - {None}
        if len(models) > 1:
            raise FingerprintError(f"the {kinds.pop()}s come from {len(models)} different models: a bundle is of one")
        object.__setattr__(self, "parts", parts)

    @property
    def kind(self) -> str:
        """`featurizer`, `direction`, `read-out` or `eraser`."""
        return str(kind_of(next(iter(self.parts.values()))))

    def __getitem__(self, site: str) -> Any:
        if site not in self:
            raise unknown_name("site", str(site), self.parts)
        return self.parts[Site(site)]

    def __contains__(self, site: object) -> bool:
        """Whether something stands at the site, in any of its spellings."""
        return isinstance(site, str) and bool(site.strip()) and Site(site.strip()) in self.parts

    def get(self, site: str, default: Any = None) -> Any:
        """What stands at the site, or the default."""
        return self.parts[Site(site)] if site in self else default

    def __iter__(self) -> Iterator[Site]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def normalised(self) -> Bundle:
        """Every direction or read-out with length 1."""
        return self._mapped(lambda part: part.normalised())

    def __add__(self, other: Any) -> Bundle:
        if not isinstance(other, Bundle):
            raise TypeError(f"a bundle and a {type(other).__name__} do not add up")
        if set(other.parts) != set(self.parts):
            raise InputError(
                f"one bundle has the sites {', '.join(self.parts)}, the other {', '.join(other.parts)}: the same ones"
                " are needed"
            )
        self._mapped(lambda part: part)
        return Bundle(parts={site: part + other.parts[site] for site, part in self.parts.items()})

    def __sub__(self, other: Bundle) -> Bundle:
        return self + -other

    def __neg__(self) -> Bundle:
        return self * -1.0

    def __mul__(self, factor: SupportsFloat) -> Bundle:
        return self._mapped(lambda part: part * factor)

    def __truediv__(self, divisor: SupportsFloat) -> Bundle:
        return self._mapped(lambda part: part / divisor)

    __rmul__ = __mul__

    def _mapped(self, change: Callable[[Any], Any]) -> Bundle:
        if self.kind not in ("direction", "read-out"):
            raise TypeError(f"a bundle of {self.kind}s has no algebra: only directions and read-outs add up and scale")
        return Bundle(parts={site: change(part) for site, part in self.parts.items()})

    def __repr__(self) -> str:
        """Sites of the bundle."""
        return f"Bundle({', '.join(self.parts)})"


def kind_of(part: object) -> str | None:
    """The kind of what may stand in a bundle, None if it may not."""
    return next((name for name, kind in KINDS.items() if isinstance(part, kind)), None)
