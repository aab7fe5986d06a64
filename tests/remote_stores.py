"""File systems behind URLs, for tests: one in memory that writes down what it is asked, and can fail at a step."""

from __future__ import annotations

import itertools

from fsspec.implementations.memory import MemoryFileSystem

from unweave.places import Remote

_numbers = itertools.count()


class Recording(MemoryFileSystem):
    """A file system of its own in memory that counts what it gives out."""

    cachable = False

    def __init__(self, *, fail_at: int | None = None) -> None:
        super().__init__()
        self.store, self.pseudo_dirs = {}, [""]  # of this instance, not of all
        self.reads: list[tuple[str, int, int]] = []
        """(path, first byte, bytes) of everything that was read."""
        self.writes: list[str] = []
        self.fail_at, self.broken_write = fail_at, False

    def cat_file(self, path, start=None, end=None, **kwargs):
        data = super().cat_file(path, start=start, end=end, **kwargs)
        self.reads.append((path, start or 0, len(data)))
        return data

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        self.stop_here(path, value)
        super().pipe_file(path, value, mode=mode, **kwargs)

    def put_file(self, lpath, rpath, *args, **kwargs):
        with open(lpath, "rb") as file:
            self.stop_here(rpath, file.read())
        super().put_file(lpath, rpath, *args, **kwargs)

    def rm_file(self, path):
        self.stop_here(f"remove {path}", b"")
        super().rm_file(path)

    def rm(self, path, recursive=False, maxdepth=None):
        self.stop_here(f"remove {path}", b"")
        super().rm(path, recursive=recursive, maxdepth=maxdepth)

    def stop_here(self, path, value) -> None:
        """Dies at the step that was asked for, as a killed process does; the file may be half there."""
        if self.fail_at == len(self.writes):
            if self.broken_write and not path.startswith("remove"):
                super().pipe_file(path, value[: len(value) // 2])
            raise Killed(path)
        self.writes.append(path.rpartition("/s/")[2])


class Killed(BaseException):
    """What no handler of errors catches: the process is gone."""


def fresh(fs: Recording | None = None) -> Remote:
    """A place in a file system of its own."""
    return Remote(fs or Recording(), f"/bucket{next(_numbers)}/s", "test://bucket/s")


def files(place: Remote) -> dict[str, bytes]:
    """Every file with its bytes, by name inside the place."""
    return {
        path.removeprefix(f"{place.path}/"): MemoryFileSystem.cat_file(place.fs, path)
        for path in sorted(place.fs.find(place.path))
    }
