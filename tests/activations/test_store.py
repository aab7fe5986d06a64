"""Reading a store: rows by number, slice, list and mask, documents, sizes on disk."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import stores
import tiny
import unweave as uw
from stores import EXAMPLES, SITES, TEXTS, collected, listing, shard_file
from unweave.activations.store import ActivationStore
from unweave.errors import InputError, UnknownName


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> ActivationStore:
    return collected(tmp_path_factory.mktemp("stores") / "s")


@pytest.fixture(scope="module")
def rows(store) -> torch.Tensor:
    """All rows of a site, read from the files without the store."""
    files = [shard_file(store.path, shard.index) for shard in store.manifest.shards]
    return torch.cat([load_file(file)[f"activations/{SITES[0]}"] for file in files])


def test_the_store_says_what_it_holds(store, rows):
    assert store.sites == list(SITES)
    assert len(store) == len(rows) == sum(len(text.encode()) for text in TEXTS)
    assert len(store.manifest.shards) > 4
    column = store[SITES[0]]
    assert (column.shape, column.ndim, len(column), column.dtype) == ((len(rows), 32), 2, len(rows), torch.float16)
    assert repr(column) == f"Column({SITES[0]}, ({len(rows)}, 32), torch.float16)"
    assert repr(store) == f"ActivationStore({len(rows)} rows, 3 sites, tiny-llama, {store.path})"
    assert store.expand("blocks.*.resid_*") == [SITES[0]]


@EXAMPLES
@given(st.data())
def test_slices_are_those_of_the_array(store, rows, data):
    number = st.none() | st.integers(-400, 400)
    chosen = slice(data.draw(number), data.draw(number), data.draw(st.none() | st.integers(1, 50)))
    assert torch.equal(store[SITES[0]][chosen], rows[chosen])


@EXAMPLES
@given(st.data())
def test_lists_and_masks_are_those_of_the_array(store, rows, data):
    column, count = store[SITES[0]], len(rows)
    numbers = data.draw(st.lists(st.integers(-count, count - 1), max_size=20))
    assert torch.equal(column[numbers], rows[numbers])
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    assert torch.equal(column[mask], rows[torch.from_numpy(mask)])


def test_backward_slices_go_backward(store, rows):
    assert torch.equal(store[SITES[0]][::-7], rows.flip(0)[::7])
    assert torch.equal(store[SITES[0]][90:10:-1], rows[11:91].flip(0))


@pytest.mark.parametrize("index", [0, 5, -1, np.int64(41), np.int32(-42)])
def test_one_number_gives_one_row(store, rows, index):
    assert torch.equal(store[SITES[0]][index], rows[int(index)])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.uint32, np.int64, np.uint64])
def test_every_integer_dtype_counts_rows(store, rows, dtype):
    # torch reads uint8 as a mask, and numbers of few bits cannot hold the number of rows
    numbers = [3, 0, 100, 3]
    assert torch.equal(store[SITES[0]][np.array(numbers, dtype=dtype)], rows[numbers])


@pytest.mark.parametrize("index", [[], (), np.array([]), np.array([], dtype=bool)[:0], slice(5, 5), slice(9, 3)])
def test_nothing_chosen_gives_no_rows(store, index):
    found = store[SITES[0]][index]
    assert found.shape == (0, 32)
    assert found.dtype is torch.float16


def test_tensors_choose_rows_too(store, rows):
    column = store[SITES[0]]
    assert torch.equal(column[torch.tensor([5, -1])], rows[[5, -1]])
    assert torch.equal(column[rows[:, 0] > 0], rows[rows[:, 0] > 0])


@pytest.mark.parametrize("index", [10**6, -(10**6)])
def test_rows_outside_are_an_index_error(store, index):
    with pytest.raises(IndexError, match=f"row {index} is not in the store: it has {len(store)} rows"):
        store[SITES[0]][index]
    with pytest.raises(IndexError, match=f"row numbers run from .* but there are {len(store)} rows"):
        store[SITES[0]][[0, index]]


@pytest.mark.parametrize(
    "index",
    [1.5, [0.0, 1.0], [[0, 1]], "0", None, np.ones(3)],
    ids=["float", "floats", "matrix", "text", "none", "array"],
)
def test_other_indices_are_refused(store, index):
    with pytest.raises(InputError, match="rows are chosen by a number, a slice, a list of numbers or a mask, not by"):
        store[SITES[0]][index]


def test_a_mask_of_another_length_is_refused(store):
    with pytest.raises(InputError, match=rf"the mask has shape \(3,\) but there are {len(store)} rows"):
        store[SITES[0]][np.array([True, False, True])]


def test_numpy_gets_all_rows(store, rows):
    array = np.asarray(store[SITES[0]])
    assert array.dtype == np.float16
    np.testing.assert_array_equal(array, rows.numpy())
    assert np.asarray(store[SITES[0]], dtype=np.float64).dtype == np.float64


def test_bfloat16_becomes_float32_in_numpy(tmp_path):
    store = collected(tmp_path / "s", dtype="bfloat16")
    array = np.asarray(store[SITES[0]])
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, store[SITES[0]][:].float().numpy())


@pytest.mark.parametrize("size", [1, 7, 40, 10**6])
def test_chunks_are_all_rows_in_order(store, rows, size):
    chunks = list(store[SITES[0]].chunks(size))
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert torch.equal(torch.cat(chunks), rows)


def test_iterating_a_column_ends(store, rows):
    assert torch.equal(torch.stack(list(store[SITES[0]])), rows)


def test_what_a_reader_changes_does_not_reach_the_next_one(store, rows):
    before = listing(store.path)
    for index in (slice(0, 3), [0, 1, 2], 0):
        store[SITES[0]][index].zero_()
    store.document(0).ids[:] = 0
    store.document(0).offsets[:] = 0
    assert torch.equal(store[SITES[0]][0:3], rows[0:3])
    assert store.document(0).ids.any()
    assert store.document(0).offsets.any()
    assert listing(store.path) == before


def test_rows_of_a_store_are_columns_of_one_length(store):
    assert list(store.rows) == ["document", "sequence", "position", "token_id"]
    assert {len(column) for column in store.rows.values()} == {len(store)}
    assert all(column.dtype == np.int32 for column in store.rows.values())


def test_documents_come_back_across_shards(store):
    tokenizer = stores.model_of().tokenizer
    assert sum(1 for _ in store.documents()) == len(TEXTS)
    for index, text in enumerate(TEXTS):
        document = store.document(index)
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        assert (document.index, document.id, document.text) == (index, None, text)
        assert document.ids.tolist() == encoded["input_ids"]
        assert [tuple(pair) for pair in document.offsets] == encoded["offset_mapping"]
        assert list(document.tokens) == tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    # one of them begins in one shard and ends in the next
    ends = np.cumsum([shard.rows for shard in store.manifest.shards])
    shard_of = np.searchsorted(ends, np.arange(len(store)), side="right")
    assert len(set(shard_of[store.rows["document"] == 6])) > 1


@pytest.mark.parametrize("index", [-1, len(TEXTS), 10**9])
def test_a_document_outside_is_named(store, index):
    with pytest.raises(InputError, match=rf"document {index} is not in the store: it has 0\.\.{len(TEXTS) - 1}"):
        store.document(index)


def test_ids_of_documents_are_kept(tmp_path):
    store = collected(tmp_path / "s", [{"text": "a", "id": "first"}, {"text": "b", "id": 5}, "c"])
    assert [document.id for document in store.documents()] == ["first", "5", None]


def test_an_unknown_site_is_answered_with_the_nearest(store):
    with pytest.raises(UnknownName, match=r"unknown site 'blocks\.1\.resid_pots'; nearest: 'blocks\.1\.resid_post'"):
        store["blocks.1.resid_pots"]
    assert store["blocks.1.hook_resid_post"].site == "blocks.1.resid_post"


def header_bytes(path) -> int:
    """Length of the header of a safetensors file and of its length field."""
    with path.open("rb") as stream:
        return 8 + struct.unpack("<Q", stream.read(8))[0]


@pytest.mark.parametrize(("dtype", "size"), [("float16", 2), ("bfloat16", 2), ("float32", 4)])
@pytest.mark.parametrize("special", ["exclude", "include"])
def test_bytes_on_disk_are_rows_times_width_times_size_and_headers(tmp_path, dtype, size, special):
    asked = [*SITES, "blocks.1.hook_resid_post"]  # an alias takes no byte
    store = collected(tmp_path / "s", dtype=dtype, sites=asked, special=special)
    width = sum(store.collection.sites.values())
    documents = sum(8 + len(text.encode()) * (4 + 2 * 4) + 4 for text in TEXTS)  # end, ids, offsets, index
    columns = 4 * 4 * len(store)
    files = [shard_file(tmp_path / "s", shard.index) for shard in store.manifest.shards]
    expected = len(store) * width * size + columns + documents + sum(header_bytes(file) for file in files)
    assert sum(file.stat().st_size for file in files) == expected
    assert [file.stat().st_size for file in files] == [shard.tensors_bytes for shard in store.manifest.shards]


def test_no_tensor_is_stored_twice(store):
    for shard in store.manifest.shards:
        tensors = load_file(shard_file(store.path, shard.index))
        assert sorted(tensors) == sorted(
            [*(f"activations/{site}" for site in SITES), *(f"rows/{name}" for name in store.rows)]
            + [f"documents/{name}" for name in ("ends", "ids", "index", "offsets")]
        )
        total = sum(value.numel() * value.element_size() for value in tensors.values())
        assert total == shard.tensors_bytes - header_bytes(shard_file(store.path, shard.index))


def test_the_manifest_is_plain_json(store):
    facts = json.loads((store.path / "store.json").read_text(encoding="utf-8"))
    assert facts["complete"] is True
    assert facts["collection"]["model"] == stores.model_of().fingerprint
    assert sum(shard["rows"] for shard in facts["shards"]) == len(store)
    assert sum(shard["documents"] for shard in facts["shards"]) == len(TEXTS)
    windows = int(store.rows["sequence"].max()) + 1
    assert sum(shard["excluded"] for shard in facts["shards"]) == 2 * windows


def test_equal_content_has_an_equal_fingerprint(store, tmp_path):
    again = collected(tmp_path / "again", workers=2)
    other = collected(tmp_path / "other", [*TEXTS[:-1], "another end"])
    assert again.fingerprint == store.fingerprint != other.fingerprint


def test_a_store_of_ids_has_no_offsets_and_no_texts(tmp_path):
    store = uw.collect(tiny.model_of("gpt2"), tiny.ids_of(2, 5), "blocks.0.resid_pre", tmp_path / "s")
    document = store.document(1)
    assert (document.offsets, document.text, document.tokens) == (None, None, ("",) * 5)


def test_opening_reads_no_shard(store, monkeypatch):
    monkeypatch.setattr("unweave.activations.store.check_shard", lambda *_: pytest.fail("read while opening"))
    opened = uw.open_store(store.path)
    assert len(opened) == len(store)
    assert opened.sites == store.sites
