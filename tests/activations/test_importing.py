"""Arrays of other tools in a store, and files that claim what they do not hold."""

from __future__ import annotations

import io
import json
import struct
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import tiny
import unweave as uw
from memory_use import allocated
from remote_stores import files, fresh
from stores import listing
from unweave.activations.arrays_in import open_arrays
from unweave.activations.importing import import_rows
from unweave.activations.labels import pooled
from unweave.errors import DataError, FingerprintError, InputError, UnknownName
from unweave.models.exchange import lens_values

ROWS = np.random.default_rng(0).standard_normal((50, 6))
CUBE = ROWS.reshape(5, 10, 6)
SITE = "blocks.0.mlp_act"


def test_rows_come_back_and_say_what_they_are(tmp_path):
    documents = np.repeat([7, 3, 9], [20, 5, 25])
    store = import_rows({SITE: ROWS}, tmp_path / "s", documents=documents, dtype="float32", shard_rows=16)
    assert [shard.rows for shard in store.manifest.shards] == [16, 16, 16, 2]
    np.testing.assert_array_equal(store[SITE][:].numpy(), ROWS.astype(np.float32))
    np.testing.assert_array_equal(store.rows["document"], np.repeat([0, 1, 2], [20, 5, 25]))
    np.testing.assert_array_equal(store.rows["position"], np.concatenate([np.arange(20), np.arange(5), np.arange(25)]))
    assert set(store.rows["token_id"]) == {-1}
    assert [document.index for document in store.documents()] == [0, 1, 2]
    assert store.document(2).text is None
    means = pooled(store[SITE], np.array([1]))
    np.testing.assert_allclose(means[0].numpy(), ROWS[20:25].mean(0), atol=1e-6)  # float32


def test_sequences_with_padding_leave_it_out(tmp_path):
    ids = np.arange(50).reshape(5, 10)
    mask = np.ones((5, 10), dtype=bool)
    mask[0, :4] = mask[3, 7:] = False  # left and right
    heads = torch.from_numpy(CUBE).reshape(5, 10, 2, 3)
    given = {"blocks.0.hook_resid_post": CUBE, "blocks.0.attn_z": heads}
    store = import_rows(given, tmp_path / "s", token_ids=ids, mask=mask, dtype="float32", shard_rows=9)
    real = mask.reshape(-1)
    assert [str(site) for site in store.sites] == ["blocks.0.resid_post", "blocks.0.attn_z"]
    for site in store.sites:
        np.testing.assert_array_equal(store[site][:].numpy(), ROWS[real].astype(np.float32))
    np.testing.assert_array_equal(store.rows["document"], np.repeat(np.arange(5), 10)[real])
    np.testing.assert_array_equal(store.rows["token_id"], np.arange(50)[real])
    assert store.document(0).ids.tolist() == [4, 5, 6, 7, 8, 9]
    assert store.rows["position"][:7].tolist() == [0, 1, 2, 3, 4, 5, 0]


def test_arrays_that_share_memory_are_stored_as_two(tmp_path):
    both = torch.from_numpy(ROWS).float()
    store = import_rows({"a": both[:, :3], "b": both, "c": both[:, 3:]}, tmp_path / "s", dtype="float32")
    assert torch.equal(torch.cat([store["a"][:], store["c"][:]], 1), store["b"][:])


@pytest.mark.parametrize("kind", ["npz", "compressed", "npy", "safetensors", "bfloat16", "fortran"])
def test_every_kind_of_file_gives_the_same_store(tmp_path, kind):
    path = tmp_path / {"npz": "a.npz", "compressed": "a.npz", "fortran": f"{SITE}.npy"}.get(kind, f"{SITE}.npy")
    array = ROWS.astype(np.float32)
    if kind in ("npz", "compressed"):
        (np.savez if kind == "npz" else np.savez_compressed)(path, **{SITE: array, "token_ids": np.arange(50)})
    elif kind in ("npy", "fortran"):
        np.save(path, np.asfortranarray(array) if kind == "fortran" else array)
    else:
        path = tmp_path / "a.safetensors"
        values = torch.from_numpy(array)
        save_file({SITE: values.bfloat16() if kind == "bfloat16" else values}, path)
    store = import_rows(path, tmp_path / "s", sites=SITE, dtype="float32", shard_rows=20)
    tolerance = 2**-8 if kind == "bfloat16" else 0
    np.testing.assert_allclose(store[SITE][:].numpy(), array, rtol=tolerance)


