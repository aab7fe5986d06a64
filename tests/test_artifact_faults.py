"""Damaged, foreign and half-written artifacts: each a clear error, and what stood there untouched."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

import samples
import unweave as uw
from unweave.artifact import FACTS, fingerprint, read_facts
from unweave.artifact_files import TENSORS, TIMINGS
from unweave.errors import InputError, StoreError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An artifact with facts, tensors and timings."""
    monkeypatch.setattr("unweave.artifact.KINDS", samples.BOXES)
    return uw.save(BOX, tmp_path / "a")


BOX = samples.Box(
    content={"note": "no positives", "array": torch.arange(6.0), "sweep": samples.probe_sweep()}, seconds=1.0
)


def edit(folder: Path, change: Callable[[dict[str, Any]], object], *, sign: bool = True) -> None:
    """Changes the facts, and makes their checksum fit again unless told not to."""
    facts = json.loads((folder / FACTS).read_text())
    del facts["sha256"]
    change(facts)
    facts["sha256"] = fingerprint(facts) if sign else "0" * 64
    (folder / FACTS).write_text(json.dumps(facts))


def flip(file: Path, place: int) -> None:
    """Flips one bit."""
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


TENSOR_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, r"a is incomplete: tensors\.safetensors is missing; make the artifact again"),
    "truncated": (
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        r"has \d+ bytes, \d+ were written: it is cut or",
    ),
    "longer": (lambda file: file.write_bytes(file.read_bytes() + b"x"), r"has \d+ bytes, \d+ were written"),
    "empty": (lambda file: file.write_bytes(b""), r"has 0 bytes, \d+ were written: it is cut or foreign; make the"),
    "a bit of the header": (lambda file: flip(file, 9), "is damaged: its checksum does not fit its content; make the"),
    "the last bit": (lambda file: flip(file, -1), r"tensors\.safetensors is damaged: its checksum does not fit"),
    "foreign": (
        lambda file: save_file({"value.content.array": torch.arange(6.0) + 1}, file),
        "is damaged: its checksum does not fit its content",
    ),
}


@pytest.mark.parametrize("fault", TENSOR_FAULTS)
def test_damaged_tensors_are_named(fault: str, folder: Path) -> None:
    damage, text = TENSOR_FAULTS[fault]
    damage(folder / TENSORS)
    with pytest.raises(StoreError, match=text):
        uw.load(folder)
    assert read_facts(folder)["kind"] == "box"


FACT_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda folder: (folder / FACTS).unlink(), r"no artifact at .*a: there is no artifact\.json; give the"),
    "empty": (
        lambda folder: (folder / FACTS).write_text(""),
        r"artifact\.json is damaged: .*; make the artifact again",
    ),
    "cut": (lambda folder: (folder / FACTS).write_text('{"schema": 1'), r"artifact\.json is damaged: "),
    "not UTF-8": (lambda folder: (folder / FACTS).write_bytes(b'{"a": "\xff"}'), r"artifact\.json is damaged: "),
    "NaN": (lambda folder: (folder / FACTS).write_text('{"a": NaN}'), r"is damaged: NaN is no JSON; make the artifact"),
    "deep": (lambda folder: (folder / FACTS).write_text("[" * 10**5), r"artifact\.json is damaged: "),
    "a list": (lambda folder: (folder / FACTS).write_text("[1]"), "is damaged: its checksum does not fit its content"),
    "edited": (
        lambda folder: (folder / FACTS).write_text(
            (folder / FACTS).read_text().replace("no positives", "NO POSITIVES")
        ),
        "is damaged: its checksum does not fit its content",
    ),
    "one bit": (lambda folder: flip(folder / FACTS, -100), r"artifact\.json is damaged: "),
    "checksum": (lambda folder: edit(folder, dict.copy, sign=False), "is damaged: its checksum does not fit"),
    "newer": (
        lambda folder: edit(folder, lambda facts: facts.update(schema=2)),
        r"artifact\.json has schema 2, this version reads 1: update unweave or make the artifact again",
    ),
    "no schema": (
        lambda folder: edit(folder, lambda facts: facts.pop("schema")),
        "has schema None, this version reads 1",
    ),
    "no value": (
        lambda folder: edit(folder, lambda facts: facts.pop("value")),
        r"artifact\.json has no value: it was not written by unweave; make the artifact again",
    ),
}


