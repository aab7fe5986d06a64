"""The five self-checks of every featurizer kind, and what featurizers declare about themselves."""

from __future__ import annotations

import re

import pytest
import torch

import laws_features as laws
import samples
import unweave as uw
from unweave.errors import InputError, UnknownName
from unweave.features.featurizer import (
    Featurizer,
    Gauge,
    Within,
    as_gauge,
    as_sites,
    block_slices,
    check_blocks,
    check_units,
    check_width,
    units,
)
from unweave.site import Site

KINDS = samples.featurizers()
LOSSLESS = ["neurons", "identity", "pca", "random"]
LINEAR = [*LOSSLESS, "some neurons", "truncated pca", "oblique"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_featurizer(kind: str) -> None:
    featurizer = KINDS[kind]
    assert isinstance(featurizer, Featurizer)
    assert featurizer.width == 6
    assert units(featurizer) == sum(featurizer.blocks)
    assert sum(part.stop - part.start for part in block_slices(featurizer)) == units(featurizer)


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_what_was_encoded_gives_it_back(kind: str) -> None:
    laws.round_trip_law(KINDS[kind])


@pytest.mark.parametrize("kind", LINEAR)
def test_a_unit_of_another_row_arrives_and_the_residual_stays(kind: str) -> None:
    laws.exchange_law(KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_one_row_is_encoded_as_among_many(kind: str) -> None:
    laws.batch_law(KINDS[kind])


@pytest.mark.parametrize("kind", LOSSLESS)
def test_blocks_of_a_lossless_map_are_edited_apart(kind: str) -> None:
    laws.blocks_law(KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_declared_properties_hold(kind: str) -> None:
    found = uw.features.check(KINDS[kind])
    assert found.is_lossless() == (kind in LOSSLESS)
    assert found.is_orthogonal() == (kind in [*LOSSLESS, "some neurons", "truncated pca"])
    # float64 products of at most 8 numbers
    assert found.round_trip < 1e-14
    assert found.batch < 1e-14


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_comes_back_as_it_was(kind: str, dtype: torch.dtype) -> None:
    h = (10 * laws.gaussian(20, 6)).to(dtype)
    featurizer = KINDS[kind]
    z, residual = featurizer.encode(h)
    found = featurizer.decode(z, residual)
    if dtype == torch.float32:
        # float32 rounding of products of 6 to 8 numbers up to 100
        laws.close(found.double(), h.double(), atol=1e-4)
    else:
        assert torch.equal(found.to(dtype), h)
        assert isinstance(featurizer, uw.NeuronFeaturizer) or z.dtype == residual.dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_units_are_differentiable(kind: str) -> None:
    h = laws.gaussian(3, 6).requires_grad_()
    z, residual = KINDS[kind].encode(h)
    KINDS[kind].decode(z, residual).sum().backward()
    # decode after encode is the identity, and so is its derivative
    laws.close(h.grad, torch.ones_like(h))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(5,), (2, 7), (6, 1), ()])
def test_a_wrong_width_is_named(kind: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError) as caught:
        check_width(torch.ones(shape), KINDS[kind].width, Site("blocks.0.mlp_act"))
    assert str(caught.value) == (
        f"activations have shape {shape} but the featurizer at blocks.0.mlp_act has width 6: the last axis must be that"
        " wide"
    )
    if shape:
        with pytest.raises(InputError, match=re.escape(f"have shape {shape} but the featurizer has width 6")):
            KINDS[kind].encode(torch.ones(shape))


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_number_of_units_is_named(kind: str) -> None:
    count = units(KINDS[kind])
    with pytest.raises(InputError, match=rf"values have shape \(2, {count + 1}\) but the featurizer has {count} units"):
        KINDS[kind].decode(torch.ones(2, count + 1), torch.ones(2, 6))
    with pytest.raises(InputError, match=r"activations have shape \(2, 7\) but the featurizer has width 6"):
        KINDS[kind].decode(torch.ones(2, count), torch.ones(2, 7))
    with pytest.raises(InputError, match=r"values have shape \(\) but the featurizer at embed has 3 units"):
        check_units(torch.ones(()), 3, Site("embed"))


@pytest.mark.parametrize(("blocks", "count"), [((1, 2), 4), ((), 1), ((0, 2), 2), ((-1, 3), 2), ((1,) * 20, 19)])
def test_blocks_must_fill_the_units(blocks: tuple[int, ...], count: int) -> None:
    with pytest.raises(InputError, match=rf"sum to {sum(blocks)} but there are {count} units: sizes must be 1 or more"):
        check_blocks(blocks, count)


def test_gauges_have_names() -> None:
    assert as_gauge("none") == Gauge()
    assert as_gauge("rotation") == Gauge(within=Within.ROTATION, permutation=True)
    gauge = Gauge(within=Within.SIGN)
    assert as_gauge(gauge) is gauge
    with pytest.raises(UnknownName, match="unknown gauge 'rotatoin'; nearest: 'rotation'"):
        as_gauge("rotatoin")


def test_sites_keep_the_spelling_that_was_asked_for() -> None:
    assert as_sites(None) is None
    one = as_sites(Site("blocks.1.hook_resid_post"))
    several = as_sites(["embed", Site("blocks.1.hook_resid_post")])
    assert isinstance(one, Site)
    assert isinstance(several, tuple)
    assert one.asked == several[1].asked == "blocks.1.hook_resid_post"
    assert several == ("embed", "blocks.1.resid_post")
    with pytest.raises(InputError, match="site is a int: a name, a tuple of names or None is needed"):
        as_sites(3)
