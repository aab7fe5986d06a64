"""The affine featurizer against its formula, from whatever arrays it is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import laws_features as laws
import samples
import unweave as uw
from unweave.errors import DataError, InputError, UnknownName
from unweave.features.activation import Activation
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Capacity, Gauge, Within
from unweave.features.neurons import as_affine

AFFINE = {name: part for name, part in samples.featurizers().items() if isinstance(part, AffineFeaturizer)}


@pytest.mark.parametrize("kind", AFFINE)
def test_units_and_residual_follow_the_formula(kind: str) -> None:
    # specs/evaluation.md: z = act((h - o) R + c), h_hat = z W + o, e = h - h_hat, a number at a time
    f, h = AFFINE[kind], laws.gaussian(4, 6)
    z, residual = f.encode(h)
    threshold = f.act.threshold
    for row in range(4):
        pre = [
            sum(float(h[row, i] - f.origin[i]) * float(f.read[i, unit]) for i in range(6)) + float(f.bias[unit])
            for unit in range(f.read.shape[1])
        ]
        kept = sorted(pre)[-f.act.k :] if f.act.k else pre
        values = [
            value
            if f.act.kind == "identity"
            else max(value, 0.0) * (value in kept) * (threshold is None or value > float(threshold[unit]))
            for unit, value in enumerate(pre)
        ]
        back = [
            sum(value * float(f.write[unit, i]) for unit, value in enumerate(values)) + float(f.origin[i])
            for i in range(6)
        ]
        np.testing.assert_allclose(z[row].numpy(), values, rtol=0, atol=laws.EPS)
        np.testing.assert_allclose(residual[row].numpy(), h[row].numpy() - back, rtol=0, atol=laws.EPS)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "bfloat16", "int"])
def test_it_is_made_from_any_arrays(kind: str) -> None:
    eye = torch.eye(4).to(getattr(torch, kind))[:, :2]
    for read in (eye, eye.tolist(), *([] if kind == "bfloat16" else [eye.numpy()])):
        f = uw.AffineFeaturizer(read=read, origin=[1, 0, 0, 0], blocks=np.array([2]), site="embed")
        z, residual = f.encode(torch.ones(3, 4))
        assert z.tolist() == [[0.0, 1.0]] * 3
        assert residual.tolist() == [[0.0, 0.0, 1.0, 1.0]] * 3
        assert f.read.is_floating_point()
        assert f.blocks == (2,)


def test_read_only_and_strided_arrays_are_taken() -> None:
    base = np.arange(24.0).reshape(4, 6)
    base.flags.writeable = False
    for view in (base, base[:, ::-1], base[::2], base.T):
        assert np.array_equal(AffineFeaturizer(read=view, write=view.T).read.numpy(), view)


def test_what_it_was_made_from_stays_as_it_was() -> None:
    read, write, origin = laws.gaussian(4, 2), laws.gaussian(2, 4), laws.gaussian(4)
    kept = read.clone(), write.clone(), origin.clone()
    f = AffineFeaturizer(read=read, write=write, origin=origin)
    f.decode(*f.encode(laws.gaussian(3, 4)))
    for one, two in zip((read, write, origin), kept, strict=True):
        assert torch.equal(one, two)


def test_without_a_write_matrix_the_inverse_is_taken() -> None:
    read = laws.gaussian(5, 3)
    laws.close(AffineFeaturizer(read=read).write, torch.linalg.pinv(read))
    wide = AffineFeaturizer(read=laws.gaussian(3, 5))
    laws.close(wide.read @ wide.write, torch.eye(3, dtype=torch.float64))
    half = AffineFeaturizer(read=torch.eye(3, 2, dtype=torch.float16))
    assert half.write.dtype == torch.float16
    assert torch.equal(half.write, torch.eye(2, 3, dtype=torch.float16))


def test_zeroing_units_of_an_oblique_map_reads_zero() -> None:
    def remove(featurizer: Any, h: torch.Tensor) -> torch.Tensor:
        z, residual = featurizer.encode(h)
        return featurizer.decode(torch.zeros_like(z), residual)

    oblique = laws.gaussian(6, 3)
    laws.projection_law(remove, AffineFeaturizer(read=oblique, origin=laws.gaussian(6, seed=2)))


def test_the_origin_is_what_zero_means() -> None:
    origin = laws.gaussian(6, seed=3)
    for kind in ("pca", "random", "oblique", "relu"):
        f = AFFINE[kind]
        z, residual = f.encode(f.origin.unsqueeze(0))
        assert torch.equal(z, f.bias.unsqueeze(0).clamp_min(0) if kind == "relu" else f.bias.unsqueeze(0).to(z))
        laws.close(f.decode(torch.zeros_like(z), torch.zeros_like(residual)), f.origin.unsqueeze(0))
    moved = AffineFeaturizer(read=np.eye(6), origin=origin)
    laws.close(moved.encode(laws.gaussian(2, 6) + origin)[0], laws.gaussian(2, 6))


def test_a_nonlinear_map_is_never_called_affine() -> None:
    relu = AffineFeaturizer(read=np.eye(2), act=Activation(kind="relu"), capacity=Capacity(parameters=7))
    assert relu.capacity == Capacity(kind="piecewise", parameters=7)
    told = Capacity(kind="nonlinear", parameters=7)
    assert AffineFeaturizer(read=np.eye(2), act=Activation(kind="relu"), capacity=told).capacity == told
    assert AffineFeaturizer(read=np.eye(2)).capacity == Capacity()


def test_one_line_says_what_it_is() -> None:
    where = ("embed", "blocks.0.mlp_out")
    assert repr(AffineFeaturizer(read=np.eye(4)[:, :3], blocks=(1, 2), act=Activation(kind="relu"), site=where)) == (
        "AffineFeaturizer(width 4, 3 units in 2 blocks, relu, ('embed', 'blocks.0.mlp_out'))"
    )
    assert repr(AffineFeaturizer(read=np.ones((1, 1)))) == "AffineFeaturizer(width 1, 1 units in 1 block)"


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"read": [1.0, 2.0]},
            InputError,
            r"read has shape \(2,\): a matrix with at least one row and column is",
        ),
        ({"read": np.ones((0, 2))}, InputError, r"read has shape \(0, 2\): a matrix"),
        (
            {"read": np.eye(3), "write": np.ones((3, 2))},
            InputError,
            r"read is \(3, 3\) but write is \(3, 2\): write must",
        ),
        ({"read": np.eye(3)[:, :2], "write": np.eye(3)}, InputError, r"write must be \(2, 3\), one vector a row"),
        ({"read": np.eye(3), "origin": [0.0]}, InputError, r"origin has shape \(1,\): \(3,\) is needed"),
        ({"read": np.eye(3), "bias": 0.0}, InputError, r"bias has shape \(\): \(3,\) is needed"),
        (
            {"read": np.eye(3), "blocks": (1, 1)},
            InputError,
            r"blocks \(1, 1\) sum to 2 but there are 3 units",
        ),
        ({"read": np.eye(3), "site": 3}, InputError, r"site is a int: a name, a tuple of names or None is needed"),
        ({"read": np.eye(3), "gauge": "signs"}, UnknownName, r"unknown gauge 'signs'; nearest: 'sign'"),
        ({"read": [["a"]]}, InputError, r"read holds <U1 values: numbers are needed"),
        ({"read": [[1.0, np.nan]]}, DataError, r"read has nan at row 0, column 1: drop or repair"),
        ({"read": np.eye(2), "origin": [0.0, np.inf]}, DataError, r"origin has inf at row 0, column 1"),
        (
            {"read": np.eye(3), "act": Activation(kind="jump_relu", threshold=torch.ones(1))},
            InputError,
            r"threshold has shape \(1,\): \(3,\) is needed, one a unit",
        ),
    ],
)
def test_parts_that_do_not_fit_are_named(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        AffineFeaturizer(**options)


def test_as_affine_keeps_an_affine_one_and_turns_neurons_into_matrices() -> None:
    oblique = AFFINE["oblique"]
    assert as_affine(oblique) is oblique
    some = uw.NeuronFeaturizer(width=5, index=[3, 1], blocks=(2,), site="embed", gauge=Gauge(within=Within.SIGN))
    dense = as_affine(some)
    h = laws.gaussian(4, 5)
    for one, two in zip(some.encode(h), dense.encode(h), strict=True):
        laws.close(one, two)
    for name in ("blocks", "site", "gauge", "capacity", "provenance"):
        assert getattr(dense, name) == getattr(some, name)


def test_what_is_not_affine_is_refused_by_name() -> None:
    class Mixture:
        """Another implementation of the protocol."""

    with pytest.raises(InputError, match="a Mixture is not an affine map: this computation needs an Affine"):
        as_affine(Mixture())
