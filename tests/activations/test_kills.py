"""Collections killed with SIGKILL and taken up again end as if nothing had happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import killing
from stores import listing

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="no fork: processes cannot be made fast enough to kill many"
)


def ran(folder: Path, kills: int, *more: str) -> dict[str, Any]:
    """The nursery's report, in a process of its own: it forks, which a process with threads must not."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    command = [sys.executable, killing.__file__, str(folder), str(kills), "11", *more]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def nothing_lost_or_doubled(folder: Path) -> int:
    """Asserts that every collection in the folder has the files and bytes of the undisturbed one, and no others;
    returns how many there are.
    """
    expected = listing(folder / "whole")
    others = [one for one in folder.iterdir() if one.name != "whole"]
    for one in others:
        found = listing(one)
        assert sorted(found) == sorted(expected), one.name
        assert found == expected, one.name
    return len(others)


def landed_everywhere(done: dict[str, Any], kills: int) -> None:
    """Asserts that the kills fell before, between and after shards: else they would show nothing."""
    assert done["landed"] == len(done["finished"]) == kills
    assert len(set(done["finished"])) >= min(kills, 10) // 2
    assert any(0 < finished < 13 for finished in done["finished"])


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """Eight kills at random and one at every step of writing: one nursery serves both tests."""
    folder = tmp_path_factory.mktemp("killed")
    return folder, ran(folder, 8, "steps")


def test_kills_at_random_moments_leave_no_trace(few):
    folder, done = few
    landed_everywhere(done, 8)
    assert len(listing(folder / "random" / "whole")) == 2 + 3 * 13
    assert nothing_lost_or_doubled(folder / "random") == done["stores"]


def test_a_death_before_any_step_of_writing_leaves_no_trace(few):
    folder, done = few
    files = 2 + 3 * 2  # the manifest twice, three files a shard
    assert done["steps"] == 3 * files  # flush the file, rename it, flush the directory
    assert nothing_lost_or_doubled(folder / "steps") == done["steps"]


@pytest.mark.slow
def test_fifty_kills_leave_no_trace(tmp_path):
    done = ran(tmp_path, 50)
    landed_everywhere(done, 50)
    assert nothing_lost_or_doubled(tmp_path / "random") == done["stores"]
