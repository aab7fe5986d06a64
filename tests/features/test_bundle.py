"""A bundle is a mapping from site to featurizer, of one model."""

from __future__ import annotations

from typing import Any

import pytest

import unweave as uw
from unweave.errors import FingerprintError, InputError, UnknownName
from unweave.features import neurons
from unweave.site import Site

NAMES = ("blocks.0.hook_mlp_out", "blocks.1.mlp_act", "fc")


def bundle(**options: Any) -> uw.Bundle:
    return uw.Bundle(parts={name: neurons(4, site=name, **options) for name in NAMES})


def test_it_is_a_mapping_in_the_order_given() -> None:
    found = bundle()
    assert list(found) == ["blocks.0.mlp_out", "blocks.1.mlp_act", "fc"]
    assert all(type(site) is Site for site in found)
    assert len(found) == 3
    assert dict(found) == found.parts
    assert repr(found) == "Bundle(blocks.0.mlp_out, blocks.1.mlp_act, fc)"


@pytest.mark.parametrize("name", ["blocks.0.hook_mlp_out", "blocks.0.mlp_out", Site("blocks.0.hook_mlp_out")])
def test_any_spelling_of_a_site_finds_its_featurizer(name: str) -> None:
    found = bundle()
    assert name in found
    assert found[name] is found.parts[Site(name)]
    assert found.get(name) is found[name]


@pytest.mark.parametrize("name", ["blocks.9.mlp_out", "", " ", 3, None])
def test_what_is_not_there_is_not_there(name: Any) -> None:
    assert name not in bundle()


def test_a_missing_site_has_a_default_or_a_suggestion() -> None:
    assert bundle().get("blocks.1.mlp_out") is None
    assert bundle().get("blocks.1.mlp_out", 5) == 5
    with pytest.raises(UnknownName, match=r"unknown site 'blocks\.1\.mlp_atc'; nearest: 'blocks\.1\.mlp_act'"):
        bundle()["blocks.1.mlp_atc"]


def test_bare_featurizers_may_stand_anywhere() -> None:
    assert len(uw.Bundle(parts={"a": neurons(2), "b": neurons(3, model="m"), "c": neurons(2)})) == 3


def test_parts_that_do_not_belong_are_refused() -> None:
    with pytest.raises(InputError, match=r"the featurizer under fc belongs to embed: give each its own site"):
        uw.Bundle(parts={"fc": neurons(2, site="embed")})
    with pytest.raises(FingerprintError, match="the featurizers come from 2 different models: a bundle is of one"):
        uw.Bundle(parts={"a": neurons(2, model="x"), "b": neurons(2, model="y")})
    with pytest.raises(InputError, match="a bundle needs at least one featurizer, got none"):
        uw.Bundle(parts={})
    with pytest.raises(InputError, match="what stands under a is a int: a featurizer, direction, read-out or"):
        uw.Bundle(parts={"a": 3})
