"""Records of a run: written whole, read back equal, and damage is named."""

import errno
import json
import math

import pytest

from report_figures import FIGURES, HOSTILE, record, run_of, write_folder
from unweave.errors import InputError, StoreError
from unweave.report.page import write_report
from unweave.report.record import RECORD, RUN, Figure, Table, read_record, read_run, write_record, write_run


def test_a_record_comes_back_equal(tmp_path):
    given = record(
        results={"probes": [{"f1": 0.25, "support": [1, 2], "site": "blocks.0", "none": None, "yes": True}]},
        tables=(Table(title=HOSTILE, columns=("a",), rows=[(1,), (1.0,), (True,), ("1",), (None,)], note=HOSTILE),),
    )
    write_record(tmp_path, given)
    again = read_record(tmp_path)
    assert again == given
    assert [type(row[0]) for row in again.tables[0].rows] == [int, float, bool, str, type(None)]


def test_a_run_comes_back_equal(tmp_path):
    given = run_of("one", HOSTILE, left_out={"minilm": "not installed"}, status="interrupted")
    write_run(tmp_path, given)
    assert read_run(tmp_path) == given


def test_numbers_that_are_none_survive(tmp_path):
    data = {"label": ["a", "b", "c"], "value": [math.nan, math.inf, -math.inf]}
    given = record(figures=(FIGURES["bars"].model_copy(update={"data": data}),), results={"auc": math.nan})
    write_record(tmp_path, given)
    values = read_record(tmp_path).figures[0].data["value"]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf]


def test_a_step_that_was_not_done_has_no_record(tmp_path):
    assert read_record(tmp_path / "probe") is None


def test_a_missing_run_is_named(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(StoreError, match=f"no run at {folder}: there is no run.json; give the directory that"):
            write_report(folder)


DAMAGE = {
    "cut": lambda text: text[: len(text) // 2],
    "empty": lambda _text: "",
    "a list": lambda _text: "[]",
    "a number": lambda _text: "3",
    "a key lost": lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k not in ("command", "step")}),
    "a key too many": lambda text: json.dumps({**json.loads(text), "more": 1}),
    "another type": lambda text: json.dumps({**json.loads(text), "seconds": "long", "figures": 3}),
    "nested without end": lambda _text: "[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", [RUN, RECORD])
def test_a_damaged_file_is_named_with_the_way_out(tmp_path, damage, name):
    folder = write_folder(tmp_path / "run", run_of("tiny"), {"tiny": [record()]})
    file = folder / RUN if name == RUN else folder / "models/0/probe" / RECORD
    file.write_text(damage(file.read_text()))
    with pytest.raises(StoreError, match=rf"{name} is damaged \(") as caught:
        write_report(folder)
    assert str(caught.value).endswith("run the study again with --force")


def test_a_file_that_is_not_text_is_damaged_too(tmp_path):
    folder = write_folder(tmp_path / "run", run_of("tiny"), {"tiny": [record()]})
    (folder / RUN).write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(StoreError, match=r"run\.json is damaged"):
        write_report(folder)


def test_a_record_that_the_run_names_must_be_there(tmp_path):
    folder = write_folder(tmp_path / "run", run_of("tiny", steps=("labels", "probe")), {"tiny": [record()]})
    with pytest.raises(StoreError, match=r"labels has no record\.json though the run says that the step is done: run"):
        write_report(folder)


@pytest.mark.parametrize("write", [write_run, write_record])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, write):
    old, new = (run_of("a"), run_of("b")) if write is write_run else (record(), record(title="new"))
    name = RUN if write is write_run else RECORD
    write(tmp_path, old)
    before = (tmp_path / name).read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(StoreError, match=f"{name} cannot be written .No space left on device.: make room or choose"):
        write(tmp_path, new)
    assert (tmp_path / name).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_unknown_keys_are_refused():
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        Figure(kind="bars", title="t", caption="c", data={}, n=1, seed=0, colour="red")
    assert issubclass(InputError, ValueError)
