"""Worlds have the covariance they say; rings, antipodal pairs and polytopes appear where they are known to."""

import numpy as np
import pytest

from unweave.errors import DataError, InputError, UnknownName
from unweave.superposition.phase import describe_ring, phase_diagram
from unweave.superposition.small_grid import train_small
from unweave.superposition.structure import dimensionality
from unweave.superposition.toy import train_toy
from unweave.superposition.value_coding import bearing, map_experiment, modular_addition, project, read_places
from unweave.worlds.correlated import KINDS, world


@pytest.mark.parametrize("kind", KINDS)
def test_the_covariance_is_that_of_many_rows(kind):
    found = world(kind, n=60_000, noise=0.1, density=0.12, seed=1)
    assert found.density == pytest.approx(0.12, abs=0.01 if kind == "markov" else 0.005)
    error = np.abs(np.cov(found.x.T, bias=True) - found.sigma).max()
    assert error < (0.02 if kind == "markov" else 0.005)  # 5 standard errors; a walk's rows resemble each other


def test_rules_of_the_worlds():
    tree = world("hierarchical", 7, 2000).x
    assert all((tree[:, child] <= tree[:, (child - 1) // 2]).all() for child in range(1, 7))
    alone = world("anticorrelated", 9, 2000, groups=3).x.reshape(-1, 3, 3)
    assert alone.sum(2).max() == 1
    assert world("circular", n=4000, sharpness=5, base=-2).density == pytest.approx(0.358, abs=0.005)
    with pytest.raises(UnknownName, match="circlar"):
        world("circlar")
    with pytest.raises(InputError, match=r"density is 1\.5"):
        world("circular", density=1.5)
    with pytest.raises(InputError, match="at most one of 3"):
        world("anticorrelated", density=0.6)


def test_rings_antipodes_and_identities_are_where_they_are_known_to_be():
    """Known means over seeds at decay 1, 12 features; fewer steps than there: errors may be a little higher."""
    x = world("circular", sharpness=5, base=-2).x
    two, four, twelve = train_small(x, (2, 4, 12), (1.0,), steps=1200)
    assert describe_ring(two)["regime"] == "ring"
    assert two.train_mse == pytest.approx(0.0557, rel=0.05)
    assert describe_ring(four)["opposite"] < -0.95
    assert describe_ring(twelve)["regime"] == "identity"
    assert 11 < twelve.norm2 < 12.1
    rows = phase_diagram((6,), sharpness=3, bases=(-3.0,), steps=1200)
    assert rows[0]["least"] < -0.95
    assert rows[0]["regime"] == "antipodal"
    assert rows[0]["mse"] < 0.2 * rows[0]["bound"]


def test_the_classic_polytopes():
    pentagons = [dimensionality(one.weight) for one in train_toy(5, 2, 0.95, range(4), steps=1200)]
    assert np.abs(np.array(pentagons) - 0.4).max() < 0.03
    pairs = [dimensionality(one.weight) for one in train_toy(6, 3, 0.9, range(4), steps=1200)]
    assert (np.abs(np.array(pairs) - 0.5).max(1) < 0.03).sum() >= 3
    with pytest.raises(InputError, match=r"sparsity 1\.0"):
        train_toy(3, 2, 1.0)


def test_directions_on_a_sphere():
    places = np.random.default_rng(0).uniform([-60, -180], [60, 180], size=(200, 2))
    near = places + np.random.default_rng(1).normal(scale=0.01, size=(200, 2))
    step = np.radians(near - places) * np.stack([np.ones(200), np.cos(np.radians(places[:, 0]))], 1)
    angle = np.degrees(np.arctan2(step[:, 1], step[:, 0])) + 22.5
    away = np.abs((angle % 45) - 22.5) < 22
    there, back = bearing(places, near), bearing(near, places)
    assert ((there - back) % 8 == 4)[away].all()
    assert (there == np.floor(angle / 45).astype(int) % 8)[away].all()
    odd = np.array([[90.0, 0], [-90, 10], [0, 180], [0, -180]])
    assert np.isin(bearing(odd, odd[::-1]), range(8)).all()


def test_projections_of_the_whole_space_change_nothing():
    z = np.random.default_rng(0).normal(size=(6, 3))
    found = project(z, np.eye(3))
    assert np.allclose(found["VC+"], z)
    assert np.allclose(found["VC-"], 0)
    line = project(z, np.eye(3)[:1])
    assert np.allclose(np.linalg.norm(line["VC- rescaled"], axis=1), np.linalg.norm(z, axis=1))
    assert np.allclose(line["VC+"][:, 0], z[:, 0])


def test_addition_lives_in_its_waves():
    found = modular_addition(23, steps=900, share=0.9)
    assert found.accuracy("base") > 0.9
    assert found.accuracy("VC-") < 0.4
    assert found.accuracy("VC+") > found.accuracy("VC-") + 0.3


def test_places_from_a_file_and_wrong_ones(tmp_path):
    file = tmp_path / "places.csv"
    file.write_text("name,latitude,longitude\n" + "\n".join(f"a,{n},{2 * n}" for n in range(12)))
    assert read_places(file).shape == (12, 2)
    assert map_experiment(file, pairs=100, epochs=1).n > 0
    file.write_text("name,x\na,1\n")
    with pytest.raises(InputError, match="lat and lon"):
        read_places(file)
    with pytest.raises(DataError, match="ten or more"):
        map_experiment(5)
