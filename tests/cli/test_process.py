"""Real processes: what a shell sees."""

import json
import os
import pty
import re
import signal
import subprocess
import sys

import pytest

import unweave as uw
from study_inputs import texts
from unweave.activations.layout import shard_files

UNWEAVE = (sys.executable, "-c", "from unweave.cli.main import main; main()")


def call(*arguments, **options):
    return subprocess.run([*UNWEAVE, *map(str, arguments)], capture_output=True, text=True, check=False, **options)


@pytest.mark.slow
def test_a_collection_from_a_shell(inputs, tmp_path):
    done = call(
        "collect", "--model", inputs / "llama", "--text", inputs / "text.txt", "--site", "embed",
        "--out", tmp_path / "store", "--json",
    )  # fmt: skip
    assert done.returncode == 0
    assert json.loads(done.stdout)["rows"] == len(uw.open_store(tmp_path / "store"))
    assert "Warning" not in done.stderr
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr


def test_exit_codes_of_a_process(tmp_path):
    assert call("--version").returncode == 0
    done = call("report", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("unweave: no run at ")


def test_a_reader_that_goes_away_is_no_error():
    process = subprocess.Popen([*UNWEAVE, "zoo", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0
    assert error == b""


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_keeps_finished_shards(inputs, tmp_path):
    """The signal comes when the first shard is on disk; the same command then finishes."""
    text = tmp_path / "long.txt"
    text.write_text("\n\n".join(texts(documents=3000, words=30)), encoding="utf-8")
    store = tmp_path / "store"
    line = (
        "collect", "--model", inputs / "llama", "--text", text, "--site", "blocks.*.mlp_act", "--out", store,
        "--workers", "1", "-q",
    )  # fmt: skip
    process = subprocess.Popen([*UNWEAVE, *map(str, line)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not shard_files(store, 0)[2].exists():
        pass
    process.send_signal(signal.SIGINT)
    out, error = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert error.startswith("unweave: interrupted: ")
    assert "finished shards are kept in" in error
    kept = sum(shard_files(store, number)[2].exists() for number in range(9))
    done = call(*line, "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["reused"] == kept >= 1
    assert found["made"] >= 1


def on_a_terminal(*arguments, **environment):
    """Standard error of a command that has a terminal there, and its standard output."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*UNWEAVE, *map(str, arguments)], stdout=subprocess.PIPE, stderr=follower, env={**os.environ, **environment}
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # the other end is closed: the command has ended
            break
        if not part:
            break
        shown += part
    out = process.stdout.read().decode()
    process.stdout.close()
    os.close(leader)
    return process.wait(), out, shown.decode()


@pytest.fixture
def line(inputs, tmp_path):
    return (
        "collect", "--model", inputs / "llama", "--text", inputs / "text.txt", "--site", "embed",
        "--out", tmp_path / "store", "--json",
    )  # fmt: skip


@pytest.mark.slow
def test_on_a_terminal_there_are_bars(line):
    code, out, shown = on_a_terminal(*line, TERM="xterm-256color", COLUMNS="120", NO_COLOR="")
    assert code == 0
    assert json.loads(out)["complete"]
    assert "collect llama" in shown
    assert "━" in shown
    assert re.search(r"\x1b\[[0-9;]*3[0-9]", shown)


@pytest.mark.slow
def test_no_color_is_respected(line):
    code, _, shown = on_a_terminal(*line, TERM="xterm-256color", COLUMNS="120", NO_COLOR="1")
    assert code == 0
    assert "collect llama" in shown
    colours = [
        part for part in shown.split("\x1b[")[1:] if part[: part.find("m") + 1].rstrip("m").replace(";", "").isdigit()
    ]
    assert all(part.split("m")[0] in ("", "0", "1", "2") for part in colours)  # bold and dim are no colours


@pytest.mark.slow
def test_quiet_is_quiet_on_a_terminal_too(line):
    assert on_a_terminal(*line, "-q", TERM="xterm-256color")[2] == ""
