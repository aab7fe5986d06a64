"""The matrices that the authors released, as featurizers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unweave.errors import InputError
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Capacity, Gauge, Provenance, Within
from unweave.models.checkpoints import read_state
from unweave.tensors.orthogonal import deviation, polar

LOOSE = 1e-3
"""Largest deviation from orthogonality at which a matrix still counts as a rotation."""


@dataclass(frozen=True, kw_only=True)
class Polished:
    """What making a released matrix orthogonal did to it."""

    deviation: float
    """`max |R'R - I|` before."""
    change: float
    """Largest change of an entry."""
    determinant: float
    """Before, in float64."""


def load_reference(
    path: str | Path, config: str | Path | Mapping[str, Any], *, polish: bool = True, site: Any = None
) -> AffineFeaturizer:
    """A released rotation as a featurizer whose `read` columns are the subspaces, one block each.

    Args:
        path: A `.pt` file with one square matrix in a dictionary.
        config: A `.json` file with `partition`, or the mapping itself.
        polish: Take the nearest orthogonal matrix (training lets them drift by 1e-4); False keeps the numbers, and the
            write vectors are then the transpose, which misses the inverse by as much.
        site: Where it applies.

    Raises:
        InputError: No such file, no square matrix in it, a matrix that is not orthogonal, or a partition that does not
            sum to its width.

    Example:
        >>> import json
        >>> torch.save({"base": torch.eye(4)}, "R.pt")
        >>> load_reference("R.pt", {"partition": [2, 2]})
        AffineFeaturizer(width 4, 4 units in 2 blocks)
    """
    matrix = _matrix(Path(path))
    partition = _partition(config)
    if sum(partition) != len(matrix):
        raise InputError(
            f"the partition sums to {sum(partition)} but the matrix has width {len(matrix)}: both of one fit"
        )
    if deviation(matrix) > LOOSE:
        raise InputError(f"{path} holds a matrix with R'R off by {deviation(matrix):.2g}: a rotation is needed")
    read = polar(matrix) if polish else matrix.double()
    return AffineFeaturizer(
        read=read,
        write=read.T,
        blocks=tuple(partition),
        gauge=Gauge(within=Within.ROTATION, permutation=True),
        site=site,
        capacity=Capacity(parameters=len(matrix) * (len(matrix) - 1) // 2),
        provenance=Provenance(method="ndm, released"),
    )


def reference_change(path: str | Path) -> Polished:
    """How far a released matrix is from a rotation.

    Args:
        path: A `.pt` file with one square matrix in a dictionary.
    """
    matrix = _matrix(Path(path)).double()
    return Polished(
        deviation=deviation(matrix),
        change=float((polar(matrix) - matrix).abs().max()),
        determinant=float(torch.linalg.det(matrix)),
    )


def _matrix(file: Path) -> Tensor:
    found = [value for value in read_state(file).values() if value.ndim == 2]
    if len(found) != 1 or found[0].shape[0] != found[0].shape[1]:
        shapes = [tuple(one.shape) for one in found]
        raise InputError(f"{file} holds matrices of shape {shapes}: one square matrix is needed")
    return found[0]


def _partition(config: Any) -> list[int]:
    if not isinstance(config, Mapping):
        file = Path(config)
        if not file.is_file():
            raise InputError(f"no file at {file}: give the .json file with the partition")
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{file} is not JSON ({error}): a table with 'partition' is needed") from error
    if not isinstance(config, Mapping) or "partition" not in config:
        raise InputError("the configuration has no 'partition': a list of block sizes is needed")
    return [int(size) for size in config["partition"]]
