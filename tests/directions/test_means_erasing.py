"""Class means, LDA and erasers: their laws, scikit-learn as twin, streams, and wrong input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import laws_directions as laws
import unweave as uw
from unweave.errors import DataError, FingerprintError, InputError

LEACE, DIFFERENCE, LDA = uw.directions.leace, uw.directions.mean_difference, uw.directions.lda


def test_the_mean_difference_keeps_its_laws():
    laws.direction_law(DIFFERENCE)


def test_leace_keeps_its_laws():
    laws.erasure_law(LEACE)


def test_leace_with_shrinkage_erases_as_well():
    X, y = laws.classes(2, k=3)
    clean = LEACE(X, y, shrinkage=0.3).erase(X)
    assert np.abs(laws.cross_covariance(clean, y)).max() <= 1e-12 * np.abs(laws.cross_covariance(X, y)).max()
    exact = np.square(LEACE(X, y).erase(X) - X).sum()
    assert np.square(clean - X).sum() > exact


def test_lda_keeps_its_law():
    laws.lda_law(lambda X, y: LDA(X, y, shrinkage=0.0))


def test_lda_is_that_of_scikit_learn():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    X, y = laws.classes(1)
    model = LinearDiscriminantAnalysis(solver="lsqr").fit(X, y)
    odds = np.log(y.mean() / (1 - y.mean()))  # ours is the threshold of equal risk
    found = LDA(X, y, shrinkage=0.0)
    scores = found.score(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(scores, model.decision_function(X) - odds, rtol=0, atol=1e-9 * np.abs(scores).max())


@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_chunks_in_any_order_give_what_all_rows_give(kind):
    X, y = laws.classes(3, k=3)
    z = y if kind == "labels" else np.stack([np.cos(y), np.sin(y)], 1)
    classes = (0, 1, 2) if kind == "labels" else None
    whole = LEACE(X, z)
    parts = [(X[i : i + 37], z[i : i + 37]) for i in range(0, len(X), 37)]
    streamed = LEACE(uw.directions.labelled_stream(reversed(parts), classes=classes))
    np.testing.assert_allclose(whole.erase(X), streamed.erase(X), rtol=0, atol=1e-9)
    assert streamed.rank == 2


def test_moments_serve_all_three():
    X, y = laws.classes(4)
    sums = uw.directions.labelled_moments(X, y)
    torch.testing.assert_close(DIFFERENCE(sums).vector, DIFFERENCE(X, y).vector, rtol=0, atol=1e-10)
    torch.testing.assert_close(LDA(sums).covector, LDA(X, y).covector, rtol=1e-9, atol=0)
    with pytest.raises(InputError, match="give either rows and labels, or LabelledMoments alone"):
        LEACE(sums, y)


def test_more_columns_than_rows_erase_too():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 80)), np.arange(30) % 2
    clean = LEACE(X, y).erase(X)
    assert np.abs(laws.cross_covariance(clean, y)).max() < 1e-12
    with pytest.raises(DataError, match="has no inverse: give shrinkage= above 0 or more rows"):
        LDA(X, y, shrinkage=0.0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64])
def test_an_eraser_gives_back_what_it_was_given(dtype):
    X, y = laws.classes(0, n=40, d=3)
    rows = (X * 4).astype(dtype)
    before, eraser = rows.copy(), LEACE(rows, y)
    rows.flags.writeable = False
    clean = eraser.erase(rows)
    assert isinstance(clean, np.ndarray)
    assert clean.dtype == (np.float64 if dtype is np.int64 else dtype)
    assert np.array_equal(rows, before)
    as_tensors = eraser.erase(torch.from_numpy(before))
    assert isinstance(as_tensors, torch.Tensor)
    assert np.array_equal(as_tensors.numpy(), clean)
    assert np.array_equal(eraser.erase(before[::-1]), clean[::-1])  # negative strides
    assert np.array_equal(eraser.erase(before[0]), clean[0])  # one row without its axis
    assert isinstance(eraser.erase(before.tolist()), torch.Tensor)


def test_an_eraser_edits_a_model_and_survives_a_round_trip(tmp_path):
    X, y = laws.classes(0, d=5)
    model = uw.load_model(torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU()).double())
    eraser = LEACE(X, y, site="0", model=model.fingerprint)
    inputs = torch.randn(4, 3, dtype=torch.float64)
    with model.edit(uw.Edit(site="0", operator=eraser.erase)):
        got = model(inputs)
    torch.testing.assert_close(got, torch.relu(eraser.erase(model.module[0](inputs))))
    loaded = uw.load(uw.save(eraser, tmp_path / "eraser"))
    assert np.array_equal(loaded.erase(X), eraser.erase(X))
    assert (loaded.site, loaded.provenance, repr(loaded)) == (eraser.site, eraser.provenance, repr(eraser))


def test_a_store_column_brings_its_site_and_model(tmp_path, docs):
    store = uw.collect(docs, ["One text of some words.", "And another."], "blocks.1.resid_post", tmp_path / "s")
    found = DIFFERENCE(store["blocks.1.resid_post"], np.arange(len(store)) % 2)
    assert (found.site, found.provenance.model) == ("blocks.1.resid_post", docs.fingerprint)
    other = DIFFERENCE(np.ones((4, found.vector.shape[0])), [0, 1, 0, 1], site=found.site, model="another")
    with pytest.raises(FingerprintError, match="the two come from different models"):
        found + other


X, Y = laws.classes(0, n=20, d=3)
WRONG = {
    "one class": ((X, np.ones(20)), DataError, "y has only the label 1.0: a probe needs rows of both classes"),
    "three classes": ((X, np.arange(20) % 3), InputError, r"y has the labels \[0, 1, 2\]"),
    "lengths": ((X, Y[:-1]), InputError, r"X is \(20, 3\) but y is \(19,\): one label a row is needed"),
    "nan": ((X * np.where(np.arange(20) == 4, np.nan, 1)[:, None], Y), DataError, "nan at row 4, column 0"),
    "no labels": ((X, None), InputError, "give either rows and labels, or LabelledMoments alone"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name):
    arguments, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        DIFFERENCE(*arguments)


def test_erasers_say_what_is_wrong():
    with pytest.raises(DataError, match="y has only the label 0: rows of at least two classes are needed"):
        LEACE(X, np.zeros(20, dtype=int))
    with pytest.raises(InputError, match="X has 20 rows but y has shape \\(3,\\)"):
        LEACE(X, [0, 1, 0])
    with pytest.raises(InputError, match=r"shrinkage is 1\.0: a share from 0 to below 1"):
        LEACE(X, Y, shrinkage=1.0)
    with pytest.raises(InputError, match="y has the label 1, which is not among the classes"):
        uw.directions.labelled_moments(X, Y, classes=(0, 2))
    one, two = uw.directions.labelled_moments(X, Y), uw.directions.labelled_moments(X[:, :2], Y)
    with pytest.raises(InputError, match="give every part the same classes="):
        uw.directions.merge_labelled(one, two)
    with pytest.raises(DataError, match="no row has the label 2"):
        uw.directions.labelled_moments(X, Y, classes=(0, 1, 2)).class_means()
    with pytest.raises(DataError, match="the stream was empty"):
        uw.directions.labelled_stream([], classes=(0, 1))
    with pytest.raises(InputError, match=r"read is \(2, 1\) but write is \(2, 1\)"):
        uw.Eraser(read=np.ones((2, 1)), write=np.ones((2, 1)))
    with pytest.raises(InputError, match=r"origin has shape \(3,\): \(2,\) is needed"):
        uw.Eraser(read=np.ones((2, 1)), write=np.ones((1, 2)), origin=np.ones(3))
