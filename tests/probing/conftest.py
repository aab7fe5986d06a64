"""A store of a tiny model over forty short documents, and features whose truth is planted in one of its columns."""

import numpy as np
import pytest

import tiny
import unweave as uw
from unweave.activations.labels import LabelledFeature

WORDS = ("alpha", "Beta", "x1", "42", "gamma", "DELTA", "the", "of", ".", ",", "é")
SITES = ("blocks.0.mlp_act", "blocks.1.resid_post")


def texts(*, documents: int = 40, words: int = 15, seed: int = 0) -> list[str]:
    """Random words, digits, capitals and signs."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=words)) for _ in range(documents)]


@pytest.fixture(scope="session")
def model():
    return tiny.text_model("llama")


@pytest.fixture(scope="session")
def store(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("probing") / "store"
    return uw.collect(model, texts(), list(SITES), out, dtype="float32", context=64)


@pytest.fixture(scope="session")
def in_unit_five(store):
    """True where unit 5 of the first site is among its largest tenth."""
    values = store[SITES[0]][:].numpy()[:, 5]
    index = np.arange(len(store))
    return LabelledFeature(name="unit 5", level="token", index=index, values=values > np.quantile(values, 0.9))


@pytest.fixture(scope="session")
def about_documents(store):
    """True for documents whose mean of unit 7 is in the upper half."""
    rows, document = store[SITES[0]][:].numpy()[:, 7], store.rows["document"]
    means = np.array([rows[document == number].mean() for number in range(40)])
    return LabelledFeature(name="unit 7", level="document", index=np.arange(40), values=means > np.median(means))
