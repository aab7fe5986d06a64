"""Directions as featurizers, so that tests which exchange or ablate units take them like any other decomposition.

Along a direction alone the unit is the orthogonal projection on it. With a read-out beside it the map is oblique: the
unit is what the read-out scores, and what is written is the direction (read and write kept apart).

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `along` | z = (h - o) v / (v v') | scalar | 1 for h = o + v | specs/evaluation.md, section 1 |
| `reading` | z = (h - o) w / (w' v) | scalar | write v, read w | same |
"""

from __future__ import annotations

from typing import Any

from unweave.errors import FingerprintError, InputError
from unweave.features.affine import AffineFeaturizer
from unweave.features.direction import Direction, Readout
from unweave.features.featurizer import Capacity


def along(direction: Direction, *, origin: Any = None) -> AffineFeaturizer:
    """One unit: how much of the direction there is, by orthogonal projection; adding 1 to it adds the direction.

    Args:
        direction: Not zero.
        origin: (d,), what counts as none of it; None is the zero vector.

    Raises:
        InputError: A zero direction, or an origin of another width.

    Example:
        >>> import torch
        >>> f = along(Direction(vector=[0.0, 2.0]))
        >>> f.encode(torch.tensor([[5.0, 3.0]]))[0]
        tensor([[1.5000]])
    """
    if not direction.norm > 0:
        raise InputError("a zero direction has no unit: it points nowhere")
    vector = direction.vector.double()
    return AffineFeaturizer(
        read=(vector / vector.square().sum()).unsqueeze(1),
        write=vector.unsqueeze(0),
        origin=origin,
        gauge="scale",
        site=direction.site,
        capacity=Capacity(parameters=len(vector)),
        provenance=direction.provenance,
    )


def reading(readout: Readout, direction: Direction, *, origin: Any = None) -> AffineFeaturizer:
    """One unit that is read by a covector and written by a vector; the projection is oblique unless they are parallel.

    Args:
        readout: What scores it; scaled so that adding the direction adds 1 to the unit.
        direction: What is written.
        origin: (d,), what counts as none of it; None is the zero vector.

    Raises:
        InputError: Other widths or sites, or a direction that the read-out does not see.
        FingerprintError: Of different models.

    Example:
        >>> import torch
        >>> f = reading(Readout(covector=[1.0, 1.0]), Direction(vector=[0.0, 2.0]))
        >>> f.encode(torch.tensor([[5.0, 3.0]]))[0]
        tensor([[4.]])
    """
    w, v = readout.covector.double(), direction.vector.double()
    if len(w) != len(v):
        raise InputError(f"the read-out has width {len(w)} but the direction {len(v)}: one site has one width")
    if None not in (readout.site, direction.site) and readout.site != direction.site:
        raise InputError(f"the read-out is at {readout.site}, the direction at {direction.site}: take both at one site")
    models = {one.provenance.model for one in (readout, direction)} - {None}
    if len(models) > 1:
        raise FingerprintError("read-out and direction come from different models: they make no unit")
    seen = float(w @ v)
    if abs(seen) <= 1e-9 * readout.norm * direction.norm:
        raise InputError("the read-out does not see the direction: writing it would not change what is read")
    return AffineFeaturizer(
        read=(w / seen).unsqueeze(1),
        write=v.unsqueeze(0),
        origin=origin,
        gauge="scale",
        site=direction.site if direction.site is not None else readout.site,
        capacity=Capacity(parameters=2 * len(v)),
        provenance=direction.provenance if direction.provenance.model is not None else readout.provenance,
    )
