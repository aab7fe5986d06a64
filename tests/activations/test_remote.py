"""Stores behind URLs: equal to local ones to the byte, killed at any step, and read as ranges."""

from __future__ import annotations

import re

import fsspec
import numpy as np
import pytest
import torch

import unweave as uw
from remote_stores import Killed, Recording, files, fresh
from stores import SITES, TEXTS, StopsAfter, collected, listing, shard_file
from unweave.errors import FingerprintError, InputError, Interrupted, MissingPackage, StoreError
from unweave.places import Remote, place_of

SMALL = {"texts": TEXTS[:4], "sites": SITES[:2]}
"""Enough for three shards."""


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> uw.ActivationStore:
    return collected(tmp_path_factory.mktemp("stores") / "s")


@pytest.fixture(scope="module")
def remote(local) -> uw.ActivationStore:
    """The same store behind a URL, collected there."""
    return collected(fresh())


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> dict[str, bytes]:
    """The files of the small collection, made locally."""
    folder = tmp_path_factory.mktemp("stores") / "small"
    collected(folder, **SMALL)
    return without_lock(folder)


def without_lock(folder) -> dict[str, bytes]:
    return {name: data for name, data in listing(folder).items() if name != ".lock"}


def emptied(store: uw.ActivationStore) -> Recording:
    """The file system of a store with its record wiped."""
    assert isinstance(store.path, Remote)
    store.path.fs.reads.clear()
    return store.path.fs


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_a_remote_store_has_the_bytes_of_a_local_one(tmp_path, dtype):
    place = fresh()
    collected(place, dtype=dtype, workers=2)
    collected(tmp_path / "s", dtype=dtype)
    assert files(place) == without_lock(tmp_path / "s")


def test_the_manifest_comes_last_and_each_entry_behind_its_shard():
    place = fresh()
    collected(place, **SMALL)
    shards = [f"shards/0000{number}" for number in range(len(uw.open_store(place).manifest.shards))]
    assert len(shards) >= 3
    expected = [f"{shard}.{kind}" for shard in shards for kind in ("safetensors", "text.json", "json")]
    assert place.fs.writes == [*expected, "store.json"]


def test_memory_urls_work_through_the_public_verbs(local):
    url = "memory://unweave-test-remote/store"
    try:
        made = collected(url)
        opened = uw.open_store(url)
        assert opened.fingerprint == made.fingerprint == local.fingerprint
        assert str(opened.path) == url
        assert url in repr(opened)
        opened.check()
        assert torch.equal(opened[SITES[1]][:], local[SITES[1]][:])
    finally:
        fsspec.filesystem("memory").rm("/unweave-test-remote", recursive=True)


def test_file_urls_are_local(tmp_path, local):
    store = collected(f"file://{tmp_path}/s")
    assert store.path == tmp_path / "s"
    assert listing(tmp_path / "s") == listing(local.path)
    assert torch.equal(uw.open_store(f"file://{tmp_path}/s")[SITES[0]][:5], local[SITES[0]][:5])


