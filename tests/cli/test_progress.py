"""Who listens: bars, plain lines or nobody, and what plain lines say."""

import sys

import pytest

from unweave.cli import progress
from unweave.log import SILENT, Progress


@pytest.mark.parametrize(("quiet", "terminal", "kind"), [(False, False, progress.Lines), (False, True, progress.Bars)])
def test_the_listener_fits_where_standard_error_goes(monkeypatch, quiet, terminal, kind):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    found = progress.listener(quiet=quiet)
    assert isinstance(found, kind)
    assert isinstance(found, Progress)
    assert progress.listener(quiet=True) is SILENT


@pytest.mark.parametrize("total", [1000, None])
def test_a_long_task_has_a_line_now_and_then_and_one_at_the_end(monkeypatch, capsys, total):
    clock = iter([0.0, 1.0, 6.0, 6.0, 9.0])  # start; two steps, the second after five seconds; the end
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.Lines().task("collect", total, "row") as advance:
        advance(300)
        advance(400)
    whole = " of 1,000" if total else ""
    assert capsys.readouterr().err == f"collect: 700{whole} rows after 6 s\ncollect: 700 rows in 9.0 s\n"


def test_one_is_not_many(capsys):
    with progress.Lines().task("probe", 1, "site") as advance:
        advance(1)
    assert capsys.readouterr().err.startswith("probe: 1 site in ")


def test_several_batches_are_spelt_so(capsys):
    with progress.Lines().task("moments", 2, "batch") as advance:
        advance(2)
    assert capsys.readouterr().err.startswith("moments: 2 batches in ")


def test_lines_are_plain(capsys):
    progress.Lines().note("plan: [bold]3[/bold] rows")
    assert capsys.readouterr() == ("", "plan: [bold]3[/bold] rows\n")


def test_bars_show_text_as_it_is(capsys):
    bars = progress.Bars()
    bars.note("left out: [bold]x[/bold] " + "long " * 60)
    with bars.task("probe [x]", 3, "site") as advance:
        advance(3)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "left out: [bold]x[/bold] long long" in shown.err
    assert shown.err.split("\n")[0].count("long") == 60


def test_a_task_that_breaks_ends_its_bar():
    with pytest.raises(KeyError), progress.Bars().task("probe", None, "site"):
        raise KeyError
