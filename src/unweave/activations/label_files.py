"""Labelled features from a file of any kind that is accepted: `.jsonl`, `.csv` with the same keys, or `.npy` with one
label for each row of the store.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from unweave.activations.arrays_in import open_npy
from unweave.activations.labels import LabelledFeature, matched, read_labels
from unweave.activations.store import ActivationStore
from unweave.errors import InputError
from unweave.places import Place, local_place, place_of

NUMBERS = ("document", "start", "end", "position", "label")
"""Columns of a CSV file that become numbers where they look like one."""


def read_label_file(path: str | Path, store: ActivationStore) -> list[LabelledFeature]:
    """The features of a labels file.

    Args:
        path: `.jsonl` as `read_labels` takes it; `.csv` with its keys as columns, empty cells for what is not given;
            `.npy`, one label a row of the store: 0, 1 or booleans, -1 for negatives where there are no zeros, else
            integers that make a feature each. It is named after the file.
        store: The rows.

    Raises:
        InputError: Another kind of file, or labels that do not fit the store.

    Example:
        >>> import unweave as uw, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> store = uw.collect(uw.load_model("zoo:docs"), ["One text.", "And 2 more."], "embed", folder + "/store")
        >>> np.save(folder + "/late.npy", store.rows["position"] > 2)
        >>> read_label_file(folder + "/late.npy", store)[0].name
        'late'
    """
    file = place_of(path)
    if not file.is_file():
        raise InputError(f"no labels file at {file}: give a .jsonl, .csv or .npy file")
    if file.suffix == ".jsonl":
        return read_labels(file, store)
    if file.suffix == ".csv":
        return matched(_rows(file), f"{file}", store)
    if file.suffix == ".npy":
        return _aligned(local_place(path, "a .npy file"), store)
    raise InputError(f"{file} is a {file.suffix or 'file without suffix'}: labels come as .jsonl, .csv or .npy")


def _rows(file: Place) -> list[tuple[str, dict[str, Any]]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            records = list(csv.DictReader(stream))
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 at byte {error.start}: save it as UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{file} is no table ({error}): save it as CSV") from error
    return [
        (
            f"{file} row {number}",
            {key: _number(key, value) for key, value in record.items() if value not in (None, "")},
        )
        for number, record in enumerate(records, start=2)  # as a table shows it: the head is row 1
    ]


def _number(key: str, value: Any) -> Any:
    if key not in NUMBERS:
        return value
    if key == "label" and str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    try:
        return int(value)
    except (TypeError, ValueError):
        return value


def _aligned(file: Path, store: ActivationStore) -> list[LabelledFeature]:
    try:
        values = np.asarray(open_npy(file))  # mapped: a file that claims more than it holds allocates nothing
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror or error}): save it with numpy.save") from error
    if values.shape != (len(store),) or values.dtype.kind not in "biu":
        raise InputError(
            f"{file} holds {values.dtype} of shape {values.shape} but the store has {len(store)} rows: one whole number"
            " a row is needed"
        )
    index, kinds = np.arange(len(store)), np.unique(values).tolist()
    if set(kinds) <= {0, 1} or set(kinds) <= {-1, 1}:
        return [LabelledFeature(name=file.stem, level="token", index=index, values=values == 1)]
    return [
        LabelledFeature(name=f"{file.stem}={kind}", level="token", index=index, values=values == kind) for kind in kinds
    ]