@pytest.mark.parametrize("broken", [False, True], ids=["before", "halfway"])
def test_killed_at_any_step_it_is_clearly_incomplete_and_resumes_to_the_same_bytes(small, broken):
    for step in range(len(small)):
        place = fresh(Recording(fail_at=step))
        place.fs.broken_write = broken
        with pytest.raises(Killed):
            collected(place, **SMALL)
        place.fs.fail_at = None
        unfinished = "store.json is damaged" if step == len(small) - 1 and broken else "is not finished: run the same"
        with pytest.raises(StoreError, match=unfinished):
            uw.open_store(place)
        if "damaged" in unfinished:
            (place / "store.json").unlink()  # as the message says
        before = len(place.fs.writes)
        collected(place, **SMALL)
        assert files(place) == small
        assert len(place.fs.writes) - before <= len(small) - 3 * (step // 3)  # finished shards are not sent again


@pytest.mark.parametrize("step", range(5))
def test_a_replaced_store_that_is_killed_is_never_read_as_the_old_one(small, step):
    place = fresh()
    collected(place, **{**SMALL, "texts": TEXTS[4:8]})
    place.fs.writes.clear()
    place.fs.fail_at = step
    with pytest.raises(Killed):
        collected(place, **SMALL, resume=False)
    place.fs.fail_at = None
    if step == 0:
        assert uw.open_store(place).document(0).text == TEXTS[4]
        return
    with pytest.raises(StoreError, match=r"is not finished|no activation store"):
        uw.open_store(place)
    collected(place, **SMALL, resume=False)
    assert files(place) == small


def test_ctrl_c_keeps_what_was_sent(small):
    place = fresh()
    with pytest.raises(Interrupted, match=r"interrupted: 2 finished shards are kept in test://bucket/s; the same"):
        collected(place, **SMALL, progress=StopsAfter(2))
    sent = files(place)
    assert sorted(sent) == sorted(name for name in small if re.match(r"shards/0000[01]\.", name))
    collected(place, **SMALL)
    assert files(place) == small


def test_other_inputs_and_settings_are_refused_and_the_store_stays(small):
    place = fresh()
    collected(place, **SMALL)
    with pytest.raises(FingerprintError, match=r"holds another collection \(dtype was float16, is float32\)"):
        collected(place, **SMALL, dtype="float32")
    with pytest.raises(FingerprintError, match="was made from other inputs than documents"):
        collected(place, **{**SMALL, "texts": TEXTS[1:5]})
    assert files(place) == small
    unfinished = fresh()
    with pytest.raises(Interrupted):
        collected(unfinished, **SMALL, progress=StopsAfter(1))
    with pytest.raises(FingerprintError, match="was made from other inputs than documents"):
        collected(unfinished, **SMALL, dtype="float32")  # no manifest yet: the shard itself tells


def test_what_is_no_store_is_left_alone():
    place = fresh()
    (place / "thesis.tex").write_bytes(b"years of work")
    with pytest.raises(StoreError, match="test://bucket/s exists and is not an activation store: choose another"):
        collected(place)
    assert files(place) == {"thesis.tex": b"years of work"}


def test_everything_is_read_as_from_the_local_store(local, remote):
    for name in local.rows:
        np.testing.assert_array_equal(remote.rows[name], local.rows[name])
    count = len(local)
    choices = (slice(0, 0), slice(3, 90), slice(None), slice(None, None, -7), [5, 1, count - 1, 1], 7, [])
    for site in SITES:
        for chosen in (*choices, np.arange(count) % 3 == 0):
            assert torch.equal(remote[site][chosen], local[site][chosen]), (site, chosen)
    for one, two in zip(remote.documents(), local.documents(), strict=True):
        assert (one.text, one.tokens, one.ids.tolist()) == (two.text, two.tokens, two.ids.tolist())
    assert remote.groups.tolist() == local.groups.tolist()
    remote.check()


def test_rows_are_ranges_and_no_shard_is_read(remote):
    place = remote.path
    fs = emptied(remote)
    column = uw.open_store(place)[SITES[0]]
    assert [path.rpartition("/")[2] for path, _, _ in fs.reads] == ["store.json"]
    fs.reads.clear()
    first = column.store.manifest.shards[0].rows
    column[first - 2 : first + 3]  # across two shards
    heads = [(path, start, size) for path, start, size in fs.reads if start == 0]
    ranges = [size for _, start, size in fs.reads if start]
    assert len(heads) == 2
    assert ranges == [2 * 32 * 2, 3 * 32 * 2]
    fs.reads.clear()
    column[first - 2 : first + 3]  # the headers are known
    assert [size for _, _, size in fs.reads] == ranges
    fs.reads.clear()
    column[[0, 1]]
    assert [size for _, _, size in fs.reads] == [2 * 32 * 2]


def test_far_rows_come_in_ranges_of_their_own_and_near_ones_together(monkeypatch, remote):
    monkeypatch.setattr("unweave.activations.tensor_file.MERGED_GAP", 3 * 64)
    column = remote[SITES[0]]
    column[[0]]  # the header
    fs = emptied(remote)
    found = column[[30, 0, 3, 31, 0]]
    assert [size for _, _, size in fs.reads] == [4 * 64, 2 * 64]
    assert torch.equal(found, column[:][[30, 0, 3, 31, 0]])


def test_headers_longer_than_the_first_read_are_read_whole(monkeypatch, remote, local):
    monkeypatch.setattr("unweave.activations.tensor_file.FIRST_READ", 100)
    assert torch.equal(uw.open_store(remote.path)[SITES[2]][:9], local[SITES[2]][:9])


def test_damage_is_seen(local):
    place = fresh()
    for name, data in without_lock(local.path).items():
        (place / name).write_bytes(data)
    text = place / "shards" / "00001.text.json"
    text.write_bytes(text.read_bytes().replace(b'"id":null', b'"id":true', 1))
    store = uw.open_store(place)
    first = store.manifest.shards[0].documents
    assert store.document(first - 1).text
    with pytest.raises(StoreError, match=r"00001\.text\.json is damaged or foreign: its checksum does not fit"):
        store.document(first)
    with pytest.raises(StoreError, match=r"00001\.text\.json is damaged or foreign"):
        store.check()
    cut = place / "shards" / "00002.safetensors"
    cut.write_bytes(cut.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"00002\.safetensors has \d+ bytes, \d+ were written: it is cut or foreign"):
        uw.open_store(place)
    cut.unlink()
    with pytest.raises(StoreError, match=r"00002\.safetensors is missing"):
        uw.open_store(place)
    collected(place)
    assert files(place)["shards/00002.safetensors"] == shard_file(local.path, 2).read_bytes()


def test_a_server_that_gives_less_than_was_asked_for_is_seen(remote, monkeypatch):
    column = remote[SITES[0]]
    column[[0]]
    monkeypatch.setattr(Recording, "cat_ranges", lambda _, paths, *_ranges, **_options: [b"short"] * len(paths))
    with pytest.raises(StoreError, match=r"gave 5 bytes of activations/.* where 128 were asked for: it is cut"):
        column[0:2]


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("nope://x/y", InputError, r"nope://x/y cannot be reached \(Protocol not known: nope\): give a local path or"),
        ("s3://bucket/store", MissingPackage, "s3://bucket/store cannot be reached: Install s3fs to access S3"),
    ],
)
def test_urls_that_cannot_be_reached(url, error, message):
    for verb in (uw.open_store, uw.load, lambda one: collected(one)):
        with pytest.raises(error, match=message) as told:
            verb(url)
        assert "\n" not in str(told.value)


def test_an_empty_url_is_no_store():
    with pytest.raises(StoreError, match=r"no activation store at memory://unweave-nothing/s: there is no store\.json"):
        uw.open_store("memory://unweave-nothing/s")
    assert str(place_of("memory://unweave-nothing/s/") / "a") == "memory://unweave-nothing/s/a"
