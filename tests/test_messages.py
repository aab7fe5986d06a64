"""Shapes and types that do not fit, as users see them: without the import hook that checks annotations in this test
run. All in one interpreter, as starting one costs more than they do.
"""

from __future__ import annotations

import re

import unchecked

TENSORS = """
import numpy as np, torch
from unweave.tensors.moments import class_moments
from unweave.tensors.linalg import orthonormal_basis
"""
OF_TENSORS = {
    "class_moments(torch.ones(5, 2), torch.ones(4, 1))": (
        r"InputError: rows is \(5, 2\) but weights is \(4, 1\): one weight a row is needed"
    ),
    "class_moments(torch.ones(5), torch.ones(5, 1))": (
        r"InputError: rows has shape \(5,\): a matrix \(rows, width\) is needed"
    ),
}
FEATURES = """
import numpy as np, torch, unweave as uw
f = uw.AffineFeaturizer(read=np.eye(2))
"""
OF_FEATURES = {
    "f.encode(torch.ones(3, 2, dtype=torch.int64))": (
        r"InputError: activations hold torch\.int64 values: floating-point ones are needed"
    ),
    "uw.NeuronFeaturizer(width=2).encode(torch.ones(3, 2, dtype=torch.bool))": (
        r"InputError: activations hold torch\.bool values: floating-point ones are needed"
    ),
    "uw.Readout(covector=[1.0, 2.0]).score(torch.tensor([1, 2]))": (
        r"InputError: activations hold torch\.int64 values: floating-point ones are needed"
    ),
    "uw.Direction(vector=[1.0]) + uw.Readout(covector=[1.0])": (
        r"TypeError: a Direction and a Readout do not add up: convert a Readout with to_direction\(covariance\)"
    ),
    "uw.Readout(covector=[1.0]) - uw.Direction(vector=[1.0])": r"TypeError: a Readout and a Direction do not add.*",
    "uw.Direction(vector=[1.0]) * 'x'": r"TypeError: directions and read-outs are scaled by a number, not by a str",
    "uw.Direction(vector=[1.0]) * True": r"TypeError: directions and read-outs are scaled by a number, not by a bool",
    "uw.Readout(covector=[1.0]) / uw.Direction(vector=[1.0])": (
        r"TypeError: directions and read-outs are scaled by a number, not by a Direction"
    ),
}
NEURONS = """
import numpy as np, torch
import unweave as uw
from unweave.evals import ablate_by_class, plain_run
from unweave.features.neurons import NeuronFeaturizer
model = uw.load_model("zoo:docs-xs")
plain = plain_run(model, [model.tokenize(["one", "two"])])
neurons = NeuronFeaturizer(width=model.width("blocks.0.mlp_act"), site="blocks.0.mlp_act")
"""
OF_NEURONS = {
    "ablate_by_class(model, neurons, [1], plain, np.arange(2), means=torch.ones(3), strength=torch.ones(3),"
    " classes={'a': np.ones(1, dtype=bool)})": (
        r"InputError: means has shape \(3,\) but there are \d+ units: one each is needed"
    ),
}
LATEX = "from unweave.activations.haystack.latex_spans import latex_spans"
OF_LATEX = {
    'latex_spans("", "markdown")': r"UnknownName: unknown dialect 'markdown'; valid: 'pandoc', 'native'",
}


def test_what_does_not_fit_is_named() -> None:
    groups = [(TENSORS, OF_TENSORS), (FEATURES, OF_FEATURES), (NEURONS, OF_NEURONS), (LATEX, OF_LATEX)]
    told = unchecked.messages([(preamble, list(cases)) for preamble, cases in groups])
    expected = [case for _, cases in groups for case in cases.items()]
    for text, (snippet, pattern) in zip(told, expected, strict=True):
        assert re.fullmatch(pattern, text), f"{snippet} raised {text!r}"
