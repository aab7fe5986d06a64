"""Stores made to mislead: every claim that their files cannot hold is one line and little memory."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import unweave as uw
from memory_use import allocated
from remote_stores import fresh
from stores import SITES, TEXTS, collected, listing, shard_file
from unweave.activations.tensor_file import open_tensors
from unweave.errors import StoreError, UnweaveError
from unweave.places import Place

HUGE = 2**40


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("stores") / "s"
    collected(folder, TEXTS[:4], SITES[:2])
    return folder


@pytest.fixture(params=["local", "remote"])
def copy(request, whole, tmp_path) -> Place:
    """A copy to damage, here or behind a URL."""
    if request.param == "local":
        return Path(shutil.copytree(whole, tmp_path / "s"))
    place = fresh()
    for name, data in listing(whole).items():
        (place / name).write_bytes(data)
    return place


def rewritten(place: Place, change: Callable[[dict], None]) -> None:
    facts = json.loads((place / "store.json").read_text())
    change(facts)
    (place / "store.json").write_bytes(json.dumps(facts).encode())


def put(place: Place, name: str, data: bytes, kind: str = "tensors") -> None:
    """A file of shard 0 that the manifest believes in: size and checksum fit."""
    (place / "shards" / name).write_bytes(data)

    def believe(facts):
        facts["shards"][0] |= {f"{kind}_bytes": len(data), f"{kind}_sha256": hashlib.sha256(data).hexdigest()}

    rewritten(place, believe)


def read_all(place: Place) -> None:
    store = uw.open_store(place)
    for site in store.sites:
        store[site][0:3]
        store[site][[0, len(store) - 1]]
    assert len(store.rows["document"]) == len(store)
    assert len(store.groups) == len(list(store.documents()))


def refused(place: Place, *, error: type[Exception] = StoreError) -> str:
    with allocated() as peak, pytest.raises(error) as told:
        read_all(place)
    assert peak() < 10 << 20
    assert "\n" not in str(told.value)
    return str(told.value)


CLAIMS = {
    "2^40 rows": lambda facts: facts["shards"][0].update(rows=HUGE),
    "2^40 documents": lambda facts: facts["shards"][1].update(documents=HUGE),
    "rows below zero": lambda facts: facts["shards"][0].update(rows=-1),
    "2^40 columns": lambda facts: facts["collection"]["sites"].update({SITES[0]: HUGE}),
    "no columns": lambda facts: facts["collection"]["sites"].update({SITES[0]: 0}),
    "another width": lambda facts: facts["collection"]["sites"].update({SITES[0]: 31}),
    "another dtype": lambda facts: facts["collection"].update(dtype="bfloat16"),
    "eight bits": lambda facts: facts["collection"].update(dtype="uint8"),
    "a site that is not there": lambda facts: facts["collection"]["sites"].update({"blocks.0.ln1": 1}),
    "a site that climbs": lambda facts: facts["collection"]["sites"].update({"../../etc/passwd": 1}),
    "an index that climbs": lambda facts: facts["shards"][0].update(index="../../etc/passwd"),
    "an index below zero": lambda facts: facts["shards"][0].update(index=-1),
    "shards in another order": lambda facts: facts["shards"].reverse(),
    "the same shard twice": lambda facts: facts["shards"].insert(1, facts["shards"][0]),
    "more shards": lambda facts: facts["shards"].append(facts["shards"][0] | {"index": len(facts["shards"])}),
    "shards that are none": lambda facts: facts.update(shards=[[]]),
    "a path for shards": lambda facts: facts.update(shards="../other"),
    "one row less": lambda facts: facts["shards"][0].update(rows=facts["shards"][0]["rows"] - 1),
    "one document more": lambda facts: facts["shards"][0].update(documents=facts["shards"][0]["documents"] + 1),
    "an unknown key": lambda facts: facts.update(exec="rm"),
    "a newer schema": lambda facts: facts.update(schema_version=2),
    "text for a size": lambda facts: facts["shards"][0].update(text_bytes="many"),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_manifests_that_claim_what_is_not_there(copy, name):
    rewritten(copy, CLAIMS[name])
    refused(copy)


def header(data: bytes) -> tuple[dict, bytes]:
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def packed(facts: object, body: bytes) -> bytes:
    text = json.dumps(facts).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry_with(**changes: object) -> Callable[[dict], object]:
    def change(facts: dict) -> object:
        facts[f"activations/{SITES[0]}"] |= changes
        return facts

    return change


def without(name: str) -> Callable[[dict], object]:
    return lambda facts: {key: value for key, value in facts.items() if key != name}


HEADERS = {
    "2^40 elements": entry_with(shape=[HUGE, 32], data_offsets=[0, HUGE * 64]),
    "2^40 elements in few bytes": entry_with(shape=[HUGE, 32]),
    "an end behind the file": entry_with(data_offsets=[0, HUGE]),
    "a begin before it": entry_with(data_offsets=[-64, 0]),
    "another dtype": entry_with(dtype="BF16"),
    "a dtype that is none": entry_with(dtype="F3"),
    "a shape that is none": entry_with(shape={"rows": 3}),
    "truth for a size": entry_with(shape=[True, 32]),
    "nothing": lambda _: {},
    "a list": lambda _: [],
    "no rows": without("rows/document"),
    "no ends": without("documents/ends"),
    "no ids": without("documents/ids"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_claim_what_is_not_there(copy, name):
    facts, body = header((copy / "shards" / "00000.safetensors").read_bytes())
    put(copy, "00000.safetensors", packed(HEADERS[name](facts), body))
    refused(copy)


@pytest.mark.parametrize("length", [HUGE, 2**64 - 1, 10**6])
def test_headers_longer_than_the_file(copy, length):
    data = (copy / "shards" / "00000.safetensors").read_bytes()
    put(copy, "00000.safetensors", struct.pack("<Q", length) + data[8:])
    assert f"claims a header of {length} bytes" in refused(copy)


TEXT_FILES = {
    "nothing": b"",
    "no JSON": b"{",
    "deep": b"[" * 200_000,
    "a list": b"[]",
    "no tokens": b'{"documents": []}',
    "fewer documents": b'{"documents": [], "tokens": {}}',
    "documents that are none": b'{"documents": [1, 2, 3], "tokens": {}}',
    "tokens that are none": b'{"documents": [], "tokens": []}',
    "not UTF-8": b"\xff\xfe",
    "a number of many digits": b"9" * 10_000,
}


@pytest.mark.parametrize("name", TEXT_FILES)
def test_text_files_that_are_none(copy, name):
    put(copy, "00000.text.json", TEXT_FILES[name], "text")
    refused(copy)


@pytest.mark.parametrize("kind", ["deep", "digits", "latin", "null"])
def test_manifests_that_are_none(copy, kind):
    data = {"deep": b"[" * 200_000, "digits": b"9" * 10_000, "latin": b"\xe9", "null": b"null"}[kind]
    (copy / "store.json").write_bytes(data)
    refused(copy)


def test_a_shard_cut_at_any_byte_of_its_header_and_some_of_its_values(copy):
    data = (copy / "shards" / "00000.safetensors").read_bytes()
    length = 8 + struct.unpack("<Q", data[:8])[0]
    generator = random.Random(0)
    places = [*range(0, length, 7), length, *(generator.randrange(length, len(data)) for _ in range(20)), len(data) - 1]
    place = copy / "shards" / "00000.safetensors"
    for cut in places:
        place.write_bytes(data[:cut])
        with pytest.raises(StoreError):
            open_tensors(place)
    with pytest.raises(StoreError, match=r"00000\.safetensors has \d+ bytes, \d+ were written"):
        uw.open_store(copy)


def test_a_manifest_cut_at_any_byte(copy):
    data = (copy / "store.json").read_bytes()
    for cut in range(0, len(data.rstrip()), 13):
        (copy / "store.json").write_bytes(data[:cut])
        with pytest.raises(StoreError) as told:
            uw.open_store(copy)
        assert "\n" not in str(told.value)


def test_flipped_bits_are_seen_or_change_nothing(whole, tmp_path):
    """Any bit of any file: an error of ours, or the same rows as before."""
    folder = Path(shutil.copytree(whole, tmp_path / "s"))
    good = uw.open_store(whole)[SITES[0]][:]
    generator = random.Random(1)
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.stat().st_size]
    for _ in range(60):
        file = generator.choice(files)
        data = file.read_bytes()
        spoilt = bytearray(data)
        spoilt[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        file.write_bytes(spoilt)
        try:
            store = uw.open_store(folder)
            list(store.documents())
            assert store[SITES[0]][:].equal(good)
        except UnweaveError as error:
            assert "\n" not in str(error)  # noqa: PT017 - either may come
        file.write_bytes(data)
    assert shard_file(folder, 0).read_bytes() == shard_file(whole, 0).read_bytes()
