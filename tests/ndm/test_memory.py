"""What a fit holds beside a memory map of its rows, watched from inside its own process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import unweave as uw
from unweave.worlds.exclusive import exclusive_world

WATCHED = """
import sys, threading, time
import numpy as np, torch
import unweave as uw

torch.set_num_threads(1)
path, memory, init, pool = sys.argv[1:]
options = {"unit_size": 32, "init": init, "merge_start": 4, "first_pool": None}
uw.ndm.fit(np.random.default_rng(0).normal(size=(600, 64)).astype("f"), steps=5, **options)  # what loading takes

def held():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) * 1024

start, peak, done = held(), [0], threading.Event()

def watch():
    while not done.wait(0.002):
        peak[0] = max(peak[0], held())

watcher = threading.Thread(target=watch, daemon=True)
watcher.start()
uw.ndm.fit(np.load(path, mmap_mode="r"), steps=6, pool=int(pool), memory=memory, **options)
done.set()
watcher.join()
print((peak[0] - start) / uw.ndm.config.bytes_of(memory))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
@pytest.mark.parametrize("init", ["identity", "ica"])
def test_a_fit_stays_within_its_memory(tmp_path, init) -> None:
    np.save(tmp_path / "rows.npy", exclusive_world((32,) * 8, n=40_000, seed=0).rows.numpy())  # 41 MB
    ran = subprocess.run(
        [sys.executable, "-c", WATCHED, str(tmp_path / "rows.npy"), "100MB", init, "30000"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert 0.1 < float(ran.stdout) < 1.1


def test_a_memory_that_cannot_do_is_told() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 6)).astype("f")
    found = uw.ndm.fit(rows, unit_size=2, steps=3, memory="10KB")
    assert any(warning.startswith("memory is 10KB, but a fit of this width takes") for warning in found.warnings)
