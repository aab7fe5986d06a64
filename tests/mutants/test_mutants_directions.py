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


ERASERS = {"not idempotent": too_much, "covectors as vectors": covector_as_vector, "one dimension too many": stretched}


@pytest.mark.parametrize("name", ERASERS)
def test_a_wrong_eraser_is_caught(name):
    with pytest.raises(AssertionError):
        laws.erasure_law(ERASERS[name])


@pytest.mark.parametrize("wrong", [backwards, normalised])
def test_a_wrong_direction_is_caught(wrong):
    with pytest.raises(AssertionError):
        laws.direction_law(wrong)


def test_a_vector_in_the_place_of_a_readout_is_caught():
    with pytest.raises(AssertionError):
        laws.lda_law(covector_is_delta)
