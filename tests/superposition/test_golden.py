"""Known facts of one real text: counts, eigenvalues, closed forms, and what ReLU gains and loses."""

import gzip
import re

import numpy as np
import pytest

from unweave.superposition.bags import bags
from unweave.superposition.dataset import Matrix
from unweave.superposition.geometry import geometry
from unweave.superposition.linear import spectrum
from unweave.superposition.scores import errors_of
from unweave.superposition.training import train


def letters(text):
    return re.findall(r"[^\W\d_]+", text.lower())


@pytest.fixture(scope="module")
def texts(data):
    """(bags of the validation file, the same words in the test file)."""
    found = []
    for name in ("valid", "test"):
        with gzip.open(data / "text" / "corpora" / f"wikitext2_{name}.txt.gz", "rt", encoding="utf-8") as stream:
            found.append(stream.read())
    options = {"min_chars": 50, "stop": None, "unknown": None, "split": None, "tokenizer": letters}
    train_bags = bags(found[0], vocab=1000, **options)
    other = bags(found[1], vocab=1000, force=train_bags.vocab, **options)
    held = other.dense()[:, [other.index[word] for word in train_bags.vocab]].astype(float)
    return train_bags, Matrix(x=held, vocab=train_bags.vocab)


def test_counts(texts):
    here, other = texts
    assert (here.facts["units"], here.facts["tokens"], here.facts["types"]) == (1729, 175_363, 11_268)
    assert (here.n_windows, other.n_windows) == (1710, 1918)
    rows = here.dense()
    assert (int(rows.sum()), int(other.x.sum())) == (498_698, 512_820)
    assert (rows.sum(1).min(), rows.sum(1).max()) == (57, 408)
    assert int((rows.mean(0) == 1).sum()) == 11


def test_eigenvalues_and_closed_forms(texts):
    here, other = texts
    found = spectrum(here)
    assert found.trace == pytest.approx(160.3616, rel=1e-4)
    top = [9.8224, 7.8865, 4.5135, 4.1851, 3.5753, 3.3486]
    assert np.allclose(found.values[:6], top, rtol=1e-4)
    assert np.allclose(found.values[[49, 199]], [0.99856, 0.06338], rtol=1e-4)
    assert [round(found.length_correlation(k), 2) for k in (0, 1)] == [0.58, 0.64]
    known = {
        1: (0.150539, 0.145419),
        10: (0.115867, 0.134771),
        50: (0.053353, 0.125154),
        200: (0.009092, 0.098810),
        500: (0.001469, 0.052613),
    }
    for width, (fitted, held) in known.items():
        model = found.model(width)
        assert model.train_mse == pytest.approx(fitted, abs=1e-5)
        assert errors_of(model, other, other.split("all"))[0] == pytest.approx(held, abs=1e-5)
    for l2, objective in ((0.05, 55.83379), (0.2, 63.05265), (1.0, 95.85529)):
        assert found.model(50, l2).objective == pytest.approx(objective, abs=1e-4)
    scores = geometry(found.model(50), here)
    assert scores.mean_mse == pytest.approx(0.160362, abs=1e-5)
    assert scores.zero_mse == pytest.approx(0.291636, abs=1e-5)
    assert scores.counts()["constant"] == 11


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "decay", "fitted", "held"),
    [("linear", 0.0, 0.054313, 0.125105), ("relu", 1.0, 0.0340, 0.1397), ("relu", 4.0, 0.0383, 0.1303)],
)
def test_relu_gains_on_its_own_text_and_loses_on_other_articles(texts, activation, decay, fitted, held):
    here, other = texts
    model = train(here, 50, activation, decay, lr=2e-3, batch=128, epochs=60)
    assert model.train_mse == pytest.approx(fitted, rel=0.03)
    assert errors_of(model, other, other.split("all"))[0] == pytest.approx(held, rel=0.03)
    assert model.train_mse > spectrum(here).bound(50) - 1e-7 or activation == "relu"
