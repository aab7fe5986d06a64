"""Damaged stores: what reading says, and that collecting again mends exactly what is broken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import stores
import tiny
import unweave as uw
from stores import SITES, TEXTS, collected, listing, shard_file
from unweave.activations.collect import Collected, CollectOptions, run_collection
from unweave.activations.layout import read_manifest
from unweave.activations.store import ActivationStore
from unweave.errors import StoreError

BROKEN = 2
"""The shard that the tests damage."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """An undamaged store."""
    folder = tmp_path_factory.mktemp("stores") / "whole"
    collected(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    """A copy of it, to damage."""
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def again(folder: Path) -> Collected:
    """The same collection once more."""
    options = CollectOptions(context=stores.CONTEXT, shard_rows=stores.SHARD_ROWS, batch_tokens=48)
    return run_collection(stores.model_of(), TEXTS, list(SITES), folder, options, workers=2)


def remove(kind: str) -> Callable[[Path], None]:
    return lambda folder: shard_file(folder, BROKEN, kind).unlink()


def cut(kind: str, keep: float) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = shard_file(folder, BROKEN, kind)
        file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])

    return damage


def flip(kind: str, place: float) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = shard_file(folder, BROKEN, kind)
        data = bytearray(file.read_bytes())
        data[int(place * (len(data) - 1))] ^= 16
        file.write_bytes(data)

    return damage


def swap(*kinds: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for kind in kinds:
            first, second = shard_file(folder, BROKEN, kind), shard_file(folder, BROKEN + 1, kind)
            spare = first.read_bytes()
            first.write_bytes(second.read_bytes())
            second.write_bytes(spare)

    return damage


def foreign(folder: Path) -> None:
    """A shard of the same shape from another model."""
    other = folder.parent / "other"
    collected(other, model=tiny.text_model(seed=5))
    shutil.copy(shard_file(other, BROKEN), shard_file(folder, BROKEN))


def entry(text: str) -> Callable[[Path], None]:
    return lambda folder: shard_file(folder, BROKEN, "json").write_text(text, encoding="utf-8")


def replaced(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new)


def entry_of_another(folder: Path) -> None:
    shutil.copy(shard_file(folder, 0, "json"), shard_file(folder, BROKEN, "json"))


SEEN_WHEN_OPENED = {
    "tensors missing": (remove("safetensors"), "safetensors is missing: "),
    "text missing": (remove("text.json"), "text.json is missing: "),
    "cut in half": (cut("safetensors", 0.5), r"safetensors has \d+ bytes, \d+ were written: it is cut or foreign; "),
    "cut to nothing": (cut("safetensors", 0), "safetensors has 0 bytes, "),
    "text cut": (cut("text.json", 0.9), r"text\.json has \d+ bytes, \d+ were written"),
}
SEEN_AT_FIRST_TOUCH = {
    "bit of a value": (flip("safetensors", 0.9), "safetensors is damaged or foreign: its checksum does not fit; "),
    "bit of the last byte": (flip("safetensors", 1), "safetensors is damaged or foreign: "),
    "bit of the header": (flip("safetensors", 0.01), "safetensors is damaged or foreign: "),
    "bit of the length": (flip("safetensors", 0), "safetensors is damaged or foreign: "),
    "bit of the text": (flip("text.json", 0.5), r"text\.json is damaged or foreign: its checksum does not fit; "),
    "foreign": (foreign, "safetensors is damaged or foreign: "),
}
ONLY_COLLECT_CARES = {
    "entry missing": (remove("json"), 1),
    "entry cut": (cut("json", 0.5), 1),
    "entry empty": (entry(""), 1),
    "entry of another kind": (entry("[1, 2]"), 1),
    "entry with another key": (entry('{"indices": 2}'), 1),
    "entry of another shard": (entry_of_another, 1),
    "entry not text": (lambda folder: shard_file(folder, BROKEN, "json").write_bytes(b"\xff\xfe"), 1),
    "two entries swapped": (swap("json"), 2),
}
SWAPPED = {
    "two shards swapped": swap("safetensors"),
    "swapped with their entries": swap("safetensors", "text.json", "json"),
}
MENDED = (
    {name: (damage, 1) for name, (damage, _) in {**SEEN_WHEN_OPENED, **SEEN_AT_FIRST_TOUCH}.items()}
    | ONLY_COLLECT_CARES
    | {name: (damage, 2) for name, damage in SWAPPED.items()}
)


@pytest.mark.parametrize("name", MENDED)
def test_collecting_again_mends_what_is_damaged_and_only_that(whole, folder, name):
    damage, shards = MENDED[name]
    damage(folder)
    others = [index for index in range(len(read_manifest(whole).shards)) if not BROKEN <= index < BROKEN + shards]
    kept = {file: file.stat().st_mtime_ns for index in others for file in [shard_file(folder, index)]}
    done = again(folder)
    assert (done.made, done.reused) == (shards, len(others))
    assert listing(folder) == listing(whole)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    done.store.check()


@pytest.mark.parametrize("name", SEEN_WHEN_OPENED)
@pytest.mark.parametrize("verify", [True, False])
def test_missing_and_cut_files_are_seen_when_the_store_is_opened(folder, name, verify):
    damage, message = SEEN_WHEN_OPENED[name]
    damage(folder)
    with pytest.raises(StoreError, match=rf"/shards/0000{BROKEN}\.{message}") as error:
        uw.open_store(folder, verify=verify)
    assert str(error.value).endswith(
        "collect again with the same arguments, which replaces that shard and keeps the others"
    )


def test_swapped_shards_are_seen_when_opened(folder):
    swap("safetensors")(folder)
    with pytest.raises(
        StoreError, match=rf"0000{BROKEN}\.safetensors has \d+ bytes, \d+ were written: it is cut or for"
    ):
        uw.open_store(folder)


@pytest.mark.parametrize("name", SEEN_AT_FIRST_TOUCH)
def test_other_damage_is_seen_before_the_first_row_of_the_shard_is_given_out(whole, folder, name):
    damage, message = SEEN_AT_FIRST_TOUCH[name]
    damage(folder)
    store = uw.open_store(folder)
    column, good = store[SITES[0]], uw.open_store(whole)[SITES[0]]
    first = sum(shard.rows for shard in store.manifest.shards[:BROKEN])
    last = first + store.manifest.shards[BROKEN].rows
    assert torch.equal(column[:first], good[:first])
    assert torch.equal(column[last:], good[last:])
    assert torch.equal(column[[0, -1, first - 1, last]], good[[0, -1, first - 1, last]])
    readers = (lambda: column[first - 1 : first + 1], lambda: column[[last - 1]], lambda: store.rows, store.check)
    for read in readers:
        with pytest.raises(StoreError, match=rf"/shards/0000{BROKEN}\.{message}"):
            read()


def test_documents_of_a_damaged_text_file_are_not_given_out(folder):
    flip("text.json", 0.5)(folder)
    store = uw.open_store(folder)
    first = sum(shard.documents for shard in store.manifest.shards[:BROKEN])
    assert store.document(first - 1).text == TEXTS[first - 1]
    with pytest.raises(StoreError, match=r"text\.json is damaged or foreign"):
        store.document(first)


def test_good_shards_of_a_store_that_does_not_open_can_be_read_one_by_one(whole, folder):
    remove("safetensors")(folder)
    good = uw.open_store(whole)[SITES[0]]
    assert torch.equal(
        load_file(shard_file(folder, 0))[f"activations/{SITES[0]}"], good[: read_manifest(whole).shards[0].rows]
    )
    parts = ActivationStore(path=folder, manifest=read_manifest(folder))
    first = sum(shard.rows for shard in parts.manifest.shards[:BROKEN])
    assert torch.equal(parts[SITES[0]][:first], good[:first])
    with pytest.raises(StoreError, match=rf"0000{BROKEN}\.safetensors is missing: collect again"):
        parts[SITES[0]][: first + 1]


def test_without_verification_only_sizes_are_compared(folder):
    flip("safetensors", 0.9)(folder)
    store = uw.open_store(folder, verify=False)
    assert store[SITES[0]][:].shape == (len(store), 32)
    with pytest.raises(StoreError, match="its checksum does not fit"):
        store.check()


def test_without_verification_a_broken_header_is_still_our_error(folder):
    flip("safetensors", 0)(folder)
    with pytest.raises(
        StoreError, match=rf"0000{BROKEN}\.safetensors cannot be opened \(.*\): collect again with the same"
    ):
        uw.open_store(folder, verify=False)[SITES[0]][:]


def test_a_store_that_is_not_there_or_not_finished_says_so(tmp_path, folder):
    with pytest.raises(
        StoreError, match=r"no activation store at .*nowhere: there is no store\.json; collect one with"
    ):
        uw.open_store(tmp_path / "nowhere")
    facts = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps({**facts, "complete": False, "shards": []}))
    with pytest.raises(
        StoreError, match=r"copy is not finished: run the same `unweave collect` \(or uw\.collect\) again, it"
    ):
        uw.open_store(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], r"store\.json is damaged \(.*\): delete it and collect again"),
        (lambda text: text[:0], r"store\.json is damaged \(.*\): delete it and collect again"),
        (replaced('"schema_version": 1', '"schema_version": 2'), "has schema 2, this version reads 1: update unweave"),
        (lambda text: f"[{text}]", "has schema list, this version reads 1: update unweave or collect again"),
        (replaced('"dtype"', '"dtyqe"'), r"unknown key 'collection\.dtyqe'.*the file is damaged or foreign"),
        (replaced('"float16"', '"float1!"'), r"collection\.dtype: input should be .*the file is damaged or foreign"),
    ],
    ids=["cut", "empty", "schema", "list", "key", "value"],
)
def test_a_damaged_manifest_is_named_by_reading_and_collecting(whole, folder, change, message):
    file = folder / "store.json"
    file.write_text(change(file.read_text()))
    for verb in (uw.open_store, again):
        with pytest.raises(StoreError, match=message):
            verb(folder)
    # what the message advises
    file.unlink()
    done = again(folder)
    assert done.made == 0
    assert listing(folder) == listing(whole)


def test_all_files_lost_but_the_manifest(whole, folder):
    shutil.rmtree(folder / "shards")
    done = again(folder)
    assert (done.made, done.reused) == (len(read_manifest(whole).shards), 0)
    assert listing(folder) == listing(whole)


def test_what_is_mended_is_logged(folder, caplog):
    flip("safetensors", 0.9)(folder)
    with caplog.at_level("WARNING", logger="unweave"):
        again(folder)
    assert f"shard {BROKEN} is made again: " in caplog.text
    assert "its checksum does not fit" in caplog.text
