"""Arrays that grow by pieces and go to the disk when they are large.

The file has no name (it is removed as it is opened): an interrupted run leaves nothing behind that could be taken for
whole, and what is read back is mapped, not loaded.
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np

from unweave.errors import StoreError

BUDGET = 256 * 2**20
"""Bytes of one array that are held in memory."""


class Growing:
    """One long array, given piece by piece."""

    def __init__(self, dtype: Any, budget: int | None = None) -> None:
        """Nothing yet.

        Args:
            dtype: Of the array.
            budget: Bytes that are held in memory; None is 256 MiB.
        """
        self._dtype, self._budget = np.dtype(dtype), BUDGET if budget is None else budget
        self._parts: list[np.ndarray] = []
        self._held = self._size = 0
        self._file: Any = None

    @property
    def is_on_disk(self) -> bool:
        """Whether the budget was passed."""
        return self._file is not None

    def add(self, part: np.ndarray) -> None:
        """Puts a piece at the end.

        Raises:
            StoreError: The disk is full.
        """
        self._parts.append(np.ascontiguousarray(part, dtype=self._dtype))
        self._held += self._parts[-1].nbytes
        self._size += len(part)
        if self._held > self._budget:
            self._write()

    def whole(self) -> np.ndarray:
        """The array, to which nothing is added any more; a read-only map of the file where it is on the disk.

        Raises:
            StoreError: The disk is full.
        """
        if self._file is None:
            return np.concatenate(self._parts) if self._parts else np.zeros(0, dtype=self._dtype)
        self._write()
        found = np.memmap(self._file, dtype=self._dtype, mode="r", shape=(self._size,))
        self._file.close()  # the map keeps what it shows
        return found

    def __del__(self) -> None:
        """Closes the file of an array that was not finished."""
        if self._file is not None:
            self._file.close()

    def _write(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="unweave-")  # noqa: SIM115 - lives as long as its map
            for part in self._parts:
                self._file.write(part.data)
            self._file.flush()
        except OSError as error:
            raise StoreError(
                f"{self._size * self._dtype.itemsize:,} bytes of bags do not fit on the disk of {tempfile.gettempdir()}"
                f" ({error.strerror or error}): make room there, or set TMPDIR to a larger place"
            ) from error
        self._parts.clear()
        self._held = 0
