"""Hugging Face data sets as texts: a stand-in with their interface, and the package itself where it is installed."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import torch

import unweave as uw
from stores import TEXTS, collected, listing
from unweave.activations.dataset_rows import dataset_rows
from unweave.activations.datasets_in import DatasetTexts, hub_texts, named_texts
from unweave.errors import InputError, MissingPackage, UnknownName


class Streamed:
    """What `datasets.IterableDataset` shows: rows as mappings, anew each time, columns perhaps not known."""

    def __init__(self, rows: list[dict], column_names: list[str] | None = None) -> None:
        self.rows, self.column_names, self.begun = rows, column_names, 0

    def __iter__(self):
        self.begun += 1
        yield from self.rows


class InMemory(Streamed):
    """What `datasets.Dataset` shows besides: a length, and rows by number."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """The files of a store of the first texts, given as a list."""
    folder = tmp_path_factory.mktemp("stores") / "s"
    collected(folder, TEXTS[:4])
    return listing(folder)


ROWS = [{"text": text, "url": f"u{number}"} for number, text in enumerate(TEXTS)]


@pytest.mark.parametrize("kind", [Streamed, InMemory])
@pytest.mark.parametrize("names", [None, ["text", "url"]])
def test_a_data_set_gives_the_store_of_its_texts(tmp_path, whole, kind, names):
    collected(tmp_path / "s", kind(ROWS[:4], names))
    assert listing(tmp_path / "s") == whole


def test_columns_ids_and_a_limit(tmp_path):
    rows = [{"content": row["text"], "url": row["url"]} for row in ROWS]
    texts = DatasetTexts(dataset=Streamed(rows), column="content", id_column="url", most=3)
    assert [text.id for text in texts] == ["u0", "u1", "u2"] == [text.id for text in texts]
    store = collected(tmp_path / "s", texts)
    assert [document.id for document in store.documents()] == ["u0", "u1", "u2"]


def test_a_stream_is_read_as_far_as_it_is_needed():
    stream = Streamed(ROWS)
    first = next(iter(DatasetTexts(dataset=stream)))
    assert (first.text, stream.begun) == (TEXTS[0], 1)


@pytest.mark.parametrize(
    ("dataset", "options", "error", "message"),
    [
        (
            {"train": Streamed(ROWS), "test": Streamed(ROWS)},
            {},
            InputError,
            r"is a dictionary of train, test: give one of",
        ),
        (Streamed(ROWS, ["text", "url"]), {"column": "txt"}, UnknownName, "unknown column 'txt'; nearest: 'text'"),
        (Streamed(ROWS, ["text", "url"]), {"id_column": "id"}, UnknownName, "unknown column 'id'"),
    ],
)
def test_faults_are_told_before_the_first_row(dataset, options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        DatasetTexts(dataset=dataset, **options)
    if not options:
        with pytest.raises(error, match=message):
            collected(tmp_path / "s", dataset)
        assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("value", [None, 5, ["a"]])
def test_a_row_without_text_is_named(value):
    with pytest.raises(InputError, match=rf"row 1 of the data set has a {type(value).__name__} in the column 'text'"):
        list(DatasetTexts(dataset=Streamed([{"text": "a"}, {"text": value}])))


def test_names_need_the_package_and_say_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    for verb in (lambda: hub_texts("a/b"), lambda: collected(tmp_path / "s", "hub:a/b")):
        with pytest.raises(MissingPackage, match=r"pip install 'unweave\[data\]'"):
            verb()
    assert not (tmp_path / "s").exists()
    with pytest.raises(InputError, match="'hub:' names no data set: write hub:NAME"):
        named_texts("hub:")


def test_names_are_split_and_asked_for_as_streams(monkeypatch):
    asked = []

    class Package:
        @staticmethod
        def load_dataset(name, **options):
            asked.append((name, options))
            if name == "nowhere":
                raise FileNotFoundError("Dataset 'nowhere' doesn't exist\non the Hub")
            return Streamed([{"body": "x"}], ["body"])

    monkeypatch.setitem(sys.modules, "datasets", Package)
    assert [text.text for text in named_texts("hub:a/b:test:body")] == ["x"]
    assert asked == [("a/b", {"split": "test", "streaming": True})]
    with pytest.raises(
        InputError, match=r"the data set 'nowhere' .*cannot be read: Dataset 'nowhere' doesn't exist on"
    ):
        hub_texts("nowhere")


@pytest.mark.skipif(
    importlib.util.find_spec("datasets") is None, reason="datasets is not installed: pip install 'unweave[data]'"
)
def test_the_package_itself(tmp_path):
    import datasets

    whole = datasets.Dataset.from_list(ROWS)
    for one in (whole, whole.to_iterable_dataset()):
        assert [text.text for text in DatasetTexts(dataset=one, id_column="url")] == list(TEXTS)
    with pytest.raises(InputError, match="is a dictionary of train"):
        DatasetTexts(dataset=datasets.DatasetDict(train=whole))
    assert len(uw.collect(uw.load_model("zoo:docs"), whole, "embed", tmp_path / "s"))


class Cached(InMemory):
    """What SAELens caches: a row a window, given as lists, several rows as one dictionary of columns."""

    def __getitem__(self, index):
        if isinstance(index, int):
            return self.rows[index]
        return {name: [row[name] for row in self.rows[index]] for name in self.column_names}


def test_a_cache_of_activations_there_and_back_is_the_store(tmp_path):
    store = collected(tmp_path / "s", TEXTS[:4], ["blocks.0.resid_post", "blocks.1.mlp_act"], dtype="float32")
    rows = [{name: np.asarray(value).tolist() for name, value in row.items()} for row in dataset_rows(store)]
    names = ["token_ids", "blocks.0.hook_resid_post", "blocks.1.mlp.hook_post"]
    assert list(rows[0]) == names
    lengths = np.bincount(store.rows["sequence"])
    whole = np.isin(store.rows["sequence"], np.flatnonzero(lengths == lengths.max()))
    again = uw.import_rows(Cached(rows, names), tmp_path / "again", dtype="float32")
    assert again.sites == store.sites
    for site in store.sites:
        assert torch.equal(again[site][:], store[site][:][torch.from_numpy(whole)])
    assert again.rows["token_id"].tolist() == store.rows["token_id"][whole].tolist()
    assert len(again.groups) == len(rows)


def test_caches_that_are_none_are_refused(tmp_path):
    with pytest.raises(InputError, match="none holds activations, collect them from its texts"):
        uw.import_rows(Cached(ROWS[:3], ["text", "url"]), tmp_path / "s")
    with pytest.raises(InputError, match="has no rows"):
        uw.import_rows(Cached([], ["a"]), tmp_path / "s")
    ragged = [{"a": [[1.0, 2.0]]}, {"a": [[1.0]]}]
    with pytest.raises(InputError, match="is no table of numbers of one shape"):
        uw.import_rows(Cached(ragged, ["a"]), tmp_path / "s", sites=["a"])
    store = collected(tmp_path / "t", TEXTS[:2])
    with pytest.raises(InputError, match="no window of the store has 9999 rows"):
        next(dataset_rows(store, length=9999))
