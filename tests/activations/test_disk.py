"""The directory of a store: what may stand there, one writer at a time, full disks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

import stores
from stores import TEXTS, StopsAfter, begun, collected, listing
from unweave.errors import StoreError


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """The files of an undisturbed collection."""
    folder = tmp_path_factory.mktemp("stores") / "whole"
    collected(folder)
    return listing(folder)


@pytest.mark.parametrize("resume", [True, False])
def test_what_is_no_store_is_left_alone(tmp_path, resume):
    def refused(folder: Path) -> None:
        before = listing(folder) if folder.is_dir() else folder.read_bytes()
        with pytest.raises(StoreError, match=f"{folder.name} exists and is not an activation store: choose another"):
            collected(folder, resume=resume)
        assert (listing(folder) if folder.is_dir() else folder.read_bytes()) == before

    file = tmp_path / "file"
    file.write_text("a thesis")
    refused(file)
    for name, inside in {"plain": "thesis.tex", "shards": "shards/data.csv", "dot": ".bashrc"}.items():
        (tmp_path / name / inside).parent.mkdir(parents=True)
        (tmp_path / name / inside).write_text("years of work")
        refused(tmp_path / name)
    (tmp_path / "both" / "shards").mkdir(parents=True)
    (tmp_path / "both" / "store.json").write_text("{}")
    (tmp_path / "both" / "shards" / "photo.jpg").write_text("years of work")
    refused(tmp_path / "both")


def test_an_empty_directory_is_taken(tmp_path, whole):
    (tmp_path / "s").mkdir()
    collected(tmp_path / "s")
    assert listing(tmp_path / "s") == whole


def test_two_writers_in_one_process(tmp_path, whole):
    errors: list[BaseException] = []

    class SecondWriter(StopsAfter):
        def advance(self, _count: int) -> None:
            def second() -> None:
                try:
                    collected(tmp_path / "s", ["other"])
                except StoreError as error:
                    errors.append(error)

            thread = threading.Thread(target=second)
            thread.start()
            thread.join()

    collected(tmp_path / "s", progress=SecondWriter(0))
    assert {str(error) for error in errors} == {
        f"another process is writing to {tmp_path / 's'}: wait for it or choose another directory"
    }
    assert listing(tmp_path / "s") == whole


HOLDS_A_LOCK = """
import sys, filelock
lock = filelock.FileLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
input()
"""


def test_a_writer_in_another_process(tmp_path, whole):
    begun(tmp_path / "s")
    before = listing(tmp_path / "s")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS_A_LOCK, str(tmp_path / "s" / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as other:
        assert other.stdout.readline().strip() == b"held"
        with pytest.raises(StoreError, match=r"another process is writing to .*s: wait for it or choose another"):
            collected(tmp_path / "s", resume=False)
        assert listing(tmp_path / "s") == before
        other.kill()  # the kernel drops the lock of a dead process
        other.wait()
    collected(tmp_path / "s")
    assert listing(tmp_path / "s") == whole


def test_the_lock_is_given_back_after_an_error(tmp_path):
    begun(tmp_path / "s")
    with FileLock(tmp_path / "s" / ".lock", timeout=0):
        pass


def failing_fsync(monkeypatch, at: int) -> list[int]:
    """Makes the disk full at the n-th flush; returns the list that counts them."""
    real, calls = os.fsync, []

    def fsync(handle):
        calls.append(1)
        if len(calls) == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    return calls


def test_a_disk_that_is_full_at_any_moment(tmp_path, monkeypatch):
    texts = TEXTS[:5]
    with monkeypatch.context() as patch:
        moments = failing_fsync(patch, at=0)
        collected(tmp_path / "whole", texts)
    expected, finished = listing(tmp_path / "whole"), 0
    for at in range(1, len(moments) + 1):
        folder = tmp_path / f"full{at}"
        with monkeypatch.context() as patch:
            failing_fsync(patch, at)
            with pytest.raises(StoreError) as error:
                collected(folder, texts)
        assert str(error.value) == (
            f"{folder} cannot be written (No space left on device): finished shards are kept; make room and run the"
            " same command again"
        )
        assert not [name for name in listing(folder) if name.endswith(".tmp")]
        kept = {name: data for name, data in listing(folder).items() if name.startswith("shards")}
        assert kept.items() <= expected.items()
        assert len(kept) >= finished
        finished = len(kept)
        collected(folder, texts)
        assert listing(folder) == expected
    assert finished == len(expected) - 2


LIMITED = """
import resource, sys, unweave as uw
sys.path.insert(0, sys.argv[1])
import stores
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    stores.collected(sys.argv[2])
except uw.errors.StoreError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_file_that_the_system_refuses_to_let_grow(tmp_path, whole):
    """The error of safetensors itself, which is no OSError; a process of its own, because limits cannot be lifted."""
    sizes = [len(data) for name, data in whole.items() if name.endswith(".safetensors")]
    limit = max(sizes) - 1  # the largest shard does not fit, some before it do
    assert sizes.index(max(sizes)) > 0
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(Path(stores.__file__).parent), str(tmp_path / "s"), str(limit)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert "s cannot be written (" in done.stdout
    assert "File too large" in done.stdout
    assert "finished shards are kept; make room and run the same command again" in done.stdout
    kept = {name: data for name, data in listing(tmp_path / "s").items() if name.startswith("shards")}
    assert kept
    assert kept.items() <= whole.items()
    collected(tmp_path / "s")
    assert listing(tmp_path / "s") == whole