@pytest.mark.parametrize("fault", FACT_FAULTS)
def test_damaged_facts_are_named(fault: str, folder: Path) -> None:
    damage, text = FACT_FAULTS[fault]
    damage(folder)
    for read in (uw.load, read_facts):
        with pytest.raises(StoreError, match=text):
            read(folder)


def value_of(facts: dict[str, Any]) -> dict[str, Any]:
    return facts["value"]["$fields"]


VALUE_FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown kind": (
        lambda facts: facts["value"].update({"$kind": "boxx"}),
        "unknown kind 'boxx'; nearest: 'box'.*; update unweave or make the artifact again",
    ),
    "another class's kind": (lambda facts: facts["value"].update({"$kind": "moments"}), "does not fit this version"),
    "unknown field": (lambda facts: value_of(facts).update(extra=1), "does not fit this version of unweave: .*extra"),
    "missing field": (lambda facts: value_of(facts).pop("content"), "does not fit this version of unweave: .*content"),
    "unknown entry": (
        lambda facts: value_of(facts).update(content={"$code": "1"}),
        r"does not fit this version of unweave: an entry with the keys \['\$code'\] means nothing here",
    ),
    "no number": (lambda facts: value_of(facts).update(content={"$float": "x"}), "does not fit .* could not convert"),
    "no such tensor": (
        lambda facts: value_of(facts).update(content={"$tensor": "value.other", "shape": [6]}),
        "does not fit this version of unweave: 'value.other'",
    ),
    "another shape": (
        lambda facts: value_of(facts).update(content={"$tensor": "value.content.array", "shape": [2, 3]}),
        r"value\.content\.array has shape \[6\], \[2, 3\] was written",
    ),
    "unknown enum": (
        lambda facts: value_of(facts).update(content={"$kind": "within_block", "$enum": "SPIRAL"}),
        "does not fit this version of unweave: 'SPIRAL'",
    ),
    "unknown key of a config": (
        lambda facts: value_of(facts).update(content={"$kind": "probe_config", "$config": {"kz": 1}}),
        r"probe_config: unknown key 'kz' \(nearest: 'ks'\)",
    ),
    "bad site": (lambda facts: value_of(facts).update(content={"$site": ""}), "a site needs a name without blanks"),
    "a module path as kind": (
        lambda facts: value_of(facts).update(content={"$kind": "os:system", "$fields": {"command": "true"}}),
        "unknown kind 'os:system'",
    ),
}


@pytest.mark.parametrize("fault", VALUE_FAULTS)
def test_facts_that_fit_their_checksum_and_not_this_version_are_named(fault: str, folder: Path) -> None:
    change, text = VALUE_FAULTS[fault]
    edit(folder, change)
    with pytest.raises(StoreError, match=text):
        uw.load(folder)


@pytest.mark.parametrize("content", ["", "[1]", "null", "{"])
def test_damaged_timings_are_named(content: str, folder: Path) -> None:
    (folder / TIMINGS).write_text(content)
    with pytest.raises(StoreError):
        uw.load(folder)


def test_paths_that_are_no_artifact_are_named(tmp_path: Path) -> None:
    (tmp_path / "run" / "featurizer").mkdir(parents=True)
    (tmp_path / "run" / "featurizer" / FACTS).write_text("{}")
    with pytest.raises(StoreError, match=r"there is no artifact\.json \(but in featurizer inside it\); give the"):
        uw.load(tmp_path / "run")
    (tmp_path / "file").write_text("x")
    for path, got in ((tmp_path / "none", "there is no artifact.json"), (tmp_path / "file", "it is a file")):
        with pytest.raises(StoreError, match=f"no artifact at .*: {got}; give the directory that uw.save wrote"):
            uw.load(path)


