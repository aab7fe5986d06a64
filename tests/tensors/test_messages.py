"""Shapes that do not fit, as users see them: without the import hook that checks annotations in this test run."""

from __future__ import annotations

import re

import unchecked

PREAMBLE = """
import numpy as np, torch
from unweave.tensors.moments import class_moments
from unweave.tensors.linalg import orthonormal_basis
"""
CASES = {
    "class_moments(torch.ones(5, 2), torch.ones(4, 1))": (
        r"InputError: rows is \(5, 2\) but weights is \(4, 1\): one weight a row is needed"
    ),
    "class_moments(torch.ones(5), torch.ones(5, 1))": (
        r"InputError: rows has shape \(5,\): a matrix \(rows, width\) is needed"
    ),
}


def test_shapes_that_do_not_fit_are_named() -> None:
    for text, (snippet, pattern) in zip(unchecked.messages(PREAMBLE, list(CASES)), CASES.items(), strict=True):
        assert re.fullmatch(pattern, text), f"{snippet} raised {text!r}"
