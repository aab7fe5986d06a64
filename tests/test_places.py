"""Places: what is local, what is not, and one interface for both."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

import unweave as uw
from remote_stores import Killed, Recording, files, fresh
from unweave.errors import InputError, StoreError
from unweave.files import file_sha256, make_directory, remove_directory, write_file, write_tensors, write_text
from unweave.places import Remote, local_place, place_of, size_of, sizes_in


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("store", "store"),
        ("/a/b", "/a/b"),
        ("file:///a/b", "/a/b"),
        ("C:\\store", "C:\\store"),
        ("zoo:docs", "zoo:docs"),
    ],
)
def test_paths_and_file_urls_are_local(text, expected):
    assert place_of(text) == Path(expected) == local_place(text, "the run")


def test_urls_are_refused_where_a_directory_is_needed():
    with pytest.raises(InputError, match="memory://run is a URL: the run needs a directory of this machine, copy it"):
        local_place("memory://run", "the run")


def test_a_remote_place_answers_as_a_path_does(tmp_path):
    for place in (fresh(), tmp_path / "s"):
        make_directory(place / "sub")
        (place / "b.txt").write_bytes(b"two\nlines")
        (place / "sub" / "a.jsonl").write_bytes(b"{}")
        assert [one.name for one in sorted(place.iterdir(), key=str)] == ["b.txt", "sub"]
        assert sizes_in(place) == {"b.txt": 9}
        file = place / "b.txt"
        assert (file.suffix, file.stem, size_of(file), file.read_text()) == (".txt", "b", 9, "two\nlines")
        assert (file.exists(), file.is_file(), file.is_dir(), (place / "sub").is_dir()) == (True, True, False, True)
        with file.open(encoding="utf-8") as stream:
            assert list(stream) == ["two\n", "lines"]
        assert file_sha256(file) == hashlib.sha256(b"two\nlines").hexdigest()
        file.unlink()
        file.unlink(missing_ok=True)
        with pytest.raises(FileNotFoundError):
            file.unlink()
        remove_directory(place)
        remove_directory(place)
        assert (place.exists(), sizes_in(place)) == (False, {})


def test_files_are_written_with_their_size_and_checksum(tmp_path):
    tensors = {"a": torch.arange(6.0)}
    for place in (fresh(), tmp_path):
        written = write_file(place / "t.safetensors", lambda file: write_tensors(tensors, file))
        data = (place / "t.safetensors").read_bytes()
        assert (written.bytes, written.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert torch.equal(load(data)["a"], tensors["a"])
        assert write_text(place / "a.txt", "é\n").bytes == 3


def test_long_remote_files_are_read_in_pieces(monkeypatch):
    monkeypatch.setattr("unweave.files.PIECE", 10)
    place = fresh() / "long"
    place.write_bytes(bytes(range(95)))
    place.fs.reads.clear()
    assert file_sha256(place) == hashlib.sha256(bytes(range(95))).hexdigest()
    assert max(size for *_, size in place.fs.reads) == 10


def direction(seed: int) -> uw.Direction:
    return uw.Direction(vector=torch.randn(5, generator=torch.Generator().manual_seed(seed)), site="embed")


def test_artifacts_behind_urls_have_the_bytes_of_local_ones(tmp_path):
    place = fresh()
    assert uw.save(direction(0), place) is place
    uw.save(direction(0), tmp_path / "a")
    assert files(place) == {file.name: file.read_bytes() for file in (tmp_path / "a").iterdir()}
    assert torch.equal(uw.load(place).vector, direction(0).vector)
    uw.save(direction(1), place)
    assert torch.equal(uw.load(place).vector, direction(1).vector)


def test_artifact_urls_work_through_the_public_verbs(tmp_path):
    for url in ("memory://unweave-test-artifact/a", f"file://{tmp_path}/a"):
        uw.save(direction(2), url)
        assert torch.equal(uw.load(url).vector, direction(2).vector)
    assert (tmp_path / "a" / "artifact.json").exists()


@pytest.mark.parametrize("broken", [False, True], ids=["before", "halfway"])
def test_an_artifact_killed_at_any_step_is_the_old_one_or_none(broken):
    steps = 0
    while True:
        place = fresh()
        uw.save(direction(0), place)
        place.fs.writes.clear()
        place.fs.fail_at, place.fs.broken_write = steps, broken
        try:
            uw.save(direction(1), place)
        except Killed:
            pass
        else:
            break
        place.fs.fail_at = None
        try:
            assert torch.equal(uw.load(place).vector, direction(0).vector)
            assert steps == 0
        except StoreError as error:
            assert "no artifact at" in str(error) or "is damaged" in str(error)  # noqa: PT017 - either may come
        uw.save(direction(1), place)
        assert torch.equal(uw.load(place).vector, direction(1).vector)
        steps += 1
    assert steps == 5  # facts, arrays and timings away, arrays, facts


def test_what_is_no_artifact_is_left_alone_and_damage_is_seen():
    place = fresh()
    (place / "thesis.tex").write_bytes(b"years of work")
    with pytest.raises(InputError, match="test://bucket/s exists and is not an artifact: choose another path"):
        uw.save(direction(0), place)
    other = fresh()
    uw.save(direction(0), other)
    file = other / "tensors.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:-1] + b"!")
    with pytest.raises(StoreError, match=r"tensors\.safetensors is damaged: its checksum does not fit"):
        uw.load(other)
    file.write_bytes(data[:-1])
    with pytest.raises(StoreError, match=r"has \d+ bytes, \d+ were written"):
        uw.load(other)
    file.unlink()
    with pytest.raises(StoreError, match=r"is incomplete: tensors\.safetensors is missing"):
        uw.load(other)


def test_errors_of_the_other_side_are_ours(monkeypatch):
    place = fresh()
    uw.save(direction(0), place)

    def refused(*_, **__):
        raise PermissionError(13, "Forbidden")

    monkeypatch.setattr(Recording, "cat_file", refused)
    with pytest.raises(StoreError, match=r"cannot be read \(Forbidden\): give an artifact that can"):
        uw.load(place)
    monkeypatch.setattr(Recording, "put_file", refused)
    with pytest.raises(StoreError, match="cannot be written: Forbidden; choose another place"):
        uw.save(direction(1), fresh())


def test_a_remote_place_is_taken_as_it_is():
    place = fresh()
    assert place_of(place) is place
    assert isinstance(place, Remote)
