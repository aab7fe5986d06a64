"""Directories of SAELens and sparsify that are cut, boast or are none: one line, and little memory."""

from __future__ import annotations

import json
import shutil
import struct

import pytest
import torch
from safetensors.torch import save_file

from memory_use import allocated
from unweave.errors import InputError
from unweave.features.foreign import load_saelens, load_sparsify

D, K, HUGE = 2, 3, 2**40
FORMATS = {
    "saelens": (
        load_saelens, "sae_weights.safetensors", {"W_enc": (D, K), "W_dec": (K, D), "b_enc": (K,), "b_dec": (D,)},
        {"architecture": "topk", "d_in": D, "d_sae": K, "k": 2, "apply_b_dec_to_input": True},
    ),
    "sparsify": (
        load_sparsify, "sae.safetensors",
        {"encoder.weight": (K, D), "encoder.bias": (K,), "W_dec": (K, D), "b_dec": (D,)},
        {"d_in": D, "num_latents": K, "k": 2},
    ),
}  # fmt: skip
"""Name -> reader, file of the weights, their shapes, configuration."""


@pytest.fixture(params=FORMATS)
def dictionary(request, tmp_path):
    """(reader, directory, file of the weights, configuration)."""
    read, weights, shapes, config = FORMATS[request.param]
    save_file({name: torch.ones(shape) for name, shape in shapes.items()}, tmp_path / weights)
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    assert read(tmp_path).featurizer.width == D
    return read, tmp_path, tmp_path / weights, config


def refused(read, folder):
    """Raises unless the directory is refused in one line."""
    with pytest.raises(InputError) as told:
        read(folder)
    assert "\n" not in str(told.value)


def test_weights_cut_anywhere(dictionary):
    read, folder, weights, _ = dictionary
    whole = weights.read_bytes()
    with allocated() as peak:
        for cut in (*range(0, len(whole), 7), *range(10), len(whole) - 1):
            weights.write_bytes(whole[:cut])
            refused(read, folder)
    assert peak() < 10e6


def test_headers_that_claim_more_than_is_there(dictionary):
    read, folder, weights, _ = dictionary
    whole = weights.read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    header, data = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    boasts = [{**header, name: change} for name, entry in header.items() for change in _boasts(entry)]
    with allocated() as peak:
        for boast in boasts:
            text = json.dumps(boast).encode()
            weights.write_bytes(struct.pack("<Q", len(text)) + text + data)
            refused(read, folder)
        for claim in (HUGE, 2**64 - 1, length + len(data) + 1):
            weights.write_bytes(struct.pack("<Q", claim) + whole[8:])
            refused(read, folder)
    assert peak() < 10e6


def _boasts(entry):
    """An entry of a header, changed so that it is none."""
    first, last = entry["data_offsets"]
    return [
        None, [], HUGE, {"dtype": "F32"}, {**entry, "shape": [HUGE]}, {**entry, "shape": [HUGE] * 400},
        {**entry, "shape": [-1]}, {**entry, "shape": [1.5]}, {**entry, "shape": None}, {**entry, "dtype": "I64"},
        {**entry, "dtype": ["F32"]}, {**entry, "data_offsets": [first, first + HUGE]},
        {**entry, "data_offsets": [last, first]}, {**entry, "data_offsets": [first]},
        {**entry, "shape": [HUGE], "data_offsets": [first, first + 4 * HUGE]},
    ]  # fmt: skip


def test_configurations_that_are_none(dictionary):
    read, folder, _, config = dictionary
    file = folder / "cfg.json"
    wrong = [
        b"", b"null", b"[1]", b'"text"', b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 5_000, b'{"a": ' * 20_000,
        b"[" + b"{}," * 3_000_000 + b"1]",
    ]  # fmt: skip
    for name in ("d_in", "k", "d_sae", "num_latents"):
        values = (HUGE, 0, -1, 1.5, "3", [3], {}, True, None)
        wrong += [json.dumps({**config, name: value}).encode() for value in values if name in config]
    with allocated() as peak:
        for data in wrong:
            file.write_bytes(data)
            try:
                read(folder)
            except InputError as error:
                assert "\n" not in str(error)  # noqa: PT017 - some of them may be read: a k beyond the latents is theirs
            else:
                assert b'"k": 1099511627776' in data
    assert peak() < 10e6


def test_what_is_no_file(dictionary):
    read, folder, weights, _ = dictionary
    weights.unlink()
    refused(read, folder)
    weights.mkdir()
    refused(read, folder)
    shutil.rmtree(weights)
    (folder / "cfg.json").unlink()
    (folder / "cfg.json").mkdir()
    refused(read, folder)
    refused(read, folder / "cfg.json" / "deeper")