def test_saving_replaces_an_artifact_and_leaves_nothing_else(folder: Path) -> None:
    uw.save(samples.estimate(), folder)
    assert {file.name for file in folder.iterdir()} == {FACTS}
    assert samples.same(uw.load(folder), samples.estimate())
    assert [entry.name for entry in folder.parent.iterdir()] == ["a"]


def test_what_is_not_an_artifact_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("x")
    for name in ("file", "folder"):
        with pytest.raises(InputError, match=rf"{name} exists and is not an artifact: choose another path"):
            uw.save(samples.estimate(), tmp_path / name)
    mixed = uw.save(samples.estimate(), tmp_path / "mixed")
    (mixed / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"mixed holds 'notes\.txt' beside an artifact, which would be lost: choose"):
        uw.save(samples.estimate(), mixed)
    assert (mixed / "notes.txt").exists()
    (tmp_path / "empty").mkdir()
    assert samples.same(uw.load(uw.save(samples.estimate(), tmp_path / "empty")), samples.estimate())
    assert samples.same(uw.load(uw.save(samples.estimate(), tmp_path / "new" / "deep")), samples.estimate())


def test_behind_a_link_the_artifact_is_replaced_and_the_link_stays(folder: Path) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder, target_is_directory=True)
    assert uw.save(samples.estimate(), link) == link
    assert link.is_symlink()
    assert samples.same(uw.load(folder), samples.estimate())


def full_disk(*args: object, **kwargs: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_safetensors(*args: object, **kwargs: object) -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def flush_failing_at(call: int) -> Callable[..., None]:
    """`os.fsync` that fails the nth time it is called."""
    count = iter(range(1000))
    real = os.fsync

    def fsync(handle: int) -> None:
        if next(count) == call:
            full_disk()
        real(handle)

    return fsync


def rename_failing_into(name: str) -> Callable[..., None]:
    """`os.replace` that fails when something new is renamed to this name."""
    real = os.replace

    def replace(source: Any, target: Any) -> None:
        if Path(target).name == name and ".old" not in Path(source).name:
            full_disk()
        real(source, target)

    return replace


FAILING = {
    **{f"flush {call}": ("unweave.files.os.fsync", flush_failing_at, call) for call in range(7)},
    "tensors": ("safetensors.torch.save_file", lambda _: full_safetensors, None),
    "rename of a file": ("unweave.files.os.replace", rename_failing_into, FACTS),
    "rename of the directory": ("unweave.files.os.replace", rename_failing_into, "a"),
    "directory": ("unweave.artifact.Path.mkdir", lambda _: full_disk, None),
}
"""Two flushes a file (bytes, directory entry) for tensors, timings and facts, and one for the directory itself."""


@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "replacing"])
@pytest.mark.parametrize("where", FAILING)
def test_a_full_disk_leaves_what_stood_there(
    where: str, fresh: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a"
    if not fresh:
        uw.save(samples.artifacts()["moments"], target)
    before = {file.name: file.read_bytes() for file in target.iterdir()} if not fresh else None
    name, failing, what = FAILING[where]
    monkeypatch.setattr("unweave.artifact.KINDS", samples.BOXES)
    monkeypatch.setattr(name, failing(what))
    with pytest.raises(StoreError, match=r"a cannot be written: .*No space left on device.*; nothing was changed"):
        uw.save(BOX, target)
    monkeypatch.undo()
    assert [entry.name for entry in tmp_path.iterdir()] == ([] if fresh else ["a"])
    if before is not None:
        assert {file.name: file.read_bytes() for file in target.iterdir()} == before
        uw.load(target)


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("unweave.files.os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        uw.save(samples.artifacts()["moments"], tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
