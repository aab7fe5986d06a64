"""Broken twins of extractors: each must be caught by the law that the real one keeps (tests/laws_directions.py)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import laws_directions as laws
import unweave as uw

D = uw.directions


def backwards(X: Any, y: Any) -> uw.Direction:
    return D.mean_difference(X, 1 - np.asarray(y))


def normalised(X: Any, y: Any) -> uw.Direction:
    return D.mean_difference(X, y).normalised()


def too_much(X: Any, y: Any) -> uw.Eraser:
    """Takes out a little more than there is."""
    return replace(D.leace(X, y), write=1.0001 * D.leace(X, y).write)


def covector_as_vector(X: Any, y: Any) -> uw.Eraser:
    """Projects with the covectors on both sides, as if the basis were orthonormal (trap T1)."""
    basis = torch.linalg.qr(D.leace(X, y).read).Q
    return replace(D.leace(X, y), read=basis, write=basis.T)


def stretched(X: Any, y: Any) -> uw.Eraser:
    """Erases as well, and one dimension more."""
    eraser = D.orthogonal_erasure(X, y)
    extra = torch.linalg.qr(torch.cat([eraser.read, torch.ones(len(eraser.read), 1, dtype=torch.float64)], 1)).Q
    return replace(eraser, read=extra, write=extra.T)


def covector_is_delta(X: Any, y: Any) -> uw.Readout:
    """The mean difference in the place of the read-out."""
    return uw.Readout(covector=D.mean_difference(X, y).vector)


MUTANTS = {
    "the wrong way round": (laws.direction_law, backwards),
    "without its length": (laws.direction_law, normalised),
    "not idempotent": (laws.erasure_law, too_much),
    "covectors as vectors": (laws.erasure_law, covector_as_vector),
    "one dimension too many": (laws.erasure_law, stretched),
    "a vector as read-out": (laws.lda_law, covector_is_delta),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_it_is_caught(name):
    law, mutant = MUTANTS[name]
    with pytest.raises(AssertionError):
        law(mutant)
