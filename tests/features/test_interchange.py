"""Bases for TransformerLens' interchange: one block there and back; what a basis cannot say is refused."""

from __future__ import annotations

import pytest
import torch

import unweave as uw
from unweave.errors import InputError
from unweave.features.activation import Activation
from unweave.features.interchange import from_interchange, to_interchange

BASIS = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))[0]


def test_exchanging_the_block_is_exchanging_the_coordinates_in_the_basis():
    block = from_interchange(BASIS[:, :2], site="blocks.0.resid_post")
    assert block.blocks == (2,)
    base, source = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(1))
    (_, residual), (z, _) = block.encode(base), block.encode(source)
    basis = BASIS[:, :2]
    expected = base + (source - base) @ basis @ basis.T
    torch.testing.assert_close(block.decode(z, residual), expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(to_interchange(block), basis)


def test_blocks_of_an_orthogonal_partition_come_out_in_order():
    whole = uw.AffineFeaturizer(read=BASIS, write=BASIS.T, blocks=(1, 3, 2))
    assert torch.equal(torch.cat([to_interchange(whole, number) for number in range(3)], 1), BASIS)
    for number in (-1, 3):
        with pytest.raises(InputError, match=rf"block {number} is not in the featurizer: it has 0\.\.2"):
            to_interchange(whole, number)


def test_oblique_blocks_are_refused_or_orthonormalised_on_request():
    read = BASIS @ torch.diag(torch.tensor([2.0, 1, 1, 1, 1, 1])) + 0.1
    oblique = uw.AffineFeaturizer(read=read, write=torch.linalg.inv(read), blocks=(2, 4))
    with pytest.raises(InputError, match=r"block 0 is oblique \(reading and writing differ by .*orthonormalise=True"):
        to_interchange(oblique)
    basis = to_interchange(oblique, orthonormalise=True)
    torch.testing.assert_close(basis.T @ basis, torch.eye(2), rtol=0, atol=1e-5)
    written = oblique.write[:2].T
    torch.testing.assert_close(basis @ basis.T @ written, written, rtol=1e-5, atol=1e-5)  # the same span


def test_what_a_basis_cannot_say_is_refused():
    with pytest.raises(
        InputError, match=r"the columns of the basis are not orthonormal: their products differ .* by 3;"
    ):
        from_interchange(2 * BASIS[:, :2])
    relu = uw.AffineFeaturizer(read=BASIS, write=BASIS.T, act=Activation(kind="relu"))
    with pytest.raises(InputError, match="the featurizer has a relu between reading and writing"):
        to_interchange(relu)
