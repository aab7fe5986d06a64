"""The planted generator gives the published check values, and is what it says."""

import numpy as np
import pytest

from unweave.errors import InputError, UnknownName
from unweave.worlds import planted
from unweave.worlds.planted import SETTINGS


@pytest.fixture(scope="module", params=SETTINGS)
def world(request):
    return request.param, planted(request.param, seed=0)


def test_the_check_values_of_the_specification(world):
    setting, made = world
    X, y, members = made.sites[0], made.labels[:, 0], made.members[0][0]
    easy = setting == "easy"
    assert sorted(members.tolist()) == [1370, 1545, 2064, 2156, 2178, 2418, 2516, 2810]
    assert np.flatnonzero(y)[:5].tolist() == [2, 3, 14, 18, 20]
    np.testing.assert_allclose(X[0, :3].astype(float), [-0.1371, 0.4788, -0.1635], atol=1e-4)
    assert X.mean(dtype=np.float64) == pytest.approx(0.13876 if easy else 0.15141, abs=1e-4)
    assert made.distractors[0][0, 0] == 714
    drive = made.drive[:, 0]

    def correlation(column):
        return abs(np.corrcoef(X[:, column].astype(float), drive)[0, 1])

    # the table prints three decimals
    assert correlation(714) == pytest.approx(0.467 if easy else 0.683, abs=1e-3)
    assert np.mean([correlation(one) for one in members]) == pytest.approx(0.356, abs=1e-3)
    others = np.mean([correlation(one) for one in made.distractors[0][0]])
    assert others == pytest.approx(0.467 if easy else 0.673, abs=1e-3)
    assert (made.held_out.sum(), y[made.held_out].sum(), y.sum()) == (1800, 358, 1200)


def test_documents_are_whole_on_both_sides(world):
    _, made = world
    assert not set(made.groups[made.held_out]) & set(made.groups[~made.held_out])


def test_every_feature_owns_neurons_of_its_own_and_its_truth_is_at_its_home():
    made = planted("easy", 2000, 400, features=2, sites=3, seed=4)
    for site in range(3):
        owned = np.concatenate([made.members[site], made.distractors[site]], axis=1)
        assert len(np.unique(owned)) == owned.size
    drive = made.drive

    def explained(site, f):
        columns = made.sites[site][:, made.members[site][f]].astype(np.float64)
        design = np.column_stack([columns, np.ones(len(columns))])
        rest = drive[:, f] - design @ np.linalg.lstsq(design, drive[:, f], rcond=None)[0]
        return 1 - rest.var() / drive[:, f].var()

    for f in range(2):
        shares = [explained(site, f) for site in range(3)]
        assert shares[f] > 0.999  # float16 rounds the rest
        assert max(shares[:f] + shares[f + 1 :]) < 0.1


def test_the_same_seed_gives_the_same_rows():
    one, again, other = (planted("hard", 200, 300, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.sites[0], again.sites[0])
    assert not np.array_equal(one.sites[0], other.sites[0])


def test_what_cannot_be_made_is_refused():
    with pytest.raises(UnknownName, match="unknown setting 'esy'; nearest: 'easy'"):
        planted("esy")
    with pytest.raises(InputError, match="d is 231: 1 features and the 200 loud columns need 232 neurons"):
        planted("easy", 400, 231)
    with pytest.raises(InputError, match="n is 20: at least two documents of 20 rows are needed"):
        planted("easy", 20, 300)
    with pytest.raises(InputError, match="features is 0 and sites is 1: at least one of each"):
        planted("easy", 400, 300, features=0)
