"""Labels from files of every kind that is accepted say the same."""

import json

import numpy as np
import pytest

import stores
from unweave.activations.label_files import read_label_file
from unweave.errors import InputError

RECORDS = [
    {"feature": "a", "label": 1, "document": 0, "start": 2, "end": 7},
    {"feature": "a", "label": 0, "document": 3, "position": 4},
    {"feature": "whole", "label": 1, "document": 0},
    {"feature": "whole", "label": 0, "document": 3},
    {"feature": "kind", "label": "one", "document": 0},
    {"feature": "kind", "label": "two", "document": 3},
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return stores.collected(tmp_path_factory.mktemp("labels") / "store")


def same(first, second):
    assert [one.name for one in first] == [two.name for two in second]
    for one, two in zip(first, second, strict=True):
        assert one.level == two.level
        np.testing.assert_array_equal(one.index, two.index)
        np.testing.assert_array_equal(one.values, two.values)


def test_csv_says_what_jsonl_says(store, tmp_path):
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, RECORDS)))
    lines = ["feature,label,document,start,end,position"]
    lines += [",".join(str(one.get(key, "")) for key in lines[0].split(",")) for one in RECORDS]
    (tmp_path / "l.csv").write_text("\ufeff" + "\n".join(lines))
    same(read_label_file(tmp_path / "l.csv", store), read_label_file(tmp_path / "l.jsonl", store))
    (tmp_path / "t.csv").write_text("feature,label,document\nwhole,True,0\nwhole,false,3\n")
    assert read_label_file(tmp_path / "t.csv", store)[0].values.tolist() == [True, False]


@pytest.mark.parametrize("negative", [0, -1, False])
def test_an_array_of_rows_is_one_feature(store, tmp_path, negative):
    values = np.where(np.arange(len(store)) % 3 == 0, True if negative is False else 1, negative)
    np.save(tmp_path / "third.npy", values)
    (found,) = read_label_file(tmp_path / "third.npy", store)
    assert (found.name, found.level, len(found.index)) == ("third", "token", len(store))
    np.testing.assert_array_equal(found.values, np.arange(len(store)) % 3 == 0)


def test_an_array_of_classes_is_a_feature_each(store, tmp_path):
    np.save(tmp_path / "c.npy", np.arange(len(store)) % 3)
    found = read_label_file(tmp_path / "c.npy", store)
    assert [one.name for one in found] == ["c=0", "c=1", "c=2"]
    assert sum(one.positives for one in found) == len(store)


def test_files_that_cannot_be_used_are_named(store, tmp_path):
    with pytest.raises(InputError, match=r"no labels file at .*nowhere\.csv: give a \.jsonl, \.csv or \.npy file"):
        read_label_file(tmp_path / "nowhere.csv", store)
    (tmp_path / "l.txt").write_text("x")
    with pytest.raises(InputError, match=r"l\.txt is a \.txt: labels come as"):
        read_label_file(tmp_path / "l.txt", store)
    (tmp_path / "bad.npy").write_text("x")
    with pytest.raises(InputError, match=r"bad\.npy is no array of numpy"):
        read_label_file(tmp_path / "bad.npy", store)
    np.save(tmp_path / "short.npy", np.ones(3))
    with pytest.raises(InputError, match=r"holds float64 of shape \(3,\) but the store has \d+ rows: one whole number"):
        read_label_file(tmp_path / "short.npy", store)
    (tmp_path / "latin.csv").write_bytes("feature,label\ncaf\xe9,1".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.csv is not UTF-8 at byte"):
        read_label_file(tmp_path / "latin.csv", store)
    (tmp_path / "no.csv").write_text("feature,label\na,1\n")
    with pytest.raises(InputError, match=r"no\.csv row 2 lacks document"):
        read_label_file(tmp_path / "no.csv", store)


def test_faults_of_a_csv_name_the_file_and_the_row(store, tmp_path):
    (tmp_path / "head.csv").write_text("feature,label,document\n")
    with pytest.raises(InputError, match=r"head\.csv has no labels: at least one is needed"):
        read_label_file(tmp_path / "head.csv", store)
    (tmp_path / "far.csv").write_text("feature,label,document\na,1,0\na,0,999\n")
    with pytest.raises(InputError, match=r"far\.csv row 3: .*999"):
        read_label_file(tmp_path / "far.csv", store)