def test_plain_archives_are_mapped_and_not_read(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros((2000, 1000)), b=ROWS)  # 16 MB
    with allocated() as peak:
        found = open_arrays(tmp_path / "a.npz")
        assert found["a"][5:7].shape == (2, 1000)
    assert isinstance(found["a"], np.memmap)
    np.testing.assert_array_equal(found["b"], ROWS)
    assert peak() < 1 << 20


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_imports_resume_and_end_as_one_run_here_and_behind_a_url(tmp_path, dtype):
    options = {"documents": np.arange(50) // 5, "dtype": dtype, "shard_rows": 12}
    import_rows({SITE: ROWS}, tmp_path / "whole", **options)
    import_rows({SITE: ROWS}, tmp_path / "s", **options, workers=2)
    for name in ("00001.json", "00003.safetensors"):
        (tmp_path / "s" / "shards" / name).unlink()
    (tmp_path / "s" / "store.json").unlink()
    import_rows({SITE: ROWS}, tmp_path / "s", **options)
    assert listing(tmp_path / "s") == listing(tmp_path / "whole")
    place = fresh()
    import_rows({SITE: ROWS}, place, **options)
    assert files(place) == {name: data for name, data in listing(tmp_path / "whole").items() if name != ".lock"}
    with pytest.raises(FingerprintError, match="was made from other inputs than documents"):
        import_rows({SITE: ROWS + 1}, tmp_path / "s", **options)


def test_a_remote_safetensors_file_is_read_in_ranges(tmp_path):
    save_file({SITE: torch.from_numpy(ROWS)}, tmp_path / "a.safetensors")
    place = fresh() / "a.safetensors"
    place.write_bytes((tmp_path / "a.safetensors").read_bytes())
    from unweave.activations.tensor_file import open_tensors

    opened = open_tensors(place)
    place.fs.reads.clear()
    assert torch.equal(opened.rows(SITE, 3, 5), torch.from_numpy(ROWS[3:5]))
    assert [size for *_, size in place.fs.reads] == [2 * 6 * 8]


def test_a_cache_of_transformer_lens_becomes_a_store(tmp_path):
    model = tiny.model_of("gpt2")
    ids = tiny.ids_of(3, 7)
    captured = model.capture(ids, ["blocks.0.resid_post", "blocks.1.attn_z"])
    cache = {
        "blocks.0.hook_resid_post": captured["blocks.0.resid_post"],
        "blocks.1.attn.hook_z": captured["blocks.1.attn_z"],
    }
    made = import_rows(lens_values(cache, model), tmp_path / "a", token_ids=ids, dtype="float32")
    own = uw.collect(model, ids, list(captured), tmp_path / "b", dtype="float32")
    assert made.collection.model == own.collection.model
    for site in own.sites:
        np.testing.assert_allclose(made[site][:].numpy(), own[site][:].numpy(), atol=1e-5)  # another batch
    for name in own.rows:
        np.testing.assert_array_equal(made.rows[name], own.rows[name])


REFUSED = {
    "no mapping": (5, {}, "arrays are a int: a mapping of names to arrays or a file is needed"),
    "no arrays": ({}, {}, "there are no arrays: give at least one"),
    "integers": (
        {SITE: np.ones((3, 2), int)},
        {},
        "holds int64: activations are float16, bfloat16, float32 or float64",
    ),
    "objects": ({SITE: [[1.0]]}, {}, "holds list: activations are"),
    "one axis": ({SITE: np.ones(3)}, {}, r"has the shape \(3,\): rows \(n, d\) or \(batch, position, ...\) are needed"),
    "other rows": (
        {"a": np.ones((3, 2)), "b": np.ones((4, 2))},
        {},
        r"b has the shape \(4, 2\) but a \(3, 2\): rows must",
    ),
    "twice": (
        {"blocks.0.resid_pre": np.ones((3, 2)), "blocks.0.hook_resid_pre": np.ones((3, 2))},
        {},
        "two arrays are named blocks.0.resid_pre: leave out 'blocks.0.hook_resid_pre' or the other one",
    ),
    "short column": (
        {SITE: ROWS},
        {"documents": [0, 1]},
        r"documents is int64 of shape \(2,\) but the arrays have \(50,\)",
    ),
    "float column": ({SITE: ROWS}, {"token_ids": ROWS[:, 0]}, "token_ids is float64 of shape"),
    "apart": ({SITE: ROWS}, {"documents": [0, 1] * 25}, "rows of document 0 lie apart: sort the rows"),
    "documents of sequences": ({SITE: CUBE}, {"documents": [0] * 50}, "documents is for arrays"),
    "no rows": ({SITE: ROWS[:0]}, {}, "the arrays have no rows: there is nothing to import"),
    "no real rows": ({SITE: ROWS}, {"mask": np.zeros(50, bool)}, "the arrays have no rows"),
    "site": ({SITE: ROWS}, {"sites": "blocks.0.mlp_at"}, "unknown site 'blocks.0.mlp_at'; nearest: 'blocks.0.mlp_act'"),
    "dtype": ({SITE: ROWS}, {"dtype": "int8"}, "dtype: input should be 'float32'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_table_of_rows_is_refused(tmp_path, name):
    source, options, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        import_rows(source, tmp_path / "s", **options)
    assert not list((tmp_path / "s").glob("shards/*"))


@pytest.mark.parametrize("value", [np.nan, np.inf, 70_000.0])
def test_values_that_do_not_fit_are_named(tmp_path, value):
    rows = ROWS.copy()
    rows[17, 4] = value
    with pytest.raises(DataError, match=rf"{SITE} has {value:.6g} at row 17, column 4, which float16 cannot hold"):
        import_rows({SITE: rows}, tmp_path / "s", shard_rows=10)
    assert len(list((tmp_path / "s" / "shards").glob("?????.json"))) == 1


def npy_header(shape: str, dtype: str = "<f4") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def archive(inside: bytes, *, method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as made:
        made.writestr("a.npy", inside)
    return stream.getvalue()


def tensors(facts: object, data: bytes = b"\0" * 64) -> bytes:
    header = json.dumps(facts).encode()
    return struct.pack("<Q", len(header)) + header + data


HUGE = 2**40
HOSTILE = {
    "npy of 2^40 rows": ("npy", npy_header(f"({HUGE}, 4)") + bytes(64)),
    "npy of 2^63 rows": ("npy", npy_header(f"({2**63}, 4)") + bytes(64)),
    "npy of negative rows": ("npy", npy_header("(-4, 4)") + bytes(64)),
    "npy of objects": ("npy", npy_header("(4, 4)", "|O") + bytes(64)),
    "npy of text": ("npy", npy_header("(4, 4)", "<U9") + bytes(64)),
    "npy that is code": ("npy", npy_header("__import__('os')") + bytes(64)),
    "npz of 2^40 rows": ("npz", archive(npy_header(f"({HUGE}, 4)") + bytes(64))),
    "npz of 2^40 rows, packed": ("npz", archive(npy_header(f"({HUGE}, 4)") + bytes(64), method=zipfile.ZIP_DEFLATED)),
    "npz of no zip": ("npz", b"PK\x03\x04" + bytes(60)),
    "npz of no array": ("npz", archive(b"hello")),
    "header of 2^40 bytes": ("safetensors", struct.pack("<Q", HUGE) + bytes(64)),
    "2^40 elements": ("safetensors", tensors({"a": {"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 4 * HUGE]}})),
    "shape against bytes": ("safetensors", tensors({"a": {"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 64]}})),
    "before the data": ("safetensors", tensors({"a": {"dtype": "U8", "shape": [8], "data_offsets": [-8, 0]}})),
    "no dtype": ("safetensors", tensors({"a": {"shape": [1], "data_offsets": [0, 4]}})),
    "odd dtype": ("safetensors", tensors({"a": {"dtype": "F4", "shape": [1], "data_offsets": [0, 4]}})),
    "text for a shape": ("safetensors", tensors({"a": {"dtype": "F32", "shape": "16", "data_offsets": [0, 64]}})),
    "a list": ("safetensors", tensors([1, 2])),
    "deep": ("safetensors", struct.pack("<Q", 40_000) + b"[" * 40_000),
    "no header": ("safetensors", b"\0" * 4),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_one_line_and_little_memory(tmp_path, name):
    kind, data = HOSTILE[name]
    path = tmp_path / f"a.{kind}"
    path.write_bytes(data)
    with allocated() as peak, pytest.raises(InputError) as told:
        open_arrays(path)
    assert peak() < 10 << 20
    assert "\n" not in str(told.value)
    assert "a." in str(told.value)


@pytest.mark.parametrize("kind", ["npy", "npz", "packed", "safetensors"])
def test_files_cut_at_any_byte_are_one_line(tmp_path, kind):
    path = tmp_path / f"a.{'npz' if kind == 'packed' else kind}"
    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    if kind == "safetensors":
        save_file({"a": torch.from_numpy(array)}, path)
    elif kind == "npy":
        np.save(path, array)
    else:
        (np.savez if kind == "npz" else np.savez_compressed)(path, a=array)
    data = path.read_bytes()
    np.testing.assert_array_equal(np.asarray(open_arrays(path)["a"][0:4]), array)
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        with pytest.raises(InputError) as told:
            open_arrays(path)
        assert "\n" not in str(told.value)


def test_files_that_are_not_there_or_of_another_kind(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"x")
    for path in (tmp_path / "a.h5", tmp_path / "none.npy", str(tmp_path)):
        with pytest.raises(
            InputError, match=r"no array file at .*: give a \.npy, \.npz, \.safetensors file or a mapping"
        ):
            open_arrays(path)
    with pytest.raises(InputError, match=r"no array file at memory://nowhere/a\.npz"):
        open_arrays("memory://nowhere/a.npz")


def test_an_unknown_name_among_the_arrays_suggests_near_ones(tmp_path):
    with pytest.raises(UnknownName):
        import_rows({SITE: ROWS}, tmp_path / "s", sites=["blocks.1.mlp_act"])
