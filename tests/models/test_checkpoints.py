"""State dicts from files: what is no whole file of tensors is one line and little memory."""

from __future__ import annotations

import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from memory_use import allocated
from unweave.errors import InputError
from unweave.models.checkpoints import read_state

HUGE = 2**40
CLAIM = json.dumps({"a": {"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 4 * HUGE]}}).encode()


@pytest.mark.parametrize("kind", ["safetensors", "pt"])
def test_tensors_come_back_and_a_file_cut_anywhere_is_one_line(tmp_path, kind):
    values = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}
    file = tmp_path / f"a.{kind}"
    save_file(values, file) if kind == "safetensors" else torch.save(values, file)
    found = read_state(file)
    assert all(torch.equal(found[name], value) for name, value in values.items())
    whole = file.read_bytes()
    with allocated() as peak:
        for cut in range(0, len(whole), 1 if kind == "safetensors" else 97):
            file.write_bytes(whole[:cut])
            with pytest.raises(InputError) as told:
                read_state(file)
            assert "\n" not in str(told.value)
    assert peak() < 10 << 20


@pytest.mark.parametrize("length", [HUGE, len(CLAIM)])
def test_a_header_that_claims_more_than_is_there_allocates_nothing(tmp_path, length):
    file = tmp_path / "a.safetensors"
    file.write_bytes(struct.pack("<Q", length) + CLAIM + bytes(64))
    with allocated() as peak, pytest.raises(InputError):
        read_state(file)
    assert peak() < 10 << 20
