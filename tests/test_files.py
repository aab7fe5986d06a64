"""A file's name never stands for half a file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unweave.files import file_sha256, replace_directory, write_file, write_tensors, write_text


@pytest.mark.parametrize("text", ["", "plain\n", "é\r\n\U0001f9f6\n", "a\rb"])
def test_text_is_written_as_it_is(text: str, tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", text)
    assert (tmp_path / "a.txt").read_bytes() == text.encode()
    assert file_sha256(tmp_path / "a.txt") == hashlib.sha256(text.encode()).hexdigest()
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failing_writer_leaves_the_old_file(tmp_path: Path) -> None:
    def half(temporary: Path) -> None:
        temporary.write_text("half")
        raise ValueError("in the middle")

    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(ValueError, match="in the middle"):
        write_file(tmp_path / "a.txt", half)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_name_appears_after_the_bytes_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr("unweave.files.os.fsync", lambda handle: (events.append("flush"), fsync(handle)))
    monkeypatch.setattr("unweave.files.os.replace", lambda a, b: (events.append("rename"), replace(a, b)))
    write_text(tmp_path / "a.txt", "x")
    assert events == ["flush", "rename", "flush"]


def test_tensors_are_written_and_a_place_that_cannot_be_is_an_oserror(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(3), "b": torch.ones(2, 2, dtype=torch.bfloat16)}
    write_tensors(tensors, tmp_path / "t.safetensors")
    loaded = load_file(tmp_path / "t.safetensors")
    assert {name: value.tolist() for name, value in loaded.items()} == {
        name: value.tolist() for name, value in tensors.items()
    }
    with pytest.raises(OSError, match="No such file or directory"):
        write_tensors(tensors, tmp_path / "none" / "t.safetensors")


@pytest.mark.parametrize("there", [True, False])
def test_a_directory_takes_the_place_of_another(there: bool, tmp_path: Path) -> None:
    (tmp_path / "fresh").mkdir()
    (tmp_path / "fresh" / "new").touch()
    if there:
        (tmp_path / "target").mkdir()
        (tmp_path / "target" / "old").touch()
    replace_directory(tmp_path / "fresh", tmp_path / "target")
    assert os.listdir(tmp_path) == ["target"]
    assert os.listdir(tmp_path / "target") == ["new"]
