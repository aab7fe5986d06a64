"""Directions as featurizers: projections, read and write apart, and what makes no unit."""

from __future__ import annotations

import pytest
import torch

import laws_features as laws
import unweave as uw
from unweave.errors import FingerprintError, InputError
from unweave.features import along, reading
from unweave.features.featurizer import Provenance

V, W = laws.gaussian(5, seed=1), laws.gaussian(5, seed=2)


@pytest.mark.parametrize("origin", [None, laws.gaussian(5, seed=3)])
def test_they_keep_the_laws_of_featurizers(origin):
    for one in (
        along(uw.Direction(vector=V), origin=origin),
        reading(uw.Readout(covector=W), uw.Direction(vector=V), origin=origin),
    ):
        laws.round_trip_law(one)
        laws.exchange_law(one)


def test_adding_the_direction_adds_one_to_the_unit():
    h = laws.gaussian(4, 5)
    for one in (along(uw.Direction(vector=V)), reading(uw.Readout(covector=W), uw.Direction(vector=V))):
        laws.close(one.encode(h + V)[0] - one.encode(h)[0], torch.ones(4, 1, dtype=torch.float64))


def test_the_projection_along_a_direction_is_the_orthogonal_one_and_the_oblique_one_is_not():
    """Zeroing the unit leaves nothing of the direction, or nothing that the read-out sees (trap T1)."""
    h = laws.gaussian(4, 5)
    for one, probe in (
        (along(uw.Direction(vector=V)), V),
        (reading(uw.Readout(covector=W), uw.Direction(vector=V)), W),
    ):
        z, residual = one.encode(h)
        laws.close(one.decode(torch.zeros_like(z), residual) @ probe, torch.zeros(4, dtype=torch.float64))
    _, rest = reading(uw.Readout(covector=W), uw.Direction(vector=V)).encode(h)
    assert float((rest @ V).abs().max()) > 0.1


def test_a_unit_edits_the_model_of_its_direction_and_no_other():
    model = uw.load_model(torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU()).double())
    mine = uw.Direction(vector=V, site="0", provenance=Provenance(model=model.fingerprint))
    x = laws.gaussian(2, 3)
    with model.edit(uw.Edit(site="0", operator=torch.zeros_like, featurizer=along(mine))):
        got = model(x)
    h = model.module[0](x)
    laws.close(got, torch.relu(h - torch.outer(h @ V, V) / (V @ V)))
    other = along(uw.Direction(vector=V, site="0", provenance=Provenance(model="x" * 64)))
    with (
        pytest.raises(FingerprintError, match="was fitted on another model"),
        model.edit(uw.Edit(site="0", operator=torch.zeros_like, featurizer=other)),
    ):
        pass


def test_what_makes_no_unit_is_refused():
    v, w = uw.Direction(vector=V, site="a"), uw.Readout(covector=W, site="b")
    with pytest.raises(InputError, match="a zero direction has no unit"):
        along(0 * v)
    with pytest.raises(InputError, match="the read-out is at b, the direction at a"):
        reading(w, v)
    with pytest.raises(InputError, match="has width 5 but the direction 2"):
        reading(w, uw.Direction(vector=[1.0, 2.0]))
    with pytest.raises(InputError, match="does not see the direction"):
        reading(uw.Readout(covector=[1.0, 0.0]), uw.Direction(vector=[0.0, 1.0]))
    with pytest.raises(FingerprintError, match="they make no unit"):
        reading(
            uw.Readout(covector=W, provenance=Provenance(model="a")),
            uw.Direction(vector=V, provenance=Provenance(model="b")),
        )
