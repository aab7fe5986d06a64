"""`Place`: where a file or directory is, on this machine or behind a URL, with one interface for both.

A local place is a `pathlib.Path`, so that what is local stays memory-mapped and as fast as it was. Anything else is a
`Remote`: the part of pathlib's interface that the library uses, on top of fsspec. `file://` URLs are local.

    place_of("runs/store")          Path
    place_of("file:///data/store")  Path
    place_of("s3://bucket/store")   Remote
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from unweave.errors import InputError, MissingPackage

PIECE = 1 << 22
"""Bytes that are held when a remote file is read from end to end."""


@dataclass(frozen=True, eq=False)
class Remote:
    """A file or directory of an fsspec file system.

    Example:
        >>> file = place_of("memory://example/a.txt")
        >>> file.write_bytes(b"text")
        >>> file.name, file.size(), file.read_bytes(1, 3)
        ('a.txt', 4, b'ex')
    """

    fs: Any
    path: str
    url: str
    """As it was asked for, for messages."""

    def __truediv__(self, name: str) -> Remote:
        """What has this name inside it."""
        return Remote(self.fs, f"{self.path.rstrip('/')}/{name}", f"{self.url.rstrip('/')}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.path).name

    @property
    def suffix(self) -> str:
        """The ending of the name, with its dot."""
        return PurePosixPath(self.path).suffix

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return PurePosixPath(self.path).stem

    def exists(self) -> bool:
        """Whether anything is there."""
        return bool(self.fs.exists(self.path))

    def is_file(self) -> bool:
        """Whether it is a file."""
        return bool(self.fs.isfile(self.path))

    def is_dir(self) -> bool:
        """Whether it is a directory, or the beginning of the names of some objects."""
        return bool(self.fs.isdir(self.path))

    def iterdir(self) -> list[Remote]:
        """What is inside, in order of names; nothing if it is not there."""
        return [self / name for name in sorted(self._listing())]

    def sizes(self) -> dict[str, int]:
        """Name -> bytes of the files inside, in one request."""
        return {name: int(facts["size"] or 0) for name, facts in self._listing().items() if facts["type"] == "file"}

    def _listing(self) -> dict[str, Any]:
        try:
            found = self.fs.ls(self.path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        named = {PurePosixPath(facts["name"].rstrip("/")).name: facts for facts in found}
        return {name: facts for name, facts in named.items() if name != self.name or facts["type"] != "directory"}

    def size(self) -> int:
        """Bytes of the file."""
        return int(self.fs.info(self.path)["size"] or 0)

    def read_bytes(self, start: int | None = None, stop: int | None = None) -> bytes:
        """The bytes of the file, or of a range of it."""
        return bytes(self.fs.cat_file(self.path, start=start, end=stop))

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of several ranges, asked for together."""
        starts, stops = [start for start, _ in ranges], [stop for _, stop in ranges]
        found = self.fs.cat_ranges([self.path] * len(ranges), starts, stops, on_error="raise")
        return [bytes(one) for one in found]

    def read_text(self, encoding: str = "utf-8") -> str:
        """The text of the file."""
        return self.read_bytes().decode(encoding)

    def open(self, mode: str = "r", *, encoding: str | None = None, newline: str | None = None) -> Any:
        """The file as a stream, for reading."""
        binary = self.fs.open(self.path, "rb")
        return binary if "b" in mode else io.TextIOWrapper(binary, encoding=encoding, newline=newline)

    def write_bytes(self, data: bytes) -> None:
        """Makes the file in one request."""
        self.fs.pipe_file(self.path, data)

    def upload(self, file: Path) -> None:
        """Makes it a copy of a local file."""
        self.fs.put_file(str(file), self.path)

    def mkdir(self) -> None:
        """Makes the directory and those around it, where the file system has such things."""
        self.fs.makedirs(self.path, exist_ok=True)

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Removes the file."""
        try:
            self.fs.rm_file(self.path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove_tree(self) -> None:
        """Removes the directory with all that is in it; nothing if it is not there."""
        if self.fs.exists(self.path):
            self.fs.rm(self.path, recursive=True)

    def __str__(self) -> str:
        """The URL."""
        return self.url


Place = Path | Remote


def place_of(path: str | os.PathLike[str] | Remote) -> Place:
    """Where a path or URL points.

    Raises:
        MissingPackage: A URL whose protocol needs a package that is not installed.
        InputError: A URL of a protocol that nobody knows.

    Example:
        >>> place_of("store"), place_of("file:///data/store")
        (PosixPath('store'), PosixPath('/data/store'))
    """
    if isinstance(path, Remote):
        return path
    text = os.fspath(path)
    if not is_url(text):
        return Path(text)
    import fsspec

    try:
        fs, inside = fsspec.url_to_fs(text)
    except ImportError as error:
        raise MissingPackage(f"{text} cannot be reached: {_one_line(error)}") from error
    except ValueError as error:
        raise InputError(f"{text} cannot be reached ({_one_line(error)}): give a local path or a known URL") from error
    if "file" in ([fs.protocol] if isinstance(fs.protocol, str) else fs.protocol):
        return Path(inside)
    return Remote(fs, inside, text)


def local_place(path: str | os.PathLike[str], what: str) -> Path:
    """The path of what has to be on this machine.

    Args:
        path: A path, or a `file://` URL.
        what: What is written or read there, for the message.

    Raises:
        InputError: It is somewhere else.

    Example:
        >>> local_place("file:///data/run", "the run")
        PosixPath('/data/run')
    """
    if is_url(os.fspath(path)):
        place = place_of(path)
        if isinstance(place, Remote):
            raise InputError(f"{place} is a URL: {what} needs a directory of this machine, copy it there afterwards")
        return place
    return Path(path)


def is_url(text: str) -> bool:
    """Whether it names a protocol: `s3://bucket/store`."""
    return "://" in text


def size_of(file: Place) -> int:
    """Bytes of a file.

    Raises:
        OSError: It is not there.
    """
    return file.size() if isinstance(file, Remote) else file.stat().st_size


def sizes_in(folder: Place) -> dict[str, int]:
    """Name -> bytes of the files in a directory; nothing if it is not there."""
    if isinstance(folder, Remote):
        return folder.sizes()
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return {}


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
